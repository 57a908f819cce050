//! What the computer says of itself: power, network, disks, memory. Looked at only while somebody wants to know.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use api::{BatteryAction, MeteredAction};
use policy::{FileSystem, Input, Power, Space, Upload};

use super::entry::Entry;
use super::{Daemon, home};

/// How often it is looked at while something moves, or waits for room on a disk or in memory.
const BUSY: Duration = Duration::from_secs(10);
/// How often while nothing moves and power or network are of interest.
const IDLE: Duration = Duration::from_secs(60);

/// Tells the policy what changes, for ever.
pub(super) async fn follow(daemon: Daemon) {
    let files = limit_of_open_files();
    daemon.judge([Input::OpenFileLimit(files)]);
    let mut told = BTreeMap::new();
    let mut uploaded = None;
    loop {
        let (busy, cares) = daemon.interests();
        let mut facts = Vec::new();
        if cares.power {
            facts.push(Input::Power(power(Path::new("/sys/class/power_supply"))));
        }
        if cares.metered {
            facts.push(Input::Metered(metered().await));
        }
        if busy {
            facts.extend(daemon.spaces(&mut told));
            facts.extend(daemon.upload(&mut uploaded).await);
            if cares.memory {
                facts.push(Input::Memory(usage().resident_bytes));
            }
        }
        daemon.look_at_clock().await;
        if !facts.is_empty() {
            daemon.judge(facts);
        }
        let wait = match (busy, cares.power || cares.metered) {
            (true, _) => Some(BUSY),
            (false, true) => Some(IDLE),
            (false, false) => None,
        };
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => daemon.shared.stirred.notified().await,
        }
    }
}

/// What the settings make worth a look.
struct Cares {
    power: bool,
    metered: bool,
    memory: bool,
}

impl Daemon {
    fn interests(&self) -> (bool, Cares) {
        let busy = {
            let book = self.book();
            let moves = |entry: &Entry| match entry.complete() {
                true => entry.runs() && entry.swarm().is_some_and(|swarm| swarm.peers > 0),
                // What waits for room goes on only if somebody looks whether there is some.
                false => entry.runs() || entry.waits_for_room(),
            };
            book.entries().any(moves)
        };
        let cares = self.shared.live.read(|table| {
            let settings = table.settings();
            Cares {
                power: settings.battery.action != BatteryAction::Ignore
                    && Path::new("/sys/class/power_supply").exists(),
                metered: settings.metered.action != MeteredAction::Ignore
                    && Path::new("/run/NetworkManager").exists(),
                memory: settings.memory > 0,
            }
        });
        (busy, cares)
    }

    /// Room on the file systems that downloads write to.
    fn spaces(&self, told: &mut BTreeMap<u64, u64>) -> Vec<Input> {
        let mut roots = BTreeMap::new();
        for entry in self.book().entries_mut() {
            if entry.complete() {
                continue;
            }
            let root = entry.root();
            entry.file_system = home::file_system(&root);
            if let Some(id) = entry.file_system {
                roots
                    .entry(id)
                    .or_insert_with(|| entry.record.folder.to_path_buf());
            }
        }
        let mut facts = Vec::new();
        for gone in told.keys().filter(|id| !roots.contains_key(id)) {
            facts.push(Input::Space(FileSystem(*gone), None));
        }
        told.retain(|id, _| roots.contains_key(id));
        for (id, folder) in roots {
            let there = folder.ancestors().find(|path| path.exists());
            let Some(stat) = there.and_then(|path| rustix::fs::statvfs(path).ok()) else {
                continue;
            };
            let free = stat.f_bavail * stat.f_frsize;
            if told.insert(id, free) != Some(free) {
                let space = Space {
                    folder: folder.to_string_lossy().into(),
                    free,
                    total: stat.f_blocks * stat.f_frsize,
                };
                facts.push(Input::Space(FileSystem(id), Some(space)));
            }
        }
        facts
    }

    /// What was sent since the last look.
    async fn upload(&self, before: &mut Option<(u64, Instant)>) -> Option<Input> {
        let now = Instant::now();
        let uploading = self
            .shared
            .node
            .call(|driver| driver.session.borrow().uploading());
        let uploading = uploading.await.ok()?;
        let (sent, at) = before.replace((uploading.sent, now))?;
        Some(Input::Upload(Upload {
            bytes: uploading.sent.saturating_sub(sent),
            interval: now.duration_since(at),
            served: uploading.served as u32,
            waiting: uploading.waiting as u32,
        }))
    }
}

/// Where power comes from, as Linux says it.
fn power(supplies: &Path) -> Power {
    let read = |path: &Path, name: &str| {
        fs::read_to_string(path.join(name)).map(|text| text.trim().to_owned())
    };
    let (mut on_battery, mut charge) = (false, None::<u8>);
    for supply in fs::read_dir(supplies).into_iter().flatten().flatten() {
        let path = supply.path();
        // A mouse has a battery too.
        if read(&path, "scope").is_ok_and(|scope| scope == "Device") {
            continue;
        }
        match read(&path, "type").as_deref() {
            Ok("Mains" | "USB") if read(&path, "online").is_ok_and(|online| online == "1") => {
                return Power::Mains;
            }
            Ok("Battery") => {
                on_battery |= read(&path, "status").is_ok_and(|status| status == "Discharging");
                let percent = read(&path, "capacity")
                    .ok()
                    .and_then(|text| text.parse().ok());
                charge = charge.max(percent);
            }
            _ => {}
        }
    }
    match on_battery {
        true => Power::Battery(charge),
        false => Power::Unknown,
    }
}

/// Whether the network costs by the byte, as NetworkManager says it.
async fn metered() -> Option<bool> {
    let asked = tokio::process::Command::new("busctl")
        .args([
            "--timeout=2",
            "get-property",
            "org.freedesktop.NetworkManager",
            "/org/freedesktop/NetworkManager",
            "org.freedesktop.NetworkManager",
            "Metered",
        ])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .await
        .ok()?;
    read_metered(&String::from_utf8_lossy(&asked.stdout))
}

/// `u 1` and `u 3` are yes and probably yes; 2 and 4 no, 0 unknown (NMMetered).
fn read_metered(answer: &str) -> Option<bool> {
    match answer.trim() {
        "u 1" | "u 3" => Some(true),
        "u 2" | "u 4" => Some(false),
        _ => None,
    }
}

fn limit_of_open_files() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

/// What this process uses.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_files: u64,
    pub max_open_files: u64,
}

/// Reads it from `/proc`; zeros where there is none.
pub(super) fn usage() -> Usage {
    let numbers = |path: &str| -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets: state, then numbers; the 12th and 13th are user and system time.
    let times: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse().ok())
        .collect();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Usage {
        cpu_seconds: times.iter().sum::<u64>() as f64 / ticks as f64,
        resident_bytes: numbers("/proc/self/statm").get(1).copied().unwrap_or(0)
            * rustix::param::page_size() as u64,
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
        max_open_files: limit_of_open_files(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(dir: &Path, name: &str, facts: &[(&str, &str)]) {
        let path = dir.join(name);
        fs::create_dir_all(&path).unwrap();
        for (fact, value) in facts {
            fs::write(path.join(fact), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn power_is_read_as_linux_says_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(power(dir.path()), Power::Unknown);
        let mouse = [
            ("type", "Battery"),
            ("scope", "Device"),
            ("status", "Discharging"),
        ];
        supply(dir.path(), "mouse", &mouse);
        assert_eq!(power(dir.path()), Power::Unknown);
        let battery = [
            ("type", "Battery"),
            ("status", "Discharging"),
            ("capacity", "41"),
        ];
        supply(dir.path(), "BAT0", &battery);
        assert_eq!(power(dir.path()), Power::Battery(Some(41)));
        supply(dir.path(), "AC", &[("type", "Mains"), ("online", "1")]);
        assert_eq!(power(dir.path()), Power::Mains);
    }

    #[test]
    fn network_manager_s_answers_are_understood() {
        assert_eq!(read_metered("u 1\n"), Some(true));
        assert_eq!(read_metered("u 4\n"), Some(false));
        assert_eq!(read_metered("u 0\n"), None);
        assert_eq!(read_metered(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let usage = usage();
        assert!(usage.resident_bytes > 1 << 20 && usage.open_files > 0);
        assert!(usage.max_open_files >= usage.open_files);
    }
}
