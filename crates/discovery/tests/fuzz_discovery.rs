//! A UDP tracker that answers anything, neighbours that shout anything, and URLs from anywhere.

use std::time::{Duration, Instant};

use discovery::tracker::{Ask, rules, udp};
use discovery::{lsd, scope};
use torrent::lsd::Group;
use torrent::tracker::udp::{Request, Response};
use torrent::tracker::{Announce, Announced};

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

#[test]
fn fuzz_udp_exchange() {
    bolero::check!()
        .with_type::<(u64, Vec<(u8, Vec<u8>)>)>()
        .for_each(|(seed, steps)| {
            let mut now = Instant::now();
            let ask = match seed % 4 {
                0 => Ask::Scrape([1; 20]),
                _ => Ask::Announce(Box::new(announce())),
            };
            let mut exchange = udp::Exchange::new(ask, "/announce", false, None, *seed, now);
            let (mut last, mut sent, mut done) = (None, 0, 0);
            for (what, bytes) in steps {
                while let Some(output) = exchange.poll() {
                    match output {
                        udp::Output::Send(packet) => {
                            sent += 1;
                            last = Some(Request::parse(&packet).expect("we send what can be read"));
                        }
                        udp::Output::Done(_) => done += 1,
                    }
                }
                assert!(done <= 1, "an exchange ends once");
                assert_eq!(exchange.deadline().is_none(), done == 1);
                let transaction = match last.as_ref().expect("the first packet is sent at once") {
                    Request::Connect { transaction }
                    | Request::Announce { transaction, .. }
                    | Request::Scrape { transaction, .. } => *transaction,
                };
                let answer = match what % 6 {
                    0 => bytes.clone(),
                    1 => Response::Connected {
                        transaction,
                        connection: u64::from(*what),
                    }
                    .encode(false),
                    2 => Response::Announced {
                        transaction,
                        answer: Announced::default(),
                    }
                    .encode(false),
                    3 => Response::Error {
                        transaction,
                        message: "no".into(),
                    }
                    .encode(false),
                    _ => {
                        now += Duration::from_secs(u64::from(*what));
                        exchange.handle(now, udp::Input::Timeout);
                        continue;
                    }
                };
                exchange.handle(now, udp::Input::Packet(&answer));
            }
            // Three tries to connect, three to announce, and a connection that grows old in between.
            assert!(sent <= 9, "{sent} packets");
        });
}

#[test]
fn fuzz_local_handle() {
    bolero::check!()
        .with_type::<Vec<(u8, [u8; 4], Vec<u8>)>>()
        .for_each(|steps| {
            let mut now = Instant::now();
            let config = lsd::Config {
                port: 6881,
                groups: vec![Group::V4, Group::V6],
            };
            let mut local = lsd::Local::new(config, 1, now);
            for (what, ip, bytes) in steps {
                let from = (*ip, 6771).into();
                match what % 5 {
                    0 => local.handle(now, lsd::Input::Add([*what; 20])),
                    1 => local.handle(now, lsd::Input::Remove([*what; 20])),
                    2 => local.handle(now, lsd::Input::Packet { from, bytes }),
                    3 => {
                        let text = [
                            b"BT-SEARCH * HTTP/1.1\r\nPort: 7\r\nInfohash: ",
                            &bytes[..],
                            b"\r\n\r\n",
                        ]
                        .concat();
                        local.handle(now, lsd::Input::Packet { from, bytes: &text });
                    }
                    _ => {
                        now += Duration::from_secs(u64::from(*what));
                        local.handle(now, lsd::Input::Timeout);
                    }
                }
                while let Some(output) = local.poll() {
                    match output {
                        lsd::Output::Send { bytes, .. } => assert!(bytes.len() <= 1400),
                        lsd::Output::Found { peer, .. } => {
                            assert!(scope::Scope::of(peer.ip()).is_local())
                        }
                    }
                }
                assert!(
                    local.deadline().is_none_or(|at| at > now),
                    "what is due has been done"
                );
            }
        });
}

#[test]
fn fuzz_tracker_url() {
    bolero::check!()
        .with_type::<(u8, Vec<u8>)>()
        .for_each(|(which, noise)| {
            let noise = String::from_utf8_lossy(noise);
            let prefix = [
                "",
                "http://",
                "https://user:secret@",
                "udp://[",
                "http://t:",
                "http://t/?",
            ][usize::from(which % 6)];
            let text = format!("{prefix}{noise}");
            let shown = rules::shown(&text);
            assert!(
                !shown.contains("secret") || noise.contains("secret"),
                "{shown}"
            );
            if let Ok(url) = rules::TrackerUrl::parse(&text) {
                assert!(
                    url.port() != 0
                        && !url.host().is_empty()
                        && url.as_str().bytes().all(|byte| byte.is_ascii_graphic())
                );
                assert_eq!(rules::TrackerUrl::parse(url.as_str()), Ok(url));
            }
        });
}
