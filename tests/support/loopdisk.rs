//! A disk that can be pulled: ext4 in a file behind a loop device, mounted where only the test's own processes see it.
//!
//! Pulled: the device has no more blocks, so that whatever is not in memory cannot be read or written any more. Failed: the
//! kernel finds an error in the file system, and lets nobody write to it any more. What lay on it at that moment is put back
//! as another device. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Scratch;

/// What a machine lacks where [`LoopDisk::new`] says no.
pub const NEEDS: &str = "loop devices (root, losetup, mount and nsenter of util-linux, mkfs.ext4 of e2fsprogs)";

pub struct LoopDisk {
    /// Where it is mounted.
    pub at: PathBuf,
    image: PathBuf,
    device: String,
    /// Holds the mount namespace open.
    holder: Child,
}

impl LoopDisk {
    /// A disk of so many megabytes, mounted; `None` where there are no loop devices.
    pub fn new(scratch: &Scratch, megabytes: u64) -> Option<LoopDisk> {
        let (image, at) = (scratch.path().join("disk.img"), scratch.path().join("disk"));
        fs::create_dir(&at).expect("a scratch folder");
        let file = fs::File::create(&image).expect("a scratch file");
        file.set_len(megabytes << 20).expect("it may have holes");
        run("mkfs.ext4", &["-q", "-F", text(&image)]).ok()?;
        let device = attach(&image)?;
        let holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 3600"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(_) => {
                run("losetup", &["-d", &device]).ok();
                return None;
            }
        };
        let mut ready = [0];
        use std::io::Read as _;
        holder.stdout.take().expect("piped").read_exact(&mut ready).expect("it says so");
        let disk = LoopDisk { at, image, device, holder };
        disk.mount();
        Some(disk)
    }

    /// A command that runs where the disk is seen; its program and arguments are to follow.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m"]);
        command
    }

    fn inside(&self, program: &str, words: &[&str]) -> Result<(), String> {
        told(self.command().arg(program).args(words))
    }

    fn mount(&self) {
        let words = ["-o", "errors=remount-ro", &self.device, text(&self.at)];
        self.inside("mount", &words).expect("a file system, or one whose journal is replayed");
    }

    /// Fills it to the last block.
    pub fn fill(&self) {
        let filler = self.at.join("filler");
        // It ends with an error, as it must.
        self.inside("dd", &["if=/dev/zero", &format!("of={}", text(&filler)), "bs=64k"]).expect_err("it is full");
    }

    pub fn make_room(&self) {
        self.inside("rm", &[text(&self.at.join("filler"))]).expect("it is there");
    }

    /// Whether a file is on it.
    pub fn has(&self, name: &str) -> bool {
        self.inside("test", &["-e", text(&self.at.join(name))]).is_ok()
    }

    /// Whether finished files wait to be recorded in the cache on it.
    pub fn has_unrecorded(&self) -> bool {
        let log = ["-name", "finished-*"];
        self.inside(
            "find",
            &[&[text(&self.at.join("cache/drafts"))], &log[..], &["-exec", "false", "{}", "+"]].concat(),
        )
        .is_err()
    }

    /// Takes the disk away while it is in use.
    pub fn pull(&mut self) {
        self.keep();
        self.forget_pages();
        run("losetup", &["-c", &self.device]).expect("the device has no blocks now");
    }

    /// Finds an error in it, as the kernel does on a worn one: from here on it can only be read.
    pub fn fail(&mut self) {
        let device = self.device.trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").expect("root may");
        self.keep();
        self.forget_pages();
    }

    /// What is in memory of its files would hide for a while that they cannot be read.
    fn forget_pages(&self) {
        let files = self.at.join("cache/files");
        let forget = ["dd", "if={}", "iflag=nocache", "count=0", "status=none"];
        self.inside("find", &[&[text(&files), "-type", "f", "-exec"], &forget[..], &[";"]].concat())
            .expect("its files");
    }

    /// Keeps what lies on the disk now apart from the device, which loses it.
    fn keep(&mut self) {
        let kept = self.image.with_extension("kept");
        assert_ne!(kept, self.image, "a disk is taken away once");
        fs::copy(&self.image, &kept).expect("room");
        fs::File::options().write(true).open(&self.image).and_then(|file| file.set_len(0)).expect("our file");
        self.image = kept;
    }

    /// Puts it back, repaired: what was mounted goes, as an automounter has it, and what lay on the disk is mounted again.
    pub fn put_back(&mut self) {
        self.inside("umount", &["-l", text(&self.at)]).expect("it was mounted");
        run("losetup", &["-d", &self.device]).ok();
        // Errors that were mended are told by its exit status, too.
        run("e2fsck", &["-p", text(&self.image)]).ok();
        self.device = attach(&self.image).expect("there was a device");
        self.mount();
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        self.inside("umount", &["-l", text(&self.at)]).ok();
        self.holder.kill().ok();
        self.holder.wait().ok();
        // Who is still mounted there by a process that ends keeps it until then, and no longer.
        run("losetup", &["-d", &self.device]).ok();
    }
}

fn attach(image: &Path) -> Option<String> {
    let output = Command::new("losetup").args(["--show", "-f", text(image)]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    told(Command::new(program).args(words))
}

fn told(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
