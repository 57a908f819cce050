//! The web seeds of a torrent: what is fetched from them, and what comes.
//!
//! A fetch is to the picker and the limits what a peer is. It pays for its blocks when they come, not when they are
//! asked for: a server is held back by not reading what it sends.

use super::*;
use crate::culprit::Author;
use crate::picker::Runner;
use crate::webseed::WebSeed;
use crate::{Class, FetchError, FetchId, Take, WebSeedId, WebSeedStatus};

/// Servers are looked at so often, if nothing else happens.
const LOOK: Duration = Duration::from_secs(1);
/// Web seeds of one torrent; more are not looked at.
const MOST_WEB_SEEDS: usize = 64;
/// Where connections' numbers end and those of fetches and web seeds begin; only the picker and the limits mix them.
const FETCHES: u64 = 1 << 62;
const SEEDS: u64 = 1 << 63;

/// All web seeds of a torrent.
#[derive(Debug, Default)]
pub(crate) struct Web {
    seeds: BTreeMap<WebSeedId, WebSeed>,
    fetches: BTreeMap<FetchId, Fetch>,
    last: u32,
}

/// Blocks on their way from a server.
#[derive(Debug)]
struct Fetch {
    seed: WebSeedId,
    /// What is to come, in order; false: no longer wanted.
    blocks: VecDeque<(BlockRef, bool)>,
    /// Bytes that limits allow it.
    allowed: u64,
    /// It stands in line for more.
    waits: bool,
}

impl Fetch {
    fn is_wanted(&self) -> bool {
        self.blocks.iter().any(|b| b.1)
    }

    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|b| u64::from(b.0.len)).sum()
    }
}

impl Web {
    /// Whether anything may ever come from a server.
    pub fn has_hope(&self) -> bool {
        self.seeds.values().any(|seed| !seed.is_dropped())
    }

    /// When servers are to be looked at again; `None`: not before something happens.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let ready = self.seeds.values().filter_map(WebSeed::ready_at);
        let ready = ready.map(|at| at.unwrap_or(now)).min()?;
        Some(ready.max(now + LOOK))
    }

    /// Whether a server would give this piece now.
    pub fn gives(&self, now: Instant, piece: u32) -> bool {
        let mut seeds = self.seeds.values();
        seeds.any(|seed| seed.is_ready(now) && seed.has(piece))
    }

    fn of(&self, seed: WebSeedId) -> impl Iterator<Item = (FetchId, &Fetch)> {
        let all = self.fetches.iter().map(|(&id, fetch)| (id, fetch));
        all.filter(move |(_, fetch)| fetch.seed == seed)
    }
}

/// What the picker and the limits call a fetch.
fn conn_of(fetch: FetchId) -> ConnId {
    ConnId(FETCHES | u64::from(fetch.0))
}

/// Whom the picker says a block came from, if that is a web seed.
pub(super) fn author(conn: ConnId) -> Option<Author> {
    (conn.0 & SEEDS != 0).then_some(Author::Web(WebSeedId(conn.0 as u32)))
}

impl Torrent {
    /// A server has the content.
    pub fn add_web_seed(&mut self, shared: &mut Shared, now: Instant, id: WebSeedId, class: Class) {
        if self.web.seeds.len() < MOST_WEB_SEEDS {
            self.web.seeds.insert(id, WebSeed::new(now, id, class));
            self.refill_web(shared, now);
        }
    }

    /// A server is asked no more.
    pub fn remove_web_seed(&mut self, shared: &mut Shared, now: Instant, id: WebSeedId) {
        self.end_fetches(shared, Some(id));
        self.web.seeds.remove(&id);
        self.refill_all(shared, now);
    }

    /// Asked no more, for this reason, but still shown.
    pub(super) fn drop_web_seed(&mut self, shared: &mut Shared, id: WebSeedId, why: String) {
        if let Some(seed) = self.web.seeds.get_mut(&id) {
            seed.drop_for(why.clone());
            let event = Event::WebSeedDropped(id, why);
            shared.out.push_back(Output::Event(self.id, event));
        }
        self.end_fetches(shared, Some(id));
    }

    /// The web seeds at a glance.
    pub fn web_seeds(&self, now: Instant) -> Vec<WebSeedStatus> {
        let asked = |id| self.web.of(id).map(|(_, fetch)| fetch.blocks.len()).sum();
        let seeds = self.web.seeds.iter();
        seeds
            .map(|(&id, seed)| seed.status(now, asked(id)))
            .collect()
    }

    /// When servers are to be looked at again, if anything is to be fetched.
    pub fn web_ready_at(&self, now: Instant) -> Option<Instant> {
        self.web.ready_at(now).filter(|_| self.may_fetch())
    }

    /// Asks servers for as much as they are good for.
    pub(crate) fn refill_web(&mut self, shared: &mut Shared, now: Instant) {
        if self.web.seeds.is_empty() || !self.may_fetch() {
            return;
        }
        // What others are about to read goes first.
        if !shared.rush.is_empty() && !shared.rush.contains(&self.id) {
            return;
        }
        self.make_way(shared, now);
        for id in self.web.seeds.keys().copied().collect::<Vec<_>>() {
            while self.fetch(shared, now, id) {}
        }
    }

    fn may_fetch(&self) -> bool {
        self.is_running() && self.info.is_some() && !self.is_finished()
    }

    /// Begins one more fetch from a server, if there is something to fetch.
    fn fetch(&mut self, shared: &mut Shared, now: Instant, id: WebSeedId) -> bool {
        let fetches = self.web.of(id).count();
        let (Some(info), Some(seed)) = (&self.info, self.web.seeds.get(&id)) else {
            return false;
        };
        if !seed.is_ready(now) || !seed.has_room(fetches) {
            return false;
        }
        let fetch = FetchId(self.web.last);
        let runner = Runner {
            conn: conn_of(fetch),
            has: &|piece| seed.has(piece),
            room: seed.run(now),
            rush: !shared.rush.is_empty(),
            idle: fetches == 0,
        };
        let picked = self.picker.pick_run(info.layout(), &runner);
        if picked.is_empty() {
            return false;
        }
        self.web.last += 1;
        let entry = Fetch {
            seed: id,
            blocks: picked.iter().map(|&block| (block, true)).collect(),
            allowed: 0,
            waits: false,
        };
        self.web.fetches.insert(fetch, entry);
        shared
            .out
            .push_back(Output::Fetch(self.id, fetch, id, picked));
        true
    }

    /// Somebody is about to read something that nobody was asked for, and all servers are busy with other things: the
    /// longest fetch ends.
    fn make_way(&mut self, shared: &mut Shared, now: Instant) {
        let (Some(due), false) = (self.picker.unasked_due(), self.web.fetches.is_empty()) else {
            return;
        };
        let full = |(&id, seed): (&WebSeedId, &WebSeed)| {
            let busy = !seed.has_room(self.web.of(id).count());
            busy || !seed.has(due) || !seed.is_ready(now)
        };
        if !self.web.seeds.iter().all(full) {
            return;
        }
        let read = |fetch: &Fetch| {
            fetch
                .blocks
                .iter()
                .any(|(b, _)| self.picker.is_due(b.piece))
        };
        let others = self.web.fetches.iter().filter(|(_, fetch)| !read(fetch));
        let longest = others.max_by_key(|(_, fetch)| fetch.blocks.len());
        if let Some(id) = longest.map(|(&id, _)| id) {
            self.end_fetch(shared, id);
        }
    }

    /// Whether limits hold a fetch back, and as whom.
    fn web_flow(&self, fetch: &Fetch) -> Flow {
        let seed = self.web.seeds.get(&fetch.seed);
        Flow {
            torrent: self.id,
            group: self.group,
            class: seed.map_or(Class::Other, |seed| seed.class),
        }
    }

    /// The next block of a fetch is about to come.
    pub fn web_arriving(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        id: FetchId,
        block: BlockRef,
    ) -> Take {
        let running = self.is_running();
        let Some(fetch) = self.web.fetches.get(&id) else {
            return Take::End;
        };
        let due = fetch.blocks.front().filter(|front| front.0 == block);
        let Some(&(_, live)) = due.filter(|_| running && fetch.is_wanted()) else {
            self.forget_fetch(shared, id);
            return Take::End;
        };
        let flow = self.web_flow(fetch);
        let len = u64::from(block.len);
        let bound = shared.limiter.binds(Way::Down, flow);
        let Some(fetch) = self.web.fetches.get_mut(&id) else {
            return Take::End;
        };
        if bound && fetch.allowed < len {
            if !std::mem::replace(&mut fetch.waits, true) {
                shared.limiter.join(now, Way::Down, flow, conn_of(id), len);
            }
            return Take::Wait;
        }
        fetch.allowed = fetch.allowed.saturating_sub(len);
        match live && self.picker.needs(block) {
            true => Take::Accept,
            false => Take::Discard,
        }
    }

    /// A fetch's turn to read so many bytes. False: the turn is none of a fetch's.
    pub fn web_turn(&mut self, shared: &mut Shared, conn: ConnId, bytes: u64) -> bool {
        if conn.0 & FETCHES == 0 {
            return false;
        }
        let id = FetchId(conn.0 as u32);
        if let Some(fetch) = self.web.fetches.get(&id) {
            let flow = self.web_flow(fetch);
            let bytes = bytes.min(fetch.bytes());
            shared.limiter.charge(Way::Down, flow, bytes);
            if let Some(fetch) = self.web.fetches.get_mut(&id) {
                fetch.waits = false;
                fetch.allowed += bytes;
            }
            shared.out.push_back(Output::FetchOn(self.id, id));
        }
        true
    }

    /// A block of a fetch has come, into a slot (`kept`) or into nothing. Returns whether the slot goes to the store.
    pub fn web_arrived(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        id: FetchId,
        block: BlockRef,
        kept: bool,
    ) -> bool {
        let len = u64::from(block.len);
        self.received += len;
        self.down.add(now, len);
        shared.traffic.down.payload.add(now, len);
        let mut store = false;
        if let Some(fetch) = self.web.fetches.get_mut(&id)
            && let Some((_, live)) = fetch.blocks.pop_front_if(|front| front.0 == block)
        {
            let seed = fetch.seed;
            if let Some(seed) = self.web.seeds.get_mut(&seed) {
                seed.arrived(now, len);
            }
            if live && !kept {
                self.picker.released(conn_of(id), block);
            }
            let from = ConnId(SEEDS | u64::from(seed.0));
            if kept && let Arrival::Fresh { elsewhere, .. } = self.picker.arrived(from, block) {
                store = true;
                if elsewhere {
                    self.cancel_elsewhere(shared, now, conn_of(id), block);
                }
            }
            // The first block shows that more can be asked of it.
            self.refill_web(shared, now);
        }
        self.wasted += if store { 0 } else { len };
        store
    }

    /// A block came from somebody else: fetches need not bring it.
    pub(super) fn cancel_fetching(&mut self, shared: &mut Shared, but: ConnId, block: BlockRef) {
        let mut idle = Vec::new();
        for (&id, fetch) in &mut self.web.fetches {
            let asked = fetch.blocks.iter_mut().find(|b| b.0 == block && b.1);
            if conn_of(id) == but {
                continue;
            }
            if let Some(asked) = asked {
                asked.1 = false;
                self.picker.released(conn_of(id), block);
                if !fetch.is_wanted() {
                    idle.push(id);
                }
            }
        }
        for id in idle {
            self.end_fetch(shared, id);
        }
    }

    /// A fetch is over.
    pub fn fetched(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        id: FetchId,
        result: Result<(), FetchError>,
    ) {
        let Some(seed) = self.web.fetches.get(&id).map(|fetch| fetch.seed) else {
            return;
        };
        self.forget_fetch(shared, id);
        let layout = self.info.as_ref().map(|info| info.layout());
        let lost = match (&result, layout) {
            (Err(FetchError::Missing(file, _)), Some(layout)) if *file < layout.files() => {
                layout.file_pieces(*file)
            }
            _ => 0..0,
        };
        let pieces = layout.map_or(0, Layout::pieces);
        if let Some(server) = self.web.seeds.get_mut(&seed) {
            let dropped = match result {
                Ok(()) => {
                    server.succeeded();
                    None
                }
                Err(error) => server.failed(now, error, lost, pieces),
            };
            if let Some(why) = dropped {
                self.drop_web_seed(shared, seed, why);
            }
        }
        self.refill_all(shared, now);
    }

    /// Ends all fetches, or those of one server.
    pub(super) fn end_fetches(&mut self, shared: &mut Shared, of: Option<WebSeedId>) {
        let fetches = self.web.fetches.iter();
        let ended = fetches.filter(|(_, fetch)| of.is_none_or(|seed| seed == fetch.seed));
        for id in ended.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.end_fetch(shared, id);
        }
    }

    fn end_fetch(&mut self, shared: &mut Shared, id: FetchId) {
        self.forget_fetch(shared, id);
        shared.out.push_back(Output::EndFetch(self.id, id));
    }

    /// What a fetch has not brought may be asked of others.
    fn forget_fetch(&mut self, shared: &mut Shared, id: FetchId) {
        let Some(fetch) = self.web.fetches.remove(&id) else {
            return;
        };
        let (conn, flow) = (conn_of(id), self.web_flow(&fetch));
        shared.limiter.give_back(Way::Down, flow, fetch.allowed);
        if fetch.waits {
            shared.limiter.leave(self.id, conn);
        }
        for (block, _) in fetch.blocks.into_iter().filter(|b| b.1) {
            self.picker.released(conn, block);
        }
        self.picker.disown(conn);
    }
}
