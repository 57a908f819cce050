//! The policy's place in the daemon: settings go in as a person wrote them, decisions go out to the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{BatteryAction, Label, MeteredAction, Settings};
use policy::{
    Action, Checked, Days, Entry, LabelRules, Lan, LocalTime, OnBattery, OnMetered, Output, Policy,
    Rates, Scope, Slow, WrongSetting,
};
use swarm::{Class, Input, TorrentId};

use super::entry::rates;
use crate::Node;

/// Longest seeding time worth naming, in seconds.
const LONGEST: u64 = 1 << 40;

/// Settings as the policy has them.
///
/// # Errors
/// The key that is wrong, and what can be meant.
pub fn settings(
    settings: &Settings,
    labels: &BTreeMap<String, Label>,
) -> Result<Checked, WrongSetting> {
    let entry = |window: &api::Window| Entry {
        days: Days(
            window
                .days
                .iter()
                .fold(0, |days, &day| days | 1 << day as u8),
        ),
        from: window.from.minutes(),
        to: window.to.minutes(),
        action: match window.pause {
            true => Action::Pause,
            false => Action::Limit(rates(window.limits)),
        },
    };
    let most = |number: u32| (number > 0).then_some(number);
    let label = |label: &Label| LabelRules {
        limits: rates(label.limits),
        goals: label.goals.map(goals),
        max_active: most(label.max_active),
    };
    let usual = policy::Settings::default();
    let connections = &settings.connections;
    policy::Settings {
        limits: rates(settings.limits),
        schedule: settings.schedule.iter().map(entry).collect(),
        lan: Lan {
            free: settings.lan_free,
            limits: rates(settings.lan),
        },
        labels: labels
            .values()
            .map(|l| (l.name.clone(), label(l)))
            .collect(),
        goals: goals(settings.goals),
        queue: policy::Queue {
            max_downloads: most(settings.queue.downloads),
            max_seeds: most(settings.queue.seeds),
            slow: (settings.queue.slow > 0).then(|| Slow {
                rate: settings.queue.slow,
                ..Slow::default()
            }),
        },
        disk_reserve: policy::DiskReserve {
            bytes: settings.disk_reserve.bytes,
            percent: settings.disk_reserve.percent.round() as u8,
        },
        memory_ceiling: (settings.memory > 0).then_some(settings.memory),
        on_battery: match settings.battery.action {
            BatteryAction::Ignore => OnBattery::Nothing,
            BatteryAction::PauseBelow => OnBattery::PauseBelow(settings.battery.percent),
            BatteryAction::Pause => OnBattery::Pause,
        },
        on_metered: match settings.metered.action {
            MeteredAction::Ignore => OnMetered::Nothing,
            MeteredAction::Pause => OnMetered::Pause,
            MeteredAction::Limit => OnMetered::Limit(rates(settings.metered.limits)),
        },
        connections: connections.all,
        connections_per_torrent: connections.per_transfer,
        dials: connections.dials,
        upload_slots: most(settings.slots),
        open_files: most(connections.files).unwrap_or(usual.open_files),
        ..usual
    }
    .check()
}

/// Goals as the policy has them: ratios in thousandths.
pub fn goals(goals: api::Goals) -> policy::Goals {
    policy::Goals {
        ratio: goals.ratio.map(|ratio| (ratio * 1000.0).round() as u32),
        seeding: goals
            .seeding_seconds
            .map(|seconds| Duration::from_secs(seconds.min(LONGEST))),
    }
}

/// What the clock on the wall shows.
pub fn local_time() -> LocalTime {
    let now = jiff::Zoned::now();
    LocalTime::new(
        now.weekday().to_monday_zero_offset() as u32,
        now.hour() as u32,
        now.minute() as u32,
        now.second() as u32,
    )
    .expect("jiff's fields are those of a time of day")
}

/// The engine, and what was decided that others ask for.
pub struct Rules {
    engine: Policy,
    /// Numbers of the groups that stand for labels in the node.
    groups: BTreeMap<Arc<str>, u32>,
    /// Limits of everything together, as they are in effect.
    pub limits: Rates,
    /// Peers served at once.
    pub slots: u32,
    /// Of those that are not complete, the ones that so many come before have another place than was shown.
    moved: Option<u32>,
}

/// A transfer is held, or not.
pub type Verdict = (u32, Option<policy::Reason>);

impl Rules {
    /// Rules that begin with these settings.
    pub fn new(settings: Checked) -> Rules {
        Rules {
            engine: Policy::new(settings, Instant::now(), local_time()),
            groups: BTreeMap::new(),
            limits: Rates::NONE,
            slots: 0,
            moved: None,
        }
    }

    /// Facts; what follows from them goes to the node, verdicts about transfers to the caller.
    pub fn tell(
        &mut self,
        node: &Node,
        facts: impl IntoIterator<Item = policy::Input>,
    ) -> Vec<Verdict> {
        let now = Instant::now();
        facts.into_iter().for_each(|fact| self.hear(now, fact));
        let (mut verdicts, mut inputs, mut room) = (Vec::new(), Vec::new(), None);
        while let Some(output) = self.engine.poll() {
            if let Output::Allow(allowance) = &output {
                let slots = allowance.buffer_bytes / store::SLOT as u64;
                room = Some((allowance.open_files as usize, slots as usize));
            }
            self.carry_out(output, &mut verdicts, &mut inputs);
        }
        if let Some((files, slots)) = room {
            // The node has stopped: nothing is left to be limited. Below, too.
            drop(node.call(move |driver| driver.store.set_room(files, slots)));
        }
        if !inputs.is_empty() {
            drop(node.call(move |driver| inputs.into_iter().for_each(|input| driver.tell(input))));
        }
        verdicts
    }

    fn hear(&mut self, now: Instant, fact: policy::Input) {
        let id = match &fact {
            policy::Input::Transfer(id, _)
            | policy::Input::Progress(id, _)
            | policy::Input::Gone(id) => Some(id.0),
            // Whoever moves one shows them all.
            _ => None,
        };
        let ahead = |rules: &Rules| rules.ahead(id?);
        let before = ahead(self);
        self.engine.handle(now, fact);
        let after = ahead(self);
        // Those behind where one came or went.
        let news = match (before, after) {
            (None, Some(came)) => Some(came + 1),
            (Some(went), None) => Some(went),
            _ => None,
        };
        let there = news.filter(|&from| self.engine.waiting(from as usize).next().is_some());
        self.moved = self.moved.into_iter().chain(there).min();
    }

    fn carry_out(&mut self, output: Output, verdicts: &mut Vec<Verdict>, inputs: &mut Vec<Input>) {
        match output {
            Output::Limit(scope, rates) => {
                let scope = match scope {
                    Scope::Global => {
                        self.limits = rates;
                        swarm::Scope::Session
                    }
                    Scope::Label(label) => swarm::Scope::Group(self.group(&label)),
                    Scope::Transfer(id) => swarm::Scope::Torrent(TorrentId(id.0)),
                };
                inputs.push(Input::Limits(scope, rates.down, rates.up));
            }
            Output::LimitClass(class, rule) => {
                let class = match class {
                    policy::Class::Lan => Class::Lan,
                    policy::Class::Other => Class::Other,
                };
                let (down, up) = (rule.limits.down, rule.limits.up);
                inputs.push(Input::Limits(swarm::Scope::Class(class), down, up));
                if class == Class::Lan {
                    inputs.push(Input::LanFree(rule.exempt));
                }
            }
            Output::Allow(allowance) => {
                self.slots = allowance.unchoke_slots;
                inputs.push(Input::Slots(allowance.unchoke_slots as usize));
                inputs.push(Input::Connections {
                    all: allowance.connections as usize,
                    per_torrent: allowance.connections_per_torrent as usize,
                    dials: allowance.dials as usize,
                });
            }
            Output::Hold(id, reason) | Output::Explain(id, reason) => {
                verdicts.push((id.0, Some(reason)));
            }
            Output::Release(id) => verdicts.push((id.0, None)),
        }
    }

    /// The number of the group that stands for a label in the node.
    pub fn group(&mut self, label: &str) -> u32 {
        if let Some(&group) = self.groups.get(label) {
            return group;
        }
        let next = self.groups.len() as u32;
        self.groups.insert(label.into(), next);
        next
    }

    /// When the engine wants to hear the time.
    pub fn deadline(&self) -> Option<Instant> {
        self.engine.deadline()
    }

    /// Transfers in the order of their turn.
    pub fn queue(&self) -> impl Iterator<Item = u32> + '_ {
        self.engine.queue().map(|id| id.0)
    }

    /// How many transfers that are not complete come before this one; `None`: it is complete.
    pub fn ahead(&self, id: u32) -> Option<u32> {
        let ahead = self.engine.ahead(policy::TransferId(id))?;
        u32::try_from(ahead).ok()
    }

    /// Whether some have another place than was shown.
    pub fn have_moved(&self) -> bool {
        self.moved.is_some()
    }

    /// Those that may have another place than was shown.
    pub fn take_moved(&mut self) -> Vec<u32> {
        let moved = self.moved.take();
        let behind = moved.map(|from| self.engine.waiting(from as usize).map(|id| id.0));
        behind.into_iter().flatten().collect()
    }

    /// The place among all of whoever is at this place among those that are not complete; the last, if there is none.
    pub fn place(&self, position: u32) -> u32 {
        let there = self.engine.waiting(position as usize).next();
        let place = there.and_then(|there| self.engine.queue().position(|id| id == there));
        place.map_or(u32::MAX, |place| place as u32)
    }
}

/// A setting that cannot be meant, as an answer.
pub fn wrong_setting(error: WrongSetting) -> api::Problem {
    api::Problem::invalid(format!("{error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_settings_are_the_policy_s_own() {
        let given = settings(&Settings::default(), &BTreeMap::new()).unwrap();
        let usual = policy::Settings::default();
        assert_eq!(given.queue, usual.queue);
        assert_eq!(given.disk_reserve, usual.disk_reserve);
        assert_eq!(given.lan, usual.lan);
        assert_eq!(given.goals, usual.goals);
        assert_eq!(given.upload_slots, usual.upload_slots);
        assert_eq!(given.on_metered, usual.on_metered);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let mut wrong = Settings::default();
        wrong.limits.up = 5;
        let error = settings(&wrong, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.key, "limits.up");
    }

    #[test]
    fn goals_keep_three_digits() {
        let given = goals(api::Goals {
            ratio: Some(1.2345),
            seeding_seconds: Some(u64::MAX),
        });
        assert_eq!(given.ratio, Some(1235));
        assert_eq!(given.seeding, Some(Duration::from_secs(LONGEST)));
    }
}
