//! argv in, exit status out: 0 done, 1 failed, 2 the command line or the configuration cannot be used.

mod cli;
mod logging;

use std::process::ExitCode;

use apt_p2p::config::{Config, ConfigError, Flags};
use apt_p2p::daemon::DaemonError;
use apt_p2p::{cleanup, daemon};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    spare_memory();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    if cli.version {
        println!("apt-p2p {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let flags = cli.flags();
    match &cli.command {
        Some(Command::Cleanup(options)) => {
            let report = cleanup::Report { dry_run: options.dry_run, json: options.json };
            clean_up(&options.flags(flags), report)
        }
        None => serve(&flags),
    }
}

/// argh's own entry ends the process with status 1 for a wrong command line; the contract says 2.
fn parse() -> Result<Cli, ExitCode> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, rest) = words.split_first().map_or(("apt-p2p", &[][..]), |(name, rest)| (*name, rest));
    let name = name.rsplit('/').next().unwrap_or(name);
    <Cli as argh::FromArgs>::from_args(&[name], rest).map_err(|exit| match exit.status {
        Ok(()) => {
            println!("{}", exit.output);
            ExitCode::SUCCESS
        }
        Err(()) => {
            eprintln!("{}\nRun {name} --help for more.", exit.output.trim_end());
            ExitCode::from(2)
        }
    })
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

fn clean_up(flags: &Flags, report: cleanup::Report) -> ExitCode {
    logging::start("warn");
    match Config::load(flags) {
        Ok(config) => match cleanup::run(&config, report, daemon::today(), &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("apt-p2p: {error}");
    ExitCode::from(2)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("apt-p2p: {error}");
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
