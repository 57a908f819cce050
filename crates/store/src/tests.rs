//! The store against a naive model, over real files.

mod album;
mod crashing;
mod hashing;
mod places;
mod writing;

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use crate::{Config, Done, Store};

/// A store whose facts come out of a channel.
fn store(config: Config) -> (Store, Receiver<Done>) {
    let (send, receive) = channel();
    let store = Store::new(config, Box::new(move |done| send.send(done).unwrap())).unwrap();
    (store, receive)
}

/// The next fact, or a failed test.
fn next(facts: &Receiver<Done>) -> Done {
    facts
        .recv_timeout(Duration::from_secs(30))
        .expect("the store says something within 30 s")
}
