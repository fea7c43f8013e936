//! Tables of what is understood, and of what is told about the rest.

use super::*;
use proptest::prelude::*;

fn load(text: &str, flags: &Flags) -> Result<Config, String> {
    let settings = file::parse(text).map_err(|(line, problem)| format!("{line}: {problem}"))?;
    Config::from_settings(settings.overridden_by(flags)).map_err(|error| error.to_string())
}

fn flags() -> Flags {
    Flags { cache: Some("/cache".into()), ..Flags::default() }
}

fn secret_file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("apt-p2p-secret-{name}-{}", std::process::id()));
    std::fs::write(&path, "0123456789abcdef\n").expect("a scratch file");
    path
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = load("", &flags()).expect("defaults");
    assert_eq!(config.listen, ["[::]:9977".parse().expect("an address")]);
    assert_eq!((config.max_size, config.grace), (None, GRACE));
    let cores = [None, NonZero::new(1), NonZero::new(3), NonZero::new(64)];
    assert_eq!(cores.map(workers), [2, 2, 3, 4]);
    assert_eq!((config.neighbours.len(), config.prefer, config.prefetch), (0, Prefer::Speed, Prefetch::Lookup));
    for (client, served) in [("127.0.0.1", true), ("192.168.1.5", true), ("fe80::1", true), ("203.0.113.1", false)] {
        assert_eq!(config.allows(client.parse().expect("an address")), served, "{client}");
    }
}

#[test]
fn flags_beat_the_file() {
    let text = "listen = '127.0.0.1:1'\nmax-size = 5\nworkers = 2\nallow = ['192.0.2.0/24']\nupstream = 'a=http://b'";
    let flags = Flags { listen: vec!["127.0.0.1:2".into()], max_size: Some("6K".into()), ..flags() };
    let config = load(text, &flags).expect("both fit");
    assert_eq!(config.listen, ["127.0.0.1:2".parse().expect("an address")]);
    assert_eq!((config.max_size, config.workers), (Some(6144), 2));
    assert!(config.allows("192.0.2.9".parse().expect("an address")));
    assert!(!config.allows("127.0.0.1".parse().expect("an address")));
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, told) in [
        ("\nmax_size = 5", "2: there is no setting max_size; did you mean max-size?"),
        ("colour = 'red'", "1: there is no setting colour; there are listen, cache,"),
        ("share = 'all'", "--share all: expected internet, lan or off"),
        ("peer-listen = '9978'", "--peer-listen 9978: expected an address and a port"),
        ("network = 'a b'", "--network a b: expected a name"),
        ("mainline = 'no'", "--mainline no: expected ask, serve or off"),
        ("bootstrap = 'node.example.org'", "--bootstrap node.example.org: expected HOST:PORT"),
        ("bootstrap = ['none', '192.0.2.1:1']", "--bootstrap none: expected HOST:PORT, such as"),
        ("secret = '/nonexistent'", "--secret /nonexistent: No such file"),
        ("secret = '/dev/null'", "--secret /dev/null: it has 0 bytes, and 16 to 1024 are needed; make one with"),
        ("workers = 'many'", "1: workers = many: expected a number"),
        ("workers = 0", "--workers 0: expected a number from 1 to 64"),
        ("listen = 9977", "1: listen: expected a text in quotes"),
        ("listen = ':9977'", "--listen :9977: expected an address and a port"),
        ("allow = 'me'", "--allow me: expected an address or a network"),
        ("max-size = 'lots'", "--max-size lots: expected a size"),
        ("upstream = 'a=ftp://b'", "--upstream a=ftp://b: expected HOST/PATH=URL"),
        ("allow-upstream = 'a b'", "--allow-upstream a b: expected a host name"),
        ("upstream-proxy = 'https://me:secret@x:1'", "--upstream-proxy …: expected http://HOST:PORT"),
        ("allow-connect = '*'", "--allow-connect *: expected a host, such as"),
        ("allow-connect = ['none', 'a']", "--allow-connect none: expected a host, such as"),
        ("allow-upstream = '*'", "--allow-upstream *: expected a host name"),
        ("neighbour = '192.0.2.7'", "--neighbour 192.0.2.7: expected an address and a port"),
        ("prefetch = 'always'", "--prefetch always: expected off, lookup or night"),
        ("mdns = 'maybe'", "--mdns maybe: expected on or off"),
        ("prefer = 'cheap'", "--prefer cheap: expected speed or offload"),
        ("a = \n", "1: "),
        ("[cache]\nx = 1", "1: cache: expected a text in quotes"),
    ] {
        let error = load(text, &flags()).expect_err(text);
        assert!(error.starts_with(told), "{text}: {error}");
    }
}

#[test]
fn the_longest_rule_for_an_archive_wins() {
    let rules = ["Example.org.:80=http://a", "example.org/debian/=https://b/x/", "example.org/debian=http://c"];
    let flags = Flags { upstream: rules.map(str::to_owned).to_vec(), ..flags() };
    let config = load("", &flags).expect("rules");
    let urls = |whole| config.upstream_for(whole).map(|(rule, rest)| (rule.urls.join(" "), rest));
    assert_eq!(urls("example.org/debian/x.deb"), Some(("https://b/x http://c".into(), "/x.deb")));
    assert_eq!(urls("example.org/debian-security/x.deb"), Some(("http://a".into(), "/debian-security/x.deb")));
    assert_eq!(urls("example.org.evil/x.deb"), None);
}

#[test]
fn what_a_password_opens_is_public_only_where_it_is_named() {
    let rules = ["a.example.org=https://me:secret@b.example.org/x", "a.example.org/open=https://b.example.org/x@y"];
    let public = vec!["a.example.org/named".to_owned()];
    let config = load("", &Flags { upstream: rules.map(str::to_owned).to_vec(), public, ..flags() }).expect("fits");
    let addresses = ["198.51.100.7".parse().expect("an address")];
    for (whole, is_public) in [
        ("a.example.org/debian/x.deb", false),
        ("a.example.org/open/x.deb", true),
        ("a.example.org/named/x.deb", true),
        ("b.example.org/debian/x.deb", true),
    ] {
        assert_eq!(config.is_public(whole, Some("Debian"), &addresses), is_public, "{whole}");
    }
}

#[test]
fn private_upstreams_are_refused_unless_named() {
    let named = ["mirror.lan", "192.0.2.0/24", "10.1.0.0/16"];
    let flags = Flags { allow_upstream: named.map(str::to_owned).to_vec(), ..flags() };
    let config = load("", &flags).expect("hosts");
    for (ip, host, allowed) in [
        ("203.0.113.1", "mirror.example.org", true),
        ("10.1.2.3", "mirror.example.org", true),
        ("10.2.2.3", "mirror.example.org", false),
        ("10.2.2.3", "Mirror.Lan", true),
        ("169.254.169.254", "mirror.example.org", false),
        ("::ffff:127.0.0.1", "mirror.example.org", false),
    ] {
        assert_eq!(config.upstream_allowed(ip.parse().expect("an address"), host), allowed, "{ip} {host}");
    }
}

#[test]
fn tunnels_lead_anywhere_unless_hosts_are_named() {
    let connects = |text: &str, host: &str| load(text, &flags()).expect("hosts").may_connect(host);
    assert!(connects("", "mirror.example.org"));
    assert!(!connects("allow-connect = 'none'", "mirror.example.org"));
    let some = "allow-connect = ['mirror.example.org', '*.example.com', '192.0.2.1']";
    for (host, may) in [
        ("mirror.example.org", true),
        ("example.com", false),
        ("a.example.com", true),
        ("192.0.2.1", true),
        ("x", false),
    ] {
        assert_eq!(connects(some, host), may, "{host}");
    }
}

#[test]
fn a_mirror_of_this_network_has_no_proxy_in_front() {
    let config = load("upstream-proxy = 'http://proxy:3128'\nallow-upstream = ['*.lan', '10.0.0.0/8']", &flags());
    let config = config.expect("a proxy");
    for (host, is_near) in [("mirror.lan", true), ("10.1.2.3", true), ("mirror.example.org", false)] {
        assert_eq!(config.is_near(host), is_near, "{host}");
    }
}

#[test]
fn what_is_shared_follows_from_a_few_words() {
    let sharing = |text: &str| load(text, &flags()).expect("a configuration").sharing;
    let usual = sharing("");
    assert_eq!((usual.share, usual.mainline, usual.is_private), (Share::Internet, Mainline::Ask, false));
    assert_eq!((usual.peer_listen.to_string(), usual.network.as_str()), ("[::]:9978".into(), "apt-p2p"));
    assert_eq!((usual.bootstrap.len(), usual.secret), (3, None));
    assert_eq!(sharing("bootstrap = 'none'").bootstrap, Vec::<String>::new());
    for (hosts, is_private, is_mainline_private) in [
        ("'none'", false, false),
        ("'node.example.org:9978'", false, false),
        ("'203.0.113.5:9978'", false, false),
        ("'203.0.113.5:9978', '192.168.1.10:9978'", true, false),
        ("'192.168.1.10:9978', 'node.example.org:9978'", true, false),
        ("'192.168.1.10:9978', '[::1]:9978'", true, true),
    ] {
        let sharing = sharing(&format!("bootstrap = [{hosts}]"));
        let found = (sharing.is_private, sharing.is_mainline_private);
        assert_eq!(found, (is_private, is_mainline_private), "{hosts}");
    }
    let given = Flags { share: Some("off".into()), bootstrap: vec!["none".into()], ..flags() };
    let config = load("share = 'lan'\nbootstrap = '127.0.0.1:1'\nmainline = 'serve'", &given).expect("both fit");
    assert_eq!((config.sharing.share, config.sharing.mainline), (Share::Off, Mainline::Serve));
    assert!(config.sharing.bootstrap.is_empty() && !config.sharing.is_private);
}

#[test]
fn a_secret_is_read_without_its_last_newline_and_never_shown() {
    let path = secret_file("read");
    let config = load("", &Flags { secret: Some(path.clone()), ..flags() });
    std::fs::remove_file(&path).expect("it is there");
    let config = config.expect("a secret of 16 bytes");
    assert_eq!(config.sharing.secret, Some(Secret(b"0123456789abcdef".to_vec())));
    assert!(!format!("{config:?}").contains("48, 49"));
}

#[test]
fn the_example_shows_every_setting() {
    let text = include_str!("../../examples/apt-p2p.toml");
    load(text, &flags()).expect("the example is a configuration");
    for key in file::KEYS {
        assert!(text.contains(&format!("\n#{key} = ")) || text.contains(&format!("\n{key} = ")), "{key}");
    }
    let shown: String = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|l| l.contains(" = ")).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let secret = secret_file("example");
    let loaded = load(&shown, &Flags { secret: Some(secret.clone()), ..Flags::default() });
    std::fs::remove_file(&secret).expect("it is there");
    loaded.expect("so it is with every setting switched on");
}

#[test]
fn settings_are_documented_as_they_are_read() {
    let all: Vec<_> = settings::SETTINGS.iter().flat_map(|(_, settings)| settings.iter()).collect();
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    assert_eq!(sorted(all.iter().map(|setting| setting.name).collect()), sorted(file::KEYS.to_vec()));
    let unset = load("", &flags()).expect("defaults");
    let secret = secret_file("settings");
    for settings::Setting { name, kind, unset: default, example, .. } in all {
        if let settings::Unset::Value(value) = default {
            assert_eq!(load(&format!("{name} = {value}"), &flags()).as_ref(), Ok(&unset), "{name}");
        }
        let flags = Flags { secret: (*name == "secret").then(|| secret.clone()), ..Flags::default() };
        assert_ne!(load(&format!("{name} = {example}"), &flags).expect(name), unset, "{name}");
        let takes = |word: &str| load(&format!("{name} = '{word}'"), &flags).is_ok();
        if let settings::Kind::Words(words) = kind {
            assert!(words.iter().all(|word| takes(word)) && !takes("another"), "{name}");
        }
    }
    std::fs::remove_file(&secret).expect("it is there");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = load(&text, &flags());
    }
}
