//! Web seeds beside peers: what is asked of servers, and what becomes of it.

mod rig;

use std::time::Duration;

use rig::{Rig, far};
use swarm::{
    Class, Config, FetchError, FetchId, Input, Scope, State, Take, TorrentId, WebSeedId,
    WebSeedState,
};

const SERVER: WebSeedId = WebSeedId(0);
/// Blocks of a piece.
const PIECE: usize = 16;

fn rig() -> Rig {
    Rig::new(Config::default())
}

fn serve(rig: &mut Rig, id: TorrentId) {
    rig.tell(Input::WebSeed(id, SERVER, Class::Other));
}

fn state(rig: &Rig, id: TorrentId) -> State {
    rig.session.status(rig.now, id).expect("it is there").state
}

fn web(rig: &Rig, id: TorrentId) -> WebSeedState {
    rig.session.web_seeds(rig.now, id)[0].state.clone()
}

fn first(rig: &Rig) -> FetchId {
    *rig.fetches.keys().next().expect("something is asked for")
}

/// The server sends all that is asked of it.
fn send_all(rig: &mut Rig) {
    while let Some(&fetch) = rig.fetches.keys().next() {
        assert_ne!(rig.web_block(fetch), Take::Wait);
    }
}

#[test]
fn a_server_alone_gives_everything_in_long_runs() {
    let mut rig = rig();
    let id = rig.add(1, 100, false);
    serve(&mut rig, id);
    assert_eq!(rig.fetches.len(), 1, "a server nobody knows is asked once");
    assert_eq!(rig.fetches[&first(&rig)].2.len(), 4 * PIECE, "1 MiB");
    let asked = first(&rig);
    rig.web_block(asked);
    assert_eq!(rig.fetches.len(), 4, "then more at a time");
    send_all(&mut rig);
    assert_eq!(state(&rig, id), State::Seeding);
    assert_eq!(web(&rig, id), WebSeedState::Idle);
    let status = rig.session.status(rig.now, id).expect("it is there");
    assert_eq!((status.received, status.wasted), (100 << 18, 0));
}

#[test]
fn peer_and_server_share_the_work() {
    let mut rig = rig();
    let id = rig.add(1, 40, false);
    rig.seed(id, far(1));
    serve(&mut rig, id);
    let (mut web, mut steps) = (0u32, 0);
    while state(&rig, id) != State::Seeding {
        if let Some(&fetch) = rig.fetches.keys().next()
            && rig.web_block(fetch) == Take::Accept
        {
            web += 1;
        }
        rig.run(Duration::from_millis(1));
        steps += 1;
        assert!(steps < 10_000);
    }
    assert!(web > 100, "{web} blocks from the server");
    assert!(web < 540, "{web} blocks from the server");
    let status = rig.session.status(rig.now, id).expect("it is there");
    assert!(status.wasted < 64 << 14, "{} bytes twice", status.wasted);
    assert!(rig.fetches.is_empty());
}

#[test]
fn what_a_peer_brings_need_not_come_from_the_server() {
    let mut rig = rig();
    let id = rig.add(1, 2, false);
    serve(&mut rig, id);
    assert_eq!(rig.fetches[&first(&rig)].2.len(), 2 * PIECE);
    // All is asked of a server that sends nothing: the end game asks a peer.
    rig.seed(id, far(1));
    rig.run(Duration::from_secs(3));
    assert_eq!(state(&rig, id), State::Seeding);
    assert_eq!(rig.ended.len(), 1);
    assert!(rig.fetches.is_empty());
}

#[test]
fn a_server_that_lies_is_dropped_and_its_piece_fetched_elsewhere() {
    let mut rig = rig();
    let id = rig.add(1, 8, false);
    rig.lies = vec![2];
    serve(&mut rig, id);
    send_all(&mut rig);
    let WebSeedState::Dropped(why) = web(&rig, id) else {
        panic!("{:?}", web(&rig, id))
    };
    assert!(why.contains("not what the torrent says"), "{why}");
    assert_eq!(state(&rig, id), State::Downloading);
    rig.lies.clear();
    rig.seed(id, far(1));
    rig.run(Duration::from_secs(5));
    assert_eq!(state(&rig, id), State::Seeding);
}

#[test]
fn a_server_that_fails_rests_and_is_asked_again() {
    let mut rig = rig();
    let id = rig.add(1, 8, false);
    serve(&mut rig, id);
    let fetch = first(&rig);
    rig.web_block(fetch);
    let failed = || FetchError::Later("it broke off".to_owned(), None);
    while let Some(fetch) = rig.fetches.pop_first() {
        rig.tell(Input::Fetched(id, fetch.0, Err(failed())));
    }
    assert!(matches!(web(&rig, id), WebSeedState::Waiting(..)));
    rig.run(Duration::from_millis(4900));
    assert!(rig.fetches.is_empty());
    rig.run(Duration::from_millis(1200));
    assert_eq!(rig.fetches.len(), 1, "one fetch shows whether it is back");
    send_all(&mut rig);
    assert_eq!(state(&rig, id), State::Seeding);
}

#[test]
fn a_useless_server_is_never_asked_again() {
    let mut rig = rig();
    let id = rig.add(1, 8, false);
    serve(&mut rig, id);
    let fetch = first(&rig);
    rig.fetches.clear();
    let error = FetchError::Useless("it sends whole files only".to_owned());
    rig.tell(Input::Fetched(id, fetch, Err(error)));
    rig.run(Duration::from_secs(7200));
    assert!(rig.fetches.is_empty());
    assert!(matches!(web(&rig, id), WebSeedState::Dropped(_)));
}

#[test]
fn limits_bind_servers_as_they_bind_peers() {
    let mut rig = rig();
    let id = rig.add(1, 100, false);
    rig.tell(Input::Limits(Scope::Session, 160 << 10, 0));
    serve(&mut rig, id);
    let mut came = 0u64;
    for _ in 0..10_000 {
        for fetch in rig.fetches.keys().copied().collect::<Vec<_>>() {
            while rig.fetches.contains_key(&fetch) && rig.web_block(fetch) == Take::Accept {
                came += 16 << 10;
            }
        }
        rig.run(Duration::from_millis(1));
    }
    let fair = 1600 << 10;
    assert!(came <= fair + fair / 20, "{came} bytes in 10 s");
    assert!(came >= fair - fair / 10, "{came} bytes in 10 s");
    assert!(!rig.gone_on.is_empty());
    rig.tell(Input::Limits(Scope::Session, 0, 0));
    send_all(&mut rig);
    assert_eq!(state(&rig, id), State::Seeding);
}

#[test]
fn a_pause_ends_fetches_and_going_on_begins_them_anew() {
    let mut rig = rig();
    let id = rig.add(1, 8, false);
    serve(&mut rig, id);
    let fetch = first(&rig);
    rig.web_block(fetch);
    let under_way = rig.fetches.len();
    rig.tell(Input::Pause(id, Some("paused".to_owned())));
    assert_eq!(rig.ended.len(), under_way);
    rig.run(Duration::from_secs(60));
    assert!(rig.fetches.is_empty());
    rig.tell(Input::Pause(id, None));
    send_all(&mut rig);
    assert_eq!(state(&rig, id), State::Seeding);
}

#[test]
fn a_reader_is_served_before_what_is_under_way() {
    let mut rig = rig();
    let id = rig.add(1, 200, false);
    serve(&mut rig, id);
    let fetch = first(&rig);
    rig.web_block(fetch);
    assert_eq!(rig.fetches.len(), 4);
    let asked = |rig: &Rig, piece: u32| {
        let mut all = rig.fetches.values().flat_map(|f| &f.2);
        all.any(|b| b.piece == piece)
    };
    let unasked = (0..200).find(|&p| !asked(&rig, p)).expect("most are");
    let when = rig.now + Duration::from_secs(2);
    rig.tell(Input::Deadline(id, unasked, when));
    assert!(asked(&rig, unasked));
    assert_eq!((rig.ended.len(), rig.fetches.len()), (1, 4));
}

#[test]
fn a_server_that_is_removed_is_asked_no_more() {
    let mut rig = rig();
    let id = rig.add(1, 8, false);
    serve(&mut rig, id);
    rig.tell(Input::NoWebSeed(id, SERVER));
    assert!(rig.fetches.is_empty() && rig.ended.len() == 1);
    assert!(rig.session.web_seeds(rig.now, id).is_empty());
    rig.run(Duration::from_secs(60));
    assert!(rig.fetches.is_empty());
}
