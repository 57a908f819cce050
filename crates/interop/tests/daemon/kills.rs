//! `kill -9` at random points of all that changes something: what was answered is kept, what was not is there or not,
//! and nothing between. Nothing that is on disk is lost by a move, or fetched again.

use crate::world::{Daemon, form, form_type, read_answer};
use fastrand::Rng;
use interop::{Kind, MIB, Scenario, Torrent};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KILLS: u32 = 50;
/// What the seed gives a second, so that fetching takes several lives.
const RATE: u64 = 4 * MIB;
/// Blocks of pieces that were not whole at a kill, and those on their way: they are fetched again.
const IN_FLIGHT: u64 = MIB;
/// Most that is waited for before a kill: something is fetched meanwhile.
const WAIT: Duration = Duration::from_millis(800);
/// A request is killed at most so long after it was sent: most are answered sooner.
const LIFE: Duration = Duration::from_millis(25);

/// A transfer as the daemon has to know it.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    id: u64,
    paused: bool,
    label: Option<String>,
    up: u64,
    tags: Vec<String>,
    /// Folders it may be in: two while it is being moved.
    places: BTreeSet<PathBuf>,
    /// Where it has to be in the end, once a move was answered.
    goal: Option<PathBuf>,
}

/// All that was asked of a daemon.
#[derive(Debug, Clone, Default, PartialEq)]
struct World {
    transfers: BTreeMap<usize, Kept>,
    labels: BTreeMap<String, u64>,
    up: u64,
    /// Numbers of transfers that were forgotten: never to be seen again.
    gone: BTreeSet<u64>,
}

/// A change: how it is asked for, and what is true then.
struct Change {
    what: &'static str,
    method: &'static str,
    path: String,
    kind: String,
    body: Vec<u8>,
    then: World,
    /// The transfer it adds: its number comes with the answer.
    adds: Option<usize>,
    /// It deletes the data of this one.
    deletes: Option<usize>,
}

struct Trial {
    random: Rng,
    daemon: Daemon,
    torrents: Vec<Torrent>,
    folders: Vec<PathBuf>,
    world: World,
    /// Bytes that may have to be fetched, of each torrent.
    budget: Vec<u64>,
    /// Where the data of a forgotten torrent lies.
    left: BTreeMap<usize, PathBuf>,
}

impl Trial {
    /// Any change that is possible now.
    fn change(&mut self) -> Change {
        let n = self.random.usize(..self.torrents.len());
        let mut then = self.world.clone();
        let Some(kept) = then.transfers.get_mut(&n) else {
            return self.add(n, then);
        };
        let id = kept.id;
        let settled = kept.places.len() == 1;
        let (what, method, path, body) = match self.random.u32(..24) {
            0 | 1 => {
                kept.paused = true;
                ("pause", "POST", format!("/transfers/{id}/pause"), None)
            }
            2..=4 => {
                kept.paused = false;
                ("resume", "POST", format!("/transfers/{id}/resume"), None)
            }
            5 | 15..=17 => ("recheck", "POST", format!("/transfers/{id}/recheck"), None),
            6 | 7 => {
                let to = self.random.choice(&self.folders).unwrap();
                kept.places.insert(to.clone());
                kept.goal = Some(to.clone());
                (
                    "move",
                    "POST",
                    format!("/transfers/{id}/move"),
                    Some(json!({"folder": to})),
                )
            }
            8 => {
                kept.up = self.random.u64(1..1 << 30);
                let body = json!({"limits": {"up": kept.up, "down": 0}});
                ("limit", "PATCH", format!("/transfers/{id}"), Some(body))
            }
            9 => {
                kept.tags = vec![format!("tag{}", self.random.u32(..))];
                (
                    "tag",
                    "PATCH",
                    format!("/transfers/{id}"),
                    Some(json!({"tags": kept.tags})),
                )
            }
            10 => {
                let labels: Vec<_> = self
                    .world
                    .labels
                    .keys()
                    .cloned()
                    .map(Some)
                    .chain([None])
                    .collect();
                kept.label = self.random.choice(labels).unwrap();
                (
                    "label",
                    "PATCH",
                    format!("/transfers/{id}"),
                    Some(json!({"label": kept.label})),
                )
            }
            11 => {
                then.up = self.random.u64(1 << 20..1 << 30);
                let body = json!({"limits": {"up": then.up, "down": 0}});
                ("settings", "PATCH", "/settings".into(), Some(body))
            }
            12 => self.label(&mut then),
            13 if settled => {
                then.gone.insert(id);
                then.transfers.remove(&n);
                (
                    "forget",
                    "DELETE",
                    format!("/transfers/{id}?files=keep"),
                    None,
                )
            }
            14 if settled => {
                then.gone.insert(id);
                then.transfers.remove(&n);
                (
                    "delete",
                    "DELETE",
                    format!("/transfers/{id}?files=delete"),
                    None,
                )
            }
            _ => {
                let label = self.world.labels.keys().next().cloned();
                kept.label.clone_from(&label);
                kept.paused = false;
                ("resume", "POST", format!("/transfers/{id}/resume"), None)
            }
        };
        if what == "resume" {
            // Only the pause is taken away.
            then.transfers
                .get_mut(&n)
                .unwrap()
                .label
                .clone_from(&self.world.transfers[&n].label);
        }
        Change {
            what,
            method,
            path,
            kind: "application/json".into(),
            body: body
                .map(|body| body.to_string().into_bytes())
                .unwrap_or_default(),
            then,
            adds: None,
            deletes: (what == "delete").then_some(n),
        }
    }

    fn label(&mut self, then: &mut World) -> (&'static str, &'static str, String, Option<Value>) {
        let name = ["films", "music", "ünïcode"][self.random.usize(..3)];
        let up = self.random.u64(1..1 << 30);
        let path = format!(
            "/labels/{}",
            name.replace('ü', "%C3%BC").replace('ï', "%C3%AF")
        );
        let limits = json!({"up": up, "down": 0});
        if !then.labels.contains_key(name) {
            then.labels.insert(name.into(), up);
            let body = json!({"name": name, "limits": limits});
            return ("new label", "POST", "/labels".into(), Some(body));
        }
        if self.random.u32(..3) > 0 {
            then.labels.insert(name.into(), up);
            return (
                "change of label",
                "PATCH",
                path,
                Some(json!({"limits": limits})),
            );
        }
        then.labels.remove(name);
        for kept in then.transfers.values_mut() {
            kept.label.take_if(|label| label == name);
        }
        ("end of label", "DELETE", path, None)
    }

    fn add(&mut self, n: usize, mut then: World) -> Change {
        let any = self.random.choice(&self.folders).unwrap().clone();
        let folder = self.left.get(&n).cloned().unwrap_or(any);
        let paused = self.random.u32(..4) == 0;
        let tags = vec![format!("new{}", self.random.u32(..))];
        let up = self.random.u64(1..1 << 30);
        let options = json!({
            "folder": folder, "paused": paused, "tags": tags, "limits": {"up": up, "down": 0},
        });
        if !self.left.contains_key(&n) {
            self.budget[n] += self.torrents[n].content.len();
        }
        let kept = Kept {
            id: 0,
            paused,
            label: None,
            up,
            tags,
            places: [folder].into(),
            goal: None,
        };
        then.transfers.insert(n, kept);
        Change {
            what: "add",
            method: "POST",
            path: "/transfers".into(),
            kind: form_type(),
            body: form(&self.torrents[n], &options),
            then,
            adds: Some(n),
            deletes: None,
        }
    }

    /// Asks for a change; the daemon is killed after `life`, if there is one.
    fn ask(&mut self, mut change: Change, life: Option<Duration>) {
        if life.is_some() {
            for row in self.daemon.rows() {
                let n = self
                    .torrents
                    .iter()
                    .position(|t| row["info_hash_v1"].as_str() == t.info_hash_v1.as_deref());
                if row["complete"] != true {
                    self.budget[n.unwrap()] += IN_FLIGHT;
                }
            }
        }
        let stream = self
            .daemon
            .begin(change.method, &change.path, &change.kind, &change.body);
        if let Some(life) = life {
            std::thread::sleep(life);
            self.daemon.kill();
        }
        match (stream.and_then(read_answer), life) {
            (Ok(answer), _) if answer.status < 300 => {
                if let Some(n) = change.adds {
                    self.left.remove(&n);
                    change.then.transfers.get_mut(&n).unwrap().id =
                        answer.json()["id"].as_u64().unwrap();
                }
                self.done(&change);
                self.world = change.then;
                println!("  {}: answered", change.what);
                if life.is_some() {
                    let world = self.world.clone();
                    self.again([world].into(), change.what);
                }
            }
            // Not as things are: a transfer that is being moved cannot be moved.
            (Ok(answer), _) => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.status, 409, "{}: {text}", change.what);
                println!("  {}: {text}", change.what);
                if life.is_some() {
                    let world = self.world.clone();
                    self.again([world].into(), change.what);
                }
            }
            (Err(error), None) => panic!("{}: {error}", change.what),
            (Err(_), Some(_)) => {
                println!("  {}: killed before it answered", change.what);
                if let Some(n) = change.deletes {
                    self.budget[n] += self.torrents[n].content.len();
                }
                let mut then = change.then;
                for kept in then.transfers.values_mut() {
                    if self
                        .world
                        .transfers
                        .values()
                        .all(|was| was.goal != kept.goal || was.id != kept.id)
                    {
                        // Nobody has promised it.
                        kept.goal = None;
                    }
                }
                self.again(vec![then, self.world.clone()], change.what);
            }
        }
    }

    /// What an answer says of the disk.
    fn done(&mut self, change: &Change) {
        for (&n, kept) in &self.world.transfers {
            if change.then.transfers.contains_key(&n) {
                continue;
            }
            let folder = kept.places.first().unwrap().clone();
            if change.deletes == Some(n) {
                let path = folder.join(self.torrents[n].content.name());
                assert!(
                    !path.exists(),
                    "{} was deleted and is there",
                    path.display()
                );
            } else {
                self.left.insert(n, folder);
            }
        }
    }

    /// Starts the daemon after a kill and finds one of these worlds.
    fn again(&mut self, mut possible: Vec<World>, what: &str) {
        let up = self.daemon.up();
        let log = up.stderr();
        assert!(!log.contains("panicked"), "{log}");
        let status = self.daemon.gets("/status");
        assert_eq!(
            status["warnings"],
            json!([]),
            "the database opens, and all is well"
        );
        let rows = self.daemon.rows();
        let mut why = Vec::new();
        possible.retain_mut(|world| match self.is(world, &rows) {
            Ok(()) => true,
            Err(difference) => {
                why.push(difference);
                false
            }
        });
        assert!(
            !possible.is_empty(),
            "after {what}: {why:#?}\n{}{}",
            self.daemon.said(),
            log
        );
        let found = possible.swap_remove(0);
        for (&n, kept) in &self.world.transfers {
            if !found.transfers.contains_key(&n) {
                self.left.insert(n, kept.places.first().unwrap().clone());
            }
        }
        for n in found.transfers.keys() {
            self.left.remove(n);
        }
        self.world = found;
    }

    /// Is the daemon's world this one? A transfer that was added without an answer is given its number here.
    fn is(&self, world: &mut World, rows: &[Value]) -> Result<(), String> {
        for (&n, kept) in &mut world.transfers {
            let hash = self.torrents[n].info_hash_v1.as_deref();
            let row = rows.iter().find(|row| row["info_hash_v1"].as_str() == hash);
            let row =
                row.ok_or_else(|| format!("transfer {} of torrent {n} is missing", kept.id))?;
            let id = row["id"].as_u64().unwrap();
            if kept.id == 0 {
                kept.id = id;
            }
            if world.gone.contains(&id) {
                return Err(format!("{id} was forgotten"));
            }
            let same = [
                ("id", json!(kept.id)),
                ("label", json!(kept.label)),
                ("tags", json!(kept.tags)),
                ("limits", json!({"down": 0, "up": kept.up})),
            ];
            for (field, value) in same {
                if row[field] != value {
                    return Err(format!("{n}: {field} is {}, not {value}", row[field]));
                }
            }
            if (row["state"] == "paused") != kept.paused {
                return Err(format!(
                    "{n}: it is {}, and paused: {}",
                    row["state"], kept.paused
                ));
            }
            let folder = Path::new(row["folder"].as_str().unwrap());
            if !kept.places.contains(folder) {
                return Err(format!(
                    "{n}: it is in {}, not {:?}",
                    folder.display(),
                    kept.places
                ));
            }
        }
        if rows.len() != world.transfers.len() {
            return Err(format!(
                "there are {} rows, not {}",
                rows.len(),
                world.transfers.len()
            ));
        }
        let labels = self.daemon.gets("/labels");
        let labels: BTreeMap<String, u64> = labels
            .as_array()
            .unwrap()
            .iter()
            .map(|label| {
                (
                    label["name"].as_str().unwrap().to_owned(),
                    label["limits"]["up"].as_u64().unwrap(),
                )
            })
            .collect();
        if labels != world.labels {
            return Err(format!("labels are {labels:?}, not {:?}", world.labels));
        }
        let up = self.daemon.gets("/settings")["limits"]["up"].as_u64();
        if up != Some(world.up) {
            return Err(format!("the limit is {up:?}, not {}", world.up));
        }
        Ok(())
    }

    /// What was moved is where it is to be, and nowhere else.
    fn settle(&mut self) {
        for kept in self.world.transfers.values_mut() {
            let id = kept.id;
            let Some(goal) = &kept.goal else { continue };
            let row = self.daemon.until(id, "moved", |row| {
                row["folder"].as_str().map(Path::new) == Some(goal)
            });
            kept.places = [PathBuf::from(row["folder"].as_str().unwrap())].into();
            kept.goal = None;
        }
    }
}

#[test]
fn fifty_kills_lose_nothing_that_was_answered_and_nothing_that_was_there() {
    let seed = std::env::var("STARLING_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("STARLING_SEED={seed} cargo test -p interop --test daemon kills");

    let s = Scenario::new();
    let album = [
        ("01 First.flac", 2 * MIB + 17),
        ("02.flac", MIB),
        ("disc 2/página.png", 16_384),
        ("empty", 0),
    ];
    let torrents: Vec<Torrent> = (0..6)
        .map(|n| {
            let content = match n % 2 {
                0 => s.folder(&format!("Album {n}"), &album),
                _ => s.file(&format!("film {n}.mkv"), 4 * MIB - 5),
            };
            let kind = [Kind::V1, Kind::Hybrid][n % 2];
            s.torrent_with(&content, kind, 64 * 1024, &[&s.tracker().http_url()])
        })
        .collect();
    let mut other = Daemon::new(&s);
    other.up();
    let limits = json!({"lan_free": false, "limits": {"up": RATE, "down": 0}});
    other.does("PATCH", "/settings", Some(&limits));
    let seeds: Vec<u64> = torrents
        .iter()
        .map(|torrent| other.seeds(torrent))
        .collect();

    let daemon = Daemon::new(&s);
    let folders = vec![
        s.path("one"),
        s.path("two"),
        s.small_disk_for(&daemon.starling, 64 * MIB),
    ];
    let mut trial = Trial {
        random: Rng::with_seed(seed),
        daemon,
        budget: vec![0; torrents.len()],
        torrents,
        folders,
        world: World::default(),
        left: BTreeMap::new(),
    };
    trial.daemon.up();
    trial.world.up = 0;
    let began = Instant::now();
    for kill in 1..=KILLS {
        println!("{kill}:");
        for _ in 0..trial.random.u32(..5) {
            let change = trial.change();
            trial.ask(change, None);
        }
        if trial.random.u32(..4) == 0 {
            trial.settle();
        }
        std::thread::sleep(WAIT.mul_f64(trial.random.f64().powi(2)));
        let life = LIFE.mul_f64(trial.random.f64().powi(2));
        let change = trial.change();
        trial.ask(change, Some(life));
    }
    println!("{KILLS} kills took {:?}", began.elapsed());

    trial.settle();
    for (&n, kept) in &trial.world.transfers {
        let torrent = &trial.torrents[n];
        trial
            .daemon
            .does("POST", &format!("/transfers/{}/resume", kept.id), None);
        trial.daemon.receives(kept.id, &torrent.content);
        let row = trial.daemon.gets(&format!("/transfers/{}", kept.id));
        let here = Path::new(row["folder"].as_str().unwrap());
        for folder in trial.folders.iter().filter(|folder| *folder != here) {
            let path = folder.join(torrent.content.name());
            let whole = path.is_file() || path.join("02.flac").is_file();
            assert!(
                !whole,
                "{} is there and in {}",
                path.display(),
                here.display()
            );
        }
    }
    for (n, &id) in seeds.iter().enumerate() {
        let sent = other.gets(&format!("/transfers/{id}"))["sent"]
            .as_u64()
            .unwrap();
        let most = trial.budget[n];
        println!("torrent {n}: {sent} bytes sent, {most} may have been needed");
        assert!(
            sent <= most,
            "torrent {n}: {sent} bytes were sent, at most {most} were needed"
        );
    }
    let damaged = std::fs::read_dir(trial.daemon.home()).unwrap().flatten();
    let names: Vec<_> = damaged
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().all(|name| !name.contains("damaged")),
        "{names:?}"
    );
}
