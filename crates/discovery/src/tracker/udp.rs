//! One announce or scrape to one address of a UDP tracker, as a machine without IO (BEP 15): connect, ask, and again
//! what got lost on the way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use torrent::tracker::TrackerError;
use torrent::tracker::udp::{Request, Response};

use super::{Answer, Ask, Failure};

/// How long a connection id is good for (BEP 15).
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// Time to the first repetition; doubles with each (BEP 15).
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// How often a request is sent before giving up, 105 s after the first. BEP 15 goes on for two hours; here other
/// trackers are asked meanwhile, and this one again in the next round.
const MAX_TRIES: u32 = 3;

/// Leave to talk to a tracker, good for a minute; the next announce to the same address may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    id: u64,
    since: Instant,
}

impl Connection {
    /// Whether it is still good.
    pub fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < CONNECTION_LIFE
    }
}

/// A fact.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A packet has come from the tracker's address.
    Packet(&'a [u8]),
    /// Time has passed.
    Timeout,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to the tracker.
    Send(Vec<u8>),
    /// The exchange is over.
    Done(Result<Answer, Failure>),
}

/// One announce or scrape.
#[derive(Debug)]
pub struct Exchange {
    ask: Ask,
    url_data: Vec<u8>,
    is_v6: bool,
    connection: Option<Connection>,
    /// Whether the connection is from an earlier exchange, so that the tracker may have forgotten it.
    is_borrowed: bool,
    transaction: u32,
    is_asking: bool,
    tries: u32,
    /// Whether the tracker has ever answered: from then on the tries count for the announce.
    is_reached: bool,
    repeat_at: Option<Instant>,
    rng: fastrand::Rng,
    outputs: VecDeque<Output>,
}

impl Exchange {
    /// Starts at once. `url_data` is the URL's path and query (BEP 41); `is_v6` says which kind of address the tracker
    /// has; `connection` is what is left of an earlier exchange with the same address.
    pub fn new(
        ask: Ask,
        url_data: &str,
        is_v6: bool,
        connection: Option<Connection>,
        seed: u64,
        now: Instant,
    ) -> Exchange {
        let connection = connection.filter(|connection| connection.is_alive(now));
        let mut exchange = Exchange {
            ask,
            url_data: url_data.as_bytes().to_vec(),
            is_v6,
            connection,
            is_borrowed: connection.is_some(),
            transaction: 0,
            is_asking: false,
            tries: 0,
            is_reached: connection.is_some(),
            repeat_at: None,
            rng: fastrand::Rng::with_seed(seed),
            outputs: VecDeque::new(),
        };
        exchange.send(now);
        exchange
    }

    /// What the next announce to the same address may use.
    pub fn connection(&self) -> Option<Connection> {
        self.connection
    }

    /// Takes in a fact.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let Some(repeat_at) = self.repeat_at else {
            return;
        };
        match input {
            Input::Packet(packet) => self.packet(now, packet),
            Input::Timeout if now < repeat_at => {}
            Input::Timeout if self.tries >= MAX_TRIES => self.done(Err(Failure::Silent)),
            Input::Timeout => self.send(now),
        }
    }

    /// The next decision.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Exchange::handle) with [`Input::Timeout`] at the latest; `None` once it is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.repeat_at
    }

    /// Sends what is to be said next: an announce with a living connection, or else a connect request.
    fn send(&mut self, now: Instant) {
        self.transaction = self.rng.u32(..);
        self.connection = self
            .connection
            .filter(|connection| connection.is_alive(now));
        self.is_asking = self.connection.is_some();
        let request = match self.connection {
            None => Request::Connect {
                transaction: self.transaction,
            },
            Some(connection) => match &self.ask {
                Ask::Announce(announce) => Request::Announce {
                    connection: connection.id,
                    transaction: self.transaction,
                    announce: announce.clone(),
                    url_data: self.url_data.clone(),
                },
                Ask::Scrape(info_hash) => Request::Scrape {
                    connection: connection.id,
                    transaction: self.transaction,
                    info_hashes: vec![*info_hash],
                },
            },
        };
        self.outputs.push_back(Output::Send(request.encode()));
        self.repeat_at = Some(now + FIRST_WAIT * (1 << self.tries));
        self.tries += 1;
    }

    fn packet(&mut self, now: Instant, packet: &[u8]) {
        let response = match Response::parse(packet, self.is_v6) {
            Ok(response) if response.transaction() == self.transaction => response,
            // Somebody else's answer, or none: the right one may still come.
            Ok(_) | Err(_) => return,
        };
        match response {
            Response::Connected { connection: id, .. } if !self.is_asking => {
                self.connection = Some(Connection { id, since: now });
                self.is_borrowed = false;
                if !self.is_reached {
                    self.is_reached = true;
                    self.tries = 0;
                }
                self.send(now);
            }
            Response::Announced { answer, .. }
                if self.is_asking && matches!(self.ask, Ask::Announce(_)) =>
            {
                self.done(Ok(Answer::Announced(answer)));
            }
            Response::Scraped { counts, .. }
                if self.is_asking && matches!(self.ask, Ask::Scrape(_)) =>
            {
                let counts = counts.first().copied();
                let unlisted = Failure::Tracker(TrackerError::Unlisted);
                self.done(counts.map(Answer::Scraped).ok_or(unlisted));
            }
            Response::Error { .. } if self.is_asking && self.is_borrowed => {
                // Most likely the tracker has forgotten the connection.
                self.connection = None;
                self.is_borrowed = false;
                self.send(now);
            }
            Response::Error { message, .. } => {
                self.connection = None;
                let refused = TrackerError::Refused {
                    reason: message,
                    retry: None,
                };
                self.done(Err(Failure::Tracker(refused)));
            }
            Response::Connected { .. } | Response::Announced { .. } | Response::Scraped { .. } => {}
        }
    }

    fn done(&mut self, result: Result<Answer, Failure>) {
        self.repeat_at = None;
        self.outputs.push_back(Output::Done(result));
    }
}

#[cfg(test)]
mod tests {
    use torrent::tracker::{Announce, Announced, Scraped};

    use super::*;

    fn announce() -> Announce {
        Announce {
            info_hash: [1; 20],
            peer_id: [2; 20],
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: None,
            num_want: None,
            key: 3,
            tracker_id: None,
            ip: None,
        }
    }

    struct Talk {
        exchange: Exchange,
        start: Instant,
        now: Instant,
    }

    impl Talk {
        fn new(connection: Option<Connection>, now: Instant) -> Talk {
            let ask = Ask::Announce(Box::new(announce()));
            Talk::about(ask, connection, now)
        }

        fn about(ask: Ask, connection: Option<Connection>, now: Instant) -> Talk {
            let exchange = Exchange::new(ask, "/announce", false, connection, 1, now);
            Talk {
                exchange,
                start: now,
                now,
            }
        }

        fn sent(&mut self) -> Request {
            let Some(Output::Send(packet)) = self.exchange.poll() else {
                panic!("a packet")
            };
            Request::parse(&packet).unwrap()
        }

        fn answer(&mut self, response: Response) {
            self.exchange
                .handle(self.now, Input::Packet(&response.encode(false)));
        }

        /// Waits until the exchange acts by itself; says when that was.
        fn wait(&mut self) -> u64 {
            self.now = self.exchange.deadline().unwrap();
            self.exchange.handle(self.now, Input::Timeout);
            (self.now - self.start).as_secs()
        }

        fn connect(&mut self) -> u32 {
            let Request::Connect { transaction } = self.sent() else {
                panic!("a connect request")
            };
            self.answer(Response::Connected {
                transaction,
                connection: 77,
            });
            let Request::Announce {
                connection: 77,
                transaction,
                announce: sent,
                url_data,
            } = self.sent()
            else {
                panic!("an announce")
            };
            assert_eq!(
                (*sent, url_data.as_slice()),
                (announce(), &b"/announce"[..])
            );
            transaction
        }
    }

    #[test]
    fn connect_then_announce() {
        let mut talk = Talk::new(None, Instant::now());
        let transaction = talk.connect();
        let peers = vec!["10.0.0.1:6881".parse().unwrap()];
        let answer = Announced {
            peers,
            complete: Some(1),
            incomplete: Some(2),
            ..Announced::default()
        };
        talk.answer(Response::Announced {
            transaction,
            answer: answer.clone(),
        });
        assert_eq!(
            talk.exchange.poll(),
            Some(Output::Done(Ok(Answer::Announced(answer))))
        );
        assert_eq!(
            (talk.exchange.deadline(), talk.exchange.poll()),
            (None, None)
        );
    }

    #[test]
    fn a_scrape_is_answered_with_counts() {
        let now = Instant::now();
        for counts in [
            vec![],
            vec![Scraped {
                complete: 1,
                incomplete: 2,
                downloaded: 3,
            }],
        ] {
            let mut talk = Talk::about(Ask::Scrape([1; 20]), None, now);
            let Request::Connect { transaction } = talk.sent() else {
                panic!("a connect request")
            };
            talk.answer(Response::Connected {
                transaction,
                connection: 77,
            });
            let Request::Scrape {
                connection: 77,
                transaction,
                info_hashes,
            } = talk.sent()
            else {
                panic!("a scrape")
            };
            assert_eq!(info_hashes, [[1; 20]]);
            let answer = Announced::default();
            talk.answer(Response::Announced {
                transaction,
                answer,
            });
            assert_eq!(talk.exchange.poll(), None, "that was not asked");
            talk.answer(Response::Scraped {
                transaction,
                counts: counts.clone(),
            });
            let unlisted = Failure::Tracker(TrackerError::Unlisted);
            let expected = counts.first().copied().map(Answer::Scraped).ok_or(unlisted);
            assert_eq!(talk.exchange.poll(), Some(Output::Done(expected)));
        }
    }

    #[test]
    fn a_lost_connect_is_repeated_at_the_times_of_bep_15() {
        let mut talk = Talk::new(None, Instant::now());
        talk.sent();
        assert_eq!(talk.wait(), 15);
        assert!(matches!(talk.sent(), Request::Connect { .. }));
        assert_eq!(talk.wait(), 45);
        assert!(matches!(talk.sent(), Request::Connect { .. }));
        assert_eq!(talk.wait(), 105);
        assert_eq!(
            talk.exchange.poll(),
            Some(Output::Done(Err(Failure::Silent)))
        );
        assert_eq!(talk.exchange.deadline(), None);
    }

    #[test]
    fn a_lost_announce_is_repeated_and_the_connection_renewed_when_it_is_old() {
        let mut talk = Talk::new(None, Instant::now());
        talk.connect();
        assert_eq!(talk.wait(), 15);
        assert!(matches!(
            talk.sent(),
            Request::Announce { connection: 77, .. }
        ));
        assert_eq!(talk.wait(), 45);
        assert!(matches!(
            talk.sent(),
            Request::Announce { connection: 77, .. }
        ));
        let mut talk = Talk::new(None, talk.now);
        talk.connect();
        talk.now += Duration::from_secs(61);
        talk.exchange.handle(talk.now, Input::Timeout);
        assert!(matches!(talk.sent(), Request::Connect { .. }));
    }

    #[test]
    fn a_living_connection_saves_a_round_trip_and_a_forgotten_one_costs_one() {
        let mut first = Talk::new(None, Instant::now());
        first.connect();
        let connection = first.exchange.connection();
        let mut second = Talk::new(connection, first.now + Duration::from_secs(30));
        let Request::Announce {
            connection: 77,
            transaction,
            ..
        } = second.sent()
        else {
            panic!("an announce")
        };
        second.answer(Response::Error {
            transaction,
            message: "Connection ID missmatch".into(),
        });
        second.connect();
        let mut third = Talk::new(connection, first.now + CONNECTION_LIFE);
        assert!(matches!(third.sent(), Request::Connect { .. }));
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let mut talk = Talk::new(None, Instant::now());
        let transaction = talk.connect();
        talk.answer(Response::Error {
            transaction,
            message: "not here".into(),
        });
        let Some(Output::Done(Err(failure))) = talk.exchange.poll() else {
            panic!("a refusal")
        };
        assert_eq!(failure.to_string(), "the tracker refused: not here");
    }

    #[test]
    fn answers_to_other_questions_are_passed_over() {
        let mut talk = Talk::new(None, Instant::now());
        let Request::Connect { transaction } = talk.sent() else {
            panic!("a connect request")
        };
        talk.answer(Response::Connected {
            transaction: transaction ^ 1,
            connection: 5,
        });
        talk.answer(Response::Announced {
            transaction,
            answer: Announced::default(),
        });
        talk.exchange.handle(talk.now, Input::Packet(b"noise"));
        talk.exchange.handle(talk.now, Input::Timeout);
        assert_eq!(talk.exchange.poll(), None);
        talk.answer(Response::Connected {
            transaction,
            connection: 5,
        });
        assert!(matches!(
            talk.sent(),
            Request::Announce { connection: 5, .. }
        ));
    }
}
