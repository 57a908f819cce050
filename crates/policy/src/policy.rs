//! The engine: facts are kept as they come, and decisions are made when they are asked for.
//!
//! What holds for all is decided anew each time; a transfer only if a fact is about it, its time has
//! come, or somebody nearer to the head takes or leaves what it wants. See [`Policy::deal`].

mod dealing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::queue::{Order, Place};
use crate::row::Row;
use crate::schedule::{self, Action};
use crate::settings::{
    Checked, Goals, LEAST_BUFFERS, LEAST_OPEN_FILES, OnMetered, Rates, Settings,
};
use crate::slots::Slots;
use crate::world::{Battery, Disks, Latch, Memory};
use crate::{
    Allowance, Class, ClassRule, Input, LocalTime, Output, Progress, Reason, Scope, Transfer,
    TransferId,
};
use dealing::{Open, QUEUED, Wakes};

/// Open files, if the system does not say: the usual soft limit.
const USUAL_OPEN_FILES: u64 = 1024;
/// Open files that are neither content nor peers: listeners, database, logs, the API's clients.
const KEPT_OPEN_FILES: u64 = 128;
/// Of the other open files, one part in so many is for content at most; the rest is for peers.
const CONTENT_PART: u64 = 4;
/// Of the memory ceiling, one part in so many is for buffers at most.
const BUFFER_PART: u64 = 4;

/// The engine. See the crate's documentation for the loop around it.
#[derive(Debug)]
pub struct Policy {
    settings: Arc<Checked>,
    /// When the last fact came.
    now: Instant,
    /// What the wall clock showed, and when.
    clock: (LocalTime, Instant),
    /// Boxed: a map of thousands keeps room for half as many more.
    rows: BTreeMap<TransferId, Box<Row>>,
    order: Order,
    battery: Battery,
    metered: Latch,
    disks: Disks,
    memory: Memory,
    slots: Slots,
    open_files: u64,
    told: Told,
    /// A fact came that may change a decision.
    dirty: bool,
    /// Why nothing runs at all, if so.
    everyone: Option<Reason>,
    /// Whom to decide upon.
    open: Open,
    /// Who wants something of which there is an end.
    contenders: BTreeSet<Place>,
    /// Who got it: no more than there is.
    dealt: BTreeSet<Place>,
    /// When something that holds for all may change by itself.
    wake: Option<Instant>,
    /// When something about a transfer may.
    wakes: Wakes,
    /// At most one decision a transfer and label and a few more: it is drained before new ones are
    /// made.
    out: VecDeque<Output>,
}

/// Decisions as last told; those about a transfer are in its row.
#[derive(Debug, Default)]
struct Told {
    global: Option<Rates>,
    labels: BTreeMap<Arc<str>, Rates>,
    classes: BTreeMap<Class, ClassRule>,
    allowance: Option<Allowance>,
}

impl Policy {
    /// An engine that knows of no transfers, and `local` to be the time on the wall.
    pub fn new(settings: Checked, now: Instant, local: LocalTime) -> Policy {
        Policy {
            settings: Arc::new(settings),
            now,
            clock: (local, now),
            rows: BTreeMap::new(),
            order: Order::default(),
            battery: Battery::default(),
            metered: Latch::default(),
            disks: Disks::default(),
            memory: Memory::default(),
            slots: Slots::default(),
            open_files: USUAL_OPEN_FILES,
            told: Told::default(),
            dirty: true,
            everyone: None,
            open: Open::default(),
            contenders: BTreeSet::new(),
            dealt: BTreeSet::new(),
            wake: None,
            wakes: Wakes::default(),
            out: VecDeque::new(),
        }
    }

    /// A fact. Time does not go back: an earlier `now` counts as the latest one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        let now = self.now;
        let changed = match input {
            Input::Settings(settings, local) => {
                self.clock = (local, now);
                self.settle(*settings);
                true
            }
            Input::Transfer(id, given) => {
                self.transfer(id, *given);
                true
            }
            Input::Progress(id, progress) => self.progress(id, progress),
            Input::Move(id, to) => match self.rows.get(&id) {
                Some(row) => {
                    self.order.shift(row.place, to);
                    for (place, id) in self.order.places().zip(self.order.ids()) {
                        self.rows.get_mut(&id).expect(QUEUED).place = place;
                    }
                    self.open.all = true;
                    true
                }
                None => false,
            },
            Input::Gone(id) => self.gone(id),
            Input::Power(power) => {
                self.battery.note(now, power);
                true
            }
            Input::Metered(metered) => {
                self.metered.note(now, metered == Some(true));
                true
            }
            Input::Space(id, space) => {
                let news = self.disks.note(id, space, self.settings.disk_reserve);
                self.open.all |= news;
                news
            }
            Input::Memory(bytes) => {
                let news = self.memory.note(now, bytes, self.settings.memory_ceiling);
                self.open.all |= news;
                news
            }
            Input::Upload(upload) => self.slots.note(upload),
            Input::OpenFileLimit(files) => std::mem::replace(&mut self.open_files, files) != files,
            Input::Clock(local) => {
                self.clock = (local, now);
                self.open.all = true;
                true
            }
            Input::Timeout(local) => {
                self.clock = (local, now);
                true
            }
        };
        self.dirty |= changed;
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() && std::mem::take(&mut self.dirty) {
            self.decide();
        }
        self.out.pop_front()
    }

    /// When to hand over [`Input::Timeout`]; `None`: only facts wake it. To be asked when
    /// [`Policy::poll`] has no more: until then it says at once.
    pub fn deadline(&self) -> Option<Instant> {
        if self.dirty {
            return Some(self.now);
        }
        let first = self.wakes.first().map(|(at, _)| at);
        self.wake.into_iter().chain(first).min()
    }

    /// The transfers in the order of their turn, the head first.
    pub fn queue(&self) -> impl ExactSizeIterator<Item = TransferId> + '_ {
        self.order.ids()
    }

    /// How many transfers that are not complete come before this one; `None`: it is complete or
    /// unknown.
    pub fn ahead(&self, id: TransferId) -> Option<usize> {
        self.order.before(self.rows.get(&id)?.place)
    }

    /// The transfers that are not complete, in the order of their turn, from the one on that so
    /// many of them come before.
    pub fn waiting(&self, from: usize) -> impl Iterator<Item = TransferId> + '_ {
        self.order.incomplete(from)
    }

    /// Why a transfer is held, as last decided.
    pub fn held(&self, id: TransferId) -> Option<&Reason> {
        self.rows.get(&id)?.held.as_ref()
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn settle(&mut self, settings: Checked) {
        self.settings = Arc::new(settings);
        self.open.all = true;
        self.battery.forget();
        self.disks.judge(self.settings.disk_reserve);
        if self.settings.memory_ceiling.is_none() {
            self.memory.forget();
        }
    }

    fn transfer(&mut self, id: TransferId, given: Transfer) {
        if let Some(row) = self.rows.get(&id) {
            self.reopen(row.place);
        } else {
            let place = self.order.append(id);
            self.open.places.insert(place);
            let row = Row::new(self.now, given, place);
            self.rows.insert(id, Box::new(row));
            return;
        }
        self.rows.get_mut(&id).expect(QUEUED).given = given;
    }

    fn progress(&mut self, id: TransferId, progress: Progress) -> bool {
        let Some(row) = self.rows.get_mut(&id) else {
            return false;
        };
        let (now, slow) = (self.now, self.settings.queue.slow);
        let goals = goals(&self.settings, &row.given);
        self.order.set_complete(row.place, progress.complete);
        let news = row.note(now, progress, goals, slow);
        self.wakes.set(id, row.changes(now, goals, slow));
        if news {
            self.reopen(self.rows[&id].place);
        }
        news
    }

    fn gone(&mut self, id: TransferId) -> bool {
        let Some(row) = self.rows.get(&id) else {
            return false;
        };
        let place = row.place;
        self.wakes.set(id, None);
        self.reopen(place);
        self.open.places.remove(&place);
        self.order.remove(place);
        self.out.retain(|output| about(output) != Some(id));
        self.rows.remove(&id);
        true
    }

    /// What the wall clock shows, if nobody changed it since it was told.
    fn local(&self) -> LocalTime {
        let (local, at) = self.clock;
        local.after(self.now.saturating_duration_since(at))
    }

    fn decide(&mut self) {
        let local = self.local();
        let ruling = schedule::ruling(&self.settings.schedule, local);
        let everyone = self.everyone(ruling, local);
        let limits = self.limits(ruling);
        self.tell_limits(limits);
        self.tell_allowance(limits);
        let look = schedule::next_look(&self.settings.schedule, local);
        self.wake = [
            look.and_then(|time| self.now.checked_add(time)),
            self.battery.used.ends(),
            self.metered.ends(),
        ]
        .into_iter()
        .flatten()
        .min();
        self.open.all |= self.everyone != everyone;
        self.everyone = everyone;
        self.open_due();
        self.deal();
    }

    /// Why nothing runs at all, if so.
    fn everyone(&mut self, ruling: Option<Action>, local: LocalTime) -> Option<Reason> {
        // Each is asked: its patience ends whether or not another reason comes first.
        let battery = self.battery.verdict(self.now, self.settings.on_battery);
        let metered = self.metered.is_on(self.now) && self.settings.on_metered == OnMetered::Pause;
        if ruling == Some(Action::Pause) {
            let until = schedule::pause_ends(&self.settings.schedule, local);
            return Some(Reason::Schedule { until });
        }
        battery.or(metered.then_some(Reason::Metered))
    }

    fn limits(&mut self, ruling: Option<Action>) -> Rates {
        let usual = match ruling {
            Some(Action::Limit(rates)) => rates,
            _ => self.settings.limits,
        };
        match self.settings.on_metered {
            OnMetered::Limit(rates) if self.metered.is_on(self.now) => usual.tighter(rates),
            _ => usual,
        }
    }

    fn tell_limits(&mut self, limits: Rates) {
        if self.told.global.replace(limits) != Some(limits) {
            self.out.push_back(Output::Limit(Scope::Global, limits));
        }
        let lan = ClassRule {
            limits: self.settings.lan.limits,
            exempt: self.settings.lan.free,
        };
        let other = ClassRule {
            limits: self.settings.other,
            exempt: false,
        };
        for (class, rule) in [(Class::Lan, lan), (Class::Other, other)] {
            if self.told.classes.insert(class, rule) != Some(rule) {
                self.out.push_back(Output::LimitClass(class, rule));
            }
        }
        for (label, rates) in &mut self.told.labels {
            let rules = self.settings.labels.get(&**label);
            let new = rules.map_or(Rates::NONE, |rules| rules.limits);
            if std::mem::replace(rates, new) != new {
                let scope = Scope::Label(Arc::clone(label));
                self.out.push_back(Output::Limit(scope, new));
            }
        }
        self.told.labels.retain(|_, rates| *rates != Rates::NONE);
        for (label, rules) in &self.settings.labels {
            let told = self.told.labels.contains_key(label.as_str());
            if rules.limits != Rates::NONE && !told {
                let label: Arc<str> = label.as_str().into();
                self.told.labels.insert(Arc::clone(&label), rules.limits);
                let scope = Scope::Label(label);
                self.out.push_back(Output::Limit(scope, rules.limits));
            }
        }
    }

    fn tell_allowance(&mut self, limits: Rates) {
        let settings = &self.settings;
        // Measures against too much memory halve twice, see `Memory::level`.
        let halved = self.memory.level().min(2);
        let free = self.open_files.saturating_sub(KEPT_OPEN_FILES);
        let files = narrow(free / CONTENT_PART).min(settings.open_files);
        let open_files = files.max(LEAST_OPEN_FILES);
        let sockets = narrow(free).saturating_sub(open_files);
        let connections = (sockets.min(settings.connections) >> halved).max(1);
        let buffers = match settings.memory_ceiling {
            Some(ceiling) => settings.buffer_bytes.min(ceiling / BUFFER_PART),
            None => settings.buffer_bytes,
        };
        self.slots
            .bound(limits.tighter(settings.other).up, connections);
        let slots = settings.upload_slots.unwrap_or(self.slots.count());
        let allowance = Allowance {
            connections,
            connections_per_torrent: settings.connections_per_torrent.min(connections),
            dials: settings.dials.min(connections),
            unchoke_slots: slots.min(connections),
            open_files,
            buffer_bytes: (buffers >> halved).max(LEAST_BUFFERS),
        };
        if self.told.allowance.replace(allowance) != Some(allowance) {
            self.out.push_back(Output::Allow(allowance));
        }
    }
}

/// The goals that hold for a transfer.
fn goals(settings: &Settings, given: &Transfer) -> Goals {
    let label = given.label.as_deref();
    let of_label = || settings.labels.get(label?)?.goals;
    given.goals.or_else(of_label).unwrap_or(settings.goals)
}

/// The transfer a decision is about.
fn about(output: &Output) -> Option<TransferId> {
    match output {
        Output::Hold(id, _) | Output::Explain(id, _) | Output::Release(id) => Some(*id),
        Output::Limit(Scope::Transfer(id), _) => Some(*id),
        _ => None,
    }
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
