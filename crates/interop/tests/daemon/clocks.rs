//! Clocks that jump, as those of computers without a battery do when they first reach a time server.

use crate::world::Daemon;
use interop::{Kind, MIB, Scenario};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The clock on a daemon's wall, which a test can change.
struct Clock(PathBuf);

impl Clock {
    /// Hangs up a clock that goes right.
    fn of(s: &Scenario, daemon: &mut Daemon) -> Clock {
        let clock = Clock(s.path("clock"));
        clock.jumps(0);
        let starling = daemon.starling.clone().env("TZ", "UTC");
        // The clock that only goes forward stays as it is, and so do times of files: no jump changes those.
        daemon.starling = starling
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", &clock.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        clock
    }

    /// It goes so many seconds ahead from now on, or behind.
    fn jumps(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut library = folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    library
        .find(|path| path.exists())
        .expect("faketime is installed: `cargo xtask setup`")
}

/// A time of day, so many seconds from now, in UTC.
fn time_of_day(ahead: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let minutes = (now.as_secs() + ahead) / 60 % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// For two hours, everything.
fn pauses_half_a_day_from_now(daemon: &Daemon) {
    let window = json!({
        "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "from": time_of_day(11 * HOUR), "to": time_of_day(13 * HOUR), "pause": true,
    });
    daemon.does("PATCH", "/settings", Some(&json!({"schedule": [window]})));
}

#[test]
fn a_day_forward_and_back_neither_stalls_a_download_nor_counts_as_seeding() {
    let s = Scenario::new();
    let (film, other) = (s.file("film.mkv", 12 * MIB), s.file("other.mkv", MIB));
    let mut daemon = Daemon::new(&s);
    let clock = Clock::of(&s, &mut daemon);
    daemon.up();
    let goal = json!({"goals": {"ratio": null, "seeding_seconds": HOUR}});
    daemon.does("PATCH", "/settings", Some(&goal));
    let seeded = daemon.seeds(&s.torrent_without_tracker(&other, Kind::Hybrid));
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let peer = s.libtorrent().limit_up(2 * MIB).seeds(&torrent);
    let id = daemon.adds(&torrent, &json!({"peers": [peer.addr]}));
    let added = daemon.until(id, "known", |_| true)["added_at"].as_u64();
    for jump in [DAY as i64, 0, -(DAY as i64), 0] {
        clock.jumps(jump);
        let before = daemon.until(id, "seen", |_| true)["done"].as_u64();
        daemon.until(id, "going on", |row| row["done"].as_u64() > before);
        let row = daemon.until(seeded, "seen", |_| true);
        assert_eq!(row["state"], "seeding", "{row:#}");
    }
    daemon.receives(id, &film);
    clock.jumps(2 * DAY as i64);
    daemon.down();
    daemon.up();
    let row = daemon.until(seeded, "seen", |_| true);
    assert_eq!(row["state"], "seeding", "{row:#}");
    // It was a jump, and nothing else.
    let late = s.file("late.mkv", MIB);
    let late = daemon.seeds(&s.torrent_without_tracker(&late, Kind::Hybrid));
    let row = daemon.until(late, "seen", |_| true);
    assert!(
        row["added_at"].as_u64() > added.map(|added| added + DAY),
        "{row:#}"
    );
}

#[test]
fn a_schedule_follows_a_clock_that_jumps() {
    let s = Scenario::new();
    let film = s.file("film.mkv", 60 * MIB);
    let mut daemon = Daemon::new(&s);
    let clock = Clock::of(&s, &mut daemon);
    daemon.up();
    pauses_half_a_day_from_now(&daemon);
    let torrent = s.torrent_without_tracker(&film, Kind::Hybrid);
    let peer = s.libtorrent().limit_up(2 * MIB).seeds(&torrent);
    let id = daemon.adds(&torrent, &json!({"peers": [peer.addr]}));
    daemon.until(id, "under way", |row| row["done"].as_u64() > Some(0));
    clock.jumps(12 * HOUR as i64);
    let row = daemon.until(id, "held", |row| row["state"] == "held");
    assert_eq!(row["cause"], "schedule", "{row:#}");
    clock.jumps(0);
    daemon.until(id, "going on", |row| row["state"] == "downloading");
}

#[test]
fn a_clock_that_jumps_while_nothing_moves_is_noticed() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let mut daemon = Daemon::new(&s);
    let clock = Clock::of(&s, &mut daemon);
    daemon.up();
    let began = Instant::now();
    pauses_half_a_day_from_now(&daemon);
    let goal = json!({"goals": {"ratio": null, "seeding_seconds": HOUR}});
    daemon.does("PATCH", "/settings", Some(&goal));
    let id = daemon.seeds(&s.torrent_without_tracker(&film, Kind::Hybrid));
    clock.jumps(12 * HOUR as i64);
    // It is looked at once a minute.
    std::thread::sleep(Duration::from_secs(5));
    let row = daemon.until(id, "held", |row| row["state"] == "held");
    assert_eq!(row["cause"], "schedule", "{row:#}");
    assert!(began.elapsed() < Duration::from_secs(65));
    // What the clock jumped was not seeded.
    daemon.kill();
    clock.jumps(6 * HOUR as i64);
    daemon.up();
    let row = daemon.until(id, "seen", |_| true);
    assert_eq!(row["state"], "seeding", "{row:#}");
}

#[test]
fn a_jump_before_a_crash_is_not_counted_as_seeding() {
    let s = Scenario::new();
    let film = s.file("film.mkv", MIB);
    let mut daemon = Daemon::new(&s);
    daemon.up();
    let goal = json!({"goals": {"ratio": null, "seeding_seconds": HOUR}});
    daemon.does("PATCH", "/settings", Some(&goal));
    let id = daemon.seeds(&s.torrent_without_tracker(&film, Kind::Hybrid));
    daemon.kill();
    // As the system would have written it, had its clock jumped.
    let alive = fs::File::options()
        .write(true)
        .open(daemon.home().join("alive"))
        .unwrap();
    alive
        .set_modified(SystemTime::now() + Duration::from_secs(DAY))
        .unwrap();
    daemon.up();
    let row = daemon.until(id, "seen", |_| true);
    assert_eq!(row["state"], "seeding", "{row:#}");
}

#[test]
fn uptime_is_no_matter_of_the_clock() {
    let s = Scenario::new();
    let mut daemon = Daemon::new(&s);
    let clock = Clock::of(&s, &mut daemon);
    daemon.up();
    for jump in [DAY as i64, -(DAY as i64)] {
        clock.jumps(jump);
        std::thread::sleep(Duration::from_secs(1));
        let uptime = daemon.gets("/status")["uptime_seconds"].as_u64().unwrap();
        assert!((1..60).contains(&uptime), "{uptime}");
    }
}
