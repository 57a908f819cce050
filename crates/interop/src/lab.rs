//! The laboratory: homes with routers of their own around the scenario's network, which is their internet.
//!
//! ```no_run
//! # use interop::{Line, Nat, Scenario};
//! let s = Scenario::internet();
//! let anna = s.home(Nat::Symmetric);
//! let bert = s.home_over(Nat::PortPreserving, Line::mbits(20).queue_ms(300));
//! let (mut at_annas, mut at_berts) = (anna.starling(), bert.starling());
//! ```
//!
//! Every router and every host is a network namespace. A home's line to the internet is a virtual cable, or a [`Line`]
//! as narrow, long and badly queued as lines to homes are.

mod home;
mod line;
mod net;

pub use home::{Home, Nat};
pub use line::Line;
pub use net::Net;
pub(crate) use net::sysctl;

use crate::Child;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Where a peer lives: its address, its folder, its network.
#[derive(Clone)]
pub struct Seat {
    /// The address and port that are its own.
    pub addr: SocketAddrV4,
    /// A folder for its files.
    pub home: PathBuf,
    /// The network it is in, if that is not the scenario's.
    pub(crate) net: Option<Arc<Net>>,
}

impl Seat {
    /// Starts a program here; its output goes to `folder`.
    pub fn start(&self, name: &str, command: Command, folder: &Path) -> Child {
        self.within(|| Child::start(name, command, folder))
    }

    /// Does something in the network that is here.
    pub fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.net {
            Some(net) => net.within(work),
            None => work(),
        }
    }
}
