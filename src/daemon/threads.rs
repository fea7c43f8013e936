//! The only place that starts threads: each with a name, and a stack that fits a router.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::limits::THREAD_STACK_LEN;

/// Starts a thread that runs `work`.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn(name, Box::new(work))
}

/// One for all: what std does around each kind of work is half a kilobyte of program.
fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_LEN);
    #[expect(clippy::disallowed_methods, reason = "the one place that starts threads")]
    builder.spawn(work)
}
