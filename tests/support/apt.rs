//! The machine's real apt-get, in folders of its own: no root, nothing of the machine's settings.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Scratch, skip};

/// An apt that never saw anything.
pub struct Apt {
    dir: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub ok: bool,
    pub output: String,
}

impl Run {
    pub fn mismatches(&self) -> usize {
        self.output.matches("Hash Sum mismatch").count() + self.output.matches("unexpected size").count()
    }

    /// Fails the test unless all went well.
    pub fn expect(self, what: &str) -> Run {
        assert!(self.ok && self.mismatches() == 0 && !self.output.contains("\nW: "), "{what}:\n{}", self.output);
        self
    }
}

impl Apt {
    /// `None`, after a word of why, where there is no apt-get. `sources` are lines of sources.list.
    pub fn new(
        scratch: &Scratch,
        name: &str,
        proxy: Option<SocketAddr>,
        pipeline: u32,
        sources: &str,
    ) -> Option<Apt> {
        if Command::new("apt-get").arg("--version").output().is_err() {
            skip("apt-get");
            return None;
        }
        let dir = scratch.path().join(name);
        for part in [
            "etc/sources.list.d",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/trusted.gpg.d",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            std::fs::create_dir_all(dir.join(part)).expect("a scratch folder");
        }
        let d = dir.display();
        let proxy = proxy.map_or("DIRECT".to_owned(), |proxy| format!("http://{proxy}"));
        let conf = format!(
            "Dir \"{d}/\"; Dir::Etc \"etc\"; Dir::Etc::sourcelist \"sources.list\"; Dir::Etc::sourceparts \
             \"sources.list.d\";\nDir::Etc::preferencesparts \"preferences.d\"; Dir::Etc::parts \"apt.conf.d\"; \
             Dir::Etc::trustedparts \"trusted.gpg.d\";\nDir::State \"state\"; Dir::State::status \"{d}/status\"; \
             Dir::Cache \"cache\"; Acquire::Languages \"none\";\nAPT::Architecture \"amd64\"; APT::Architectures \
             {{\"amd64\";}}; APT::Sandbox::User \"\"; Acquire::Check-Valid-Until \"false\";\nAcquire::Check-Date \"false\"; \
             Debug::NoLocking \"true\"; APT::Install-Recommends \"false\";\nAcquire::http::Proxy \"{proxy}\"; \
             Acquire::http::Pipeline-Depth \"{pipeline}\";\n"
        );
        std::fs::write(dir.join("apt.conf"), conf).expect("a scratch file");
        std::fs::write(dir.join("status"), "").expect("a scratch file");
        std::fs::write(dir.join("etc/sources.list"), sources).expect("a scratch file");
        Some(Apt { dir })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("APT_CONFIG", self.dir.join("apt.conf"))
            .env("LC_ALL", "C")
            .current_dir(&self.dir)
            .args(["-q", "-y"])
            .args(words);
        command
    }

    /// Begins a run that is not to end.
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("apt-get was there")
    }

    pub fn run(&self, words: &[&str]) -> Run {
        let output = self.command(words).output().expect("apt-get was there");
        let text = [output.stdout, output.stderr].concat();
        Run { ok: output.status.success(), output: String::from_utf8_lossy(&text).into_owned() }
    }

    /// A downloaded package by the end of its name.
    pub fn downloaded(&self, name: &str) -> Option<Vec<u8>> {
        let entries = std::fs::read_dir(self.dir.join("cache/archives")).expect("apt's folder").flatten();
        let path = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(name))?;
        std::fs::read(path).ok()
    }

    /// The packages that it has downloaded, with their lengths.
    pub fn packages(&self) -> BTreeSet<(String, u64)> {
        let entries = std::fs::read_dir(self.dir.join("cache/archives")).expect("apt's folder").flatten();
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "deb"));
        let length = |entry: &DirEntry| entry.metadata().expect("apt is done").len();
        files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), length(&entry))).collect()
    }

    /// A file in apt's working folder, where sources go.
    pub fn here(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn partial(&self, name: &str) -> PathBuf {
        self.dir.join("cache/archives/partial").join(name)
    }
}
