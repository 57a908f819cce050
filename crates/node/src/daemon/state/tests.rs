//! The state survives what a disk and a crash do to it.

use std::fs;

use super::*;

pub(crate) fn record(id: u32) -> Record {
    Record {
        id,
        name: format!("album {id}"),
        file_name: id.is_multiple_of(2).then(|| "album".into()),
        hashes: InfoHashes {
            v1: Some([id as u8; 20]),
            v2: id.is_multiple_of(2).then_some([id as u8; 32]),
        },
        folder: PathBuf::from(format!("/data/{id}")).into(),
        exact: id.is_multiple_of(2),
        read_only: false,
        label: None,
        paused: id == 3,
        sequential: true,
        super_seed: true,
        preallocate: false,
        limits: Limits {
            down: 1 << 20,
            up: u64::MAX,
        },
        position: -4,
        added: 1_700_000_000,
        finished: Some(1_700_000_100),
        seeding_from: None,
        facts: Facts {
            size: 1 << 40,
            wanted: 1 << 39,
            files: 3,
            pieces: 1000,
            private: true,
        },
        totals: Totals {
            done: 5,
            received: 6,
            sent: 7,
            wasted: 8,
            seeded_seconds: 9,
        },
        rare: Rare::from(Extras {
            link: (id == 1).then(|| "magnet:?xt=urn:btih:…".to_owned()),
            priorities: vec![0, 4, 7],
            select: vec!["*.flac".to_owned(), "disc 2/**".to_owned()],
            goals: (id != 2).then_some(Goals {
                ratio: Some(1.5),
                seeding_seconds: None,
            }),
            tags: vec!["live".to_owned(), "to keep".to_owned()],
            trackers: vec![
                vec!["http://a/announce".to_owned(), "udp://b:80".to_owned()],
                vec!["http://c/announce".to_owned()],
            ],
            moving_to: (id == 2).then(|| "/elsewhere".into()),
        }),
    }
}

fn put(id: u32) -> Change {
    Change::Transfer(Box::new(record(id)))
}

fn labelled(id: u32, label: &str) -> Change {
    Change::Transfer(Box::new(Record {
        label: Some(label.to_owned()),
        ..record(id)
    }))
}

fn music() -> Label {
    Label {
        name: "music".to_owned(),
        folder: Some("/music".into()),
        limits: Limits { down: 0, up: 5 },
        goals: Some(Goals {
            ratio: Some(2.0),
            seeding_seconds: Some(60),
        }),
        max_active: 3,
    }
}

fn commit(state: &State, changes: Vec<Change>) -> Result<(), String> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(state.commit(changes))
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    {
        let (state, kept) = State::open(&path, false).unwrap();
        assert!(kept.transfers.is_empty() && kept.next_id == 1);
        let changes = vec![Change::Label(music()), put(1), labelled(2, "music")];
        commit(&state, changes).unwrap();
        let sent = Totals {
            sent: 70,
            ..record(1).totals
        };
        state.note(vec![
            Change::Setting("queue.downloads".into(), Some("3".into())),
            Change::Totals(1, sent),
        ]);
    }
    let (_state, kept) = State::open(&path, false).unwrap();
    let mut first = record(1);
    first.totals.sent = 70;
    // SQLite has no number above this.
    first.limits.up = i64::MAX as u64;
    assert_eq!(kept.transfers[0], first);
    assert_eq!(kept.transfers[1].label.as_deref(), Some("music"));
    assert_eq!(kept.labels, [music()]);
    assert_eq!(
        kept.settings,
        [("queue.downloads".to_owned(), "3".to_owned())]
    );
    assert_eq!((kept.next_id, kept.lost), (3, None));
}

#[test]
fn a_run_counts_what_the_one_before_seeded_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let seed = |id, from| {
        Change::Transfer(Box::new(Record {
            seeding_from: from,
            ..record(id)
        }))
    };
    {
        let (state, _) = State::open(&path, false).unwrap();
        let changes = vec![seed(1, Some(1000)), seed(2, Some(1000)), seed(3, None)];
        commit(&state, changes).unwrap();
    }
    {
        let (state, _) = State::open(&path, false).unwrap();
        // The second was paused in between.
        state.note(vec![Change::Seeding {
            alive: Alive {
                at: 1100,
                ran: u64::MAX,
            },
            since: 2000,
            ids: vec![1, 3],
        }]);
    }
    let kept = State::open(&path, false).unwrap().1.transfers;
    let seeding = |r: &Record| (r.seeding_from, r.totals.seeded_seconds);
    let seeding: Vec<_> = kept.iter().map(seeding).collect();
    assert_eq!(seeding, [(Some(2000), 109), (None, 109), (Some(2000), 9)]);
    {
        let (state, _) = State::open(&path, false).unwrap();
        // The clock says it was a day; the run says it was a minute.
        state.note(vec![Change::Seeding {
            alive: Alive {
                at: 2000 + 24 * 60 * 60,
                ran: 60,
            },
            since: 3000,
            ids: vec![1],
        }]);
    }
    let kept = State::open(&path, false).unwrap().1.transfers;
    assert_eq!(kept[0].totals.seeded_seconds, 169);
}

#[test]
fn a_number_is_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    {
        let (state, _) = State::open(&path, false).unwrap();
        commit(&state, vec![put(1), put(2)]).unwrap();
        commit(&state, vec![Change::Forgotten(2)]).unwrap();
    }
    assert_eq!(State::open(&path, false).unwrap().1.next_id, 3);
}

#[test]
fn changes_are_kept_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let (state, _) = State::open(&path, false).unwrap();
    assert!(commit(&state, vec![put(1), labelled(2, "no such label")]).is_err());
    drop(state);
    assert!(State::open(&path, false).unwrap().1.transfers.is_empty());
}

#[test]
fn a_label_that_goes_leaves_its_transfers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let (state, _) = State::open(&path, false).unwrap();
    commit(&state, vec![Change::Label(music()), labelled(1, "music")]).unwrap();
    commit(&state, vec![Change::LabelGone("music".to_owned())]).unwrap();
    drop(state);
    let (_state, kept) = State::open(&path, false).unwrap();
    assert_eq!(kept.transfers[0].label, None);
}

#[test]
fn a_damaged_database_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    for whole in [true, false] {
        let path = dir.path().join(format!("{whole}.sqlite"));
        {
            let (state, _) = State::open(&path, false).unwrap();
            commit(&state, (1..300).map(put).collect()).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        match whole {
            true => bytes.fill(b'x'),
            false => bytes[middle..middle + 4096].fill(0xaa),
        }
        fs::write(&path, bytes).unwrap();
        let (state, kept) = State::open(&path, false).unwrap();
        let Some(Lost::Damaged(aside)) = kept.lost else {
            panic!("it is damaged");
        };
        assert!(aside.exists() && kept.transfers.is_empty());
        commit(&state, vec![put(1)]).unwrap();
    }
}

#[test]
fn a_database_is_lost_where_there_was_one_and_new_where_there_was_none() {
    for (before, empty) in [(false, false), (false, true), (true, false), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        if empty {
            fs::write(&path, []).unwrap();
        }
        let (state, kept) = State::open(&path, before).unwrap();
        match kept.lost {
            None => assert!(!before),
            Some(Lost::Gone) => assert!(before && !empty),
            Some(Lost::Damaged(aside)) => assert!(before && empty && aside.exists()),
        }
        assert_eq!(kept.next_id, 1);
        commit(&state, vec![put(1)]).unwrap();
        drop(state);
        let kept = State::open(&path, true).unwrap().1;
        assert!(kept.lost.is_none() && kept.transfers.len() == 1);
    }
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    drop(State::open(&path, false).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(
        State::open(&path, false),
        Err(StateError::Newer { found: 99, .. })
    ));
}

#[test]
fn a_migration_is_made_whole_or_not_at_all() {
    let mut connection = Connection::open_in_memory().unwrap();
    let first = "CREATE TABLE a (x); INSERT INTO a VALUES (1);";
    schema::migrate(&mut connection, &[first]).unwrap();
    let broken = "ALTER TABLE a ADD COLUMN y; INSERT INTO nowhere VALUES (1);";
    assert!(schema::migrate(&mut connection, &[first, broken]).is_err());
    let good = "ALTER TABLE a ADD COLUMN y DEFAULT 7;";
    schema::migrate(&mut connection, &[first, good]).unwrap();
    let y: i64 = connection
        .query_row("SELECT y FROM a", [], |row| row.get(0))
        .unwrap();
    assert_eq!(y, 7);
}
