//! A folder that only our user may enter, for the private socket between the edge and its workers.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const PREFIX: &str = "apt-p2p-";

/// The folder; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketDir(PathBuf);

impl SocketDir {
    /// Makes the folder in the first place that takes it: what systemd made for us, the user's runtime folder, /run,
    /// the temporary folder.
    ///
    /// # Errors
    /// When none of them can be written to.
    pub(super) fn new() -> io::Result<SocketDir> {
        let from_env = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let places = [
            from_env("RUNTIME_DIRECTORY"),
            from_env("XDG_RUNTIME_DIR"),
            Some(PathBuf::from("/run")),
            Some(std::env::temp_dir()),
        ];
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in places.into_iter().flatten() {
            remove_leftovers(&place);
            let dir = place.join(format!("{PREFIX}{}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(SocketDir(dir)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("edge")
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Removes folders of processes that were killed, and of a former process with our number.
fn remove_leftovers(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}
