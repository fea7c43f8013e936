//! The archive that this machine's own apt is configured with.

use std::process::Command;

/// A source of this machine's apt.
pub struct Source {
    uri: String,
    suite: String,
}

impl Source {
    /// Read from apt itself.
    pub fn of_this_machine() -> Option<Source> {
        let format = "$(REPO_URI) $(RELEASE) $(METAKEY)";
        let output =
            Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        let lines =
            text.lines().filter(|line| line.starts_with("http://") && line.ends_with("main/binary-amd64/Packages"));
        // The largest suite: the one whose name has no ending.
        let line = lines.min_by_key(|line| line.len())?;
        let words: Vec<&str> = line.split(' ').collect();
        Some(Source { uri: words[0].trim_end_matches('/').to_owned(), suite: words[1].to_owned() })
    }

    pub fn line(&self) -> String {
        format!("deb [signed-by={}] {} {} main\n", keyrings().join(","), self.uri, self.suite)
    }

    pub fn host(&self) -> &str {
        let rest = self.uri.strip_prefix("http://").expect("an http source");
        &rest[..rest.find('/').unwrap_or(rest.len())]
    }
}

/// All keys that this machine trusts for some archive.
fn keyrings() -> Vec<String> {
    let folders = ["/usr/share/keyrings", "/etc/apt/trusted.gpg.d", "/etc/apt/keyrings"];
    let files = folders.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flat_map(Iterator::flatten);
    let paths = files.map(|entry| entry.path().to_string_lossy().into_owned());
    paths.filter(|path| path.ends_with(".gpg") && !path.contains("removed")).collect()
}
