//! Roads to a peer: how it is dialled, what its bytes travel over, and why it was not reached.
//!
//! Values only. What roads are made of is in `link`; the engine knows them to choose and to tell.

use std::fmt;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Carrier {
    /// TCP.
    #[default]
    Tcp,
    /// uTP (BEP 29).
    Utp,
}

/// What hides a connection from networks that look for BitTorrent (MSE).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Cover {
    /// Nothing.
    #[default]
    Plain,
    /// The handshake was encrypted, what follows is not.
    Handshake,
    /// All of it, with RC4.
    Rc4,
}

/// How a connection's bytes travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Road {
    /// What carries them.
    pub carrier: Carrier,
    /// What hides them.
    pub cover: Cover,
    /// Both sides dialled at the same moment, because a third said so (BEP 55).
    pub punched: bool,
}

impl Road {
    /// Over TCP, plain.
    pub const TCP: Road = Road {
        carrier: Carrier::Tcp,
        cover: Cover::Plain,
        punched: false,
    };
    /// Over uTP, plain.
    pub const UTP: Road = Road {
        carrier: Carrier::Utp,
        ..Road::TCP
    };
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.carrier {
            Carrier::Tcp => "TCP",
            Carrier::Utp => "uTP",
        })?;
        f.write_str(match self.cover {
            Cover::Plain => "",
            Cover::Handshake => ", handshake encrypted",
            Cover::Rc4 => ", encrypted",
        })?;
        f.write_str(if self.punched {
            ", by hole punching"
        } else {
            ""
        })
    }
}

/// How to dial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Approach {
    /// TCP, and uTP where that does not get through.
    #[default]
    Usual,
    /// uTP, and TCP where that does not get through.
    UtpFirst,
    /// uTP alone, at once and insistently: the other side dials at the same moment (BEP 55).
    Punch,
}

/// Why a peer was not reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody there refuses connections.
    #[error("refused")]
    Refused,
    /// Nothing came back.
    #[error("no answer")]
    TimedOut,
    /// The network knows no way there.
    #[error("no way there")]
    Unreachable,
    /// Encryption is required, and it does not speak it.
    #[error("no encrypted handshake")]
    NoEncryption,
    /// It took the connection and closed it before it said who it is.
    #[error("closed without a word")]
    Closed,
    /// It took the connection and said nothing.
    #[error("connected and said nothing")]
    Silent,
    /// It does not have this torrent, or is no BitTorrent peer.
    #[error("has another torrent")]
    Stranger,
    /// We could not try: no free socket, no address of that family, or a rule of ours.
    #[error("could not be tried from here")]
    Here,
}
