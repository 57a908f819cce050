//! The API of a daemon in memory, to be measured and to be tried by other people's tools:
//! `fake_api PORT [TRANSFERS [BUSY]]`. It prints its token. Of so many `BUSY` transfers what was
//! done and how fast changes four times a second.

use std::sync::Arc;
use std::time::Duration;

use api::TransferId;
use gateway::http::{Config, Listeners, Token, router, serve};

#[path = "../tests/http/fake.rs"]
#[allow(dead_code, reason = "what tests look at")]
mod fake;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<u32>());
    let mut number = |usual| arguments.next().map_or(usual, |n| n.expect("a number"));
    let (port, transfers, busy) = (number(7117), number(1_000), number(0));
    let port = u16::try_from(port).expect("a port");
    let token = Token::random();
    println!("{}", token.expose());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let listeners = Listeners {
        tcp: vec![listener.expect("the port is free")],
        unix: Vec::new(),
    };
    let mut config = Config::new(token);
    // Tools that try wrong tokens on purpose go on.
    config.wrong_tokens = u32::MAX;
    let fake = fake::Fake::new(transfers);
    let live = fake.live.clone();
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(Duration::from_millis(250));
        loop {
            clock.tick().await;
            live.update(|table| {
                for id in 1..=busy {
                    table.edit(TransferId(id), |row| {
                        row.done += 16_384;
                        row.received += 16_384;
                        row.rate_down = row.rate_down * 5 % 1_000_003 + 1;
                    });
                }
            });
        }
    });
    let router = router(Arc::new(fake), config);
    serve(router, listeners, std::future::pending()).await;
}
