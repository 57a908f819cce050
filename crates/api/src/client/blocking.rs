//! The client for programs without a runtime.

use std::future::Future;
use std::io;

use super::{Address, Client};

/// A [`Client`] and what it runs on, in the thread that asks.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use api::client::{Address, Blocking};
///
/// let daemon = Blocking::new(Address::Unix("/run/user/1000/starling/api.sock".into()))?;
/// let status = daemon.wait(daemon.client().status())?;
/// println!("{}", status.version);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Blocking {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Blocking {
    /// A client of the daemon at this address.
    ///
    /// # Errors
    /// The system has no resources for it.
    pub fn new(address: Address) -> io::Result<Blocking> {
        Ok(Blocking {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            client: Client::new(address),
        })
    }

    /// What to ask.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for an answer, or for the next event of a [`Follower`](super::Follower).
    pub fn wait<F: Future>(&self, answer: F) -> F::Output {
        self.runtime.block_on(answer)
    }
}
