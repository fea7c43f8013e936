//! The configuration file: any text is a configuration or an error that names a line.
#![no_main]

use std::path::Path;

use apt_p2p::config::{Config, ConfigError, Flags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let flags = Flags { cache: Some("/cache".into()), ..Flags::default() };
    if let Err(ConfigError::File { line, .. }) = Config::parse(text, Path::new("conf"), &flags) {
        assert!(line >= 1 && line <= text.lines().count().max(1) + 1);
    }
});
