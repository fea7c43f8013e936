//! A small archive, made on the spot and put on a mirror: packages, sources, indexes, Release, signature.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use apt_p2p::digest::Digest;

use super::diffs::Diffs;
use super::mirror::Mirror;
use super::{Scratch, noise, skip};

/// A package in it.
#[derive(Clone)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub content: Vec<u8>,
}

impl Package {
    pub fn new(name: &str, version: &str, len: usize) -> Package {
        let seed = name
            .bytes()
            .chain(version.bytes())
            .fold(len as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Package { name: name.into(), version: version.into(), content: noise(len, seed) }
    }

    /// Below the archive's base; the version's `+` and `~` stay.
    pub fn path(&self) -> String {
        format!("pool/main/{}/{}_{}_all.deb", self.name, self.name, self.version)
    }

    pub fn digest(&self) -> String {
        Digest::of(&self.content).to_string()
    }

    fn stanza(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: A <a@example.org>\nFilename: {}\nSize: {}\n\
             SHA256: {}\nDescription: a test\n\n",
            self.name,
            self.version,
            self.path(),
            self.content.len(),
            self.digest()
        )
    }
}

/// An archive at `/debian` of a mirror, suite `stable`, component `main`.
#[derive(Clone)]
pub struct Archive {
    pub packages: Vec<Package>,
    /// Files of the source package `src`.
    pub sources: Vec<(String, Vec<u8>)>,
    /// The patches from older versions of its Packages; without any it has no index of them.
    pub diffs: Diffs,
    /// Seconds since 1970, its Release's date.
    pub date: u64,
    /// Whose it says to be.
    pub origin: String,
}

pub const BASE: &str = "/debian";
pub const SUITE: &str = "/debian/dists/stable";

impl Archive {
    pub fn new(packages: Vec<Package>) -> Archive {
        Archive { packages, sources: Vec::new(), diffs: Diffs::default(), date: 1_740_823_200, origin: "Test".into() }
    }

    pub fn packages_index(&self) -> String {
        self.packages.iter().map(Package::stanza).collect()
    }

    fn sources_index(&self) -> String {
        if self.sources.is_empty() {
            return String::new();
        }
        let mut text = "Package: src\nBinary: src\nVersion: 1\nFormat: 1.0\nDirectory: pool/main/src\n".to_owned();
        text.push_str("Checksums-Sha256:\n");
        for (name, content) in &self.sources {
            writeln!(text, " {} {} {name}", Digest::of(content), content.len()).expect("a String takes all");
        }
        text + "\n"
    }

    /// The index files: name below the suite, content.
    pub fn indexes(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let named =
            [("main/binary-amd64/Packages", self.packages_index()), ("main/source/Sources", self.sources_index())];
        for (name, text) in named {
            files.push((format!("{name}.gz"), gzip(text.as_bytes())));
            files.push((name.to_owned(), text.into_bytes()));
        }
        if let Some(index) = self.diffs.index(&self.packages_index()) {
            files.push((format!("{}/Index", super::diffs::DIR), index.into_bytes()));
        }
        files
    }

    pub fn release(&self) -> String {
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.date));
        let date = date.replace("GMT", "UTC");
        let mut text = format!(
            "Origin: {}\nLabel: Test\nSuite: stable\nCodename: stable\nDate: {date}\nAcquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: main\nSHA256:\n",
            self.origin
        );
        for (name, content) in self.indexes() {
            writeln!(text, " {} {} {name}", Digest::of(&content), content.len()).expect("a String takes all");
        }
        text
    }

    fn date_line(&self) -> String {
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.date))
    }

    /// Puts everything on the mirror; `key` signs InRelease.
    pub fn publish(&self, mirror: &Mirror, key: Option<&Key>) {
        self.publish_pool(mirror);
        self.publish_indexes(mirror);
        self.publish_release(mirror, key);
    }

    pub fn publish_pool(&self, mirror: &Mirror) {
        for package in &self.packages {
            // As apt writes it: a plus is escaped, a tilde is not.
            mirror.put(&format!("{BASE}/{}", package.path()).replace('+', "%2b"), package.content.clone());
        }
        for (name, content) in &self.sources {
            mirror.put(&format!("{BASE}/pool/main/src/{name}"), content.clone());
        }
    }

    pub fn publish_indexes(&self, mirror: &Mirror) {
        for (name, content) in self.indexes() {
            let dir = name.rsplit_once('/').expect("a folder").0;
            mirror.put(&format!("{SUITE}/{dir}/by-hash/SHA256/{}", Digest::of(&content)), content.clone());
            mirror.put_dated(&format!("{SUITE}/{name}"), content, &self.date_line());
        }
        for (name, content) in self.diffs.files() {
            mirror.put(&format!("{SUITE}/{}/{name}", super::diffs::DIR), content);
        }
    }

    /// Its next version: other packages a day later, with a patch of the index that leads there.
    pub fn move_on(&mut self, packages: Vec<Package>, scratch: &Scratch) {
        let before = self.packages_index();
        self.packages = packages;
        self.date += 86_400;
        self.diffs.add(scratch, &before, &self.packages_index());
    }

    pub fn publish_release(&self, mirror: &Mirror, key: Option<&Key>) {
        let release = self.release();
        let in_release = key.map_or_else(|| release.clone().into_bytes(), |key| key.clear_sign(&release));
        mirror.put_dated(&format!("{SUITE}/InRelease"), in_release, &self.date_line());
        mirror.put_dated(&format!("{SUITE}/Release"), release, &self.date_line());
    }
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("memory grows");
    encoder.finish().expect("memory grows")
}

/// A key of our own, in a folder of its own.
pub struct Key {
    home: PathBuf,
}

impl Key {
    /// `None`, after a word of why, where there is no gpg.
    pub fn make(scratch: &Scratch) -> Option<Key> {
        let home = scratch.path().join("gnupg");
        std::fs::create_dir(&home).expect("a scratch folder");
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("our folder");
        let key = Key { home };
        let made = key.gpg(&["--quick-generate-key", "Test <a@example.org>", "default", "sign", "never"]).output();
        match made {
            Ok(output) if output.status.success() => Some(key),
            Ok(output) => panic!("gpg makes no key: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                skip(&format!("gpg: {error}"));
                None
            }
        }
    }

    fn gpg(&self, words: &[&str]) -> Command {
        let mut command = Command::new("gpg");
        command.args([
            "--homedir",
            self.home.to_str().expect("a plain path"),
            "--batch",
            "--yes",
            "--passphrase",
            "",
        ]);
        command.args(["--pinentry-mode", "loopback"]).args(words);
        command
    }

    pub fn clear_sign(&self, text: &str) -> Vec<u8> {
        self.sign("--clear-sign", text)
    }

    /// A signature beside what it signs, in armour.
    pub fn detach_sign(&self, text: &str) -> Vec<u8> {
        self.sign("--detach-sign", text)
    }

    fn sign(&self, how: &str, text: &str) -> Vec<u8> {
        let mut child = self
            .gpg(&["--armor", how, "--output", "-", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gpg was there");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("gpg reads");
        let output = child.wait_with_output().expect("gpg ends");
        assert!(output.status.success(), "gpg signs");
        output.stdout
    }

    pub fn fingerprint(&self) -> String {
        let output = self.gpg(&["--with-colons", "--list-keys"]).output().expect("gpg was there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("fpr:")).expect("there is one key");
        line.trim_matches(':').to_owned()
    }

    /// The public key as apt takes it: in armour where the name ends so.
    pub fn export(&self, to: &Path) {
        let is_armoured = to.extension().is_some_and(|ending| ending == "asc");
        let words: &[&str] = if is_armoured { &["--armor", "--export"] } else { &["--export"] };
        let output = self.gpg(words).output().expect("gpg was there");
        std::fs::write(to, output.stdout).expect("a scratch file");
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        Command::new("gpgconf").args(["--homedir"]).arg(&self.home).args(["--kill", "all"]).output().ok();
    }
}
