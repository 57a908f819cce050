//! `sl_dialback`, an extension of our own: a peer is asked to dial us back, which shows whether others reach our port.
//!
//! ```text
//! ask     00  transport  port (2)             dial the address you see me at, at this port
//! answer  01  transport  port (2)  outcome    what came of it
//! ```
//!
//! Transport is 0 for TCP and 1 for uTP, outcome 0 for opened, 1 for refused, 2 for nothing within the time, 3 for not
//! tried. Numbers are big-endian. Who may ask, and how often, is the engine's to decide.

use super::ExtensionError;

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// uTP (BEP 29).
    Utp,
}

/// What came of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DialOutcome {
    /// Somebody answered.
    Opened,
    /// It was refused.
    Refused,
    /// Nothing came within the time.
    TimedOut,
    /// It was not tried: too many ask, or there is no direct way.
    NotTried,
}

/// One message of the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialback {
    /// Dial the address you see me at, at this port.
    Ask(Transport, u16),
    /// What came of it.
    Answer(Transport, u16, DialOutcome),
}

impl Dialback {
    /// The payload of the extended message.
    pub fn encode(self) -> Vec<u8> {
        let (kind, transport, port) = match self {
            Dialback::Ask(transport, port) => (0, transport, port),
            Dialback::Answer(transport, port, _) => (1, transport, port),
        };
        let [high, low] = port.to_be_bytes();
        let mut bytes = vec![kind, transport as u8, high, low];
        if let Dialback::Answer(.., outcome) = self {
            bytes.push(outcome as u8);
        }
        bytes
    }

    /// Reads the payload of an extended message. What comes behind is for later versions.
    ///
    /// # Errors
    /// Too short, or with numbers that mean nothing.
    pub fn parse(payload: &[u8]) -> Result<Dialback, ExtensionError> {
        let &[kind, transport, high, low, ref rest @ ..] = payload else {
            return Err(ExtensionError::Length(payload.len()));
        };
        let transport = match transport {
            0 => Transport::Tcp,
            1 => Transport::Utp,
            _ => return Err(ExtensionError::Missing("transport")),
        };
        let port = u16::from_be_bytes([high, low]);
        if port == 0 {
            return Err(ExtensionError::Missing("port"));
        }
        match (kind, rest.first()) {
            (0, _) => Ok(Dialback::Ask(transport, port)),
            (1, Some(outcome)) => {
                let outcome = match outcome {
                    0 => DialOutcome::Opened,
                    1 => DialOutcome::Refused,
                    2 => DialOutcome::TimedOut,
                    3 => DialOutcome::NotTried,
                    _ => return Err(ExtensionError::Missing("outcome")),
                };
                Ok(Dialback::Answer(transport, port, outcome))
            }
            _ => Err(ExtensionError::Missing("kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_bytes_they_are_said_to_be() {
        let ask = Dialback::Ask(Transport::Utp, 6881);
        assert_eq!(ask.encode(), [0, 1, 0x1a, 0xe1]);
        let answer = Dialback::Answer(Transport::Tcp, 6881, DialOutcome::TimedOut);
        assert_eq!(answer.encode(), [1, 0, 0x1a, 0xe1, 2]);
        for message in [ask, answer] {
            assert_eq!(Dialback::parse(&message.encode()), Ok(message));
        }
        assert_eq!(Dialback::parse(&[0, 1, 0x1a, 0xe1, 9, 9]), Ok(ask));
        for wrong in [
            &[][..],
            &[0, 0, 1],
            &[0, 2, 1, 1],
            &[0, 0, 0, 0],
            &[1, 0, 1, 1],
            &[1, 0, 1, 1, 4],
            &[2, 0, 1, 1],
        ] {
            assert!(Dialback::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
