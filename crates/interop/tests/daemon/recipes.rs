//! What README.md shows of the daemon, line by line, as a reader would paste it.

use crate::world::Daemon;
use interop::{Kind, MIB, Scenario};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Printed between the outputs of two lines.
const CUT: &str = "--8<--";

/// The lines of the one block that a shell can run.
fn recipes() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, block) = readme
        .split_once("```sh\n")
        .expect("README.md has a block for shells");
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(str::to_owned).collect()
}

#[test]
fn the_recipes_in_the_readme_do_what_they_say() {
    let s = Scenario::new();
    let album = s.folder(
        "album",
        &[("01 Take-off.flac", 2 * MIB), ("cover.jpg", 40_000)],
    );
    let torrent = s.torrent(&album, Kind::Hybrid);
    let mut seed = Daemon::new(&s);
    seed.up();
    seed.seeds(&torrent);

    // The command as it lies in a PATH, and a person's empty home.
    let (person, bin) = (s.path("person"), s.path("bin"));
    std::fs::create_dir_all(&person).unwrap();
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(interop_binary(), bin.join("starling")).unwrap();
    std::fs::copy(&torrent.path, person.join("album.torrent")).unwrap();
    let lines = recipes();
    let script: String = lines
        .iter()
        .map(|line| format!("{line}\necho; echo '{CUT}'\n"))
        .collect();
    // Whatever comes of it, no daemon stays.
    let script = format!("trap 'starling down --quiet 2>/dev/null' EXIT\n{script}");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("timeout");
    shell
        .args(["60", "bash", "-c", &script])
        .current_dir(&person);
    shell
        .env_clear()
        .env("HOME", &person)
        .env("PATH", path)
        .env("STARLING_NO_DHT", "1");
    let out = shell.output().unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    println!("{said}\n{errors}");
    let said: Vec<&str> = said.split(CUT).map(str::trim).collect();
    let of = |part: &str| -> &str {
        let line = lines.iter().position(|line| line.contains(part));
        said[line.unwrap_or_else(|| panic!("no recipe with {part}"))]
    };
    let json = |part: &str| -> Value {
        serde_json::from_str(of(part))
            .unwrap_or_else(|error| panic!("{part}: {} {error}", of(part)))
    };

    assert!(
        of("starling up").ends_with("http://127.0.0.1:7117"),
        "{}",
        of("starling up")
    );
    assert_eq!(json("-F torrent=")["id"], 1);
    let list = json("sort=name");
    assert_eq!(
        (&list["total"], &list["transfers"][0]["name"]),
        (&1.into(), &"album".into())
    );
    assert_eq!(of("wc -c"), "1024");
    assert_eq!(json("/pause")["state"], "paused");
    assert_eq!(json("PATCH")["limits"]["down"], 2 * MIB);
    let events = of("/events");
    assert!(
        events.contains("event: snapshot") && events.contains("event: added"),
        "{events}"
    );
    assert!(events.contains("\"name\":\"album\""), "{events}");
    let lock = person.join(".local/state/starling/api.sock");
    assert!(!lock.exists(), "the daemon is down");
}

/// The program that the scenarios run.
fn interop_binary() -> std::path::PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/starling");
    std::env::var_os("STARLING_BIN").map_or(built, Into::into)
}
