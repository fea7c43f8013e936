//! The daemon: opens what is needed, starts the threads, and ends them.
//!
//! Owns the table of threads (docs/ARCHITECTURE.md) and the clocks; refuses to know what the threads do.

mod announcer;
mod bus;
mod clock;
mod control;
mod counting;
mod dialled;
mod ending;
mod fetching;
mod finding;
mod live;
mod lone;
#[cfg(feature = "port-mapping")]
mod mapping;
#[cfg(feature = "mdns")]
mod neighbours;
mod peers;
mod sharing;
mod socket_dir;
mod threads;
mod udp;
mod upkeep;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tiny_http::Server;

pub use self::clock::{clock, today};
pub use self::lone::{crawl, lone_node};
pub use self::udp::{Answers, CrawlNews, Datagrams, DhtHandle, DhtOptions, DhtReport, run_dht};

use self::announcer::Announcer;
use self::control::{Control, Held};
use self::counting::{Count, Counter, count};
use self::ending::{Ends, end_all};
use self::live::Live;
use self::peers::PeerEdge;
use self::socket_dir::SocketDir;
use self::upkeep::Upkeep;
use crate::config::{Config, ConfigError, FOUND_AT, Flags, PORT, Share};
use crate::digest::Digest;
use crate::edge::{self, Behind, Edge, EdgeConfig, EdgeHandle, Recall, Slots};
use crate::fetch::{self, Shelf};
use crate::front::{self, Front};
use crate::lan::Neighbours;
use crate::learn::Learner;
use crate::limits::{CONNECTIONS, CONNECTIONS_PER_ADDRESS, IDLE_TIME, LANDED, NEWS};
use crate::store::{Options, Store};

/// Why the daemon could not start.
#[derive(Debug)]
pub enum DaemonError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The private socket between the edge and its workers cannot be made.
    PrivateSocket(String),
    /// A thread or a signal handler cannot be made.
    System(io::Error),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Config(error) => error.fmt(f),
            DaemonError::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use: is apt-p2p running already? Another can be given with --listen")
            }
            DaemonError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            DaemonError::PrivateSocket(why) => {
                write!(f, "cannot make the private socket: {why}; set XDG_RUNTIME_DIR to a folder of this user")
            }
            DaemonError::System(error) if error.kind() == io::ErrorKind::WouldBlock => {
                write!(
                    f,
                    "the system gives no more threads: raise the limit (ulimit -u, or TasksMax= in a unit of systemd)"
                )
            }
            DaemonError::System(error) => write!(f, "the system refuses a thread or a signal handler: {error}"),
        }
    }
}

impl std::error::Error for DaemonError {}

impl From<ConfigError> for DaemonError {
    fn from(error: ConfigError) -> DaemonError {
        DaemonError::Config(error)
    }
}

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`] when it cannot start.
pub fn run(flags: &Flags) -> Result<(), DaemonError> {
    let config = Config::load(flags)?;
    let listeners = listeners(&config)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(DaemonError::System)?;
    bus::watch().map_err(DaemonError::System)?;
    let shelf = open_shelf(&config);
    let live = Live::new(config);
    if let Some(store) = shelf.get() {
        live.measure(&store);
    }
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let house = House::build(&live, shelf, listeners)?;
    for address in &addresses {
        eprintln!("listening on {address}");
    }
    if let Some(address) = addresses.first() {
        log::info!("port {} of this machine, in a browser, shows how others are pointed at it", address.port());
    }
    // Not started by systemd: nobody to tell.
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reload(&live, flags);
    }
    house.end();
    Ok(())
}

fn reload(live: &Live, flags: &Flags) {
    match Config::load(flags) {
        Ok(config) => {
            let waiting = live.replace(config);
            log::info!("the configuration was read again");
            if !waiting.is_empty() {
                log::warn!("changed, but kept as they were until a restart: {}", waiting.join(", "));
            }
        }
        Err(error) => log::error!("the configuration stays as it was: {error}"),
    }
}

/// Those that systemd hands over, and else those of the configuration; with either, unless addresses are named that count,
/// the one where we are found.
fn listeners(config: &Config) -> Result<Vec<TcpListener>, DaemonError> {
    let mut listeners = edge::from_systemd().map_err(DaemonError::System)?;
    let is_handed_over = !listeners.is_empty();
    let is_named = !config.listen_where_found;
    if is_handed_over && is_named {
        log::warn!(
            "listen is not obeyed: systemd hands over the sockets (systemctl edit apt-p2p.socket changes them)"
        );
    }
    if !is_handed_over {
        let bind = |address: &SocketAddr| edge::bind(*address).map_err(|error| DaemonError::Listen(*address, error));
        listeners = config.listen.iter().map(bind).collect::<Result<_, _>>()?;
    }
    if is_handed_over || !is_named {
        listeners.extend(found_at(&listeners));
    }
    Ok(listeners)
}

/// Beside our own port, at the same address, the one at which auto-apt-proxy looks. It is done without where another proxy
/// has it.
fn found_at(listeners: &[TcpListener]) -> Option<TcpListener> {
    let addresses = || listeners.iter().filter_map(|listener| listener.local_addr().ok());
    let ours = addresses().find(|address| address.port() == PORT)?;
    let address = SocketAddr::new(ours.ip(), FOUND_AT);
    let told = |error: &io::Error| log::info!("auto-apt-proxy will not find this proxy at {address}: {error}");
    if addresses().any(|taken| taken.port() == FOUND_AT) { None } else { edge::bind(address).inspect_err(told).ok() }
}

fn open_shelf(config: &Config) -> Shelf {
    let shelf = Shelf::default();
    match Store::open(&Options { dir: config.cache.clone() }) {
        Ok(store) => shelf.put(store),
        Err(error) => log::error!("{error}; nothing is cached until that is mended"),
    }
    shelf
}

/// Everything that runs.
struct House {
    edge: EdgeHandle,
    edge_thread: std::thread::JoinHandle<()>,
    shelf: Shelf,
    /// None when nothing is shared.
    peer_edge: Option<PeerEdge>,
    /// None when nothing is shared with the Internet.
    dht: Option<DhtHandle>,
    control: Held,
    /// None where no router is asked.
    #[cfg(feature = "port-mapping")]
    mapping: Option<mapping::PortMapping>,
    /// None where nobody is told of us.
    #[cfg(feature = "mdns")]
    discovery: Option<crate::lan::discovery::Discovery>,
    /// Dropped to end upkeep.
    _end: Sender<()>,
    _socket_dir: SocketDir,
}

impl House {
    fn build(live: &Live, shelf: Shelf, listeners: Vec<TcpListener>) -> Result<House, DaemonError> {
        let (clock, calendar) = (clock::clock(), clock::calendar());
        // What routers and strangers remember of us ages while we are suspended, too.
        let outer = clock::boot_clock();
        let (news, to_learn) = bounded(NEWS);
        let peer_listener = peers::listen(live);
        let peer_address = peer_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let peer_port = peer_address.map(|at| at.port());
        let dht = sharing::start(&live.config(), peer_port);
        let neighbours = Neighbours::new(peers::lan_id().map_err(DaemonError::System)?);
        let (landed, to_announce) = bounded(LANDED);
        let finder = (live.config().sharing.share != Share::Off)
            .then(|| finding::finder(live, neighbours.clone(), dht.clone(), landed));
        let ours = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let fetcher = fetching::start(live, &shelf, ours, (&clock, &calendar), news.clone(), finder)?;
        start_learning(Learner::new(shelf.clone(), fetcher.clone(), Arc::clone(&calendar)), to_learn)?;
        let (end_sender, end) = bounded(0);
        fetching::start_looking_ahead(&fetcher, &end)?;
        let (socket_dir, server) = private_socket().map_err(DaemonError::PrivateSocket)?;
        let (slots, workers) = (Slots::default(), live.config().workers);
        #[cfg(feature = "mdns")]
        let discovery = neighbours::discover(live, &neighbours, &listeners, peer_port);
        let (edge, handle) = Edge::new(EdgeConfig {
            listeners,
            behind: Behind::Workers { socket: socket_dir.socket(), count: workers, slots: slots.clone() },
            admits: Arc::new(|_| true),
            recall: Some(recall(live, &shelf)),
            upload: None,
            idle_time: IDLE_TIME,
            connections_max: CONNECTIONS,
            per_address_max: CONNECTIONS_PER_ADDRESS,
        })
        .map_err(DaemonError::System)?;
        let peer_edge = peer_listener
            .and_then(|listener| peers::start(live, listener, neighbours.own(), (&shelf, &fetcher, &clock)));
        let edges = (&handle, peer_edge.as_ref().map(PeerEdge::handle));
        let (look, numbers) = count(live, (&shelf, &fetcher), edges, (dht.as_ref(), peer_port, neighbours), &outer);
        let control = start_control(live, (&shelf, dht.as_ref(), &clock), Arc::clone(&numbers), end.clone())?;
        start_upkeep(live, &shelf, (&clock, &calendar), news, edges, (&look, &control, end.clone()))?;
        let connecting = live.clone();
        let parts = front::Parts {
            shelf: shelf.clone(),
            fetcher,
            slots,
            allow: allowed(live),
            may_connect: Arc::new(move |host| connecting.config().may_connect(host)),
            calendar,
            numbers,
        };
        start_workers(workers, Front::new(parts), server)?;
        let edge_thread = threads::start("edge", move || edge.run()).map_err(DaemonError::System)?;
        let served = dht.as_ref().filter(|_| peer_edge.is_some());
        start_announcer(served, (&shelf, &outer), to_announce, end)?;
        #[cfg(feature = "port-mapping")]
        let mapping = peer_address.zip(served).and_then(|(peers, dht)| mapping::start(live, dht, &outer, peers));
        Ok(House {
            edge: handle,
            peer_edge,
            edge_thread,
            shelf,
            dht,
            control,
            #[cfg(feature = "port-mapping")]
            mapping,
            #[cfg(feature = "mdns")]
            discovery,
            _end: end_sender,
            _socket_dir: socket_dir,
        })
    }

    /// Ends what must end in order; the other threads hold nothing that a kill could hurt.
    fn end(mut self) {
        self.edge.stop();
        // Nobody is to ask who gets no answer any more.
        if let Some(place) = &*self.control.lock().expect("no holder of the lock panics") {
            place.remove();
        }
        if let Some(peer_edge) = &self.peer_edge {
            peer_edge.stop();
        }
        let mut all: Vec<&mut dyn Ends> = Vec::new();
        all.extend(self.dht.as_mut().map(|dht| dht as &mut dyn Ends));
        #[cfg(feature = "port-mapping")]
        all.extend(self.mapping.as_mut().map(|mapping| mapping as &mut dyn Ends));
        #[cfg(feature = "mdns")]
        all.extend(self.discovery.as_mut().map(|discovery| discovery as &mut dyn Ends));
        end_all(&mut all, &*clock::clock(), || {
            if self.edge_thread.join().is_err() {
                log::error!("the edge ended in a panic");
            }
            if let Some(peer_edge) = self.peer_edge {
                peer_edge.join();
            }
            if let Some(store) = self.shelf.get()
                && let Err(error) = store.commit(today())
            {
                log::warn!("{error}");
            }
        });
    }
}

fn start_learning(learner: Learner, to_learn: Receiver<Box<fetch::News>>) -> Result<(), DaemonError> {
    threads::start("learn", move || learner.work(&to_learn)).map_err(DaemonError::System)?;
    Ok(())
}

fn start_upkeep(
    live: &Live,
    shelf: &Shelf,
    (clock, calendar): (&fetch::Clock, &fetch::Calendar),
    news: Sender<Box<fetch::News>>,
    (edge, peer_edge): (&EdgeHandle, Option<&EdgeHandle>),
    (counter, control, end): (&Arc<Counter>, &Held, Receiver<()>),
) -> Result<(), DaemonError> {
    let upkeep = Upkeep {
        shelf: shelf.clone(),
        live: live.clone(),
        clock: Arc::clone(clock),
        calendar: Arc::clone(calendar),
        news,
        edges: [Some(edge), peer_edge].into_iter().flatten().cloned().collect(),
        counter: Arc::clone(counter),
        control: Arc::clone(control),
        end,
    };
    threads::start("upkeep", move || upkeep.run()).map_err(DaemonError::System)?;
    Ok(())
}

/// Where tiny_http's workers hear of the edge.
fn private_socket() -> Result<(SocketDir, Server), String> {
    let socket_dir = SocketDir::new().map_err(|error| error.to_string())?;
    let server = Server::http_unix(&socket_dir.socket()).map_err(|error| error.to_string())?;
    Ok((socket_dir, server))
}

/// Only who is part of the DHT and serves peers announces anything.
fn start_announcer(
    served: Option<&DhtHandle>,
    (shelf, clock): (&Shelf, &fetch::Clock),
    landed: Receiver<Digest>,
    end: Receiver<()>,
) -> Result<(), DaemonError> {
    let Some(dht) = served else { return Ok(()) };
    let (shelf, clock) = (shelf.clone(), Arc::clone(clock));
    let announcer = Announcer { shelf, dht: dht.clone(), clock, landed, end };
    threads::start("announcer", move || announcer.run()).map_err(DaemonError::System)?;
    Ok(())
}

fn start_control(
    live: &Live,
    (shelf, dht, clock): (&Shelf, Option<&DhtHandle>, &fetch::Clock),
    numbers: Count,
    end: Receiver<()>,
) -> Result<Held, DaemonError> {
    let held = Held::default();
    let control = Control {
        cache: live.config().cache.clone(),
        shelf: shelf.clone(),
        dht: dht.cloned(),
        clock: Arc::clone(clock),
        numbers,
        held: Arc::clone(&held),
        end,
    };
    threads::start("control", move || control.run()).map_err(DaemonError::System)?;
    Ok(held)
}

fn start_workers(count: usize, front: Front, server: Server) -> Result<(), DaemonError> {
    let (front, server) = (Arc::new(front), Arc::new(server));
    for n in 0..count {
        let (front, server) = (Arc::clone(&front), Arc::clone(&server));
        threads::start(&format!("worker-{n}"), move || front.work(&server)).map_err(DaemonError::System)?;
    }
    Ok(())
}

/// Whether a client at an address is served, by the configuration of that moment.
fn allowed(live: &Live) -> Arc<dyn Fn(IpAddr) -> bool + Send + Sync> {
    let live = live.clone();
    Arc::new(move |ip| live.allows(ip))
}

/// What the edge asks before it gives an answer again: the configuration of that moment, and the store.
fn recall(live: &Live, shelf: &Shelf) -> Recall {
    let shelf = shelf.clone();
    Recall { version: Arc::new(move || shelf.get().map(|store| store.version())), allows: allowed(live) }
}
