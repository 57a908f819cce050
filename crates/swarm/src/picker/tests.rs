use super::*;
use proptest::prelude::*;
use std::time::Duration;
use torrent::layout::{FileLen, Kind};

const ALICE: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);

/// Pieces of four blocks.
fn layout(pieces: u64) -> Layout {
    let len = pieces * 4 * u64::from(BLOCK);
    Layout::new(Kind::V1, 4 * BLOCK, [FileLen { len, pad: false }]).unwrap()
}

fn pick(
    p: &mut Picker,
    l: &Layout,
    conn: ConnId,
    room: usize,
    has: &dyn Fn(u32) -> bool,
) -> Vec<BlockRef> {
    p.pick(
        Instant::now(),
        l,
        &Asker {
            conn,
            has,
            room,
            outstanding: 0,
            quick: true,
            rush: false,
            asked: &|_| false,
        },
    )
}

fn pieces_of(blocks: &[BlockRef]) -> BTreeSet<u32> {
    blocks.iter().map(|b| b.piece).collect()
}

#[test]
fn a_peer_stays_with_the_piece_it_began() {
    let l = layout(8);
    let mut p = Picker::new(Bitfield::new(8), 1);
    let first = pick(&mut p, &l, ALICE, 2, &|_| true);
    let other = pick(&mut p, &l, BOB, 2, &|_| true);
    let second = pick(&mut p, &l, ALICE, 2, &|_| true);
    assert_eq!(pieces_of(&first), pieces_of(&second));
    assert_ne!(pieces_of(&first), pieces_of(&other));
}

#[test]
fn the_rarest_piece_comes_first_once_a_few_are_here() {
    let l = layout(16);
    let mut have = Bitfield::new(16);
    (0..4).for_each(|i| {
        have.set(i);
    });
    let mut p = Picker::new(have, 1);
    let mut common = Bitfield::full(16);
    common.clear(9);
    p.peer_bits(&common, true);
    p.peer_bits(&common, true);
    p.peer_has(9);
    assert_eq!(
        pieces_of(&pick(&mut p, &l, ALICE, 4, &|_| true)),
        [9].into()
    );
    p.peer_bits(&common, false);
    p.peer_bits(&common, false);
    p.peer_has(9);
    let next = pieces_of(&pick(&mut p, &l, ALICE, 4, &|_| true));
    assert!(!next.contains(&9));
}

#[test]
fn different_seeds_begin_with_different_pieces() {
    let l = layout(64);
    let starts: BTreeSet<u32> = (0..16)
        .map(|seed| {
            pick(
                &mut Picker::new(Bitfield::new(64), seed),
                &l,
                ALICE,
                1,
                &|_| true,
            )[0]
            .piece
        })
        .collect();
    assert!(starts.len() > 6, "{starts:?}");
}

#[test]
fn there_is_no_end_game_while_a_piece_is_left_that_others_have() {
    let l = layout(2);
    let mut p = Picker::new(Bitfield::new(2), 1);
    assert_eq!(pick(&mut p, &l, ALICE, 4, &|piece| piece == 0).len(), 4);
    assert!(pick(&mut p, &l, BOB, 8, &|piece| piece == 0).is_empty());
    assert_eq!(pick(&mut p, &l, ALICE, 4, &|_| true).len(), 4);
    assert_eq!(pick(&mut p, &l, BOB, 8, &|piece| piece == 0).len(), 4);
}

#[test]
fn the_end_game_helps_with_pieces_the_peer_itself_began() {
    let l = layout(1);
    let mut p = Picker::new(Bitfield::new(1), 1);
    let mine = pick(&mut p, &l, ALICE, 2, &|_| true);
    let others = pick(&mut p, &l, BOB, 2, &|_| true);
    for &block in &mine {
        p.arrived(ALICE, block);
    }
    assert_eq!(pick(&mut p, &l, ALICE, 8, &|_| true), others);
}

#[test]
fn the_end_game_asks_a_second_peer_and_tells_to_cancel() {
    let l = layout(1);
    let mut p = Picker::new(Bitfield::new(1), 1);
    let asked = pick(&mut p, &l, ALICE, 8, &|_| true);
    assert_eq!(asked.len(), 4);
    let slow = Asker {
        conn: ConnId(4),
        has: &|_| true,
        room: 8,
        outstanding: 0,
        quick: false,
        rush: false,
        asked: &|_| false,
    };
    assert!(
        p.pick(Instant::now(), &l, &slow).is_empty(),
        "a slow peer is no help"
    );
    let again = pick(&mut p, &l, BOB, 8, &|_| true);
    assert_eq!(again, asked);
    assert!(
        pick(&mut p, &l, ConnId(3), 8, &|_| true).is_empty(),
        "two copies are enough"
    );
    assert_eq!(
        p.arrived(BOB, asked[0]),
        Arrival::Fresh {
            whole: false,
            elsewhere: true
        }
    );
    assert_eq!(p.arrived(ALICE, asked[0]), Arrival::Duplicate);
    p.released(ALICE, asked[0]);
    assert!(!p.needs(asked[0]));
}

#[test]
fn unwanted_pieces_are_left_alone_and_wanted_again_on_request() {
    let l = layout(4);
    let mut p = Picker::new(Bitfield::new(4), 1);
    (1..4).for_each(|i| p.set_priority(i, 0));
    assert_eq!(pick(&mut p, &l, ALICE, 99, &|_| true).len(), 4);
    p.verified(0);
    assert!(p.is_finished());
    p.set_priority(2, 7);
    assert!(!p.is_finished());
    assert_eq!(
        pieces_of(&pick(&mut p, &l, ALICE, 99, &|_| true)),
        [2].into()
    );
}

#[test]
fn a_gated_piece_waits_for_its_hash() {
    let l = layout(2);
    let mut p = Picker::new(Bitfield::new(2), 1);
    p.gate(Bitfield::full(2));
    assert!(pick(&mut p, &l, ALICE, 9, &|_| true).is_empty());
    p.open(1);
    assert_eq!(
        pieces_of(&pick(&mut p, &l, ALICE, 9, &|_| true)),
        [1].into()
    );
}

/// What a peer is asked for at a certain time.
fn pick_at(p: &mut Picker, l: &Layout, now: Instant, conn: ConnId, quick: bool) -> Vec<BlockRef> {
    let asker = Asker {
        conn,
        has: &|_| true,
        room: 4,
        outstanding: 30,
        quick,
        rush: false,
        asked: &|_| false,
    };
    p.pick(now, l, &asker)
}

const CAROL: ConnId = ConnId(3);
const MS: Duration = Duration::from_millis(1);

#[test]
fn an_urgent_piece_that_does_not_come_is_asked_of_more_quick_peers_each_time_it_is_late() {
    let l = layout(64);
    let mut p = Picker::new(Bitfield::new(64), 1);
    let now = Instant::now();
    p.set_deadline(now, 40, now + 1000 * MS);
    let first = pick_at(&mut p, &l, now, ALICE, true);
    assert_eq!(pieces_of(&first), [40].into(), "it beats rarity");
    let at = |p: &mut Picker, ms: u32, conn, quick| {
        let picked = pick_at(p, &l, now + ms * MS, conn, quick);
        pieces_of(&picked) == [40].into()
    };
    assert!(!at(&mut p, 100, BOB, true), "alice has it in hand");
    assert!(!at(&mut p, 800, BOB, false), "a slow peer is no help");
    assert!(at(&mut p, 800, BOB, true));
    assert!(!at(&mut p, 1600, CAROL, false));
    assert!(at(&mut p, 1600, CAROL, true), "its reader waits");
    assert!(
        !at(&mut p, 2400, ConnId(4), true),
        "three copies are enough"
    );
}

#[test]
fn slow_peers_leave_urgent_pieces_to_quick_ones_but_not_for_ever() {
    let l = layout(64);
    let now = Instant::now();
    for (wait, takes) in [(0, false), (900, false), (1100, true)] {
        let mut p = Picker::new(Bitfield::new(64), 1);
        p.set_deadline(now, 40, now);
        let picked = pick_at(&mut p, &l, now + wait * MS, ALICE, false);
        assert_eq!(pieces_of(&picked) == [40].into(), takes, "after {wait} ms");
    }
    let mut p = Picker::new(Bitfield::new(64), 1);
    p.set_deadline(now, 40, now + 60_000 * MS);
    let picked = pick_at(&mut p, &l, now, ALICE, false);
    assert_eq!(pieces_of(&picked), [40].into(), "there is time");
}

#[test]
fn several_readers_are_served_in_the_order_they_read() {
    let l = layout(64);
    let now = Instant::now();
    let mut p = Picker::new(Bitfield::new(64), 1);
    for (piece, seconds) in [(10, 9), (11, 10), (50, 5), (51, 6), (10, 20), (11, 4)] {
        p.set_deadline(now, piece, now + Duration::from_secs(seconds));
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(pieces_of(&pick(&mut p, &l, ALICE, 4, &|_| true)));
    }
    assert_eq!(order, [11, 50, 51, 10], "of two readers the first counts");
    p.set_deadline(now, 60, now);
    p.clear_deadlines();
    let next = pick(&mut p, &l, ALICE, 4, &|_| true);
    assert!(!pieces_of(&next).contains(&60), "nobody reads any more");
}

#[test]
fn pieces_come_in_order_when_they_are_to_and_as_before_when_not() {
    let l = layout(64);
    let mut p = Picker::new(Bitfield::new(64), 1);
    let mut bits = Bitfield::new(64);
    (0..32).for_each(|i| {
        bits.set(i);
    });
    p.peer_bits(&bits, true);
    p.set_sequential(true);
    p.set_priority(5, 7);
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(pieces_of(&pick(&mut p, &l, ALICE, 4, &|_| true)));
        // Rarity changes nothing.
        p.peer_has(1);
    }
    assert_eq!(order, [5, 0, 1, 2, 3, 4]);
    p.set_sequential(false);
    let rare = pick(&mut p, &l, ALICE, 4, &|_| true);
    assert!(pieces_of(&rare).iter().all(|&p| p >= 32), "{rare:?}");
}

#[test]
fn a_failed_piece_goes_to_one_peer_alone() {
    let l = layout(1);
    let mut p = Picker::new(Bitfield::new(1), 1);
    let asked = pick(&mut p, &l, ALICE, 2, &|_| true);
    let rest = pick(&mut p, &l, BOB, 2, &|_| true);
    for (conn, blocks) in [(ALICE, &asked), (BOB, &rest)] {
        blocks
            .iter()
            .for_each(|&b| assert_ne!(p.arrived(conn, b), Arrival::Duplicate));
    }
    assert_eq!(
        p.contributors(0),
        [(0, ALICE), (1, ALICE), (2, BOB), (3, BOB)]
    );
    p.failed(&l, 0, true);
    assert_eq!(pick(&mut p, &l, BOB, 1, &|_| true).len(), 1);
    assert!(pick(&mut p, &l, ALICE, 9, &|_| true).is_empty());
    assert_eq!(pick(&mut p, &l, BOB, 9, &|_| true).len(), 3);
}

#[test]
fn hybrid_padding_is_never_asked_for() {
    let files = [
        FileLen {
            len: u64::from(BLOCK) + 10,
            pad: false,
        },
        FileLen {
            len: 3 * u64::from(BLOCK) - 10,
            pad: true,
        },
        FileLen { len: 5, pad: false },
    ];
    let l = Layout::new(Kind::Hybrid, 4 * BLOCK, files).unwrap();
    let mut p = Picker::new(Bitfield::new(2), 1);
    let asked = pick(&mut p, &l, ALICE, 99, &|_| true);
    let mut of_first: Vec<u32> = asked
        .iter()
        .filter(|b| b.piece == 0)
        .map(|b| b.begin / BLOCK)
        .collect();
    of_first.sort();
    assert_eq!(of_first, [0, 1]);
    assert!(asked.contains(&BlockRef {
        piece: 1,
        begin: 0,
        len: 5
    }));
}

proptest! {
    /// Random peers that come, deliver, choke and leave: in the end everything was asked for, no
    /// block was asked of one peer twice at a time, and nothing is left hanging.
    #[test]
    fn every_reachable_block_is_fetched(seed: u64, pieces in 1u64..12, script in proptest::collection::vec((0u64..4, 0u8..4, 1usize..9), 1..200)) {
        let l = layout(pieces);
        let mut p = Picker::new(Bitfield::new(pieces as u32), seed);
        let mut asked: BTreeMap<u64, Vec<BlockRef>> = BTreeMap::new();
        let step = |p: &mut Picker, asked: &mut BTreeMap<u64, Vec<BlockRef>>, conn: u64, what: u8, n: usize| {
            let mine = asked.entry(conn).or_default();
            match what {
                0 | 1 => {
                    let has = |piece: u32| conn == 0 || u64::from(piece) % 3 == conn % 3;
                    let got = p.pick(Instant::now(), &l, &Asker { conn: ConnId(conn), has: &has, room: n, outstanding: mine.len(), quick: true, rush: false, asked: &|b| mine.contains(&b) });
                    for b in got {
                        assert!(has(b.piece));
                        assert!(!mine.contains(&b), "asked twice of one peer");
                        mine.push(b);
                    }
                }
                2 => for b in mine.drain(..n.min(mine.len())) {
                    if let Arrival::Fresh { whole: true, .. } = p.arrived(ConnId(conn), b) {
                        assert!(p.verified(b.piece));
                    }
                },
                _ => {
                    for b in mine.drain(..) { p.released(ConnId(conn), b); }
                    p.disown(ConnId(conn));
                }
            }
        };
        for (conn, what, n) in script {
            step(&mut p, &mut asked, conn, what, n);
        }
        for conn in 1..4 { step(&mut p, &mut asked, conn, 3, 0); }
        for _ in 0..pieces * 8 {
            step(&mut p, &mut asked, 0, 0, 8);
            step(&mut p, &mut asked, 0, 2, 8);
        }
        prop_assert!(p.is_finished());
        prop_assert!(p.have().is_full());
        prop_assert_eq!(p.partials(), 0);
    }
}
