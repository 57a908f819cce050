use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn flow(torrent: u32, class: Class) -> Flow {
    Flow {
        torrent: TorrentId(torrent),
        group: None,
        class,
    }
}

/// Everybody takes a block at each turn and stands in line again, for so long; returns who got
/// how many bytes.
fn run(
    limiter: &mut Limiter,
    start: Instant,
    peers: &[(u64, Flow)],
    time: Duration,
) -> BTreeMap<u64, u64> {
    let flows: BTreeMap<u64, Flow> = peers.iter().copied().collect();
    let mut got: BTreeMap<u64, u64> = flows.keys().map(|&conn| (conn, 0)).collect();
    for (&conn, &flow) in &flows {
        limiter.join(start, Way::Up, flow, ConnId(conn), 16_384);
    }
    let (mut now, mut wakes) = (start, 0);
    while now < start + time {
        limiter.wake(now);
        while let Some(turn) = limiter.turn(now) {
            let conn = turn.conn.0;
            limiter.charge(Way::Up, flows[&conn], 16_384);
            *got.entry(conn).or_default() += 16_384;
            limiter.join(now, Way::Up, flows[&conn], turn.conn, 16_384);
        }
        now = limiter.deadline().expect("somebody waits");
        wakes += 1;
    }
    assert!(wakes <= 21 * time.as_secs(), "{wakes} wake-ups in {time:?}");
    got
}

#[test]
fn torrents_get_the_same_and_so_do_the_peers_of_each() {
    let start = Instant::now();
    let mut limiter = Limiter::new(false);
    limiter.set(start, Scope::Session, 0, 1_000_000);
    let crowd = (0..9).map(|conn| (conn, flow(0, Class::Other)));
    let peers: Vec<_> = crowd.chain([(9, flow(1, Class::Other))]).collect();
    let got = run(&mut limiter, start, &peers, 20 * SECOND);
    assert!((9_900_000..10_100_000).contains(&got[&9]), "{got:?}");
    for conn in 0..9 {
        assert!((1_080_000..1_140_000).contains(&got[&conn]), "{got:?}");
    }
}

#[test]
fn the_narrowest_bucket_holds_and_the_rest_goes_to_others() {
    let start = Instant::now();
    let mut limiter = Limiter::new(false);
    limiter.set(start, Scope::Session, 0, 1_000_000);
    limiter.set(start, Scope::Torrent(TorrentId(0)), 0, 100_000);
    limiter.set(start, Scope::Group(7), 0, 300_000);
    limiter.set(start, Scope::Class(Class::Lan), 0, 50_000);
    let grouped = |torrent| Flow {
        group: Some(7),
        ..flow(torrent, Class::Other)
    };
    let peers = [
        (0, flow(0, Class::Other)),
        (1, grouped(1)),
        (2, grouped(2)),
        (3, flow(3, Class::Lan)),
        (4, flow(4, Class::Other)),
    ];
    let got = run(&mut limiter, start, &peers, 20 * SECOND);
    let expected = [100_000, 150_000, 150_000, 50_000, 550_000];
    for (conn, rate) in expected.into_iter().enumerate() {
        let share = got[&(conn as u64)] as f64 / (20 * rate) as f64;
        assert!((0.97..1.03).contains(&share), "{conn}: {share}, {got:?}");
    }
}

#[test]
fn the_local_network_is_bound_by_its_own_limit_alone_when_free() {
    let now = Instant::now();
    let mut limiter = Limiter::new(true);
    limiter.set(now, Scope::Session, 1000, 1000);
    limiter.set(now, Scope::Torrent(TorrentId(0)), 1000, 1000);
    let (lan, other) = (flow(0, Class::Lan), flow(0, Class::Other));
    assert!(!limiter.binds(Way::Down, lan) && limiter.binds(Way::Down, other));
    limiter.set(now, Scope::Class(Class::Lan), 0, 1000);
    assert!(!limiter.binds(Way::Down, lan) && limiter.binds(Way::Up, lan));
    limiter.set(now, Scope::Class(Class::Lan), 0, 0);
    limiter.set_lan_free(now, false);
    assert!(limiter.binds(Way::Down, lan));
    limiter.set(now, Scope::Session, 0, 0);
    limiter.forget(TorrentId(0));
    assert!(!limiter.binds(Way::Down, other));
}

#[test]
fn a_limit_that_is_lifted_lets_those_who_wait_go_on() {
    let now = Instant::now();
    let mut limiter = Limiter::new(false);
    limiter.set(now, Scope::Session, 1, 0);
    let flow = flow(0, Class::Other);
    limiter.charge(Way::Down, flow, 1 << 20);
    limiter.join(now, Way::Down, flow, ConnId(1), 16_384);
    assert_eq!(limiter.turn(now), None);
    assert!(limiter.deadline() > Some(now + SECOND));
    limiter.set(now, Scope::Session, 0, 0);
    assert!(limiter.is_due(now));
    let turn = limiter.turn(now).expect("nothing binds it");
    assert_eq!((turn.conn, turn.bytes), (ConnId(1), u64::MAX));
    assert_eq!((limiter.turn(now), limiter.deadline()), (None, None));
}

#[test]
fn who_left_has_no_turn_and_wakes_nobody() {
    let now = Instant::now();
    let mut limiter = Limiter::new(false);
    limiter.set(now, Scope::Session, 1000, 1000);
    for conn in 0..3 {
        limiter.join(now, Way::Up, flow(0, Class::Other), ConnId(conn), 16_384);
    }
    limiter.leave(TorrentId(0), ConnId(0));
    let turn = limiter.turn(now).expect("a block is there");
    assert_eq!(turn.conn, ConnId(1));
    limiter.leave(TorrentId(0), ConnId(2));
    assert_eq!((limiter.turn(now), limiter.deadline()), (None, None));
}
