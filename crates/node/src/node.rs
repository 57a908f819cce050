//! The handle to a node, and the thread behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use link::{Egress, interface_index};
use store::Store;
use swarm::{Session, TorrentId};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc as tokio_mpsc, oneshot};

use crate::drivers::datagrams::Datagrams;
use crate::drivers::dht::DhtDriver;
use crate::drivers::local::LocalDriver;
use crate::drivers::{self, Driver, Parts};
use crate::keep::Keep;
use crate::{AddError, Config, DhtError, Event, Item, NodeId, Options, Source, StartError, Status};

/// The port tried first, as most clients do.
const USUAL_PORT: u16 = 6881;
/// A clean stop may take this long: records are written, trackers told.
const STOP: Duration = Duration::from_millis(1500);

/// Something to do on the node's thread.
type Work = Box<dyn FnOnce(&Rc<Driver>) + Send>;

enum Command {
    Call(Work),
    Stop(mpsc::Sender<()>),
}

/// Where events go. Called on the node's thread: pass on and return.
pub type EventSink = Box<dyn Fn(Event) + Send>;

/// A running node. Dropping it stops it.
pub struct Node {
    commands: tokio_mpsc::UnboundedSender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    events: Mutex<Option<Receiver<Event>>>,
    listening: SocketAddr,
    egress: Egress,
    next_id: std::sync::atomic::AtomicU32,
}

impl Node {
    /// Starts a node.
    ///
    /// # Errors
    /// The state folder or the port is not to be had.
    pub fn start(config: Config) -> Result<Node, StartError> {
        let (sender, events) = mpsc::channel();
        // Nobody listens any more: the program is on its way out.
        let sink = Box::new(move |event| drop(sender.send(event)));
        let mut node = Node::start_with(config, sink)?;
        node.events = Mutex::new(Some(events));
        Ok(node)
    }

    /// Starts a node that hands its events to `sink`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(config: Config, sink: EventSink) -> Result<Node, StartError> {
        let keep = Keep::open(&config.state_dir).map_err(|source| StartError::State {
            path: config.state_dir.clone(),
            source,
        })?;
        let egress = config.egress();
        let (commands, inbox) = tokio_mpsc::unbounded_channel();
        let (started_sender, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("node".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started_sender.send(Err(error.into()))),
                };
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move {
                    match begin(config, keep, sink).await {
                        Ok(driver) => {
                            let _ = started_sender.send(Ok(driver.listening));
                            serve(driver, inbox).await;
                        }
                        Err(error) => drop(started_sender.send(Err(error))),
                    }
                });
            })?;
        let listening = started
            .recv()
            .map_err(|_| std::io::Error::other("the node's thread ended at once"))??;
        let next_id = std::sync::atomic::AtomicU32::new(1);
        Ok(Node {
            commands,
            thread: Mutex::new(Some(thread)),
            events: Mutex::default(),
            listening,
            egress,
            next_id,
        })
    }

    /// Where it listens; the address is unspecified if it listens on all.
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// How what is its leaves this computer.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// What happens from now on. Only the first call gives it.
    pub fn events(&mut self) -> Option<Receiver<Event>> {
        self.events
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Takes part in a torrent.
    ///
    /// # Errors
    /// It runs already, or its place will not do.
    pub fn add(&self, source: Source, options: Options) -> Result<TorrentId, AddError> {
        let id = TorrentId(
            self.next_id
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        );
        let answer = self.call(move |driver| driver.add(id, source, options));
        answer.blocking_recv().map_err(|_| AddError::Stopped)??;
        Ok(id)
    }

    /// How a transfer is doing; `None` if there is no such transfer.
    pub fn status(&self, id: TorrentId) -> Option<Status> {
        let answer = self.call(move |driver| driver.status(id));
        answer.blocking_recv().ok()?
    }

    /// The value that the DHT keeps there (BEP 44), the newest if it can change; `None` if there is none. `salt` is that
    /// of a mutable one, and may be empty. Takes seconds.
    ///
    /// # Errors
    /// The DHT is off, nobody answers, or too much is asked for at once.
    pub async fn dht_get(&self, target: NodeId, salt: Vec<u8>) -> Result<Option<Item>, DhtError> {
        let (sender, answer) = oneshot::channel();
        drop(self.call(move |driver| driver.dht_get(target, salt, sender)));
        answer.await.map_err(|_| DhtError::Stopped)?
    }

    /// Has the DHT keep a value (BEP 44); says how many nodes do. With `cas`, only in place of the one with that number.
    /// Nodes forget it after two hours, unless `keep` has it put again every hour while this node runs. Takes seconds.
    ///
    /// # Errors
    /// The DHT is off, no node keeps the value, or it cannot be kept.
    pub async fn dht_put(
        &self,
        item: Item,
        cas: Option<i64>,
        keep: bool,
    ) -> Result<usize, DhtError> {
        let (sender, answer) = oneshot::channel();
        drop(self.call(move |driver| driver.dht_put(item, cas, keep, sender)));
        answer.await.map_err(|_| DhtError::Stopped)?
    }

    /// Keeps a value alive no longer; nodes forget it within two hours.
    pub fn dht_forget(&self, target: NodeId) {
        drop(self.call(move |driver| driver.dht_forget(target)));
    }

    /// Does something on the node's thread. The answer never comes if the node has stopped.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Rc<Driver>) -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (sender, answer) = oneshot::channel();
        let work: Work = Box::new(move |driver| drop(sender.send(work(driver))));
        // The receiver sees that the sender is gone.
        let _ = self.commands.send(Command::Call(work));
        answer
    }

    /// As [`call`](Self::call), for what takes a while.
    pub(crate) fn run<R: Send + 'static, F: Future<Output = R> + 'static>(
        &self,
        work: impl FnOnce(Rc<Driver>) -> F + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (sender, answer) = oneshot::channel();
        let work: Work = Box::new(move |driver| {
            let work = work(driver.clone());
            tokio::task::spawn_local(async move { drop(sender.send(work.await)) });
        });
        // The receiver sees that the sender is gone.
        let _ = self.commands.send(Command::Call(work));
        answer
    }

    /// Stops cleanly, within two seconds: what is verified is synced and recorded, trackers are
    /// told.
    pub fn stop(self) {
        self.halt();
    }

    /// As [`stop`](Self::stop), where others hold the node too; what they ask from now on is not answered.
    pub(crate) fn halt(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return;
        };
        let (sender, stopped) = mpsc::channel();
        let told = self.commands.send(Command::Stop(sender)).is_ok();
        if told
            && stopped
                .recv_timeout(STOP + Duration::from_millis(300))
                .is_err()
        {
            // Stuck in a system call; the process need not wait for it.
            return;
        }
        // A panic there has been reported by its own thread.
        let _ = thread.join();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.halt();
    }
}

async fn begin(config: Config, keep: Keep, events: EventSink) -> Result<Rc<Driver>, StartError> {
    let egress = config.egress();
    if egress.required && egress.proxy.is_none() {
        return Err(StartError::NoProxy);
    }
    // Nobody from outside may come in beside a proxy that all has to go through.
    let inside = egress.only_proxy().map(|_| Ipv4Addr::LOCALHOST.into());
    let listeners = listen(&egress, inside.or(config.bind), config.port)?;
    let listening = match listeners.first() {
        Some(first) => first.local_addr()?,
        // It begins to listen when its interface comes.
        None => {
            let port = config.port.filter(|&port| port != 0);
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            (config.bind.unwrap_or(any), port.unwrap_or(USUAL_PORT)).into()
        }
    };

    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    let (done_sender, done) = tokio_mpsc::unbounded_channel();
    let store_config = store::Config::default();
    let slot_freed = Arc::new(Notify::new());
    let freed = slot_freed.clone();
    store_config.slots.on_available(move || freed.notify_one());
    let store = Store::new(
        store_config,
        Box::new(move |done| drop(done_sender.send(done))),
    )?;

    let datagrams = match config.dht || config.utp {
        true => Datagrams::open(&egress, listening.port(), config.utp)?,
        false => Datagrams::none(),
    };
    let dht = match config.dht {
        true => Some(DhtDriver::open(
            &datagrams,
            listening.port(),
            &config.dht_bootstrap,
            &keep.load_nodes(),
        )?),
        false => None,
    };
    let mut engine = swarm::Config {
        listen_port: listening.port(),
        dht_port: dht.as_ref().map_or(0, |_| datagrams.port()),
        hole_punching: config.utp,
        dialback: config.proxy.is_none(),
        limit_down: config.limit_down,
        limit_up: config.limit_up,
        ..swarm::Config::default()
    };
    getrandom::fill(&mut engine.peer_id[8..]).map_err(std::io::Error::other)?;
    let peer_id = engine.peer_id;
    let session = Session::new(engine, u64::from_le_bytes(seed), Instant::now());
    let local = match config.local_discovery && egress.only_proxy().is_none() {
        true => LocalDriver::open(&egress, listening.port()),
        false => None,
    };
    let driver = Rc::new(Driver::new(Parts {
        session,
        store,
        keep,
        datagrams,
        dht,
        local,
        use_trackers: config.trackers,
        encryption: config.encryption,
        peer_id,
        egress,
        listening,
        may_sleep: config.dormancy.is_some(),
        events,
        slot_freed,
    }));
    driver.listen_on(listeners);
    if let Some(interface) = config.interface {
        let index = interface_index(&interface);
        tokio::task::spawn_local(drivers::interface::run(driver.clone(), interface, index));
    }
    if let Some(path) = config.block_list {
        tokio::task::spawn_local(drivers::blocking::run(driver.clone(), path));
    }
    tokio::task::spawn_local(drivers::reach::run(driver.clone()));
    if config.port_mapping {
        tokio::task::spawn_local(drivers::ports::run(driver.clone()));
    }
    tokio::task::spawn_local(drivers::keep_time(driver.clone()));
    tokio::task::spawn_local(drivers::hear_disk(driver.clone(), done));
    drivers::datagrams::run(&driver);
    drivers::proxy::run(&driver);
    tokio::task::spawn_local(drivers::dht::run(driver.clone()));
    tokio::task::spawn_local(drivers::local::run(driver.clone()));
    tokio::task::spawn_local(drivers::trackers::run(driver.clone()));
    if let Some(quiet) = config.dormancy {
        tokio::task::spawn_local(drivers::dormant::run(driver.clone(), quiet));
    }
    if let Some(every) = config.report {
        tokio::task::spawn_local(drivers::report::run(driver.clone(), every));
    }
    Ok(driver)
}

/// Listens where asked: on every address unless one is named, on the usual port unless one is
/// named or it is taken.
fn listen(
    egress: &Egress,
    bind: Option<IpAddr>,
    port: Option<u16>,
) -> Result<Vec<TcpListener>, StartError> {
    if (egress.interface.as_ref()).is_some_and(|i| interface_index(i).is_none()) {
        return Ok(Vec::new());
    }
    let ips = bind.map_or(link::tcp::everywhere().to_vec(), |ip| vec![ip]);
    let first = SocketAddr::new(ips[0], port.unwrap_or(USUAL_PORT));
    let mut listener = egress.listen(first);
    if listener.is_err() && port.is_none() {
        listener = egress.listen(SocketAddr::new(ips[0], 0));
    }
    let mut listeners = match (listener, ips.get(1)) {
        (Ok(listener), _) => vec![listener],
        // A machine without IPv4.
        (Err(source), Some(&v6)) => vec![
            egress
                .listen(SocketAddr::new(v6, first.port()))
                .map_err(|_| StartError::Listen {
                    addr: first,
                    source,
                })?,
        ],
        (Err(source), None) => {
            return Err(StartError::Listen {
                addr: first,
                source,
            });
        }
    };
    let port = listeners[0].local_addr()?.port();
    if let Some(&second) = ips
        .get(1)
        .filter(|_| listeners[0].local_addr().is_ok_and(|a| a.is_ipv4()))
    {
        // Without IPv6, IPv4 alone will do.
        listeners.extend(egress.listen(SocketAddr::new(second, port)).ok());
    }
    Ok(listeners)
}

async fn serve(driver: Rc<Driver>, mut inbox: tokio_mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Call(work) => work(&driver),
            Command::Stop(answer) => {
                let _ = tokio::time::timeout(STOP, drivers::stop(&driver)).await;
                let _ = answer.send(());
                return;
            }
        }
    }
}
