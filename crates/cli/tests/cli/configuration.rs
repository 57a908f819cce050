//! File, environment, flags, and what is changed while a daemon runs.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{DOORS, Daemon};
use crate::transfer::ALONE;
use crate::{Desk, Ended};

fn configure(desk: &Desk, text: &str) {
    let dir = desk.path(".config/starling");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.toml"), text).unwrap();
}

/// Value and origin of a key.
fn shown(ended: &Ended, key: &str) -> (Value, String) {
    let events = ended.events();
    let found = events.iter().find(|event| event["key"] == key).unwrap();
    (
        found["value"].clone(),
        found["origin"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn every_mistake_in_a_file_is_named_with_its_line() {
    let desk = Desk::new();
    configure(
        &desk,
        "dht = true\n\n[limits]\nupp = 1\ndown = \"fast\"\n\n[queue]\nseeds = -1\n",
    );
    let up = [&["up"], &ALONE[..], &DOORS].concat();
    let detached = [&["up", "--detach"], &ALONE[..], &DOORS].concat();
    for args in [
        &["config", "check"][..],
        &["config", "show"],
        &up,
        &detached,
    ] {
        let refused = desk.run(args).ends(2);
        for told in [
            "config.toml:4: there is no limits.upp. Did you mean limits.up?",
            "config.toml:5: limits.down cannot be \"fast\"",
            "config.toml:8: queue.seeds cannot be -1",
        ] {
            assert!(
                refused.err.contains(told),
                "{args:?} {told}: {}",
                refused.err
            );
        }
    }
    let mistakes = desk.run(&["config", "check", "--json"]).ends(2).events();
    assert_eq!(mistakes.len(), 4);
    assert_eq!(mistakes[0]["line"], 4);

    fs::write(desk.path("good.toml"), "slots = 4\nlimits.up = \"1MiB\"\n").unwrap();
    let good = desk.run(&["config", "check", "good.toml"]).ends(0);
    assert!(good.err.contains("2 keys"), "{}", good.err);
    desk.run(&["config", "check", "none.toml"]).ends(3);
    desk.run(&["up", "--config", "none.toml"]).ends(3);
    fs::write(desk.path("data"), [0xff, 0xfe, 0]).unwrap();
    desk.run(&["config", "check", "data"]).ends(2);
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let desk = Desk::new();
    configure(
        &desk,
        "slots = 4\nlimits.up = \"1MiB\"\nlimits.down = \"1MiB\"\n[goals]\nratio = 2\n",
    );
    let mut command = desk.command(&["config", "show", "--json"]);
    command.env("STARLING_SLOTS", "5");
    let ended = Ended::of(command).ends(0);
    assert_eq!(shown(&ended, "slots"), (json!(5), "STARLING_SLOTS".into()));
    let (value, origin) = shown(&ended, "goals.ratio");
    assert_eq!(value, json!(2.0));
    assert!(
        origin.ends_with(".config/starling/config.toml:5"),
        "{origin}"
    );
    assert_eq!(shown(&ended, "dht"), (json!(true), "default".into()));

    let mut command =
        desk.command(&[&["up", "--json", "--limit-up", "3MiB"], &ALONE[..], &DOORS].concat());
    command
        .env("STARLING_LIMIT_UP", "2MiB")
        .env("STARLING_LIMIT_DOWN", "2MiB");
    let _daemon = Daemon::of(command);
    desk.run(&["settings", "set", "slots=9"]).ends(0);
    // It is the daemon's configuration that is shown, not that of whoever asks.
    let running = desk.run(&["config", "show", "--json"]).ends(0);
    assert_eq!(
        shown(&running, "limits.up"),
        (json!(3 << 20), "--limit-up".into())
    );
    assert_eq!(
        shown(&running, "limits.down"),
        (json!(2 << 20), "STARLING_LIMIT_DOWN".into())
    );
    assert_eq!(
        shown(&running, "slots"),
        (json!(9), "changed while running".into())
    );
    assert_eq!(shown(&running, "dht"), (json!(false), "--no-dht".into()));
    let totals = desk.run(&["status", "--json"]).ends(0).event()["totals"].clone();
    assert_eq!(totals["limits"], json!({ "down": 2 << 20, "up": 3 << 20 }));
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let desk = Desk::new();
    configure(
        &desk,
        "on_done = [\"notify-send\", \"{name} is here\"]\n[[schedule]]\ndays = [\"mon\", \"tue\"]\n\
         from = \"08:00\"\nto = \"18:00\"\nlimits.up = \"100KiB\"\n[[watch]]\npath = \"~/torrents\"\n",
    );
    let first = desk.run(&["config", "show"]).ends(0);
    fs::write(desk.path("same.toml"), &first.out).unwrap();
    let second = desk
        .run(&["config", "show", "--config", "same.toml"])
        .ends(0);
    assert_eq!(first.out, second.out);
    assert!(
        first
            .out
            .contains(&format!("{}/torrents", desk.path("").display()).replace("//", "/"))
    );
    let origins = desk.run(&["config", "show", "--origin"]).ends(0);
    assert!(origins.out.contains("# default"), "{}", origins.out);
}

#[test]
fn a_configuration_is_read_again_and_a_wrong_one_changes_nothing() {
    let desk = Desk::new();
    configure(&desk, "slots = 4\n");
    let mut daemon = Daemon::start(&desk);
    let slots = || desk.run(&["settings", "show", "--json"]).ends(0).event()["slots"].clone();
    assert_eq!(slots(), 4);
    configure(&desk, "slots = 6\nlog = \"debug\"\n");
    daemon.signal("-HUP");
    let said = daemon.says("was read again");
    assert!(
        said.iter()
            .any(|line| line.contains("log takes effect at the next start")),
        "{said:?}"
    );
    assert_eq!(slots(), 6);
    configure(&desk, "slots = 7\nslot = 8\n");
    daemon.signal("-HUP");
    daemon.says("Did you mean slots?");
    assert_eq!(slots(), 6);
}

#[test]
fn variables_that_nothing_reads_are_pointed_out() {
    let desk = Desk::new();
    fs::write(desk.path("c.toml"), "").unwrap();
    let mut command = desk.command(&["config", "check", "c.toml"]);
    command.env("STARLING_LIMITS_UP", "5");
    let told = Ended::of(command).ends(0);
    assert!(
        told.err.contains("STARLING_LIMITS_UP") && told.err.contains("STARLING_LIMIT_UP?"),
        "{}",
        told.err
    );
    let mut command = desk.command(&["config", "show"]);
    command.env("STARLING_SLOTS", "many");
    let refused = Ended::of(command).ends(2);
    assert!(
        refused.err.contains("STARLING_SLOTS cannot be many"),
        "{}",
        refused.err
    );
}

#[test]
fn paths_are_those_of_the_environment() {
    let desk = Desk::new();
    let paths = desk.run(&["paths", "--json"]).ends(0).event();
    let at = |name: &str| paths[name].as_str().unwrap().to_owned();
    let here = |name: &str| desk.path(name).display().to_string();
    assert_eq!(at("home"), here("home"));
    assert_eq!(at("socket"), here("home/api.sock"));
    assert_eq!(at("config"), here(".config/starling/config.toml"));
    assert_eq!(at("downloads"), here("Downloads"));
    let mut command = desk.command(&["paths", "--json"]);
    command
        .env_remove("STARLING_HOME")
        .env("XDG_STATE_HOME", desk.path("state"))
        .env("XDG_CONFIG_HOME", desk.path("etc"));
    let moved = Ended::of(command).ends(0).event();
    assert_eq!(moved["home"], here("state/starling"));
    assert_eq!(moved["config"], here("etc/starling/config.toml"));
    // A service's user has no folder of its own.
    let mut command = desk.command(&["paths", "--json"]);
    command.env("HOME", "/");
    let service = Ended::of(command).ends(0).event();
    assert_eq!(service["downloads"], here("home/downloads"));
}
