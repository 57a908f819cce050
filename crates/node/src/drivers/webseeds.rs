//! Web seeds (BEP 19): the engine says which blocks are to be fetched from which server; here they are fetched over
//! HTTP and handed to the store as they come.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use discovery::tracker::rules;
use reqwest::{Response, StatusCode, Url, header};
use store::Slot;
use swarm::{Class, FetchError, FetchId, Input, Take, TorrentId, WebSeedId, WebSeedState};
use tokio::sync::{Notify, Semaphore};
use torrent::metainfo::Info;
use torrent::webseed::{file_url, parts};
use torrent::wire::BlockRef;

use super::{Driver, store_id};
use crate::web::{self, Trust};

/// Requests to one host at once, of all transfers: servers that many torrents name are not to be flooded.
const PER_HOST: usize = 8;
/// A server may think so long before it answers...
const ANSWER: Duration = Duration::from_secs(20);
/// ...and be silent so long while it sends.
const SILENCE: Duration = Duration::from_secs(30);
/// In so long that we wait for it a server has to send at least...
const PACE: Duration = Duration::from_secs(20);
/// ...this many bytes.
const LEAST_PACED: u64 = 64 << 10;
/// From a server that sends whole files only, files of so many bytes are taken; of longer ones too much would be thrown
/// away.
const MOST_WHOLE: u64 = 4 << 20;
/// Where files were found to have moved, remembered of one server.
const MOST_MOVED: usize = 256;

/// The web seeds of all transfers that are awake.
#[derive(Default)]
pub(crate) struct WebSeeds {
    servers: RefCell<BTreeMap<TorrentId, BTreeMap<WebSeedId, Rc<Server>>>>,
    fetches: RefCell<BTreeMap<(TorrentId, FetchId), Rc<Task>>>,
    hosts: RefCell<BTreeMap<String, Rc<Semaphore>>>,
    next: Cell<u32>,
}

/// A server that has the content of a transfer.
struct Server {
    url: String,
    /// The person named it.
    given: bool,
    /// Why it is not asked at all.
    refused: Option<String>,
    /// Where files really are, by their index, and the address that said so.
    moved: RefCell<BTreeMap<usize, (Url, IpAddr)>>,
}

/// What the engine says to a fetch under way.
#[derive(Default)]
struct Task {
    goes_on: Notify,
    ends: Notify,
}

/// Why a fetch is over.
enum Stop {
    /// The engine knows: nothing more of it is wanted.
    Over,
    Failed(FetchError),
}

impl From<FetchError> for Stop {
    fn from(error: FetchError) -> Stop {
        Stop::Failed(error)
    }
}

impl Driver {
    /// Tells the engine of the servers that have a transfer's content.
    pub fn begin_web_seeds(self: &Rc<Self>, id: TorrentId) {
        self.web_seeds.servers.borrow_mut().remove(&id);
        let given = self
            .transfers
            .borrow()
            .get(&id)
            .map(|t| t.options.web_seeds.clone());
        for url in given.unwrap_or_default() {
            if let Err(error) = self.change_web_seed(id, &url, Some(true)) {
                tracing::warn!(
                    torrent = id.0,
                    error,
                    "a web seed is asked in this run only"
                );
            }
        }
        for (url, given) in self.web_seed_urls(id) {
            self.join_web_seed(id, url, given);
        }
    }

    fn join_web_seed(self: &Rc<Self>, id: TorrentId, url: String, given: bool) {
        let seed = WebSeedId(self.web_seeds.next.get());
        self.web_seeds.next.set(seed.0.wrapping_add(1));
        let parsed = web::parse(&url);
        let host = parsed
            .as_ref()
            .ok()
            .and_then(Url::host_str)
            .unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let class = ip.map_or(Class::Other, Class::of);
        let refused = parsed.err().map(|error| error.to_string());
        let useful = refused.is_none();
        let server = Server {
            url,
            given,
            refused,
            moved: RefCell::default(),
        };
        let mut servers = self.web_seeds.servers.borrow_mut();
        servers.entry(id).or_default().insert(seed, Rc::new(server));
        drop(servers);
        if useful {
            self.tell(Input::WebSeed(id, seed, class));
        }
    }

    /// The URLs of a transfer's web seeds, and whether the person named them: those of its torrent and link, less those
    /// that were taken away, and those that were added.
    fn web_seed_urls(&self, id: TorrentId) -> Vec<(String, bool)> {
        let transfers = self.transfers.borrow();
        let (named, mut given, hashes, keeps) = match transfers.get(&id) {
            Some(t) => (
                t.named_web_seeds(),
                t.options.web_seeds.clone(),
                t.hashes,
                t.options.remember,
            ),
            None => {
                let Some(hashes) = self.dormant.borrow().get(id).map(|d| d.hashes) else {
                    return Vec::new();
                };
                let kept = self.keep.load_torrent(&hashes);
                (
                    kept.map(|kept| kept.web_seeds).unwrap_or_default(),
                    Vec::new(),
                    hashes,
                    true,
                )
            }
        };
        let mut gone = Vec::new();
        if keeps {
            for (url, added) in self.keep.load_web_seeds(&hashes) {
                if added { &mut given } else { &mut gone }.push(url);
            }
        }
        let mut urls: Vec<(String, bool)> = Vec::new();
        let named = named.into_iter().filter(|url| !gone.contains(url));
        let all = given
            .into_iter()
            .map(|url| (url, true))
            .chain(named.map(|url| (url, false)));
        for (url, given) in all {
            if !urls.iter().any(|known| known.0 == url) {
                urls.push((url, given));
            }
        }
        urls
    }

    /// The person says that these servers have the content.
    ///
    /// # Errors
    /// One is no URL that can be fetched from, in a sentence; or what the disk says.
    pub fn add_web_seeds(self: &Rc<Self>, id: TorrentId, urls: Vec<String>) -> Result<(), String> {
        for url in &urls {
            web::parse(url).map_err(|error| error.to_string())?;
        }
        let known = self.web_seed_urls(id);
        for url in urls {
            // One that a torrent named may be asked for more when the person names it.
            if !known.contains(&(url.clone(), true)) {
                self.change_web_seed(id, &url, Some(true))?;
                self.part_web_seed(id, &url);
                if self.transfers.borrow().contains_key(&id) {
                    self.join_web_seed(id, url, true);
                }
            }
        }
        Ok(())
    }

    /// A server is to be asked no more.
    ///
    /// # Errors
    /// What the disk says. One that is not there is no error.
    pub fn remove_web_seed(self: &Rc<Self>, id: TorrentId, url: &str) -> Result<(), String> {
        let known = self.web_seed_urls(id);
        let Some((_, given)) = known.iter().find(|known| known.0 == url) else {
            return Ok(());
        };
        let named = match self.transfers.borrow().get(&id) {
            Some(t) => t.named_web_seeds().iter().any(|named| named == url),
            None => !given,
        };
        self.change_web_seed(id, url, named.then_some(false))?;
        self.part_web_seed(id, url);
        Ok(())
    }

    fn part_web_seed(self: &Rc<Self>, id: TorrentId, url: &str) {
        let mut all = self.web_seeds.servers.borrow_mut();
        let servers = all.entry(id).or_default();
        let seed = servers.iter().find(|(_, s)| s.url == url).map(|(&s, _)| s);
        let Some(seed) = seed else { return };
        servers.remove(&seed);
        drop(all);
        self.tell(Input::NoWebSeed(id, seed));
    }

    /// Remembers what the person did: added this one, took it away, or neither.
    fn change_web_seed(&self, id: TorrentId, url: &str, what: Option<bool>) -> Result<(), String> {
        let mut transfers = self.transfers.borrow_mut();
        let hashes = match transfers.get_mut(&id) {
            Some(t) => {
                t.options.web_seeds.retain(|known| known != url);
                if what == Some(true) {
                    t.options.web_seeds.push(url.to_owned());
                }
                if !t.options.remember {
                    return Ok(());
                }
                t.hashes
            }
            None => match self.dormant.borrow().get(id) {
                Some(dormant) => dormant.hashes,
                None => return Ok(()),
            },
        };
        let mut kept = self.keep.load_web_seeds(&hashes);
        let change = what.map(|added| (url.to_owned(), added));
        if change.as_ref().is_some_and(|change| kept.contains(change)) {
            return Ok(());
        }
        kept.retain(|known| known.0 != url);
        kept.extend(change);
        let saved = self.keep.save_web_seeds(&hashes, &kept);
        saved.map_err(|error| format!("the web seed could not be kept: {error}"))
    }

    /// How a transfer's web seeds are.
    pub fn web_seed_states(&self, id: TorrentId) -> Vec<api::WebSeed> {
        let now = Instant::now();
        let states = self.session.borrow().web_seeds(now, id);
        let servers = self.web_seeds.servers.borrow();
        let Some(servers) = servers.get(&id) else {
            let urls = self.web_seed_urls(id).into_iter();
            return urls.map(|(url, given)| shown(url, given, None)).collect();
        };
        let of = |seed: WebSeedId| states.iter().find(|state| state.id == seed);
        let server = |(&seed, server): (&WebSeedId, &Rc<Server>)| {
            let mut shown = shown(server.url.clone(), server.given, of(seed));
            if let Some(why) = &server.refused {
                shown.state = api::WebSeedState::Dropped;
                shown.message = Some(why.clone());
            }
            shown
        };
        servers.iter().map(server).collect()
    }

    /// Why a web seed is asked no more, for the person.
    pub fn web_seed_dropped(&self, id: TorrentId, seed: WebSeedId, why: &str) {
        let servers = self.web_seeds.servers.borrow();
        let server = servers.get(&id).and_then(|servers| servers.get(&seed));
        if let Some(server) = server {
            let url = rules::shown(&server.url);
            let text = format!("the web seed {url} is asked no more: {why}");
            drop(servers);
            self.event(crate::Event::Notice(id, text));
        }
    }

    /// The transfer is gone, or sleeps.
    pub fn end_web_seeds(&self, id: TorrentId) {
        self.web_seeds.servers.borrow_mut().remove(&id);
    }

    // ---- fetches ------------------------------------------------------------------------------

    pub fn begin_fetch(
        self: &Rc<Self>,
        id: TorrentId,
        fetch: FetchId,
        seed: WebSeedId,
        blocks: Vec<BlockRef>,
    ) {
        let task = Rc::new(Task::default());
        let fetches = &self.web_seeds.fetches;
        fetches.borrow_mut().insert((id, fetch), task.clone());
        let driver = self.clone();
        tokio::task::spawn_local(async move {
            let sink = Sink {
                driver: driver.clone(),
                id,
                fetch,
                task: task.clone(),
                blocks: blocks.iter().copied().collect(),
                current: None,
            };
            let result = tokio::select! {
                result = run(&driver, id, seed, &blocks, sink) => result,
                () = task.ends.notified() => return,
            };
            driver.web_seeds.fetches.borrow_mut().remove(&(id, fetch));
            match result {
                Ok(()) => driver.tell(Input::Fetched(id, fetch, Ok(()))),
                Err(Stop::Over) => {}
                Err(Stop::Failed(error)) => {
                    tracing::debug!(torrent = id.0, ?error, "a web seed failed");
                    driver.tell(Input::Fetched(id, fetch, Err(error)));
                }
            }
        });
    }

    pub fn go_on_fetching(&self, id: TorrentId, fetch: FetchId) {
        if let Some(task) = self.web_seeds.fetches.borrow().get(&(id, fetch)) {
            task.goes_on.notify_one();
        }
    }

    pub fn end_fetch(&self, id: TorrentId, fetch: FetchId) {
        if let Some(task) = self.web_seeds.fetches.borrow_mut().remove(&(id, fetch)) {
            task.ends.notify_one();
        }
    }
}

fn shown(url: String, given: bool, status: Option<&swarm::WebSeedStatus>) -> api::WebSeed {
    use api::WebSeedState as State;
    let (state, message, blocks) = match status.map(|status| &status.state) {
        None | Some(WebSeedState::Idle) => (State::Idle, None, 0),
        Some(WebSeedState::Fetching(blocks)) => (State::Fetching, None, *blocks),
        Some(WebSeedState::Waiting(wait, why)) => {
            let text = format!("{why}; asked again in {} s", wait.as_secs() + 1);
            (State::Waiting, Some(text), 0)
        }
        Some(WebSeedState::Dropped(why)) => (State::Dropped, Some(why.clone()), 0),
    };
    api::WebSeed {
        url,
        given,
        state,
        message,
        asked: blocks as u32,
        rate_down: status.map_or(0, |status| status.rate),
        received: status.map_or(0, |status| status.received),
    }
}

/// Fetches blocks from a server, file by file.
async fn run(
    driver: &Rc<Driver>,
    id: TorrentId,
    seed: WebSeedId,
    blocks: &[BlockRef],
    mut sink: Sink,
) -> Result<(), Stop> {
    let info = driver
        .transfers
        .borrow()
        .get(&id)
        .and_then(|t| t.info.clone());
    let server = {
        let servers = driver.web_seeds.servers.borrow();
        servers.get(&id).and_then(|all| all.get(&seed)).cloned()
    };
    let (Some(info), Some(server)) = (info, server) else {
        return Err(FetchError::Useless("it was taken away".to_owned()).into());
    };
    for part in parts(info.layout(), blocks.iter().copied()) {
        let Some(file) = part.file else {
            sink.zeros(part.len).await?;
            continue;
        };
        let range = part.offset..part.offset + part.len;
        stream(driver, &info, &server, file, range, &mut sink).await?;
    }
    Ok(())
}

/// Fetches bytes of one file.
async fn stream(
    driver: &Rc<Driver>,
    info: &Arc<Info>,
    server: &Server,
    file: usize,
    range: Range<u64>,
    sink: &mut Sink,
) -> Result<(), Stop> {
    let moved = server.moved.borrow().get(&file).cloned();
    let (url, from) = match moved {
        Some((url, from)) => (url, Some(from)),
        None => {
            let url = web::parse(&file_url(&server.url, info, file));
            (url.map_err(failure)?, None)
        }
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let turns = driver.web_seeds.turns(&host);
    // Nobody closes it.
    let turn = turns.acquire().await;
    let trust = match server.given {
        true => Trust::Person,
        false => Trust::Seed,
    };
    let answer = driver.web.range(url.clone(), trust, from, &range);
    let answer = tokio::time::timeout(ANSWER, answer).await;
    let late = || FetchError::Later(format!("{host} does not answer"), None);
    let answer = answer
        .map_err(|_| late())
        .and_then(|answer| answer.map_err(failure));
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            server.moved.borrow_mut().remove(&file);
            return Err(error.into());
        }
    };
    let len = info.layout().file(file).len;
    let skip = accept(&answer.response, &host, file, len, &range);
    let mut skip = skip.inspect_err(|_| drop(server.moved.borrow_mut().remove(&file)))?;
    if answer.url != url && server.moved.borrow().len() < MOST_MOVED {
        let place = (answer.url.clone(), answer.said_by);
        server.moved.borrow_mut().insert(file, place);
    }
    let mut left = range.end - range.start;
    let broken = |why: &str| FetchError::Later(format!("{host} {why}"), None);
    // Only waiting for the server counts: the disk and the limits take their time, too.
    let (mut waited, mut came) = (Duration::ZERO, 0);
    while left > 0 {
        let asked = Instant::now();
        let chunk = tokio::time::timeout(SILENCE, answer.response.chunk()).await;
        waited += asked.elapsed();
        if waited >= PACE && came < LEAST_PACED {
            return Err(broken("sends too slowly").into());
        }
        if waited >= PACE {
            (waited, came) = (Duration::ZERO, 0);
        }
        let chunk = chunk
            .map_err(|_| broken("fell silent"))?
            .map_err(|_| broken("broke off"))?;
        let Some(chunk) = chunk else {
            return Err(broken("sent less than it promised").into());
        };
        came += chunk.len() as u64;
        let skipped = skip.min(chunk.len() as u64);
        skip -= skipped;
        let bytes = &chunk[skipped as usize..];
        let taken = left.min(bytes.len() as u64);
        sink.put(&bytes[..taken as usize]).await?;
        left -= taken;
    }
    // The connection can be used again once its end was seen.
    if answer.response.status() == StatusCode::PARTIAL_CONTENT {
        let rest = tokio::time::timeout(Duration::from_secs(1), answer.response.chunk()).await;
        if matches!(rest, Ok(Ok(Some(_)))) {
            return Err(too_much(&host).into());
        }
    }
    drop(turn);
    Ok(())
}

fn too_much(host: &str) -> FetchError {
    FetchError::Useless(format!("{host} sends more than it is asked for"))
}

/// Whether an answer has the bytes that were asked for, and how many come before them.
fn accept(
    response: &Response,
    host: &str,
    file: usize,
    len: u64,
    range: &Range<u64>,
) -> Result<u64, FetchError> {
    let header = |name| {
        let value = response.headers().get(name);
        value.and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    let status = response.status();
    let differs = |there: u64| {
        FetchError::Missing(
            file,
            format!("{host} has {there} bytes where the torrent has {len}"),
        )
    };
    if header(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let why = format!("{host} sends it compressed, which was not asked for");
        return Err(FetchError::Useless(why));
    }
    match status {
        StatusCode::PARTIAL_CONTENT => {
            match header(header::CONTENT_RANGE).and_then(content_range) {
                Some((_, Some(there))) if there != len => Err(differs(there)),
                Some((first, _)) if first == range.start => {
                    let wanted = range.end - range.start;
                    match response.content_length() {
                        Some(sent) if sent > wanted => Err(too_much(host)),
                        _ => Ok(0),
                    }
                }
                _ => Err(FetchError::Useless(format!(
                    "{host} sends other parts than it is asked for"
                ))),
            }
        }
        StatusCode::OK => match response.content_length() {
            Some(there) if there != len => Err(differs(there)),
            _ if *range == (0..len) || len <= MOST_WHOLE => Ok(range.start),
            _ => Err(FetchError::Useless(format!(
                "{host} sends whole files and not the parts that it is asked for"
            ))),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let why = format!("{host} has less of it than the torrent");
            Err(FetchError::Missing(file, why))
        }
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::FORBIDDEN
        | StatusCode::UNAUTHORIZED => Err(FetchError::Missing(
            file,
            format!("{host} answers {status}"),
        )),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            let after = header(header::RETRY_AFTER).and_then(retry_after);
            Err(FetchError::Later(format!("{host} answers {status}"), after))
        }
        _ if status.is_server_error() => {
            let after = header(header::RETRY_AFTER).and_then(retry_after);
            Err(FetchError::Later(format!("{host} answers {status}"), after))
        }
        _ => Err(FetchError::Useless(format!("{host} answers {status}"))),
    }
}

/// First byte and the length of the whole (RFC 9110 §14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let whole = match whole.trim() {
        "*" => None,
        whole => Some(whole.parse().ok()?),
    };
    (first <= last).then_some((first, whole))
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn failure(error: web::FetchError) -> FetchError {
    let text = error.to_string();
    match error {
        web::FetchError::Connect { .. } | web::FetchError::Resolve { .. } => {
            FetchError::Later(text, None)
        }
        _ => FetchError::Useless(text),
    }
}

impl WebSeeds {
    /// Who wants to ask this host stands in line here.
    fn turns(&self, host: &str) -> Rc<Semaphore> {
        let mut hosts = self.hosts.borrow_mut();
        hosts.retain(|_, turns| Rc::strong_count(turns) > 1);
        let turns = hosts.entry(host.to_owned());
        turns
            .or_insert_with(|| Rc::new(Semaphore::new(PER_HOST)))
            .clone()
    }
}

/// Where the bytes of a fetch go: block by block into slots, and those to the store.
struct Sink {
    driver: Rc<Driver>,
    id: TorrentId,
    fetch: FetchId,
    task: Rc<Task>,
    /// What is to come behind the current block.
    blocks: VecDeque<BlockRef>,
    current: Option<Filling>,
}

struct Filling {
    block: BlockRef,
    /// None: nobody needs it.
    slot: Option<Slot>,
    filled: usize,
}

impl Sink {
    /// Takes bytes that came, as soon as limits and disk allow it.
    async fn put(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            if self.current.is_none() {
                self.current = Some(self.begin().await?);
            }
            let Some(filling) = &mut self.current else {
                continue;
            };
            let room = filling.block.len as usize - filling.filled;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(slot) = &mut filling.slot {
                slot[filling.filled..filling.filled + now.len()].copy_from_slice(now);
            }
            filling.filled += now.len();
            bytes = later;
            if filling.filled == filling.block.len as usize {
                self.end();
            }
        }
        Ok(())
    }

    /// Padding, which is on no server.
    async fn zeros(&mut self, mut len: u64) -> Result<(), Stop> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while len > 0 {
            let now = len.min(ZEROS.len() as u64);
            self.put(&ZEROS[..now as usize]).await?;
            len -= now;
        }
        Ok(())
    }

    /// Finds out whether the next block is wanted, and a slot for it.
    async fn begin(&mut self) -> Result<Filling, Stop> {
        let Some(block) = self.blocks.pop_front() else {
            return Err(Stop::Over);
        };
        let kept = loop {
            let take = self
                .driver
                .with_session(|session, now| session.web_arriving(now, self.id, self.fetch, block));
            match take {
                Take::Accept => break true,
                Take::Discard => break false,
                Take::Wait => self.task.goes_on.notified().await,
                Take::End => return Err(Stop::Over),
            }
        };
        let slot = match kept {
            true => Some(self.slot(block.len as usize).await),
            false => None,
        };
        Ok(Filling {
            block,
            slot,
            filled: 0,
        })
    }

    async fn slot(&self, len: usize) -> Slot {
        loop {
            let freed = self.driver.slot_freed.notified();
            if let Some(slot) = self.driver.store.slots().try_take(len) {
                // One freed slot wakes one connection; whoever is served passes the word on.
                self.driver.slot_freed.notify_one();
                return slot;
            }
            freed.await;
        }
    }

    /// The current block is whole.
    fn end(&mut self) {
        let Some(Filling { block, slot, .. }) = self.current.take() else {
            return;
        };
        let driver = self.driver.clone();
        driver.with_session(|session, now| {
            let kept = slot.is_some();
            let wanted = session.web_arrived(now, self.id, self.fetch, block, kept);
            if let (true, Some(slot)) = (wanted, slot) {
                driver
                    .store
                    .write(store_id(self.id), block.piece, block.begin, slot);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(body).unwrap().into()
    }

    fn judged(status: u16, headers: &[(&str, &str)], range: Range<u64>) -> Result<u64, FetchError> {
        let body = match status {
            206 => "4567",
            _ => "0123456789",
        };
        accept(&response(status, headers, body), "host", 3, 10, &range)
    }

    #[test]
    fn the_part_that_was_asked_for_is_taken_and_no_other() {
        let part = |range| [("content-range", range)];
        assert_eq!(judged(206, &part("bytes 4-7/10"), 4..8), Ok(0));
        assert_eq!(judged(206, &part("bytes 4-7/*"), 4..8), Ok(0));
        for wrong in [
            "bytes 0-7/10",
            "bytes 4-7",
            "bytes */10",
            "items 4-7/10",
            "bytes 7-4/10",
        ] {
            let judged = judged(206, &part(wrong), 4..8);
            assert!(matches!(judged, Err(FetchError::Useless(_))), "{wrong}");
        }
        assert!(matches!(
            judged(206, &[], 4..8),
            Err(FetchError::Useless(_))
        ));
        let more = judged(206, &part("bytes 4-7/10"), 4..7);
        assert!(matches!(more, Err(FetchError::Useless(_))), "{more:?}");
        let longer = judged(206, &part("bytes 4-7/11"), 4..8);
        assert!(
            matches!(longer, Err(FetchError::Missing(3, _))),
            "{longer:?}"
        );
    }

    #[test]
    fn a_whole_file_is_taken_if_it_is_small_or_all_of_it_is_wanted() {
        assert_eq!(judged(200, &[], 4..8), Ok(4));
        let answer = response(200, &[], "0123456789");
        let shorter = accept(&answer, "host", 3, 11, &(0..11));
        assert!(matches!(shorter, Err(FetchError::Missing(3, _))));
        let packed = judged(200, &[("content-encoding", "gzip")], 0..10);
        assert!(matches!(packed, Err(FetchError::Useless(_))));
    }

    #[test]
    fn refusals_mean_what_they_say() {
        for status in [401, 403, 404, 410, 416] {
            let judged = judged(status, &[], 0..4);
            assert!(matches!(judged, Err(FetchError::Missing(3, _))), "{status}");
        }
        for status in [400, 405, 451] {
            let judged = judged(status, &[], 0..4);
            assert!(matches!(judged, Err(FetchError::Useless(_))), "{status}");
        }
        for status in [429, 500, 503] {
            let judged = judged(status, &[("retry-after", "90")], 0..4);
            let Err(FetchError::Later(_, after)) = judged else {
                panic!("{status}: {judged:?}")
            };
            assert_eq!(after, Some(Duration::from_secs(90)));
        }
    }

    #[test]
    fn servers_say_when_in_seconds_or_with_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        let past = retry_after("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert!(
            retry_after("Wed, 21 Oct 2065 07:28:00 GMT")
                .unwrap()
                .as_secs()
                > 1 << 29
        );
        assert_eq!(retry_after("soon"), None);
    }
}
