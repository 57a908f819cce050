//! One node and a hand that plays all others.

use torrent::krpc::{self, Response, Want};

use super::server::{MAX_VALUES_V4, MAX_VALUES_V6};
use super::table::K;
use super::*;

const OURS: NodeId = NodeId([0; 20]);
const HASH: [u8; 20] = *b"mnopqrstuvwxyz123456";

fn config() -> Config {
    Config {
        id: Some(OURS),
        id6: None,
        v4: true,
        v6: false,
        routers: vec![],
        read_only: false,
        version: Some(*b"ST\0\x01"),
        secret: [7; 20],
    }
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([9, 9, n, 1], 6881))
}

fn id(n: u8) -> NodeId {
    NodeId([n; 20])
}

/// The id of the nth node that [`Hand::acquainted`] has met; up to 15 are spread over the space.
fn met(n: u8) -> NodeId {
    id(n * 16)
}

/// A node under test, and the clock.
struct Hand {
    dht: Dht,
    now: Instant,
}

impl Hand {
    fn new(config: Config) -> Hand {
        let now = Instant::now();
        Hand {
            dht: Dht::new(config, 1, now),
            now,
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.dht.poll()).collect()
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.dht.handle(self.now, input);
        self.outputs()
    }

    /// Lets time pass, in the steps the node asks for.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.dht.deadline().filter(|at| *at <= end) {
            assert!(at > self.now || self.now == at, "a deadline in the past");
            self.now = at.max(self.now);
            outputs.extend(self.input(Input::Timeout));
        }
        self.now = end;
        outputs
    }

    fn send(&mut self, from: SocketAddr, body: Body) -> Vec<Output> {
        self.input(Input::Packet {
            from,
            bytes: &Message::new(*b"tt", body).encode(),
        })
    }

    /// Asks the node something and gives its answer.
    fn ask(&mut self, from: SocketAddr, query: Query) -> Body {
        let outputs = self.send(from, Body::Query(query));
        let answers = sent(&outputs)
            .into_iter()
            .filter(|(to, message)| *to == from && message.transaction == b"tt");
        let mut answers = answers.map(|(_, message)| message);
        let answer = answers.next().expect("an answer");
        assert_eq!(answer.ip, Some(from));
        answer.body
    }

    /// Answers a question of the node.
    fn answer(&mut self, (to, message): &(SocketAddr, Message), response: Response) -> Vec<Output> {
        let reply = Message::new(message.transaction.clone(), Body::Response(response));
        self.input(Input::Packet {
            from: *to,
            bytes: &reply.encode(),
        })
    }

    /// A node that has met nodes 1 to `count` and waits for nothing.
    fn acquainted(count: u8) -> Hand {
        let mut hand = Hand::new(config());
        hand.input(Input::Timeout);
        for n in 1..=count {
            let table = &mut hand.dht.v4.as_mut().unwrap().table;
            table.answered(
                hand.now,
                NodeInfo {
                    id: met(n),
                    addr: addr(n),
                },
            );
        }
        assert_eq!(hand.dht.status(hand.now).good_v4, usize::from(count));
        hand
    }
}

fn sent(outputs: &[Output]) -> Vec<(SocketAddr, Message)> {
    let packets = outputs.iter().filter_map(|output| match output {
        Output::Send { to, bytes } => Some((*to, bytes)),
        _ => None,
    });
    packets
        .map(|(to, bytes)| (to, Message::parse(bytes).expect("we send valid messages")))
        .collect()
}

#[test]
fn a_ping_is_answered_as_in_bep_5() {
    let mut hand = Hand::new(Config {
        id: Some(NodeId(HASH)),
        version: None,
        ..config()
    });
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    let outputs = hand.input(Input::Packet {
        from: addr(1),
        bytes: ping,
    });
    let Output::Send { bytes, .. } = &outputs[0] else {
        panic!("a packet: {outputs:?}")
    };
    let expected = b"d2:ip6:\x09\x09\x01\x01\x1a\xe11:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re";
    assert_eq!(
        bytes.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn whoever_asks_is_asked_back_and_gets_into_the_table_by_answering() {
    let mut hand = Hand::new(config());
    let outputs = hand.send(addr(1), Body::Query(Query::Ping { id: id(1) }));
    let ping = sent(&outputs).pop().unwrap();
    assert_eq!(ping.1.body, Body::Query(Query::Ping { id: OURS }));
    assert_eq!(hand.dht.nodes(hand.now), []);
    hand.answer(&ping, Response::new(id(1)));
    assert_eq!(
        hand.dht.nodes(hand.now),
        [NodeInfo {
            id: id(1),
            addr: addr(1)
        }]
    );
}

#[test]
fn a_read_only_asker_is_answered_and_forgotten() {
    let mut hand = Hand::new(config());
    let mut message = Message::new(*b"tt", Body::Query(Query::Ping { id: id(1) }));
    message.read_only = true;
    let outputs = hand.input(Input::Packet {
        from: addr(1),
        bytes: &message.encode(),
    });
    assert_eq!(sent(&outputs).len(), 1);
}

#[test]
fn a_read_only_node_asks_and_does_not_answer() {
    let mut hand = Hand::new(Config {
        read_only: true,
        ..config()
    });
    let outputs = hand.send(addr(1), Body::Query(Query::Ping { id: id(1) }));
    assert_eq!(sent(&outputs), []);
    let bytes = b"d1:q4:ping1:t2:aa1:y1:qe";
    assert_eq!(
        sent(&hand.input(Input::Packet {
            from: addr(1),
            bytes
        })),
        []
    );
    let outputs = hand.input(Input::AddNode(addr(1)));
    assert!(sent(&outputs)[0].1.read_only);
}

#[test]
fn an_announce_with_its_token_is_found_by_others() {
    let mut hand = Hand::new(config());
    let get = |from: u8| Query::GetPeers {
        id: id(from),
        info_hash: HASH,
        want: None,
    };
    let Body::Response(response) = hand.ask(addr(1), get(1)) else {
        panic!("an answer")
    };
    assert_eq!((response.values.len(), response.nodes), (0, Some(vec![])));
    let token = response.token.unwrap();
    let announce = |port, implied_port| Query::AnnouncePeer {
        id: id(1),
        info_hash: HASH,
        port,
        implied_port,
        token: token.clone(),
    };

    let refused = hand.ask(addr(2), announce(1, false));
    assert!(
        matches!(
            refused,
            Body::Error {
                code: krpc::code::PROTOCOL,
                ..
            }
        ),
        "a token is good for one address"
    );
    assert_eq!(
        hand.ask(addr(1), announce(7, false)),
        Body::Response(Response::new(OURS))
    );
    assert_eq!(
        hand.ask(addr(1), announce(8, true)),
        Body::Response(Response::new(OURS))
    );

    let Body::Response(mut response) = hand.ask(addr(3), get(3)) else {
        panic!("an answer")
    };
    response.values.sort();
    assert_eq!(response.values, [SocketAddr::new(addr(1).ip(), 7), addr(1)]);
    hand.pass(Duration::from_secs(31 * 60));
    let Body::Response(response) = hand.ask(addr(3), get(3)) else {
        panic!("an answer")
    };
    assert_eq!(response.values, []);
    assert_eq!(hand.dht.status(hand.now).stored_peers, 0);
}

#[test]
fn bad_questions_get_the_errors_of_bep_5() {
    let mut hand = Hand::new(config());
    let unknown = hand.ask(
        addr(1),
        Query::Unknown {
            id: Some(id(1)),
            name: b"vote".into(),
        },
    );
    assert!(matches!(
        unknown,
        Body::Error {
            code: krpc::code::METHOD_UNKNOWN,
            ..
        }
    ));
    let outputs = hand.input(Input::Packet {
        from: addr(1),
        bytes: b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
    });
    let (_, message) = sent(&outputs).pop().unwrap();
    assert!(matches!(
        message.body,
        Body::Error {
            code: krpc::code::PROTOCOL,
            ..
        }
    ));
    assert_eq!(message.transaction, b"aa");
    assert_eq!(
        hand.input(Input::Packet {
            from: addr(1),
            bytes: b"noise"
        }),
        []
    );
}

#[test]
fn the_nearest_good_nodes_are_given_and_never_the_asker_itself() {
    let mut hand = Hand::acquainted(12);
    let target = met(5);
    let Body::Response(response) = hand.ask(
        addr(3),
        Query::FindNode {
            id: met(3),
            target,
            want: None,
        },
    ) else {
        panic!("an answer")
    };
    let nodes = response.nodes.unwrap();
    assert_eq!(nodes.len(), K);
    assert!(nodes.is_sorted_by_key(|node| node.id.distance(&target)));
    assert_eq!(
        nodes[0],
        NodeInfo {
            id: target,
            addr: addr(5)
        }
    );
    assert!(nodes.iter().all(|node| node.id != met(3)));
    assert_eq!(response.nodes6, None);
}

#[test]
fn the_longest_answer_fits_into_a_packet() {
    for v4 in [true, false] {
        let mut hand = Hand::new(Config {
            v6: true,
            ..config()
        });
        let now = hand.now;
        for n in 1..=8u8 {
            let table = |node: &mut Option<Node>, addr| {
                let node = &mut node.as_mut().unwrap().table;
                assert_eq!(
                    node.answered(
                        now,
                        NodeInfo {
                            id: id(0x80 + n),
                            addr
                        }
                    ),
                    None
                );
            };
            table(&mut hand.dht.v4, addr(n));
            table(
                &mut hand.dht.v6,
                format!("[2001:db8:0:{n}::1]:6881").parse().unwrap(),
            );
            for port in 0..100 {
                let peer: SocketAddr = if v4 {
                    (addr(n).ip(), 20_000 + port).into()
                } else {
                    ([9; 16], 20_000 + port).into()
                };
                hand.dht.server.stored.announce(now, &OURS, HASH, peer);
            }
        }
        let from: SocketAddr = if v4 {
            addr(99)
        } else {
            ([8; 16], 65535).into()
        };
        let get = Query::GetPeers {
            id: id(99),
            info_hash: HASH,
            want: Some(Want { n4: true, n6: true }),
        };
        let question = Message::new([b't'; krpc::MAX_TRANSACTION_LEN], Body::Query(get));
        let outputs = hand.input(Input::Packet {
            from,
            bytes: &question.encode(),
        });
        let Output::Send { bytes, .. } = &outputs[0] else {
            panic!("an answer")
        };
        let Body::Response(response) = Message::parse(bytes).unwrap().body else {
            panic!("an answer")
        };
        assert_eq!(
            response.nodes.unwrap().len() + response.nodes6.unwrap().len(),
            16
        );
        assert_eq!(
            response.values.len(),
            if v4 { MAX_VALUES_V4 } else { MAX_VALUES_V6 }
        );
        assert!(bytes.len() <= krpc::MAX_SENT_LEN, "{} bytes", bytes.len());
    }
}

#[test]
fn a_search_asks_reports_and_announces() {
    let mut hand = Hand::acquainted(3);
    let announce = Some(AnnounceAs {
        port: 7000,
        implied: false,
    });
    let search = SearchId(5);
    let outputs = hand.input(Input::Search {
        search,
        info_hash: HASH,
        announce,
        want_peers: true,
    });
    let questions = sent(&outputs);
    assert_eq!(questions.len(), 3);
    let mut outputs = Vec::new();
    for question in &questions {
        assert!(matches!(
            question.1.body,
            Body::Query(Query::GetPeers {
                info_hash: HASH,
                ..
            })
        ));
        // A local peer in the mouth of a public node is a trap.
        let values = vec![
            "9.8.7.6:5".parse().unwrap(),
            "127.0.0.1:80".parse().unwrap(),
        ];
        let token = Some(vec![question.0.port() as u8]);
        let Body::Query(query) = &question.1.body else {
            unreachable!()
        };
        assert_eq!(query.id(), Some(OURS));
        let n = hand
            .dht
            .nodes(hand.now)
            .iter()
            .find(|node| node.addr == question.0)
            .unwrap()
            .id;
        outputs.extend(hand.answer(
            question,
            Response {
                values,
                token,
                ..Response::new(n)
            },
        ));
    }
    assert_eq!(
        outputs[0],
        Output::Peers {
            search,
            peers: vec!["9.8.7.6:5".parse().unwrap()]
        }
    );
    let announces = sent(&outputs);
    assert_eq!(announces.len(), 3);
    let mut outputs = Vec::new();
    for question in &announces[..2] {
        let Body::Query(Query::AnnouncePeer {
            port: 7000,
            implied_port: false,
            token,
            ..
        }) = &question.1.body
        else {
            panic!("an announce")
        };
        assert_eq!(token, &[question.0.port() as u8]);
        outputs.extend(hand.answer(question, Response::new(id(9))));
    }
    assert_eq!(outputs, []);
    let outputs = hand.pass(Duration::from_secs(10));
    assert!(
        outputs.contains(&Output::SearchDone {
            search,
            answered: 3,
            announced: 2
        }),
        "{outputs:?}"
    );
}

#[test]
fn a_search_before_anybody_is_known_waits_for_the_routers() {
    let mut hand = Hand::new(Config {
        routers: vec![("router.example".into(), 6881)],
        ..config()
    });
    let search = SearchId(1);
    let outputs = hand.input(Input::Search {
        search,
        info_hash: HASH,
        announce: None,
        want_peers: true,
    });
    assert!(
        outputs.contains(&Output::Resolve {
            name: "router.example".into(),
            port: 6881
        }),
        "{outputs:?}"
    );
    assert_eq!(hand.pass(Duration::from_secs(2)), []);
    let questions = sent(&hand.input(Input::Resolved(&[addr(200)])));
    assert_eq!(questions[0].0, addr(200));
    let nodes = Some(vec![NodeInfo {
        id: id(1),
        addr: addr(1),
    }]);
    let questions = sent(&hand.answer(
        &questions[0],
        Response {
            nodes,
            ..Response::new(id(200))
        },
    ));
    assert_eq!(questions[0].0, addr(1));
    assert!(matches!(
        questions[0].1.body,
        Body::Query(Query::FindNode { .. })
    ));
    assert_eq!(hand.dht.nodes(hand.now), [], "a router is not kept");
    let questions = sent(&hand.answer(&questions[0], Response::new(id(1))));
    assert!(questions.iter().any(|(to, message)| {
        *to == addr(1)
            && matches!(
                message.body,
                Body::Query(Query::GetPeers {
                    info_hash: HASH,
                    ..
                })
            )
    }));
}

#[test]
fn a_search_with_nobody_to_ask_ends_at_once() {
    let mut hand = Hand::new(config());
    let search = SearchId(1);
    let outputs = hand.input(Input::Search {
        search,
        info_hash: HASH,
        announce: None,
        want_peers: true,
    });
    assert!(
        outputs.contains(&Output::SearchDone {
            search,
            answered: 0,
            announced: 0
        }),
        "{outputs:?}"
    );
}

#[test]
fn a_cancelled_search_is_heard_of_no_more() {
    let mut hand = Hand::acquainted(3);
    let search = SearchId(1);
    let outputs = hand.input(Input::Search {
        search,
        info_hash: HASH,
        announce: None,
        want_peers: true,
    });
    let questions = sent(&outputs);
    assert_eq!(hand.input(Input::CancelSearch(search)), []);
    let values = vec!["9.8.7.6:5".parse().unwrap()];
    assert_eq!(
        hand.answer(
            &questions[0],
            Response {
                values,
                ..Response::new(met(1))
            }
        ),
        []
    );
    assert!(
        hand.pass(Duration::from_secs(20))
            .iter()
            .all(|output| !matches!(output, Output::SearchDone { .. }))
    );
    assert_eq!(hand.dht.status(hand.now).searches, 0);
}

#[test]
fn a_thousand_searches_take_their_turns() {
    let mut hand = Hand::acquainted(1);
    let mut done = 0;
    let mut on_their_way = VecDeque::new();
    for n in 0..1000 {
        let info_hash = std::array::from_fn(|at| (n >> (8 * (at % 2))) as u8);
        let outputs = hand.input(Input::Search {
            search: SearchId(n),
            info_hash,
            announce: None,
            want_peers: true,
        });
        on_their_way.extend(sent(&outputs));
        assert!(on_their_way.len() <= MAX_RUNNING);
    }
    while let Some(question) = on_their_way.pop_front() {
        let outputs = hand.answer(&question, Response::new(met(1)));
        done += outputs
            .iter()
            .filter(|output| matches!(output, Output::SearchDone { answered: 1, .. }))
            .count();
        on_their_way.extend(sent(&outputs));
    }
    assert_eq!(done, 1000);
}

#[test]
fn an_answer_from_another_address_is_not_believed() {
    let mut hand = Hand::new(config());
    let question = sent(&hand.input(Input::AddNode(addr(1)))).pop().unwrap();
    hand.answer(&(addr(2), question.1.clone()), Response::new(id(2)));
    assert_eq!(hand.dht.nodes(hand.now), []);
    hand.answer(&question, Response::new(id(1)));
    assert_eq!(hand.dht.nodes(hand.now).len(), 1);
}

#[test]
fn without_an_answer_it_tries_again_more_and_more_seldom() {
    let mut hand = Hand::new(config());
    let mut tries = sent(&hand.input(Input::AddNode(addr(1)))).len();
    assert_eq!(tries, 1);
    tries += sent(&hand.pass(Duration::from_secs(3600))).len();
    assert!((12..25).contains(&tries), "{tries} questions in an hour");
}

#[test]
fn a_dead_network_costs_no_busy_loop() {
    let mut hand = Hand::acquainted(8);
    let mut wakes = 0;
    let end = hand.now + Duration::from_secs(3 * 3600);
    while let Some(at) = hand.dht.deadline().filter(|at| *at < end) {
        assert!(at >= hand.now, "time does not run backwards");
        hand.now = at;
        wakes += 1;
        hand.input(Input::Timeout);
        assert!(
            hand.dht.deadline().is_none_or(|next| next > hand.now),
            "a deadline is dealt with once it is there"
        );
    }
    assert!(wakes < 1500, "{wakes} wake-ups in three hours");
    assert_eq!(hand.dht.status(hand.now).good_v4, 0);
}

#[test]
fn saved_nodes_are_where_the_next_run_starts() {
    let first = Hand::acquainted(5);
    let saved = first.dht.nodes(first.now);
    assert_eq!(saved.len(), 5);
    let mut hand = Hand::new(config());
    let asked: Vec<_> = sent(&hand.input(Input::Restore(&saved)))
        .into_iter()
        .map(|(to, _)| to)
        .collect();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|to| saved.iter().any(|node| node.addr == *to))
    );
}

#[test]
fn while_starting_one_family_learns_from_the_other() {
    let mut hand = Hand::new(Config {
        v6: true,
        ..config()
    });
    let question = sent(&hand.input(Input::AddNode(addr(1)))).pop().unwrap();
    let both = Some(Want { n4: true, n6: true });
    assert_eq!(
        question.1.body,
        Body::Query(Query::FindNode {
            id: OURS,
            target: OURS,
            want: both
        })
    );
    let v6 = NodeInfo {
        id: id(6),
        addr: "[2001:db8::1]:6881".parse().unwrap(),
    };
    let outputs = hand.answer(
        &question,
        Response {
            nodes6: Some(vec![v6]),
            ..Response::new(id(1))
        },
    );
    assert!(sent(&outputs).iter().any(|(to, _)| *to == v6.addr));
}

/// A node whose id fits its address.
fn fit(n: u8) -> NodeInfo {
    NodeInfo {
        id: NodeId::tied_to(addr(n).ip(), [n; 20]),
        addr: addr(n),
    }
}

#[test]
fn our_id_follows_our_address_and_the_nodes_stay() {
    let mut hand = Hand::acquainted(12);
    let before = hand.dht.nodes(hand.now).len();
    let ip: IpAddr = [8, 8, 4, 4].into();
    let questions = sent(&hand.input(Input::Located(ip)));
    let id = hand.dht.id();
    assert!(id.is_tied_to(ip) && id != OURS);
    assert_eq!(hand.dht.nodes(hand.now).len(), before);
    // The neighbours of the new place are looked for, in its name.
    let walk = Body::Query(Query::FindNode {
        id,
        target: id,
        want: None,
    });
    assert!(questions.iter().any(|(_, message)| message.body == walk));
    for (_, message) in &questions {
        assert!(matches!(&message.body, Body::Query(query) if query.id() == Some(id)));
    }
    hand.input(Input::Located(ip));
    assert_eq!(hand.dht.id(), id, "it fits");
    let other: IpAddr = [8, 8, 5, 5].into();
    hand.input(Input::Located(other));
    assert_eq!(hand.dht.id(), id, "not twice in ten minutes");
    hand.pass(Duration::from_secs(600));
    assert!(hand.dht.id().is_tied_to(other));
    let id = hand.dht.id();
    hand.input(Input::Located([192, 168, 1, 2].into()));
    assert_eq!(hand.dht.id(), id, "inside everything fits");
    let Body::Response(response) = hand.ask(addr(1), Query::Ping { id: met(1) }) else {
        panic!("an answer")
    };
    assert_eq!(response.id, id);
}

#[test]
fn where_others_see_us_is_told_if_we_asked_them() {
    let mut hand = Hand::new(config());
    let question = sent(&hand.input(Input::AddNode(addr(1)))).pop().unwrap();
    let seen: SocketAddr = "8.8.4.4:6881".parse().unwrap();
    let mut answer = Message::new(question.1.transaction, Body::Response(Response::new(id(1))));
    answer.ip = Some(seen);
    let bytes = answer.encode();
    let told = Output::Seen {
        by: addr(1),
        is_fit: false,
        ip: seen.ip(),
    };
    let outputs = hand.input(Input::Packet {
        from: addr(2),
        bytes: &bytes,
    });
    assert!(!outputs.contains(&told));
    let outputs = hand.input(Input::Packet {
        from: addr(1),
        bytes: &bytes,
    });
    assert!(outputs.contains(&told));
}

#[test]
fn announces_go_to_nodes_with_a_right_to_their_id() {
    let mut hand = Hand::new(config());
    hand.input(Input::Timeout);
    let now = hand.now;
    let table = &mut hand.dht.v4.as_mut().unwrap().table;
    let liars: Vec<_> = (100..106)
        .map(|n| {
            let mut near = HASH;
            near[19] ^= n;
            NodeInfo {
                id: NodeId(near),
                addr: addr(n),
            }
        })
        .collect();
    (1..=20)
        .map(fit)
        .chain(liars.iter().copied())
        .for_each(|node| assert_eq!(table.answered(now, node), None));
    let known = hand.dht.nodes(now);
    let announce = Some(AnnounceAs {
        port: 7000,
        implied: false,
    });
    let search = Input::Search {
        search: SearchId(1),
        info_hash: HASH,
        announce,
        want_peers: true,
    };
    let mut questions: VecDeque<_> = sent(&hand.input(search)).into();
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    while let Some(question) = questions.pop_front() {
        let node = known.iter().find(|node| node.addr == question.0).unwrap();
        match question.1.body {
            Body::Query(Query::GetPeers { .. }) => asked.push(*node),
            Body::Query(Query::AnnouncePeer { .. }) => told.push(*node),
            _ => {}
        }
        let token = Some(vec![1]);
        questions.extend(sent(&hand.answer(
            &question,
            Response {
                token,
                ..Response::new(node.id)
            },
        )));
    }
    let met = || liars.iter().filter(|liar| known.contains(liar));
    assert!(met().count() > 0 && met().all(|liar| asked.contains(liar)));
    assert_eq!(told.len(), K);
    assert!(told.iter().all(|node| !liars.contains(node)));
}

#[test]
fn a_node_that_nobody_reaches_says_so_and_answers_all_the_same() {
    let mut hand = Hand::new(config());
    hand.input(Input::Timeout);
    let nodes: Vec<_> = (1..=250).map(fit).collect();
    let alive = |hand: &mut Hand| {
        let table = &mut hand.dht.v4.as_mut().unwrap().table;
        nodes.iter().for_each(|node| {
            let _ = table.answered(hand.now, *node);
        });
    };
    for _ in 0..40 {
        alive(&mut hand);
        hand.pass(Duration::from_secs(60));
    }
    assert_eq!(hand.dht.status(hand.now).reach[0], Reach::Closed);
    let questions = sent(&hand.input(Input::Search {
        search: SearchId(1),
        info_hash: HASH,
        announce: None,
        want_peers: true,
    }));
    assert!(!questions.is_empty() && questions.iter().all(|(_, message)| message.read_only));
    let asker: SocketAddr = "7.7.7.7:7".parse().unwrap();
    assert!(matches!(
        hand.ask(asker, Query::Ping { id: id(7) }),
        Body::Response(_)
    ));
    assert_eq!(hand.dht.status(hand.now).reach[0], Reach::Open);
}

/// Plays the nodes of [`Hand::acquainted`] until nothing is asked any more: each answers as `answer` says.
fn play(
    hand: &mut Hand,
    outputs: Vec<Output>,
    mut answer: impl FnMut(NodeInfo, &Query) -> Body,
) -> Vec<Output> {
    let known = hand.dht.nodes(hand.now);
    let mut questions: VecDeque<_> = sent(&outputs).into();
    let mut all = outputs;
    while let Some((to, message)) = questions.pop_front() {
        let Body::Query(query) = &message.body else {
            continue;
        };
        let node = known.iter().find(|node| node.addr == to).unwrap();
        let body = match query {
            Query::FindNode { .. } => Body::Response(Response::new(node.id)),
            query => answer(*node, query),
        };
        let reply = Message::new(message.transaction.clone(), body);
        let bytes = reply.encode();
        let outputs = hand.input(Input::Packet {
            from: to,
            bytes: &bytes,
        });
        questions.extend(sent(&outputs));
        all.extend(outputs);
    }
    all
}

fn with_token(node: NodeInfo) -> Response {
    Response {
        token: Some(vec![node.id.0[0]]),
        ..Response::new(node.id)
    }
}

fn news(seq: i64, value: &str) -> Item {
    let key = SigningKey::from_seed(&[7; 32]);
    Item::Mutable(key.sign(b"news", seq, value.as_bytes()).unwrap())
}

/// As it travels in an answer.
fn unsalted(item: &Item) -> Option<Box<Item>> {
    let mut item = item.clone();
    if let Item::Mutable(signed) = &mut item {
        signed.salt.clear();
    }
    Some(Box::new(item))
}

#[test]
fn a_value_is_put_where_it_belongs_and_only_with_a_token() {
    let mut hand = Hand::acquainted(12);
    let item = news(5, "5:hello");
    let put = Input::Put {
        search: SearchId(3),
        item: Box::new(item.clone()),
        cas: Some(4),
    };
    let outputs = hand.input(put);
    let mut told = Vec::new();
    let target = item.target();
    let outputs = play(&mut hand, outputs, |node, query| match query {
        // One has an older value, and so can compare; another has a newer one.
        Query::Get { target: t, .. } if *t == target => Body::Response(Response {
            item: (node.id == met(2))
                .then(|| unsalted(&news(4, "3:old")))
                .flatten(),
            seq: (node.id == met(2)).then_some(4),
            ..with_token(node)
        }),
        Query::Put {
            token,
            item: put,
            cas,
            ..
        } => {
            assert_eq!((token, &**put), (&vec![node.id.0[0]], &item));
            told.push((node.id, *cas));
            match told.len() {
                1 => Body::Error {
                    code: krpc::code::SEQ,
                    message: "newer".into(),
                },
                _ => Body::Response(Response::new(node.id)),
            }
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(told.len(), K);
    for (id, cas) in told {
        assert_eq!(cas, (id == met(2)).then_some(4));
    }
    let refused = Output::Refused {
        search: SearchId(3),
        code: krpc::code::SEQ,
        message: "newer".into(),
    };
    assert!(outputs.contains(&refused));
    let done = Output::SearchDone {
        search: SearchId(3),
        answered: 12,
        announced: K - 1,
    };
    assert_eq!(outputs.last(), Some(&done));
}

#[test]
fn the_newest_genuine_value_is_found() {
    let mut hand = Hand::acquainted(12);
    let target = news(0, "1:x").target();
    let get = Input::Get {
        search: SearchId(4),
        target,
        salt: b"news".to_vec(),
    };
    let outputs = hand.input(get);
    let outputs = play(&mut hand, outputs, |node, _| {
        let n = i64::from(node.id.0[0] / 16);
        let mut item = unsalted(&news(n, "1:x"));
        if let Some(Item::Mutable(forged)) = item.as_deref_mut()
            && n > 9
        {
            forged.value = b"1:y".to_vec();
        }
        Body::Response(Response {
            item,
            ..with_token(node)
        })
    });
    let found: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Item { item, .. } => item.seq(),
            _ => None,
        })
        .collect();
    assert!(found.is_sorted() && found.last() == Some(&9), "{found:?}");
    let done = Output::SearchDone {
        search: SearchId(4),
        answered: 12,
        announced: 0,
    };
    assert_eq!(outputs.last(), Some(&done));
}

#[test]
fn a_value_that_cannot_change_ends_the_search() {
    let mut hand = Hand::acquainted(12);
    let item = Item::Immutable(b"5:hello".to_vec());
    let get = Input::Get {
        search: SearchId(4),
        target: item.target(),
        salt: vec![],
    };
    let outputs = hand.input(get);
    let mut answers = 0;
    let outputs = play(&mut hand, outputs, |node, _| {
        answers += 1;
        let item = match answers {
            1 => Item::Immutable(b"5:false".to_vec()),
            _ => item.clone(),
        };
        Body::Response(Response {
            item: Some(Box::new(item)),
            ..with_token(node)
        })
    });
    let told: Vec<_> = outputs
        .iter()
        .filter(|output| !matches!(output, Output::Send { .. }))
        .collect();
    let found = Output::Item {
        search: SearchId(4),
        item,
    };
    let done = Output::SearchDone {
        search: SearchId(4),
        answered: 2,
        announced: 0,
    };
    assert_eq!(told, [&found, &done]);
    assert_eq!(hand.dht.status(hand.now).searches, 0);
}

#[test]
fn what_is_put_is_given_to_those_who_ask() {
    let mut hand = Hand::new(config());
    let item = news(5, "5:hello");
    let get = |seq| Query::Get {
        id: id(1),
        target: item.target(),
        seq,
        want: None,
    };
    let Body::Response(response) = hand.ask(addr(1), get(None)) else {
        panic!("an answer")
    };
    assert_eq!((response.item, response.nodes), (None, Some(vec![])));
    let put = |from: u8, token: &[u8], item: &Item| {
        let item = Box::new(item.clone());
        (
            addr(from),
            Query::Put {
                id: id(from),
                token: token.to_vec(),
                item,
                cas: None,
            },
        )
    };
    let token = response.token.unwrap();
    let code = |body| match body {
        Body::Error { code, .. } => Some(code),
        _ => None,
    };
    let (thief, stolen) = put(2, &token, &item);
    assert_eq!(code(hand.ask(thief, stolen)), Some(krpc::code::PROTOCOL));
    let (from, right) = put(1, &token, &item);
    assert_eq!(code(hand.ask(from, right)), None);
    let (from, older) = put(1, &token, &news(4, "3:old"));
    assert_eq!(code(hand.ask(from, older)), Some(krpc::code::SEQ));
    let answered = |body| match body {
        Body::Response(response) => (response.item, response.seq),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        answered(hand.ask(addr(3), get(Some(4)))),
        (unsalted(&item), Some(5))
    );
    assert_eq!(answered(hand.ask(addr(3), get(Some(5)))), (None, Some(5)));
    assert_eq!(hand.dht.status(hand.now).stored_items, 1);
}

#[test]
fn the_longest_value_fits_into_a_packet() {
    let mut hand = Hand::new(Config {
        v6: true,
        ..config()
    });
    let now = hand.now;
    for n in 1..=8u8 {
        let node = |addr: SocketAddr| NodeInfo {
            id: id(0x80 + n),
            addr,
        };
        let meet = |family: &mut Option<Node>, addr| {
            assert_eq!(
                family.as_mut().unwrap().table.answered(now, node(addr)),
                None
            );
        };
        meet(&mut hand.dht.v4, addr(n));
        meet(
            &mut hand.dht.v6,
            format!("[2001:db8:0:{n}::1]:6881").parse().unwrap(),
        );
    }
    let key = SigningKey::from_seed(&[7; 32]);
    let value = format!("996:{}", "x".repeat(996));
    let item = Item::Mutable(key.sign(&[1; 64], i64::MAX, value.as_bytes()).unwrap());
    hand.dht
        .server
        .items
        .put(now, &OURS, item.clone(), None)
        .unwrap();
    let want = Some(Want { n4: true, n6: true });
    let get = Query::Get {
        id: id(99),
        target: item.target(),
        seq: None,
        want,
    };
    let question = Message::new([b't'; krpc::MAX_TRANSACTION_LEN], Body::Query(get));
    let from: SocketAddr = ([8; 16], 65535).into();
    let outputs = hand.input(Input::Packet {
        from,
        bytes: &question.encode(),
    });
    let Output::Send { bytes, .. } = &outputs[0] else {
        panic!("an answer")
    };
    assert!(
        bytes.len() <= krpc::MAX_SENT_ITEM_LEN,
        "{} bytes",
        bytes.len()
    );
    let put = Query::Put {
        id: OURS,
        token: vec![1; krpc::MAX_TOKEN_LEN],
        item: Box::new(item),
        cas: Some(i64::MAX),
    };
    let mut message = Message::new(*b"tttt", Body::Query(put));
    message.version = Some(b"ST\0\x01".to_vec());
    message.read_only = true;
    assert!(message.encode().len() <= krpc::MAX_SENT_ITEM_LEN);
}
