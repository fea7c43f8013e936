//! Power failures, replayed: what a run of the real program writes is recorded, and the disk is rebuilt as it may have
//! been at each sync. On every such disk each file that the store gives out is right, a resumed draft is a right
//! beginning, and cleanup leaves only records with their files: there is no third state.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::archive::{Archive, BASE, Package, SUITE};
use support::client::get;
use support::daemon::{BINARY, Daemon};
use support::mirror::Mirror;
use support::{Scratch, noise, skip, wait_until};

use apt_p2p::digest::Digest;
use apt_p2p::store::{Options, Store, SweepOptions, Want};
use apt_p2p::time::Stamp;

/// Something that happened to the disk.
#[derive(Debug)]
struct Event {
    kind: u8,
    path: String,
    offset: u64,
    data: Vec<u8>,
}

/// Which of the writes that were not synced have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// All: the process died, the machine did not.
    Kept,
    /// Names have, contents have not.
    NamesKept,
    /// Names and lengths have, contents have not: zeros stand where they should be.
    LengthsKept,
    /// Neither: names count once their folder was synced, or the file itself for its first name.
    Lost,
}

#[derive(Default, Clone)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// A disk and what of it is safe.
#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    folders: BTreeSet<String>,
    /// Where a file that is written by its old path is by now.
    moved: BTreeMap<String, usize>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk {
    fn inode(&mut self, path: &str) -> &mut Inode {
        let known = self.names.get(path).or_else(|| self.moved.get(path)).copied();
        let at = known.unwrap_or_else(|| self.create(path));
        &mut self.inodes[at]
    }

    fn create(&mut self, path: &str) -> usize {
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }

    fn apply(&mut self, event: &Event) {
        let Event { kind, path, offset, data } = event;
        let at = usize::try_from(*offset).expect("small files");
        match kind {
            b'm' => drop(self.folders.insert(path.clone())),
            b'c' => drop(self.create(path)),
            b't' => self.inode(path).now.resize(at, 0),
            b'w' => {
                let now = &mut self.inode(path).now;
                if now.len() < at + data.len() {
                    now.resize(at + data.len(), 0);
                }
                now[at..at + data.len()].copy_from_slice(data);
            }
            b'r' => {
                let to = String::from_utf8(data.clone()).expect("a path");
                if let Some(inode) = self.names.remove(path) {
                    self.moved.insert(path.clone(), inode);
                    self.names.insert(to, inode);
                }
            }
            b'u' => {
                if let Some(inode) = self.names.remove(path) {
                    self.moved.insert(path.clone(), inode);
                }
            }
            b's' => self.sync(path),
            other => panic!("an event of kind {other}"),
        }
    }

    fn sync(&mut self, path: &str) {
        if self.folders.contains(path) {
            self.safe_names.retain(|name, _| parent(name) != path);
            let inside = self.names.iter().filter(|(name, _)| parent(name) == path);
            self.safe_names.extend(inside.map(|(name, inode)| (name.clone(), *inode)));
            return;
        }
        let inode = self.inode(path);
        inode.synced.clone_from(&inode.now);
        if let Some(inode) = self.names.get(path)
            && !self.safe_names.values().any(|safe| safe == inode)
        {
            self.safe_names.insert(path.to_owned(), *inode);
        }
    }

    /// Writes the disk as it would be found into `root`.
    fn build(&self, from: &str, root: &Path, form: Form) {
        let target =
            |path: &str| root.join(path.strip_prefix(from).expect("below the cache").trim_start_matches('/'));
        for folder in &self.folders {
            std::fs::create_dir_all(target(folder)).expect("a scratch folder");
        }
        let names = if form == Form::Lost { &self.safe_names } else { &self.names };
        for (name, inode) in names {
            let Inode { now, synced } = &self.inodes[*inode];
            std::fs::create_dir_all(target(parent(name))).expect("a scratch folder");
            let mut content = if form == Form::Kept { now.clone() } else { synced.clone() };
            if form == Form::LengthsKept {
                content.resize(now.len(), 0);
            }
            std::fs::write(target(name), content).expect("a scratch file");
        }
    }
}

fn read_events(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).expect("the record");
    let (mut at, mut events) = (0, Vec::new());
    while at < bytes.len() {
        let mut take = |len: usize| {
            at += len;
            bytes[at - len..at].to_vec()
        };
        let number =
            |bytes: Vec<u8>| usize::try_from(u32::from_le_bytes(bytes.try_into().expect("four"))).expect("small");
        let kind = take(1)[0];
        let path_len = number(take(4));
        let path = String::from_utf8(take(path_len)).expect("a path");
        let offset = u64::from_le_bytes(take(8).try_into().expect("eight"));
        let data_len = number(take(4));
        events.push(Event { kind, path, offset, data: take(data_len) });
    }
    events
}

fn compile_recorder(scratch: &Scratch) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/record.c");
    let library = scratch.path().join("record.so");
    let compiled =
        Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").output();
    match compiled {
        Ok(output) if output.status.success() => Some(library),
        other => {
            skip(&format!("a C compiler: {other:?}"));
            None
        }
    }
}

/// What a client may get.
type Known = BTreeMap<Digest, Vec<u8>>;

fn record_run(scratch: &Scratch, library: &Path) -> (PathBuf, String, Known) {
    let cache = scratch.path().join("cache");
    let record = scratch.path().join("record");
    let recorded = |binary: &str| {
        let mut command = Command::new(binary);
        command.env("LD_PRELOAD", library).env("RECORD_DIR", &cache).env("RECORD_FILE", &record);
        command
    };
    let mirror = Mirror::start();
    let mut known = Known::new();
    let mut remember = |content: &[u8]| drop(known.insert(Digest::of(content), content.to_vec()));
    let flags = ["--allow-upstream", "127.0.0.0/8"];
    for (round, version) in ["1", "2"].into_iter().enumerate() {
        let daemon = Daemon::try_start(&cache, &flags, recorded(BINARY)).expect("the program starts");
        let mut archive =
            Archive::new((0..3).map(|n| Package::new(&format!("p{n}"), version, 700_000 * n + 9)).collect());
        archive.date += 60 * round as u64;
        archive.publish(&mirror, None);
        remember(archive.release().as_bytes());
        archive.indexes().iter().for_each(|(_, content)| remember(content));
        get(daemon.address, &mirror.url(&format!("{SUITE}/InRelease")));
        get(daemon.address, &mirror.url(&format!("{SUITE}/main/binary-amd64/Packages.gz")));
        daemon.wait_for_log("learnt");
        for package in &archive.packages {
            remember(&package.content);
            assert!(get(daemon.address, &mirror.url(&format!("{BASE}/{}", package.path()))).is_good());
        }
        let last = daemon.stored_path(&archive.packages[2].digest());
        wait_until(Duration::from_secs(30), "a batch is recorded", || last.exists());
        // One download that is cut off by the end.
        let cut = noise(2_000_000, round as u64);
        remember(&cut);
        let path = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{}", Digest::of(&cut));
        mirror.put(&path, cut);
        mirror.hold_after(1_200_000);
        let mut client = support::client::Client::connect(daemon.address);
        client.ask("GET", &mirror.url(&path), &[]);
        client.head();
        client.read_some(1_100_000);
        assert_eq!(daemon.terminate(), Some(0));
        mirror.release();
    }
    let status = recorded(BINARY).args(["cleanup", "--max-size", "1M", "--cache"]).arg(&cache).output();
    assert!(status.expect("the program starts").status.success());
    (record, cache.to_str().expect("a plain path").to_owned(), known)
}

/// Everything that may be asked of a store that was found so.
fn check(root: &Path, known: &Known, what: &str) {
    let store = Store::open(&Options { dir: root.to_owned() }).unwrap_or_else(|error| panic!("{what}: {error}"));
    let today = Stamp(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs());
    let read = |file: &std::fs::File| {
        let mut content = vec![0; usize::try_from(file.metadata().expect("open").len()).expect("small")];
        std::os::unix::fs::FileExt::read_exact_at(file, &mut content, 0).expect("readable");
        content
    };
    let served = |when: &str| {
        for (digest, content) in known {
            if let Some(stored) = store.open_file(digest, today).expect("the index can be read") {
                assert!(read(&stored.file) == *content, "{what}, {when}: {digest:?} is served wrong");
            }
        }
    };
    served("at once");
    for (digest, content) in known {
        if store.has_file(digest).expect("the index can be read") {
            continue;
        }
        let draft = store.draft(Want::Digest { digest: *digest, len: None }).expect("a draft");
        let here = read(draft.file());
        assert!(content.starts_with(&here), "{what}: the draft of {digest:?} is no beginning of it");
    }
    store.commit(today).expect("what was finished is recorded");
    served("after a batch");
    let later = Stamp(today.0 + 2 * 86_400);
    let options = SweepOptions { max_bytes: None, grace: Duration::from_secs(1 << 30), now: later, dry_run: false };
    let report = store.sweep(&options).unwrap_or_else(|error| panic!("{what}: {error}"));
    served("after a sweep");
    let folders = std::fs::read_dir(root.join("files")).expect("a folder").flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten()).count();
    assert_eq!(files as u64, report.after.files, "{what}: files and records are the same: {report:?}");
}

#[test]
fn no_disk_cut_at_a_sync_has_a_third_state() {
    let scratch = Scratch::new();
    let Some(library) = compile_recorder(&scratch) else { return };
    let (record, cache, known) = record_run(&scratch, &library);
    let events = read_events(&record);
    let syncs = events.iter().filter(|event| event.kind == b's').count();
    assert!(syncs > 20, "only {syncs} syncs were recorded");
    assert!(events.iter().any(|event| event.kind == b'r') && events.iter().any(|event| event.kind == b'u'));
    let mut disk = Disk::default();
    let mut images = 0;
    for (n, event) in events.iter().enumerate() {
        // Just before a sync the most is at stake, just after it the least.
        for moment in ["before", "after"] {
            if moment == "after" {
                disk.apply(event);
            }
            if event.kind != b's' {
                continue;
            }
            for form in [Form::Kept, Form::NamesKept, Form::LengthsKept, Form::Lost] {
                let root = scratch.path().join(format!("disk{images}"));
                images += 1;
                for part in ["meta", "files", "drafts"] {
                    std::fs::create_dir_all(root.join(part)).expect("a scratch folder");
                }
                disk.build(&cache, &root, form);
                check(&root, &known, &format!("{form:?} {moment} event {n}, a sync of {}", event.path));
                std::fs::remove_dir_all(&root).expect("our folder");
            }
        }
        if event.kind != b's' && n % 7 == 0 {
            // Between syncs too, for the process that is killed there.
            let root = scratch.path().join(format!("disk{images}"));
            images += 1;
            disk.build(&cache, &root, Form::Kept);
            check(&root, &known, &format!("killed after event {n}"));
            std::fs::remove_dir_all(&root).expect("our folder");
        }
    }
    println!("{syncs} syncs, {images} disks");
}
