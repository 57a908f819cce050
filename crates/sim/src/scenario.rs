//! Everything that is tried, by name.
//!
//! A scenario is a function from an origin to a [`Report`]; what must be true it asserts. The same
//! functions run as tests (`tests/`), over a few fixed seeds and as many more as
//! `STARLING_SIM_SEEDS` says, and by hand: `cargo xtask sim NAME --seed N [--trace]`.

mod anything;
mod crowds;
mod limits;
mod pairs;
mod readers;
mod tables;
mod villains;

use std::fmt;
use std::time::Duration;

use crate::{Content, Origin, World};

/// A scenario.
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What must be true, as a sentence.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(Origin) -> Report,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Virtual time that passed.
    pub took: Duration,
    /// Events that happened.
    pub events: u64,
    /// All that happened, as one number.
    pub trace: u64,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// The end of a world: it comes to rest, and nothing has leaked.
    pub fn of(mut world: World) -> Report {
        let took = world.now();
        world.settle();
        Report {
            took,
            events: world.events(),
            trace: world.trace_hash(),
            notes: Vec::new(),
        }
    }

    /// The same with a remark.
    pub fn note(mut self, remark: impl Into<String>) -> Report {
        self.notes.push(remark.into());
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            took,
            events,
            trace,
            ..
        } = self;
        write!(
            f,
            "{:.2} s, {events} events, trace {trace:016x}",
            took.as_secs_f64()
        )?;
        self.notes
            .iter()
            .try_for_each(|note| write!(f, "\n  {note}"))
    }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario(
        "two-peers-v1",
        "one peer fetches a v1 torrent from another",
        pairs::v1,
    ),
    scenario(
        "two-peers-v2",
        "one peer fetches a v2 torrent from another",
        pairs::v2,
    ),
    scenario(
        "two-peers-hybrid",
        "one peer fetches a hybrid torrent from another",
        pairs::hybrid,
    ),
    scenario(
        "v2-without-layers",
        "piece layers come from the peer that has them",
        pairs::v2_without_layers,
    ),
    scenario(
        "magnet-v1",
        "with a v1 info-hash alone a peer gets everything",
        pairs::magnet_v1,
    ),
    scenario(
        "magnet-v2",
        "with a v2 info-hash alone a peer gets everything",
        pairs::magnet_v2,
    ),
    scenario(
        "magnet-hybrid",
        "with a hybrid's info-hashes alone a peer gets everything",
        pairs::magnet_hybrid,
    ),
    scenario(
        "links",
        "the link is the limit, be it slow, fast, far or lossy",
        pairs::links,
    ),
    scenario(
        "few-slots",
        "with few slots and a slow disk nothing is lost and nothing leaks",
        pairs::few_slots,
    ),
    scenario(
        "nat",
        "a seed nobody can dial serves whom it dials",
        pairs::nat,
    ),
    scenario(
        "nats",
        "seventeen of twenty behind routers still reach each other, introduced by those who are not",
        crowds::nats,
    ),
    scenario(
        "super-seed",
        "the first seed sends hardly more than one copy before another has everything",
        crowds::super_seed,
    ),
    scenario(
        "selected-files",
        "selected files come alone, the others when asked for",
        pairs::selected,
    ),
    scenario(
        "power-cut",
        "after a power cut no recorded piece is fetched again",
        pairs::power_cut,
    ),
    scenario(
        "ten-kills",
        "killed ten times, a download still ends and fetches little twice",
        pairs::kills,
    ),
    scenario(
        "kill-then-power-cut",
        "what a check found is recorded once it is durable",
        pairs::kill_then_power_cut,
    ),
    scenario(
        "disk-full",
        "a full disk pauses a torrent, and with room it goes on",
        pairs::disk_full,
    ),
    scenario(
        "outage",
        "a silent outage ends a connection, not the download",
        pairs::outage,
    ),
    scenario(
        "limits",
        "rate limits hold and cost nothing beyond",
        limits::both_ways,
    ),
    scenario(
        "limits-hold",
        "each ten seconds a limit is kept, for one torrent and for twenty",
        limits::hold,
    ),
    scenario(
        "limits-within-limits",
        "a torrent's, a group's, a class's and the session's limits hold together",
        limits::within_limits,
    ),
    scenario(
        "seek",
        "a jump into a film plays within two seconds beside twenty transfers",
        readers::seek,
    ),
    scenario(
        "rot",
        "pieces that go bad on disk are taken back and fetched anew",
        pairs::rot,
    ),
    scenario(
        "fifty-peers",
        "fifty peers fetch from one seed and from each other",
        crowds::fifty,
    ),
    scenario(
        "two-hundred-peers",
        "two hundred peers fetch from one seed and from each other",
        crowds::two_hundred,
    ),
    scenario(
        "one-to-four",
        "a seed hardly sends anything twice to four peers",
        crowds::one_to_four,
    ),
    scenario(
        "four-to-one",
        "four seeds fill one peer's link",
        crowds::four_to_one,
    ),
    scenario(
        "seed-leaves-v1",
        "when the only seed leaves after one copy all still finish (v1)",
        crowds::seed_leaves_v1,
    ),
    scenario(
        "seed-leaves-v2",
        "when the only seed leaves after one copy all still finish (v2)",
        crowds::seed_leaves_v2,
    ),
    scenario(
        "seed-leaves-hybrid",
        "when the only seed leaves after one copy all still finish (hybrid)",
        crowds::seed_leaves_hybrid,
    ),
    scenario(
        "two-names",
        "peers who know a hybrid by different hashes are one swarm",
        crowds::two_names,
    ),
    scenario(
        "crossed-dials",
        "who dial each other at once end with one connection",
        crowds::crossed_dials,
    ),
    scenario("churn", "peers that come and go all finish", crowds::churn),
    scenario("fairness", "who gives more gets more", crowds::fairness),
    scenario(
        "thousand-torrents",
        "one process seeds a thousand torrents and fetches twenty",
        crowds::thousand_torrents,
    ),
    scenario(
        "liars-v1",
        "liars are found and nobody else is banned (v1)",
        villains::liars_v1,
    ),
    scenario(
        "liars-v2",
        "liars are found and nobody else is banned (v2)",
        villains::liars_v2,
    ),
    scenario(
        "liars-hybrid",
        "liars are found and nobody else is banned (hybrid)",
        villains::liars_hybrid,
    ),
    scenario(
        "outnumbered",
        "one honest seed among twenty liars is enough",
        villains::outnumbered,
    ),
    scenario(
        "snubbing",
        "peers that promise and send nothing cost little time",
        villains::snubbing,
    ),
    scenario(
        "slow-tail",
        "slow peers do not hold up the end",
        villains::slow_tail,
    ),
    scenario(
        "stalled-tail",
        "a peer that falls silent does not hold up the end",
        villains::stalled_tail,
    ),
    scenario(
        "eve",
        "no mischief stops a download or breaks anything",
        villains::eve,
    ),
    scenario(
        "anything",
        "whatever the seed makes up, all that is reachable arrives",
        anything::goes,
    ),
    scenario(
        "dht-finds",
        "what one DHT node offers the others find, with loss, NATs and deaths",
        tables::finds,
    ),
    scenario(
        "dht-endures",
        "DHT nodes that stay keep their tables while others come and go",
        tables::endures,
    ),
    scenario(
        "dht-lies",
        "a fifth of the DHT nodes lie, and the others find each other all the same",
        tables::resists,
    ),
];

const fn scenario(name: &'static str, about: &'static str, run: fn(Origin) -> Report) -> Scenario {
    Scenario { name, about, run }
}

/// How long the torrent's bytes take at this rate, in bytes a second.
fn time_for(content: &Content, rate: u64) -> Duration {
    Duration::from_secs_f64(content.layout().size() as f64 / rate as f64)
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|s| s.name == name)
}
