//! How fast this machine hashes and stores: `cargo run --release -p store --example throughput [folder]`.
//!
//! First the floor (reading and each hash alone, one core), then what the hasher and the store make of it. The
//! folder (default: the system's own for temporary files) should have 2.5 GiB of room.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{atomic::AtomicBool, mpsc::channel},
    time::Instant,
};

use sha1::{Digest, Sha1};
use sha2::Sha256;
use store::{Config, Done, Placement, SLOT, Slot, SlotPool, Store, TorrentId, hasher};
use torrent::{
    author::{Hashes, Options, Plan, Source},
    layout::{BLOCK, Kind},
};

const LEN: u64 = 1 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("starling-throughput");
    fs::create_dir_all(&folder)?;
    let source = folder.join("content");
    write_content(&source)?;
    floor(&source)?;
    let cores = std::thread::available_parallelism()?.get();
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        for threads in [1, cores] {
            hash(&source, kind, threads)?;
        }
    }
    for kind in [Kind::V1, Kind::V2, Kind::Hybrid] {
        store(&source, &folder, kind)?;
    }
    small_files(&folder)?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// User and system seconds of this process so far; a busy machine changes those little.
fn cpu() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut ticks = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    let mut next = || {
        ticks
            .next()
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .unwrap_or_default()
            / 100.0
    };
    (next(), next())
}

struct Begun(Instant, (f64, f64));

impl Begun {
    fn now() -> Begun {
        Begun(Instant::now(), cpu())
    }
}

fn say(what: &str, begun: &Begun) {
    let seconds = begun.0.elapsed().as_secs_f64();
    let (user, system) = (cpu().0 - begun.1.0, cpu().1 - begun.1.1);
    let rate = LEN as f64 / seconds / 1e6;
    let rate = if what.contains("files") {
        String::new()
    } else {
        format!("{rate:>6.0} MB/s, ")
    };
    println!("{what:<36} {seconds:>6.2} s, {rate}user {user:.2} s, system {system:.2} s");
}

fn write_content(path: &Path) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = File::create(path)?;
    let mut buf = vec![0; 1 << 20];
    for _ in 0..LEN >> 20 {
        random.fill(&mut buf);
        file.write_all(&buf)?;
    }
    Ok(())
}

fn floor(source: &Path) -> std::io::Result<()> {
    let mut buf = vec![0; 1 << 20];
    let begun = Begun::now();
    let mut file = File::open(source)?;
    while file.read(&mut buf)? > 0 {}
    say("read, one core", &begun);
    let blocks = || (0..LEN / u64::from(BLOCK)).map(|i| (i as usize % 64) * SLOT);
    let begun = Begun::now();
    let mut sha1 = Sha1::new();
    blocks().for_each(|at| sha1.update(&buf[at..][..SLOT]));
    black_box(sha1.finalize());
    say("SHA-1 from cache, one core", &begun);
    let begun = Begun::now();
    blocks().for_each(|at| {
        black_box(Sha256::digest(&buf[at..][..SLOT]));
    });
    say("SHA-256 a block from cache, one core", &begun);
    Ok(())
}

fn plan(kind: Kind) -> Plan {
    let source = Source {
        path: "content".into(),
        len: LEN,
        ..Source::default()
    };
    Plan::single(kind, 1 << 20, &source).expect("one file is a torrent")
}

fn hash(source: &Path, kind: Kind, threads: usize) -> Result<(), hasher::HashError> {
    let options = hasher::Options {
        threads,
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let begun = Begun::now();
    hasher::hash(plan(kind).layout(), &[source.to_owned()], &options)?;
    say(&format!("hasher, {kind:?}, {threads} thread(s)"), &begun);
    Ok(())
}

/// Feeds the store as a road would: reads each block into a slot, in order, and lets the store do the rest.
fn store(source: &Path, folder: &Path, kind: Kind) -> Result<(), Box<dyn std::error::Error>> {
    let plan = plan(kind);
    let options = hasher::Options {
        threads: 2,
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let hashes = hasher::hash(plan.layout(), &[source.to_owned()], &options)?.hashes;
    let info = plan.finish(&hashes, &Options::default())?.info;
    let target = folder.join("copy");
    let slots = SlotPool::new(256);
    let (free, freed) = channel();
    slots.on_available(move || {
        let _ = free.send(());
    });
    let (send, facts) = channel();
    let store = Store::new(
        Config {
            slots: slots.clone(),
            ..Config::default()
        },
        Box::new(move |done| drop(send.send(done))),
    )?;
    let id = TorrentId(1);
    store.add(id, info.clone(), Placement::at(&target))?;
    let layout = info.layout();
    let mut file = File::open(source)?;
    // On a virtual machine the first touch of memory can cost seconds a GiB: have it touched just before.
    write_content(&target)?;
    fs::remove_file(&target)?;
    let begun = Begun::now();
    let (mut hashed, mut written) = (0, 0);
    while hashed < layout.pieces() {
        if written < layout.pieces() {
            for block in 0..layout.blocks(written) {
                let mut slot = loop {
                    match slots.try_take(layout.block_len(written, block) as usize) {
                        Some(slot) => break slot,
                        None => freed.recv()?,
                    }
                };
                file.read_exact(&mut slot)?;
                store.write(id, written, block * BLOCK, slot);
            }
            written += 1;
        }
        let told = if written == layout.pieces() {
            facts.recv().ok()
        } else {
            facts.try_recv().ok()
        };
        match told {
            Some(Done::PieceHashed { piece, .. }) => {
                store.verified(id, piece);
                hashed += 1;
            }
            Some(other) => println!("{other:?}"),
            None => {}
        }
    }
    say(&format!("store, {kind:?}, written and hashed"), &begun);
    store.flush(id);
    while !matches!(facts.recv()?, Done::Flushed { .. }) {}
    say(&format!("store, {kind:?}, and durable"), &begun);
    fs::remove_file(target)?;
    Ok(())
}

/// Ten thousand files of one block each: what a file costs besides its bytes.
fn small_files(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const FILES: usize = 10_000;
    let sources: Vec<Source> = (0..FILES)
        .map(|i| Source {
            path: format!("{:02}/{i:05}", i / 500),
            len: BLOCK.into(),
            ..Source::default()
        })
        .collect();
    let plan = Plan::folder(Kind::V1, "small", BLOCK, &sources)?;
    let hashes = Hashes {
        pieces: vec![[0; 20]; FILES],
        files: Vec::new(),
    };
    let info = plan.finish(&hashes, &Options::default())?.info;
    let (send, facts) = channel();
    let store = Store::new(
        Config::default(),
        Box::new(move |done| drop(send.send(done))),
    )?;
    let id = TorrentId(1);
    let begun = Begun::now();
    store.add(id, info, Placement::at(folder.join("small")))?;
    let mut verified = 0;
    for piece in 0..FILES {
        if let Some(slot) = store.slots().try_take(SLOT) {
            store.write(id, piece as u32, 0, slot);
        } else {
            store.write(id, piece as u32, 0, Slot::detached(&[0; SLOT]));
        }
        while let Ok(Done::PieceHashed { piece, .. }) = facts.try_recv() {
            store.verified(id, piece);
            verified += 1;
        }
    }
    while verified < FILES {
        if let Done::PieceHashed { piece, .. } = facts.recv()? {
            store.verified(id, piece);
            verified += 1;
        }
    }
    say("store, 10,000 files, written", &begun);
    store.flush(id);
    while !matches!(facts.recv()?, Done::Flushed { .. }) {}
    say("store, 10,000 files, and durable", &begun);
    Ok(())
}
