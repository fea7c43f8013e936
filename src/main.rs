//! argv in, exit status out: 0 done, 1 failed, 2 the command line or the configuration cannot be used.

mod logging;
mod owner;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use apt_p2p::cli::{self, Cli, Command};
use apt_p2p::config::{Config, ConfigError, Flags, parse_duration};
use apt_p2p::control::Format;
use apt_p2p::daemon::DaemonError;
use apt_p2p::digest::Digest;
use apt_p2p::explore::ExploreError;
#[cfg(feature = "mdns")]
use apt_p2p::lan::responder;
use apt_p2p::troubles::without_passwords;
use apt_p2p::{cleanup, daemon, explore, import, verify};

fn main() -> ExitCode {
    spare_memory();
    #[cfg(feature = "mdns")]
    if let Some(status) = respond() {
        return status;
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    if cli.version {
        say(format_args!("apt-p2p {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let flags = cli.flags();
    match &cli.command {
        Some(Command::Cleanup(options)) => clean_up(options, flags),
        Some(Command::Verify(options)) => verify_all(options, flags),
        Some(Command::Import(options)) => import_all(options, flags),
        Some(Command::Status(options)) => {
            let format = format(options.json);
            explore(&options.with_files(flags), |config, out| explore::status(config, format, out))
        }
        Some(Command::Dht(options)) => {
            let format = format(options.json);
            explore(&options.with_files(flags), |config, out| explore::dht(config, format, out))
        }
        Some(Command::Lookup(options)) => look_up(options, flags),
        Some(Command::Crawl(options)) => crawl(options, flags),
        None => serve(&flags),
    }
}

/// The proxy runs this program by another name to speak multicast DNS.
#[cfg(feature = "mdns")]
fn respond() -> Option<ExitCode> {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    (words.next()? == responder::NAME).then(|| match responder::run(&words.collect::<Vec<String>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", responder::NAME);
            ExitCode::FAILURE
        }
    })
}

/// argh's own entry ends the process with status 1 for a wrong command line; the contract says 2.
fn parse() -> Result<Cli, ExitCode> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, rest) = words.split_first().map_or(("apt-p2p", &[][..]), |(name, rest)| (*name, rest));
    let name = name.rsplit('/').next().unwrap_or(name);
    <Cli as argh::FromArgs>::from_args(&[name], rest).map_err(|exit| match exit.status {
        Ok(()) => {
            say(format_args!("{}", exit.output));
            ExitCode::SUCCESS
        }
        Err(()) => {
            eprintln!("{}\nRun {name} --help for more.", exit.output.trim_end());
            ExitCode::from(2)
        }
    })
}

/// A reader that has had enough is no error.
fn say(line: std::fmt::Arguments<'_>) {
    writeln!(io::stdout(), "{line}").ok();
}

fn serve(flags: &Flags) -> ExitCode {
    match Config::load(flags) {
        Ok(config) => logging::start(&config.log),
        Err(error) => return refuse(&error),
    }
    match daemon::run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DaemonError::Config(error)) => refuse(&error),
        Err(error) => fail(&error),
    }
}

fn clean_up(options: &cli::Cleanup, before: Flags) -> ExitCode {
    let report = cleanup::Report { dry_run: options.dry_run, json: options.json };
    keep(&options.flags(before), |config, out| cleanup::run(config, report, daemon::today(), out).map(|()| true))
}

fn verify_all(options: &cli::Verify, before: Flags) -> ExitCode {
    keep(&options.with_files(before), |config, out| verify::run(config, options.json, daemon::today(), out))
}

fn import_all(options: &cli::Import, before: Flags) -> ExitCode {
    let request = import::Request { dir: options.dir.clone(), indexes: options.index.clone(), json: options.json };
    keep(&options.flags(before), |config, out| import::run(config, &request, daemon::today(), out))
}

/// Runs a command on the cache; `false` from it: not all is well.
fn keep<E: std::error::Error>(
    flags: &Flags,
    run: impl FnOnce(&Config, &mut io::Stdout) -> Result<bool, E>,
) -> ExitCode {
    logging::start("warn");
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = owner::become_owner_of(&config.cache) {
        eprintln!(
            "apt-p2p: {} is another user's, whom we cannot become ({error}): run this as him",
            config.cache.display()
        );
        return ExitCode::FAILURE;
    }
    match run(&config, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn look_up(options: &cli::Lookup, before: Flags) -> ExitCode {
    let flags = options.flags(before);
    let Ok(digest) = options.digest.parse::<Digest>() else {
        return refuse(&ConfigError::Value {
            setting: "DIGEST",
            value: options.digest.clone(),
            expected: "a SHA-256, 64 hexadecimal digits, as sha256sum prints it",
        });
    };
    // Who names a network means that one, whatever the running proxy is part of.
    let is_alone = flags.network.is_some() || flags.secret.is_some() || !flags.bootstrap.is_empty();
    let format = format(options.json);
    explore(&flags, |config, out| explore::lookup(config, &digest, format, is_alone, out))
}

fn crawl(options: &cli::Crawl, before: Flags) -> ExitCode {
    let flags = options.flags(before);
    let duration = match options.duration.as_deref() {
        None => Duration::ZERO,
        Some(text) => match parse_duration(text) {
            Some(duration) => duration,
            None => {
                return refuse(&ConfigError::Value {
                    setting: "--duration",
                    value: text.to_owned(),
                    expected: "a time with s, m, h or d: 6h",
                });
            }
        },
    };
    let format = format(options.json);
    explore(&flags, |config, out| explore::crawl(config, format, duration, out))
}

fn explore(flags: &Flags, run: impl FnOnce(&Config, &mut io::Stdout) -> Result<u8, ExploreError>) -> ExitCode {
    logging::start("warn");
    match Config::load(flags).map(|config| run(&config, &mut io::stdout())) {
        Ok(Ok(status)) => ExitCode::from(status),
        Ok(Err(error)) => fail(&error),
        Err(error) => refuse(&error),
    }
}

fn format(is_json: bool) -> Format {
    if is_json { Format::Json } else { Format::Text }
}

fn refuse(error: &ConfigError) -> ExitCode {
    // As it is in the log, where this line ends up too.
    eprintln!("apt-p2p: {}", without_passwords(&error.to_string()));
    ExitCode::from(2)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("apt-p2p: {}", without_passwords(&error.to_string()));
    ExitCode::FAILURE
}

/// glibc gives each thread an arena of its own and keeps what was freed: with two dozen threads on a router that costs
/// more than everything else. musl does neither.
fn spare_memory() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "mallopt is only to be had from libc")]
        // SAFETY: called before any other thread exists; the values are plain numbers.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 2);
            libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
        }
    }
}
