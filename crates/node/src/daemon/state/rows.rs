//! Records to rows and back.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use api::{Goals, Label, Limits};
use rusqlite::{Connection, Row, named_params};
use torrent::ids::InfoHashes;

use super::schema::OpenError;
use super::{Change, Extras, Facts, Kept, Rare, Record, Totals};
use crate::drivers::dormant::Folders;

/// Globs, tags and trackers are kept one a line,
const BETWEEN: &str = "\n";
/// tiers of trackers with an empty line between.
const TIERS: &str = "\n\n";

/// Reads everything.
pub(super) fn load(connection: &Connection) -> Result<Kept, OpenError> {
    let mut kept = Kept::default();
    let mut query = connection.prepare("SELECT * FROM transfer ORDER BY id")?;
    let mut folders = Folders::default();
    for record in query.query_map([], |row| record(row, &mut folders))? {
        kept.transfers.push(record?);
    }
    let mut query = connection.prepare("SELECT * FROM label ORDER BY name")?;
    for label in query.query_map([], label)? {
        kept.labels.push(label?);
    }
    let mut query = connection.prepare("SELECT key, value FROM setting ORDER BY key")?;
    for setting in query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        kept.settings.push(setting?);
    }
    let last: u32 = connection.query_row(
        "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'transfer'",
        [],
        |row| row.get(0),
    )?;
    kept.next_id = last.saturating_add(1);
    Ok(kept)
}

/// Writes changes in one transaction; `durable`: it is on the disk when this returns.
pub(super) fn keep<'a>(
    connection: &mut Connection,
    changes: impl IntoIterator<Item = &'a Change>,
    durable: bool,
) -> rusqlite::Result<()> {
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    let transaction = connection.transaction()?;
    for change in changes {
        put(&transaction, change)?;
    }
    transaction.commit()
}

fn put(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Transfer(record) => put_transfer(connection, record),
        Change::Forgotten(id) => connection
            .prepare_cached("DELETE FROM transfer WHERE id = ?1")?
            .execute([id])
            .map(drop),
        Change::Label(label) => connection
            .prepare_cached(
                "INSERT INTO label VALUES (:name, :folder, :down, :up, :own, :ratio, :seconds, :most)
                 ON CONFLICT (name) DO UPDATE SET folder = :folder, limit_down = :down,
                 limit_up = :up, own_goals = :own, goal_ratio = :ratio, goal_seconds = :seconds,
                 max_active = :most",
            )?
            .execute(named_params! {
                ":name": label.name,
                ":folder": label.folder,
                ":down": signed(label.limits.down),
                ":up": signed(label.limits.up),
                ":own": label.goals.is_some(),
                ":ratio": label.goals.and_then(|goals| goals.ratio),
                ":seconds": label.goals.and_then(|goals| goals.seeding_seconds).map(signed),
                ":most": label.max_active,
            })
            .map(drop),
        Change::LabelGone(name) => connection
            .prepare_cached("DELETE FROM label WHERE name = ?1")?
            .execute([name])
            .map(drop),
        Change::Setting(key, Some(value)) => connection
            .prepare_cached("INSERT OR REPLACE INTO setting VALUES (?1, ?2)")?
            .execute([key, value])
            .map(drop),
        Change::Setting(key, None) => connection
            .prepare_cached("DELETE FROM setting WHERE key = ?1")?
            .execute([key])
            .map(drop),
        Change::Totals(id, totals) => connection
            .prepare_cached(
                "UPDATE transfer SET done = :done, received = :received, sent = :sent,
                 wasted = :wasted, seeded_seconds = :seeded WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": id,
                ":done": signed(totals.done),
                ":received": signed(totals.received),
                ":sent": signed(totals.sent),
                ":wasted": signed(totals.wasted),
                ":seeded": signed(totals.seeded_seconds),
            })
            .map(drop),
        Change::Seeding { alive, since, ids } => {
            connection
                .prepare_cached(
                    "UPDATE transfer SET
                     seeded_seconds = seeded_seconds + MIN(MAX(0, ?1 - seeding_from), ?2),
                     seeding_from = NULL WHERE seeding_from IS NOT NULL",
                )?
                .execute((alive.at, signed(alive.ran)))?;
            let mut begin =
                connection.prepare_cached("UPDATE transfer SET seeding_from = ?1 WHERE id = ?2")?;
            for id in ids {
                begin.execute((since, id))?;
            }
            Ok(())
        }
    }
}

fn put_transfer(connection: &Connection, r: &Record) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO transfer VALUES (:id, :name, :file_name, :v1, :v2, :link, :folder, :exact,
             :read_only, :label, :paused, :sequential, :preallocate, :priorities, :chosen,
             :limit_down, :limit_up, :own_goals, :goal_ratio, :goal_seconds, :tags, :trackers,
             :moving_to, :position, :added, :finished, :seeding_from,
             :size, :wanted, :files, :pieces, :private, :done, :received, :sent, :wasted,
             :seeded_seconds, :super_seed)",
        )?
        .execute(named_params! {
            ":id": r.id,
            ":name": r.name,
            ":file_name": r.file_name(),
            ":v1": r.hashes.v1,
            ":v2": r.hashes.v2,
            ":link": r.rare.link,
            ":folder": bytes(&r.folder),
            ":exact": r.exact,
            ":read_only": r.read_only,
            ":label": r.label,
            ":paused": r.paused,
            ":sequential": r.sequential,
            ":super_seed": r.super_seed,
            ":preallocate": r.preallocate,
            ":priorities": r.rare.priorities,
            ":chosen": r.rare.select.join(BETWEEN),
            ":limit_down": signed(r.limits.down),
            ":limit_up": signed(r.limits.up),
            ":own_goals": r.rare.goals.is_some(),
            ":goal_ratio": r.rare.goals.and_then(|goals| goals.ratio),
            ":goal_seconds": r.rare.goals.and_then(|goals| goals.seeding_seconds).map(signed),
            ":tags": r.rare.tags.join(BETWEEN),
            ":trackers": r.rare.trackers.iter().map(|tier| tier.join(BETWEEN)).collect::<Vec<_>>().join(TIERS),
            ":moving_to": r.rare.moving_to.as_deref().map(bytes),
            ":position": r.position,
            ":added": r.added,
            ":finished": r.finished,
            ":seeding_from": r.seeding_from,
            ":size": signed(r.facts.size),
            ":wanted": signed(r.facts.wanted),
            ":files": r.facts.files,
            ":pieces": r.facts.pieces,
            ":private": r.facts.private,
            ":done": signed(r.totals.done),
            ":received": signed(r.totals.received),
            ":sent": signed(r.totals.sent),
            ":wasted": signed(r.totals.wasted),
            ":seeded_seconds": signed(r.totals.seeded_seconds),
        })
        .map(drop)
}

fn record(row: &Row<'_>, folders: &mut Folders) -> rusqlite::Result<Record> {
    let name: String = row.get("name")?;
    let number = |column: &str| row.get::<_, i64>(column).map(unsigned);
    Ok(Record {
        id: row.get("id")?,
        file_name: Some(row.get::<_, String>("file_name")?)
            .filter(|file_name| *file_name != name)
            .map(String::into_boxed_str),
        name,
        hashes: InfoHashes {
            v1: row.get("v1")?,
            v2: row.get("v2")?,
        },
        folder: folders.one(&path(row.get("folder")?)),
        exact: row.get("exact")?,
        read_only: row.get("read_only")?,
        label: row.get("label")?,
        paused: row.get("paused")?,
        sequential: row.get("sequential")?,
        super_seed: row.get("super_seed")?,
        preallocate: row.get("preallocate")?,
        limits: limits(row)?,
        position: row.get("position")?,
        added: row.get("added")?,
        finished: row.get("finished")?,
        seeding_from: row.get("seeding_from")?,
        facts: Facts {
            size: number("size")?,
            wanted: number("wanted")?,
            files: row.get("files")?,
            pieces: row.get("pieces")?,
            private: row.get("private")?,
        },
        totals: Totals {
            done: number("done")?,
            received: number("received")?,
            sent: number("sent")?,
            wasted: number("wasted")?,
            seeded_seconds: number("seeded_seconds")?,
        },
        rare: Rare::from(Extras {
            link: row.get("link")?,
            priorities: row.get("priorities")?,
            select: lines(&row.get::<_, String>("chosen")?),
            goals: goals(row)?,
            tags: lines(&row.get::<_, String>("tags")?),
            trackers: row
                .get::<_, String>("trackers")?
                .split(TIERS)
                .map(lines)
                .filter(|tier| !tier.is_empty())
                .collect(),
            moving_to: row.get::<_, Option<Vec<u8>>>("moving_to")?.map(path),
        }),
    })
}

fn label(row: &Row<'_>) -> rusqlite::Result<Label> {
    Ok(Label {
        name: row.get("name")?,
        folder: row.get("folder")?,
        limits: limits(row)?,
        goals: goals(row)?,
        max_active: row.get("max_active")?,
    })
}

fn limits(row: &Row<'_>) -> rusqlite::Result<Limits> {
    Ok(Limits {
        down: row.get("limit_down").map(unsigned)?,
        up: row.get("limit_up").map(unsigned)?,
    })
}

fn goals(row: &Row<'_>) -> rusqlite::Result<Option<Goals>> {
    let own: bool = row.get("own_goals")?;
    let goals = Goals {
        ratio: row.get("goal_ratio")?,
        seeding_seconds: row.get::<_, Option<i64>>("goal_seconds")?.map(unsigned),
    };
    Ok(own.then_some(goals))
}

/// One word a line.
fn lines(text: &str) -> Vec<String> {
    text.split(BETWEEN)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// SQLite counts in i64.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
