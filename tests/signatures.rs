//! Who signed an archive: reported, or enforced, with the machine's own gpgv.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::archive::{Archive, Key, Package, SUITE};
use support::client::{Client, Response, get, get_with};
use support::daemon::{BINARY, Daemon};
use support::mirror::{Fault, Mirror};
use support::{Scratch, skip, wait_until};

/// An archive with a key of its own, both ways to keep that key, and the flags for a daemon that fetches from it.
struct Signing {
    scratch: Scratch,
    mirror: Mirror,
    archive: Archive,
    key: Key,
}

impl Signing {
    /// A Release beside another's signature is refused, and given beside its own.
    fn expect_own_signature(&self, daemon: &Daemon, release: &str) {
        let put = |file: &str, content: &[u8]| self.mirror.put(&format!("{SUITE}/{file}"), content);
        put("Release", release.as_bytes());
        assert_eq!(self.get(daemon, "Release").status, 403, "it is another's signature");
        put("Release.gpg", &self.key.detach_sign(release));
        let got = self.get(daemon, "Release");
        assert!(got.is_good() && got.body == release.as_bytes(), "{} {}", got.status, got.text());
    }

    fn new() -> Option<Signing> {
        if !Path::new("/usr/bin/gpgv").exists() {
            skip("gpgv is not here");
            return None;
        }
        let scratch = Scratch::new();
        let key = Key::make(&scratch)?;
        let archive = Archive::new(vec![Package::new("hello", "1", 1000)]);
        Some(Signing { scratch, mirror: Mirror::start(), archive, key })
    }

    fn keyring(&self, name: &str) -> String {
        let path = self.scratch.path().join(name);
        self.key.export(&path);
        path.to_str().expect("a plain path").to_owned()
    }

    fn cache(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn get(&self, daemon: &Daemon, file: &str) -> Response {
        get(daemon.address, &self.mirror.url(&format!("{SUITE}/{file}")))
    }
}

fn said_of_it(daemon: &Daemon) -> String {
    let status: serde_json::Value =
        serde_json::from_str(&get(daemon.address, "/status.json").text()).expect("status.json is JSON");
    let archives = status["archives"].as_array().expect("a list");
    archives.iter().find_map(|archive| archive["signed"].as_str()).unwrap_or("").to_owned()
}

const ENFORCE: [&str; 4] = ["--allow-upstream", "127.0.0.0/8", "--signatures", "enforce"];
const FLAGS: [&str; 2] = ["--allow-upstream", "127.0.0.0/8"];

#[test]
fn who_signed_is_said_on_the_page_and_refuses_nobody() {
    let Some(signing) = Signing::new() else { return };
    signing.archive.publish(&signing.mirror, Some(&signing.key));
    let (plain, armoured) = (signing.keyring("ours.gpg"), signing.keyring("ours.asc"));
    // The last of more keyrings than gpgv takes at once.
    let many = signing.cache("many-keyrings");
    std::fs::create_dir(&many).expect("a folder");
    (0..45).for_each(|n| std::fs::write(many.join(format!("{n}.gpg")), b"").expect("an empty keyring"));
    signing.key.export(&many.join("ours.asc"));
    let many = many.to_str().expect("a plain path");
    let cases: [(&str, &[&str], &str); 5] = [
        ("many", &["--keyring", many], "signed by Test <a@example.org>"),
        ("plain", &["--keyring", &plain], "signed by Test <a@example.org>"),
        ("armoured", &["--keyring", &armoured], "signed by Test <a@example.org>"),
        ("unknown", &[], "not signed by anybody known here: the key "),
        ("off", &["--signatures", "off"], ""),
    ];
    for (name, flags, expected) in cases {
        let daemon = Daemon::start_with(&signing.cache(name), &[&FLAGS[..], flags].concat());
        let got = signing.get(&daemon, "InRelease");
        assert_eq!(got.status, 200, "{name}: {}", got.text());
        let is_said =
            || said_of_it(&daemon).starts_with(expected) && said_of_it(&daemon).is_empty() == expected.is_empty();
        wait_until(Duration::from_secs(20), name, is_said);
    }
}

#[test]
fn where_signatures_are_enforced_only_what_is_signed_by_a_known_key_is_given_out() {
    let Some(signing) = Signing::new() else { return };
    let release = signing.archive.release();
    let signed = signing.key.clear_sign(&release);
    let keyring = signing.keyring("ours.gpg");
    let flags = [&FLAGS[..], &["--signatures", "enforce", "--keyring", &keyring]].concat();
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    let put = |file: &str, content: &[u8]| signing.mirror.put(&format!("{SUITE}/{file}"), content);

    put("InRelease", release.as_bytes());
    let refused = signing.get(&daemon, "InRelease");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("not signed; --signatures enforce refuses it"), "{}", refused.text());

    let altered = String::from_utf8(signed.clone()).expect("armour").replacen("Label: Test", "Label: Best", 1);
    put("InRelease", altered.as_bytes());
    let refused = signing.get(&daemon, "InRelease");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("does not fit the file"), "{}", refused.text());

    // What was refused was not kept, and does not stand in the way of what is right.
    put("InRelease", &signed);
    let got = signing.get(&daemon, "InRelease");
    assert!(got.is_good() && got.body == signed, "{} {}", got.status, got.text());
    assert_eq!(said_of_it(&daemon), "signed by Test <a@example.org>");

    // Beside a Release lies its signature, or none.
    put("Release", release.as_bytes());
    assert_eq!(signing.get(&daemon, "Release").status, 403);
    put("Release.gpg", &signing.key.detach_sign(&release));
    let later = release.replacen("Label: Test", "Label: Rest", 1);
    signing.expect_own_signature(&daemon, &later);
}

#[test]
fn what_was_stored_before_signatures_were_enforced_is_judged_too() {
    let Some(signing) = Signing::new() else { return };
    signing.archive.publish(&signing.mirror, None);
    let daemon = Daemon::start_with(&signing.cache("cache"), &FLAGS);
    assert_eq!(signing.get(&daemon, "InRelease").status, 200);
    wait_until(Duration::from_secs(20), "the verdict", || said_of_it(&daemon) == "not signed");
    daemon.terminate();
    let daemon = Daemon::start_with(&signing.cache("cache"), &ENFORCE);
    assert_eq!(signing.get(&daemon, "InRelease").status, 403);
    signing.mirror.set_down(true);
    assert_eq!(signing.get(&daemon, "InRelease").status, 504, "what is stored is refused");
}

#[test]
fn what_is_not_to_be_given_out_is_not_given_out_without_a_disk_either() {
    let Some(signing) = Signing::new() else { return };
    let (release, keyring) = (signing.archive.release(), signing.keyring("ours.gpg"));
    // A file stands where the folder should be.
    std::fs::write(signing.cache("cache"), "").expect("a scratch file");
    let daemon = Daemon::start_with(&signing.cache("cache"), &[&ENFORCE[..], &["--keyring", &keyring]].concat());
    assert!(daemon.log().iter().any(|line| line.contains("nothing is cached")), "{:?}", daemon.log());
    let put = |file: &str, content: &[u8]| signing.mirror.put(&format!("{SUITE}/{file}"), content);
    for file in ["InRelease", "Release"] {
        put(file, release.as_bytes());
        let refused = signing.get(&daemon, file);
        assert_eq!(refused.status, 403, "{file}: {}", refused.text());
        assert!(refused.text().contains("is not signed"), "{file}: {}", refused.text());
    }
    let signed = signing.key.clear_sign(&release);
    put("InRelease", &signed);
    put("Release.gpg", &signing.key.detach_sign(&release));
    for (file, content) in [("InRelease", &signed[..]), ("Release", release.as_bytes())] {
        let got = signing.get(&daemon, file);
        assert!(got.is_good() && got.body == content, "{file}: {} {}", got.status, got.text());
    }
}

#[test]
fn a_key_that_comes_later_is_known_without_a_restart() {
    let Some(signing) = Signing::new() else { return };
    signing.archive.publish(&signing.mirror, Some(&signing.key));
    signing.mirror.put(&format!("{SUITE}/Release.gpg"), signing.key.detach_sign(&signing.archive.release()));
    let folder = signing.scratch.path().join("keyrings");
    std::fs::create_dir(&folder).expect("a scratch folder");
    let (folder_name, file) = (folder.to_str().expect("a plain path"), signing.scratch.path().join("later.gpg"));
    for (n, keyring) in [folder_name, file.to_str().expect("a plain path")].into_iter().enumerate() {
        let flags = [&ENFORCE[..], &["--keyring", keyring]].concat();
        let daemon = Daemon::start_with(&signing.cache(&format!("cache-{n}")), &flags);
        for release in ["InRelease", "Release"] {
            let refused = signing.get(&daemon, release);
            assert_eq!(refused.status, 403, "{keyring}, {release}: {}", refused.text());
        }
        signing.key.export(&if n == 0 { folder.join("archive.asc") } else { file.clone() });
        for release in ["InRelease", "Release"] {
            let got = signing.get(&daemon, release);
            assert!(got.is_good(), "{keyring}, {release}: {} {}", got.status, got.text());
        }
        assert_eq!(said_of_it(&daemon), "signed by Test <a@example.org>", "{keyring}");
    }
}

#[test]
fn a_stored_release_that_is_refused_does_not_stand_before_one_that_is_not() {
    let Some(signing) = Signing::new() else { return };
    let keyring = signing.keyring("ours.gpg");
    // What nobody has signed is the newer one, by its own word.
    let mut newer = signing.archive.clone();
    newer.date += 86_400;
    newer.publish(&signing.mirror, None);
    let daemon = Daemon::start_with(&signing.cache("cache"), &FLAGS);
    assert_eq!(signing.get(&daemon, "InRelease").status, 200);
    assert_eq!(daemon.terminate(), Some(0));

    let flags = [&ENFORCE[..], &["--keyring", &keyring]].concat();
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    assert_eq!(signing.get(&daemon, "InRelease").status, 403);
    signing.archive.publish(&signing.mirror, Some(&signing.key));
    let good = signing.get(&daemon, "InRelease");
    assert!(good.is_good() && good.text().contains("BEGIN PGP SIGNATURE"), "{} {}", good.status, good.text());
    assert_eq!(daemon.terminate(), Some(0));

    // Nor when the mirror confirms the good one, nor when it is away.
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    signing.mirror.forget_seen();
    assert_eq!(signing.get(&daemon, "InRelease").body, good.body);
    let asked = signing.mirror.seen(&format!("{SUITE}/InRelease"));
    assert!(asked.iter().any(|seen| seen.headers.contains_key("if-modified-since")), "{asked:?}");
    signing.mirror.set_down(true);
    assert_eq!(daemon.terminate(), Some(0));
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    let kept = signing.get(&daemon, "InRelease");
    assert!(kept.is_good() && kept.body == good.body, "{} {}", kept.status, kept.text());
}

/// The program where sqv is all that the system has for signatures.
fn where_only_sqv_is(scratch: &Scratch) -> Option<Command> {
    if !Path::new("/usr/bin/sqv").exists() {
        skip("sqv is not here");
        return None;
    }
    let folder = scratch.path().join("bin");
    std::fs::create_dir(&folder).expect("a scratch folder");
    std::fs::copy("/usr/bin/sqv", folder.join("sqv")).expect("a scratch folder");
    let mut command = Command::new("unshare");
    let script = format!("mount --bind {} /usr/bin && exec \"$0\" \"$@\"", folder.display());
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    let mut tried = Command::new("unshare");
    tried.args(command.get_args()).arg("/usr/bin/sqv").arg("--version");
    let output = tried.output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        skip(&format!("mounting in a namespace of one's own: {output:?}"));
        return None;
    }
    command.arg(BINARY);
    Some(command)
}

#[test]
fn sqv_judges_where_there_is_no_gpgv() {
    let Some(signing) = Signing::new() else { return };
    let Some(command) = where_only_sqv_is(&signing.scratch) else { return };
    // The key comes later, in armour beside one that is not.
    let folder = signing.scratch.path().join("keyrings");
    std::fs::create_dir(&folder).expect("a scratch folder");
    let flags = [&ENFORCE[..], &["--keyring", folder.to_str().expect("a plain path")]].concat();
    let daemon = Daemon::try_start(&signing.cache("cache"), &flags, command).expect("it starts");
    let release = signing.archive.release();
    let signed = signing.key.clear_sign(&release);
    let put = |file: &str, content: &[u8]| signing.mirror.put(&format!("{SUITE}/{file}"), content);
    put("InRelease", &signed);
    assert_eq!(signing.get(&daemon, "InRelease").status, 403);
    signing.key.export(&folder.join("a.gpg"));
    signing.key.export(&folder.join("b.asc"));

    let altered = String::from_utf8(signed.clone()).expect("armour").replacen("Label: Test", "Label: Best", 1);
    put("InRelease", altered.as_bytes());
    let refused = signing.get(&daemon, "InRelease");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("sqv found no valid signature"), "{}", refused.text());
    put("InRelease", &signed);
    let got = signing.get(&daemon, "InRelease");
    assert!(got.is_good() && got.body == signed, "{} {}", got.status, got.text());
    assert_eq!(said_of_it(&daemon), format!("signed by {}", signing.key.fingerprint()));

    put("Release.gpg", &signing.key.detach_sign("another text"));
    signing.expect_own_signature(&daemon, &release);
}

// ── judged anew ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_newer_release_that_is_refused_is_given_to_nobody_and_not_followed() {
    let Some(signing) = Signing::new() else { return };
    let packages = |archive: &Archive| archive.indexes().swap_remove(0);
    let (right, keyring) = (packages(&signing.archive), signing.keyring("ours.gpg"));
    let date = signing.archive.date + 86_400;
    let wrong = Archive { date, ..Archive::new(vec![Package::new("hello", "2", 1000)]) };
    wrong.publish(&signing.mirror, None);
    let daemon = Daemon::start_with(&signing.cache("cache"), &FLAGS);
    assert_eq!(signing.get(&daemon, "InRelease").status, 200);
    assert_eq!(signing.get(&daemon, &right.0).body, packages(&wrong).1);
    daemon.wait_for_log("learnt ");
    daemon.terminate();

    signing.archive.publish(&signing.mirror, Some(&signing.key));
    let flags = [&FLAGS[..], &["--signatures", "enforce", "--keyring", &keyring]].concat();
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    let first = signing.get(&daemon, "InRelease");
    assert!(first.is_good() && first.body.starts_with(b"-----BEGIN PGP SIGNED"), "{}", first.text());
    // For some seconds nobody asks the mirror about it.
    signing.mirror.forget_seen();
    let second = signing.get(&daemon, "InRelease");
    assert!(second.is_good() && second.body == first.body, "{}", second.text());
    assert_eq!(signing.mirror.all_seen().len(), 0);
    // A client that was given none yet follows it, too, and so does what is learnt.
    let url = signing.mirror.url(&format!("{SUITE}/{}", right.0));
    let index = Client::connect_from("127.0.0.2", daemon.address).get(&url, &[]);
    assert!(index.is_good() && index.body == right.1, "{}", index.status);
    daemon.wait_for_log("learnt ");
}

#[test]
fn a_key_that_comes_later_counts_where_signatures_are_only_reported() {
    let Some(signing) = Signing::new() else { return };
    signing.archive.publish(&signing.mirror, Some(&signing.key));
    let keys = signing.cache("keys");
    std::fs::create_dir(&keys).expect("a scratch folder");
    let flags = [&FLAGS[..], &["--keyring", keys.to_str().expect("a plain path")]].concat();
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    assert_eq!(signing.get(&daemon, "InRelease").status, 200);
    wait_until(Duration::from_secs(20), "a verdict", || !said_of_it(&daemon).is_empty());
    assert!(!said_of_it(&daemon).starts_with("signed by"), "{}", said_of_it(&daemon));
    signing.key.export(&keys.join("ours.gpg"));
    let url = signing.mirror.url(&format!("{SUITE}/InRelease"));
    assert_eq!(get_with(daemon.address, &url, &["Cache-Control: no-cache"]).status, 200);
    wait_until(Duration::from_secs(20), "the key counts", || said_of_it(&daemon).starts_with("signed by Test"));
}

#[test]
fn the_page_names_the_host_alone_of_what_needs_credentials() {
    let Some(signing) = Signing::new() else { return };
    let line = "Authorization: Basic Zm9vOmJhcg==";
    signing.mirror.fault(&format!("{SUITE}/InRelease"), Fault::Credentials("Basic Zm9vOmJhcg==".into()));
    signing.mirror.put(&format!("{SUITE}/InRelease"), signing.archive.release());
    let flags = ENFORCE;
    let daemon = Daemon::start_with(&signing.cache("cache"), &flags);
    let url = signing.mirror.url(&format!("{SUITE}/InRelease"));
    let refused = get_with(daemon.address, &url, &[line]);
    assert!(refused.status == 403 && refused.text().contains("not signed"), "{} {}", refused.status, refused.text());
    let told = get(daemon.address, "/status.json").text();
    assert!(told.contains("not signed") && !told.contains("dists/stable"), "{told}");
}
