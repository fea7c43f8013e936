//! Writes what is made of the program's own words: manual pages, the shells' completions, docs/CONFIG.md and the example
//! configuration. `cargo run --example manual` renews them in this source; with a folder, there.
//!
//! They are kept in the source, so that a package needs no compiler for them; `tests/manual.rs` says when they are old.

mod generated;

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = env::args_os().nth(1).map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    for (path, text) in generated::all() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
        fs::write(path, text)?;
    }
    Ok(())
}
