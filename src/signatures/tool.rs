//! The system's programs that check signatures. What they read is handed over as files that exist in memory alone.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::{Verdict, armor};
use crate::limits::{JUDGE_SAID_MAX, JUDGE_TIME, KEYRING_LEN_MAX, KEYRINGS, KEYRINGS_AT_ONCE, SIGNERS};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// GnuPG's; it names the signers.
    Gpgv,
    /// Sequoia's; it tells their keys' fingerprints.
    Sqv,
}

/// The one that is installed.
pub(super) fn find() -> Option<Tool> {
    [Tool::Gpgv, Tool::Sqv].into_iter().find(|tool| Path::new(tool.path()).exists())
}

impl Tool {
    fn path(self) -> &'static str {
        match self {
            Tool::Gpgv => "/usr/bin/gpgv",
            Tool::Sqv => "/usr/bin/sqv",
        }
    }

    /// Whether `signature` over `text` was made with a key of these keyrings.
    pub(super) fn verify(self, keyrings: &[PathBuf], text: &[u8], signature: &[u8]) -> Verdict {
        let keys = keyring_files(keyrings);
        if keys.is_empty() {
            return Verdict::Unjudged("there is no keyring here; --keyring names one".to_owned());
        }
        self.ask(&keys, text, signature)
            .unwrap_or_else(|error| Verdict::Unjudged(format!("{} failed: {error}", self.path())))
    }

    fn ask(self, keyrings: &[PathBuf], text: &[u8], signature: &[u8]) -> io::Result<Verdict> {
        let (text, signature) = (in_memory(text)?, in_memory(signature)?);
        match self {
            // What it says of one signature adds up: the key may be in any of them.
            Tool::Gpgv => {
                let runs = keyrings.chunks(KEYRINGS_AT_ONCE).map(|some| self.run(some, &text, &signature));
                Ok(of_gpgv(&runs.map(|run| run.map(|(said, _)| said)).collect::<io::Result<String>>()?))
            }
            Tool::Sqv => self.run(keyrings, &text, &signature).map(|(said, is_good)| of_sqv(&said, is_good)),
        }
    }

    /// What it says of the file, and whether it was content.
    fn run(self, keyrings: &[PathBuf], text: &File, signature: &File) -> io::Result<(String, bool)> {
        // As long as the tool runs, what it reads must be open here.
        let mut open = Vec::new();
        let mut command = Command::new(self.path());
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        if self == Tool::Gpgv {
            command.args(["--status-fd", "1", "--homedir", "/nonexistent", "--weak-digest", "SHA1"]);
        }
        for path in keyrings {
            command.arg("--keyring");
            let is_armoured = path.extension().is_some_and(|ending| ending == "asc");
            if self == Tool::Sqv || !is_armoured {
                command.arg(path);
                continue;
            }
            let Some(plain) = read_bounded(path).and_then(armor::plain) else {
                log::debug!("{} is no keyring", path.display());
                // In the place of the one that was announced.
                command.arg("/dev/null");
                continue;
            };
            let file = in_memory(&plain)?;
            command.arg(path_of(&file));
            open.push(file);
        }
        command.arg(path_of(signature)).arg(path_of(text));
        listen(command.spawn()?, JUDGE_TIME)
    }
}

/// What a tool may read by its path, and nobody else sees.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    // It is inherited by the child: that is what it is for.
    let file: OwnedFd = memfd_create("apt-p2p", MemfdFlags::empty())?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file)
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(KEYRING_LEN_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= KEYRING_LEN_MAX).then_some(bytes)
}

/// The files among `keyrings`, and those that lie in its folders.
fn keyring_files(keyrings: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in keyrings {
        if path.is_dir() {
            let is_keyring = |path: &PathBuf| {
                path.extension()
                    .and_then(|ending| ending.to_str())
                    .is_some_and(|e| ["gpg", "pgp", "asc"].contains(&e))
            };
            let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut inside: Vec<PathBuf> = entries.filter(is_keyring).collect();
            inside.sort();
            files.extend(inside);
        } else if path.is_file() {
            files.push(path.clone());
        }
    }
    if files.len() > KEYRINGS {
        log::debug!("of {} keyrings the last {} are not read", files.len(), files.len() - KEYRINGS);
    }
    files.truncate(KEYRINGS);
    files
}

/// What a child says on its standard output, and whether it was content. One that takes too long or says too much is ended.
fn listen(mut child: Child, time: Duration) -> io::Result<(String, bool)> {
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut said = Vec::new();
    let heard = hear(&mut stdout, &mut said, time);
    if heard.is_err() {
        child.kill().ok();
    }
    // Its output is at its end, or it is killed: it is about to be gone.
    let status = child.wait()?;
    heard?;
    Ok((String::from_utf8_lossy(&said).into_owned(), status.success()))
}

fn hear(stdout: &mut (impl Read + std::os::fd::AsFd), said: &mut Vec<u8>, time: Duration) -> io::Result<()> {
    // In slices, which add up to the time it has: no clock is needed for that.
    const SLICES: u32 = 50;
    let slice = Timespec::try_from(time / SLICES).expect("a short time");
    let mut left = SLICES;
    let mut buffer = [0; 4096];
    loop {
        let ready = match poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&slice)) {
            // A signal to the process takes a slice, or it could go on for ever.
            Err(Errno::INTR) => 0,
            ready => ready?,
        };
        if ready == 0 {
            left = left.checked_sub(1).ok_or(io::ErrorKind::TimedOut)?;
            continue;
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(()),
            len => said.extend_from_slice(&buffer[..len]),
        }
        if said.len() > JUDGE_SAID_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Reads GnuPG's status lines (its doc/DETAILS). One good signature is enough, as it is for apt; a wrong one spoils all.
fn of_gpgv(said: &str) -> Verdict {
    let (mut names, mut valid, mut missing, mut bad) = (Few::default(), 0, Few::default(), None);
    for line in said.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (key, name) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "GOODSIG" => names.add(printable(name)),
            "VALIDSIG" => valid += 1,
            "BADSIG" => bad = Some(format!("the signature of {} does not fit the file", printable(name))),
            "EXPKEYSIG" => missing.add(format!("the key of {} has expired", printable(name))),
            "EXPSIG" => missing.add(format!("the signature of {} has expired", printable(name))),
            "REVKEYSIG" => missing.add(format!("the key of {} was revoked", printable(name))),
            "NO_PUBKEY" => missing.add(format!("the key {} is not here", printable(key))),
            _ => {}
        }
    }
    match bad {
        Some(why) => Verdict::Wrong(why),
        None if valid > 0 && !names.told.is_empty() => Verdict::Signed(names.all()),
        None if missing.told.is_empty() => {
            Verdict::Untrusted("gpgv found no signature that it could read".to_owned())
        }
        None => Verdict::Untrusted(missing.all().join(", ")),
    }
}

/// Each word once, of many the first: whoever writes a signature can write a thousand, and what is said of them is logged,
/// kept and shown.
#[derive(Default)]
struct Few {
    told: Vec<String>,
    more: usize,
}

impl Few {
    fn add(&mut self, word: String) {
        if self.told.contains(&word) {
            return;
        }
        if self.told.len() < SIGNERS { self.told.push(word) } else { self.more += 1 }
    }

    fn all(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("{} more", self.more));
        self.told.into_iter().chain(more).collect()
    }
}

/// Sequoia's tool prints the fingerprint of each key that has signed.
fn of_sqv(said: &str, is_good: bool) -> Verdict {
    let mut keys = Few::default();
    said.lines().filter(|line| !line.is_empty()).for_each(|line| keys.add(printable(line)));
    match is_good && !keys.told.is_empty() {
        true => Verdict::Signed(keys.all()),
        false => Verdict::Untrusted("sqv found no valid signature of a key that is here".to_owned()),
    }
}

/// Names are written by whoever made the key.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpgv_is_understood() {
        let good =
            "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0123 Archive Key (12) <a@example.org>\n[GNUPG:] VALIDSIG 4567 2026\n";
        let missing = "[GNUPG:] ERRSIG 89AB 1 10 01 1 9\n[GNUPG:] NO_PUBKEY 89AB\n";
        let bad = "[GNUPG:] BADSIG 0123 Archive Key\n";
        let signed = Verdict::Signed(vec!["Archive Key (12) <a@example.org>".to_owned()]);
        assert_eq!(of_gpgv(good), signed);
        assert_eq!(of_gpgv(&format!("{missing}{good}{good}")), signed);
        let wrong = Verdict::Wrong("the signature of Archive Key does not fit the file".to_owned());
        assert_eq!(of_gpgv(&format!("{good}{bad}")), wrong);
        for (said, why) in [
            (missing.to_owned(), "the key 89AB is not here"),
            ("[GNUPG:] EXPKEYSIG 01 A\u{1b}[2J\n[GNUPG:] VALIDSIG 45\n".to_owned(), "the key of A[2J has expired"),
            (String::new(), "gpgv found no signature that it could read"),
        ] {
            assert_eq!(of_gpgv(&said), Verdict::Untrusted(why.to_owned()));
        }
    }

    #[test]
    fn of_a_thousand_signatures_a_few_are_told() {
        let lines = |line: &dyn Fn(usize) -> String| (0..1000).map(line).collect::<String>();
        let missing = lines(&|n| format!("[GNUPG:] NO_PUBKEY {n:016X}\n"));
        let signers = lines(&|n| format!("[GNUPG:] GOODSIG 01 {}{n}\n[GNUPG:] VALIDSIG 45\n", "A".repeat(110)));
        let keys = lines(&|n| format!("{n:040X}\n"));
        for verdict in [of_gpgv(&missing), of_gpgv(&signers), of_sqv(&keys, true)] {
            let said = verdict.to_string();
            assert!(said.len() < 600 && said.ends_with("996 more"), "{said}");
        }
    }

    #[test]
    fn sqv_is_understood() {
        assert_eq!(of_sqv("AB12\n", true), Verdict::Signed(vec!["AB12".to_owned()]));
        for (said, is_good) in [("AB12\n", false), ("", true)] {
            assert!(matches!(of_sqv(said, is_good), Verdict::Untrusted(_)));
        }
    }

    #[test]
    fn a_tool_that_hangs_or_babbles_is_ended() {
        let child = |script: &str| {
            Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell")
        };
        assert_eq!(listen(child("echo yes; exit 3"), JUDGE_TIME).expect("heard"), ("yes\n".to_owned(), false));
        let error = listen(child("while :; do echo much; done"), JUDGE_TIME).expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = listen(child("exec sleep 1000"), Duration::from_millis(200)).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
