//! `pair seed TORRENT DATA PORT` and `pair leech TORRENT DIR PEER`: the bare node, for profiling.

use std::net::{IpAddr, Ipv4Addr};

use node::{Config, Event, Node, Options, Place, Source};
use torrent::metainfo::Metainfo;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, role, torrent, path, at] = &args[..] else {
        panic!("usage: pair seed|leech TORRENT PATH PORT|PEER")
    };
    let seed = role == "seed";
    let state = std::env::temp_dir().join(format!("pair-{}", std::process::id()));
    let mut node = Node::start(Config {
        state_dir: state.clone(),
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(if seed { at.parse().expect("a port") } else { 0 }),
        dht: false,
        dht_bootstrap: Vec::new(),
        local_discovery: false,
        trackers: false,
        limit_down: 0,
        limit_up: 0,
    })
    .expect("the node starts");
    let events = node.events().expect("asked for once");
    let metainfo =
        Metainfo::parse(&std::fs::read(torrent).expect("a torrent file")).expect("a torrent");
    let options = Options {
        place: if seed {
            Place::At(path.into())
        } else {
            Place::Into(path.into())
        },
        assume_complete: seed,
        known: Vec::new(),
        read_only: seed,
        select: Vec::new(),
        preallocate: false,
        peers: if seed {
            vec![]
        } else {
            vec![at.parse().expect("an address")]
        },
    };
    let start = std::time::Instant::now();
    node.add(Source::Metainfo(Box::new(metainfo)), options)
        .expect("it can be added");
    for event in events {
        match event {
            Event::Finished(_) if !seed => break,
            Event::Paused(_, p) | Event::Failed(_, p) => panic!("{}", p.message),
            _ => {}
        }
    }
    println!("{:.3} s", start.elapsed().as_secs_f64());
    node.stop();
    let _ = std::fs::remove_dir_all(state);
}
