//! Tiers, events, intervals and failures, with a hand that plays the trackers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use torrent::tracker::{Event, Retry};

use super::*;

const HASH: [u8; 20] = [1; 20];

struct Hand {
    announcer: Announcer,
    now: Instant,
    /// Announces without an answer.
    flying: Vec<(AnnounceId, String, Announce)>,
    launched: BTreeMap<AnnounceId, Instant>,
    notices: Vec<String>,
    peers: Vec<SocketAddr>,
    is_stopped: bool,
}

impl Hand {
    fn new(tiers: &[&[&str]]) -> Hand {
        Hand::with_hashes(tiers, vec![HASH], 1)
    }

    fn with_hashes(tiers: &[&[&str]], info_hashes: Vec<[u8; 20]>, seed: u64) -> Hand {
        let url = |name: &&str| {
            if name.contains(':') {
                (*name).to_owned()
            } else {
                format!("http://{name}/announce")
            }
        };
        let tiers = tiers
            .iter()
            .map(|tier| tier.iter().map(url).collect())
            .collect();
        let now = Instant::now();
        let config = Config {
            tiers,
            info_hashes,
            peer_id: [2; 20],
            port: 6881,
        };
        let announcer = Announcer::new(config, seed, now);
        let mut hand = Hand {
            announcer,
            now,
            flying: vec![],
            launched: BTreeMap::new(),
            notices: vec![],
            peers: vec![],
            is_stopped: false,
        };
        hand.input(Input::Timeout);
        hand
    }

    fn input(&mut self, input: Input) {
        self.announcer.handle(self.now, input);
        while let Some(output) = self.announcer.poll() {
            match output {
                Output::Announce { id, url, announce } => {
                    self.launched.insert(id, self.now);
                    self.flying.push((id, url.host().to_owned(), announce));
                }
                Output::Notice { tracker, message } => {
                    self.notices.push(format!("{tracker}: {message}"))
                }
                Output::Peers(peers) => self.peers.extend(peers),
                Output::Stopped => self.is_stopped = true,
            }
        }
        assert!(
            self.announcer.deadline().is_none_or(|at| at > self.now),
            "what is due has been done"
        );
    }

    /// The one announce without an answer: to whom, and with which event.
    fn told(&self) -> (&str, Option<Event>) {
        assert_eq!(self.flying.len(), 1, "{:?}", self.flying);
        (&self.flying[0].1, self.flying[0].2.event)
    }

    fn answer(&mut self, answer: Announced) {
        let (id, ..) = self.flying.remove(0);
        self.input(Input::Announced {
            id,
            result: Ok(answer),
        });
    }

    fn accept(&mut self, interval: u64) {
        self.answer(Announced {
            interval: Duration::from_secs(interval),
            ..Announced::default()
        });
    }

    fn fail(&mut self) {
        self.refuse(Failure::Unreachable("no route".into()));
    }

    fn refuse(&mut self, failure: Failure) {
        let (id, ..) = self.flying.remove(0);
        self.input(Input::Announced {
            id,
            result: Err(failure),
        });
    }

    /// Waits until something is announced; says how many seconds that took.
    fn wait(&mut self) -> u64 {
        let (start, before) = (self.now, self.flying.len());
        while self.flying.len() == before {
            self.now = self.announcer.deadline().expect("something is due");
            self.input(Input::Timeout);
        }
        (self.now - start).as_secs()
    }
}

#[test]
fn the_first_announce_says_started_and_later_ones_nothing() {
    let mut hand = Hand::new(&[&["t"]]);
    assert_eq!(hand.told(), ("t", Some(Event::Started)));
    let announce = &hand.flying[0].2;
    assert_eq!(
        (announce.info_hash, announce.peer_id, announce.port),
        (HASH, [2; 20], 6881)
    );
    assert_eq!(
        (announce.left, announce.num_want),
        (LEFT_UNKNOWN, Some(NUM_WANT))
    );
    hand.input(Input::Stats(Stats {
        uploaded: 1,
        downloaded: 2,
        left: Some(3),
    }));
    hand.accept(1800);
    assert_eq!(hand.wait(), 1800);
    assert_eq!(hand.told(), ("t", None));
    let announce = &hand.flying[0].2;
    assert_eq!(
        (announce.uploaded, announce.downloaded, announce.left),
        (1, 2, 3)
    );
}

#[test]
fn what_a_tracker_says_is_passed_on() {
    let mut hand = Hand::new(&[&["t"]]);
    let peer: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let answer = Announced {
        peers: vec![peer],
        warning: Some("soon closed".into()),
        ..Announced::default()
    };
    hand.answer(Announced {
        tracker_id: Some(b"id".into()),
        ..answer
    });
    assert_eq!(hand.peers, [peer]);
    assert_eq!(hand.notices, ["http://t/announce: soon closed"]);
    hand.wait();
    assert_eq!(hand.flying[0].2.tracker_id.as_deref(), Some(&b"id"[..]));
}

#[test]
fn tiers_are_tried_in_order_as_in_bep_12() {
    let mut hand = Hand::new(&[&["a"], &["b"], &["c"]]);
    assert_eq!(hand.told().0, "a");
    hand.fail();
    assert_eq!(hand.told().0, "b");
    hand.accept(600);
    assert!(hand.flying.is_empty());
    assert_eq!(hand.wait(), 600);
    assert_eq!(
        hand.told(),
        ("a", Some(Event::Started)),
        "each round begins with the first tier"
    );
    hand.fail();
    assert_eq!(hand.told(), ("b", None));
}

#[test]
fn within_a_tier_the_order_is_random_and_success_comes_first() {
    let first = |seed| {
        Hand::with_hashes(&[&["a", "b", "c"]], vec![HASH], seed)
            .told()
            .0
            .to_owned()
    };
    let firsts: BTreeSet<_> = (0..30).map(first).collect();
    assert_eq!(firsts.len(), 3, "{firsts:?}");

    let mut hand = Hand::new(&[&["a", "b", "c"]]);
    let mut order = Vec::new();
    for _ in 0..2 {
        order.push(hand.told().0.to_owned());
        hand.fail();
    }
    order.push(hand.told().0.to_owned());
    hand.accept(600);
    hand.wait();
    let mut then = Vec::new();
    for _ in 0..2 {
        then.push(hand.told().0.to_owned());
        hand.fail();
    }
    then.push(hand.told().0.to_owned());
    assert_eq!(
        then,
        [&order[2], &order[0], &order[1]].map(String::as_str),
        "as in the example of BEP 12"
    );
}

#[test]
fn when_all_fail_the_pauses_grow_and_differ() {
    let pauses = |seed| {
        let mut hand = Hand::with_hashes(&[&["a"]], vec![HASH], seed);
        let pause = |_| {
            hand.fail();
            hand.wait()
        };
        (0..10).map(pause).collect::<Vec<_>>()
    };
    let one = pauses(1);
    assert!(
        (11..=18).contains(&one[0]) && (22..=37).contains(&one[1]),
        "{one:?}"
    );
    assert!((1350..=2250).contains(&one[9]), "{one:?}");
    assert_ne!(one, pauses(2));
    assert_eq!(one, pauses(1));
}

#[test]
fn a_slow_tracker_does_not_keep_us_from_the_next() {
    let mut hand = Hand::new(&[&["a"], &["b"]]);
    assert_eq!(hand.wait(), 10);
    assert_eq!(hand.flying[1].1, "b");
    let late = hand.flying.remove(0);
    hand.accept(600);
    let peer: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let answer = Announced {
        peers: vec![peer],
        interval: Duration::from_secs(900),
        ..Announced::default()
    };
    hand.input(Input::Announced {
        id: late.0,
        result: Ok(answer),
    });
    assert_eq!(hand.peers, [peer], "a late answer is as good as any");
    assert_eq!(hand.wait(), 900);
    assert_eq!(hand.told().0, "a");
}

#[test]
fn a_driver_that_never_answers_is_not_waited_for() {
    let mut hand = Hand::new(&[&["a"]]);
    hand.flying.clear();
    let waited = hand.wait();
    assert!((150..200).contains(&waited), "{waited}");
    assert_eq!(
        hand.notices,
        ["http://a/announce: the tracker has not answered"]
    );
}

#[test]
fn retry_in_and_never_are_obeyed() {
    let refused = |retry| {
        Failure::Tracker(TrackerError::Refused {
            reason: "no".into(),
            retry: Some(retry),
        })
    };
    let mut hand = Hand::new(&[&["a"]]);
    hand.refuse(refused(Retry::In(Duration::from_secs(3600))));
    assert_eq!(hand.wait(), 3600);
    hand.refuse(refused(Retry::Never));
    assert_eq!(hand.announcer.deadline(), None);
    hand.input(Input::NeedPeers);
    hand.input(Input::Completed);
    assert!(hand.flying.is_empty());
    assert_eq!(
        hand.notices[0],
        "http://a/announce: the tracker refused: no"
    );
}

#[test]
fn completion_is_told_at_once_and_once() {
    let mut hand = Hand::new(&[&["a"]]);
    hand.accept(1800);
    hand.input(Input::Completed);
    assert_eq!(hand.told(), ("a", Some(Event::Completed)));
    hand.accept(1800);
    assert_eq!(hand.wait(), 1800);
    assert_eq!(hand.told(), ("a", None));

    // Not before the tracker knows that anything has started at all.
    let mut hand = Hand::new(&[&["a"]]);
    hand.input(Input::Completed);
    assert_eq!(hand.told(), ("a", Some(Event::Started)));
    hand.accept(1800);
    assert_eq!(hand.told(), ("a", Some(Event::Completed)));
    hand.fail();
    hand.wait();
    assert_eq!(
        hand.told(),
        ("a", Some(Event::Completed)),
        "what got lost is said again"
    );
}

#[test]
fn too_few_peers_bring_the_next_announce_forward_as_far_as_the_tracker_allows() {
    let mut hand = Hand::new(&[&["a"]]);
    let answer = |min| Announced {
        interval: Duration::from_secs(1800),
        min_interval: min,
        ..Announced::default()
    };
    for (min, expected) in [(None, 60), (Some(300), 300), (Some(1), 5)] {
        hand.answer(answer(min.map(Duration::from_secs)));
        hand.input(Input::NeedPeers);
        assert_eq!(hand.wait(), expected);
    }
    hand.answer(answer(None));
    assert_eq!(hand.wait(), 1800, "once is once");
    hand.fail();
    hand.input(Input::NeedPeers);
    assert!(
        hand.wait() >= 11,
        "a tracker that is down is left alone for a while"
    );
}

#[test]
fn an_absurd_interval_does_no_harm() {
    let mut hand = Hand::new(&[&["a"]]);
    hand.accept(0);
    assert_eq!(hand.wait(), 10);
}

#[test]
fn a_farewell_goes_to_those_who_know_us() {
    let mut hand = Hand::new(&[&["a"], &["b"], &["c"]]);
    hand.fail();
    hand.accept(600);
    hand.wait();
    hand.input(Input::Stop);
    // The announce to a was still on its way; c has never heard of us.
    let mut told: Vec<_> = hand.flying.drain(..).skip(1).collect();
    told.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(
        told.iter()
            .map(|(_, host, _)| host.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    for (id, _, announce) in told {
        assert_eq!(
            (announce.event, announce.num_want),
            (Some(Event::Stopped), Some(0))
        );
        assert!(!hand.is_stopped);
        hand.input(Input::Announced {
            id,
            result: Ok(Announced::default()),
        });
    }
    assert!(hand.is_stopped);
    assert_eq!(hand.announcer.deadline(), None);
}

#[test]
fn nobody_waits_long_for_a_farewell() {
    let mut hand = Hand::new(&[&["a"]]);
    hand.accept(600);
    hand.input(Input::Stop);
    assert!(!hand.is_stopped);
    hand.now += FAREWELL;
    hand.input(Input::Timeout);
    assert!(hand.is_stopped);

    let mut hand = Hand::new(&[&["a"]]);
    hand.fail();
    hand.input(Input::Stop);
    assert!(hand.is_stopped, "nobody knows us");
}

#[test]
fn a_hybrid_torrent_is_announced_under_both_of_its_names() {
    let hand = Hand::with_hashes(&[&["a"]], vec![[1; 20], [2; 20]], 1);
    let hashes: Vec<_> = hand
        .flying
        .iter()
        .map(|(_, _, announce)| announce.info_hash)
        .collect();
    assert_eq!(hashes, [[1; 20], [2; 20]]);
    assert_eq!(hand.flying[0].2.key, hand.flying[1].2.key);
}

#[test]
fn urls_that_break_the_rules_are_named_and_left_out() {
    let hand = Hand::new(&[
        &["file:///etc/passwd", "http://me:secret@x:25/announce?k=1"],
        &["a", "a"],
    ]);
    assert_eq!(hand.told().0, "a");
    assert_eq!(hand.notices.len(), 2);
    assert!(
        hand.notices[1].starts_with("http://x:25/announce: port 25 "),
        "{:?}",
        hand.notices
    );
    let none = Hand::new(&[]);
    assert_eq!(none.announcer.deadline(), None);
}

#[test]
fn of_a_huge_list_the_first_are_used() {
    let names: Vec<_> = (0..200).map(|n| format!("t{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut hand = Hand::new(&[&names]);
    let mut told = 0;
    while !hand.flying.is_empty() {
        told += 1;
        hand.fail();
    }
    assert_eq!(told, MAX_TRACKERS);
}

#[test]
fn a_second_report_still_brings_its_peers() {
    let mut hand = Hand::new(&[&["a"]]);
    let id = hand.flying[0].0;
    hand.accept(600);
    let peer: SocketAddr = "[2001:db8::1]:1".parse().unwrap();
    hand.input(Input::Announced {
        id,
        result: Ok(Announced {
            peers: vec![peer],
            ..Announced::default()
        }),
    });
    assert_eq!(hand.peers, [peer]);
    assert_eq!(hand.wait(), 600);
}

proptest! {
    #[test]
    fn whatever_trackers_do_each_is_told_in_order_and_in_turn(
        steps in proptest::collection::vec((0u8..8, 0u64..4000, any::<prop::sample::Index>()), 0..120),
        seed: u64,
    ) {
        let mut hand = Hand::with_hashes(&[&["a", "b"], &["c"]], vec![[1; 20], [2; 20]], seed);
        let (mut stopped, mut started, mut silenced) = (false, BTreeSet::new(), vec![]);
        for (what, secs, which) in steps {
            let before: Vec<_> = hand.flying.iter().map(|(id, ..)| *id).collect();
            match what {
                0 => hand.input(Input::NeedPeers),
                1 if secs < 400 => hand.input(Input::Completed),
                2 if secs < 100 => {
                    stopped = true;
                    hand.input(Input::Stop);
                }
                3 | 4 => {
                    let until = hand.now + Duration::from_secs(secs);
                    while let Some(at) = hand.announcer.deadline().filter(|at| *at <= until) {
                        hand.now = at;
                        hand.input(Input::Timeout);
                    }
                    hand.now = until;
                }
                _ if hand.flying.is_empty() => {}
                _ => {
                    let at = which.index(hand.flying.len());
                    hand.flying.swap(0, at);
                    let (id, host, announce) = hand.flying[0].clone();
                    // A report that comes after the announce was given up counts for nothing.
                    let is_late = hand.now - hand.launched[&id] >= Duration::from_secs(150);
                    match what {
                        5 => hand.fail(),
                        6 if secs < 500 && !is_late => {
                            silenced.push((host, announce.info_hash));
                            let reason = "no".to_owned();
                            hand.refuse(Failure::Tracker(TrackerError::Refused { reason, retry: Some(Retry::Never) }));
                        }
                        _ => {
                            started.insert((host, announce.info_hash));
                            hand.accept(secs);
                        }
                    }
                }
            }
            for (id, host, announce) in hand.flying.iter().filter(|(id, ..)| !before.contains(id)) {
                let tracker = (host.clone(), announce.info_hash);
                prop_assert_eq!(announce.event == Some(Event::Stopped), stopped);
                prop_assert!(stopped || !silenced.contains(&tracker), "told though it said never");
                if announce.event != Some(Event::Started) && !stopped {
                    prop_assert!(started.contains(&tracker), "{id:?} to one that does not know us");
                }
            }
        }
    }
}
