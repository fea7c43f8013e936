//! The house rules that a compiler does not know: who imports whom (from docs/ARCHITECTURE.md), sizes, leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests, and of a function.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        (path, text)
    };
    rust_files(&root().join("src")).into_iter().map(read).collect()
}

/// The text before the file's inline tests; a file of tests has none.
fn before_tests<'a>(path: &Path, text: &'a str) -> &'a str {
    if path.ends_with("tests.rs") {
        return "";
    }
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The top-level module that a source file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("below src");
    let first = inside.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The table "Modules": each module and what it may import.
fn import_table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the document");
    let section = text.split("\n## Modules\n").nth(1).expect("the section").split("\n## ").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let imports = cells[2].split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        (cells[0].to_owned(), imports.collect())
    })
    .collect()
}

/// The modules of ours that a text names by a path.
fn imported(text: &str, roots: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in text.match_indices(root) {
            let rest = &text[at + root.len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let word: String =
                    name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                found.insert(word);
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table = import_table();
    let mut seen = BTreeSet::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        seen.insert(module.clone());
        let allowed = table.get(&module).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md does not name {module}"));
        for name in imported(&text, &["crate::", "apt_p2p::"]) {
            let inside = name == module || !table.contains_key(&name);
            assert!(inside || allowed.contains(&name), "{}: {module} must not import {name}", path.display());
        }
    }
    let named: BTreeSet<String> = table.keys().cloned().collect();
    assert_eq!(named, seen, "docs/ARCHITECTURE.md and src/ name different modules");
    for (module, imports) in &table {
        for name in imports {
            assert!(table.contains_key(name), "{module} may import {name}, which does not exist");
            assert!(!table[name].contains(module), "{module} and {name} import each other");
        }
    }
}

/// What `dht` knows of the world is told to it, and what it does is the same for the same seed.
#[test]
fn the_dht_has_no_socket_clock_thread_file_or_random_order() {
    let pure: Vec<_> = sources().into_iter().filter(|(path, _)| module_of(path) == "dht").collect();
    assert!(pure.len() > 10, "src/dht has moved");
    for (path, text) in pure {
        for word in [
            "UdpSocket",
            "TcpStream",
            "Instant",
            "SystemTime",
            "thread::",
            "std::fs",
            "std::env",
            "HashMap",
            "HashSet",
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn the_import_check_sees_paths_and_lists() {
    let text = "use crate::{fetch, store::Store};\nlet x = crate::edge::bind(y); use apt_p2p::config::Config;";
    let names: Vec<String> = imported(text, &["crate::", "apt_p2p::"]).into_iter().collect();
    assert_eq!(names, ["config", "edge", "fetch", "store"]);
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not say what it owns", path.display());
        let lines = before_tests(&path, &text).lines().count();
        assert!(lines <= FILE_LINES, "{} has {lines} lines before its tests", path.display());
    }
}

#[test]
fn functions_stay_short() {
    for (path, text) in sources() {
        let mut open: Option<(usize, String, usize)> = None;
        for (number, line) in before_tests(&path, &text).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let starts =
                line.contains("fn ") && line.trim_end().ends_with('{') && !line.trim_start().starts_with("//");
            match &open {
                None if starts => open = Some((indent, line.trim().to_owned(), number)),
                Some((at, name, from)) if line.trim_end() == format!("{}}}", " ".repeat(*at)) => {
                    let lines = number - from + 1;
                    assert!(lines <= FUNCTION_LINES, "{}: {name} has {lines} lines", path.display());
                    open = None;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn nothing_is_left_half_done() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["#[ign", "ore"].concat(),
        ["FIX", "ME"].concat(),
    ];
    let mut files = sources();
    for dir in ["tests", "benches"] {
        for path in rust_files(&root().join(dir)) {
            let text = fs::read_to_string(&path).expect("a source file");
            files.push((path, text));
        }
    }
    for entry in fs::read_dir(root().join("docs")).expect("the documents") {
        let path = entry.expect("a document").path();
        if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path).expect("a document");
            files.push((path, text));
        }
    }
    for (path, text) in files {
        let is_torn = text.lines().any(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "));
        assert!(!is_torn, "{} has a merge's marks", path.display());
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} has {word}", path.display());
        }
    }
}

#[test]
fn every_limit_has_a_reason_and_a_use() {
    let pages = ["limits.rs", "limits/dht.rs", "limits/peers.rs"].map(|page| root().join("src").join(page));
    let limits: String = pages.iter().map(|page| fs::read_to_string(page).expect("the bounds")).collect();
    let all = sources();
    let lines: Vec<&str> = limits.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("pub const ").and_then(|rest| rest.split(':').next()) else { continue };
        assert!(lines[at - 1].starts_with("///"), "{name} has no reason");
        let uses = all.iter().filter(|(path, text)| module_of(path) != "limits" && text.contains(name)).count();
        assert!(uses > 0 || limits.matches(name).count() > 1, "nothing uses {name}");
    }
}
