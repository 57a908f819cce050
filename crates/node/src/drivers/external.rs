//! Where others see us: votes are brought to the engine that weighs them, and what it believes to whom it concerns.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use discovery::dht::Input;
use discovery::external::{External, Voter};

use super::Driver;

/// Our addresses as others see them.
#[derive(Default)]
pub(crate) struct Outside(RefCell<External>);

impl Outside {
    /// Our addresses, as far as they are known.
    pub fn addresses(&self) -> Vec<String> {
        let external = self.0.borrow();
        let v4 = external.v4().map(|ip| ip.to_string());
        v4.into_iter()
            .chain(external.v6().map(|ip| ip.to_string()))
            .collect()
    }
}

impl Driver {
    /// A peer at `from` says that it sees us at `claimed` (BEP 10, `yourip`).
    pub fn vote(self: &Rc<Self>, from: IpAddr, claimed: IpAddr) {
        self.vote_as(Voter::Peer, from, claimed);
    }

    /// Somebody at `from` says that we are seen at `claimed`.
    pub fn vote_as(self: &Rc<Self>, by: Voter, from: IpAddr, claimed: IpAddr) {
        let vote = |external: &mut External| external.vote(Instant::now(), by, from, claimed);
        let believed = vote(&mut self.outside.0.borrow_mut());
        if let Some(ip) = believed {
            tracing::info!(%ip, "others see us here");
            self.tell(swarm::Input::External(ip));
            if let Some(dht) = &self.dht {
                dht.tell(self, Input::Located(ip));
            }
        }
    }
}
