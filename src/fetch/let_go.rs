//! Letting a mirror go: ends a request that another thread waits for.
//!
//! The thread that fetches wears a [`LetGo`] while it reads; every connection that it waits on leaves its handle there,
//! and whoever has no more use for the mirror's bytes shuts the connection down. What is shut down is never reused.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, ShutdownHandle, Transport,
};

type Socket = Weak<dyn ShutdownHandle>;

/// What ends a request; clones end the same one.
#[derive(Clone, Default)]
pub(super) struct LetGo(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_over: bool,
    socket: Option<Socket>,
}

thread_local! {
    static WORN: RefCell<Option<LetGo>> = const { RefCell::new(None) };
}

impl LetGo {
    /// Ends the request; the one that waits for it gets an error.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        if let Some(socket) = state.socket.take().and_then(|socket| socket.upgrade()) {
            socket.shutdown();
        }
    }

    /// Whether it was ended.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Does `work` such that its requests can be ended from elsewhere.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        WORN.with_borrow_mut(|worn| *worn = Some(self.clone()));
        let done = work();
        WORN.with_borrow_mut(|worn| *worn = None);
        // The connection may be kept and used for something else.
        self.lock().socket = None;
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// The connector for mirrors: ureq's own, whose connections can be let go.
#[derive(Debug, Default)]
pub(super) struct LettingGo(DefaultConnector);

impl Connector<()> for LettingGo {
    type Out = Held;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Held>, Error> {
        let socket: Arc<Mutex<Option<Socket>>> = Arc::default();
        let seen = Arc::clone(&socket);
        let register = Arc::clone(&details.register_shutdown);
        let mut addrs = details.resolver.empty();
        details.addrs.iter().for_each(|addr| addrs.push(*addr));
        let ours = ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::new(move |handle| {
                *seen.lock().expect("no holder of the lock panics") = Some(handle.clone());
                register(handle)
            }),
        };
        let inner = self.0.connect(&ours, chained)?;
        let socket = socket.lock().expect("no holder of the lock panics").take();
        Ok(inner.map(|inner| Held { inner, socket }))
    }
}

/// A connection that can be let go.
pub(super) struct Held {
    inner: Box<dyn Transport>,
    socket: Option<Socket>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Held {
    /// Leaves the handle where it can be found, or ends at once.
    fn may_wait(&self) -> Result<(), Error> {
        WORN.with_borrow(|worn| {
            let Some(worn) = worn else { return Ok(()) };
            let mut state = worn.lock();
            if state.is_over {
                return Err(Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, "let go")));
            }
            state.socket.clone_from(&self.socket);
            Ok(())
        })
    }
}

impl Transport for Held {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.may_wait()?;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.may_wait()?;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
