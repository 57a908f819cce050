//! Dialling back (`sl_dialback`): a peer dials the address it sees us at, which shows whether others reach our port.
//!
//! We dial nobody but who asks, at the address it asks from: nobody can have us knock at the door of another.

use torrent::extension::{DialOutcome, Dialback};

use super::dispatch::Outcome;
use super::*;
use crate::DialbackEvent;

/// Dials in a minute because peers ask for them, of all torrents.
const MOST_A_MINUTE: u32 = 6;
const MINUTE: Duration = Duration::from_secs(60);

/// What was done in this minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Minute {
    since: Option<Instant>,
    done: u32,
}

impl Minute {
    fn take(&mut self, now: Instant) -> bool {
        let over = |since| now.saturating_duration_since(since) >= MINUTE;
        if self.since.is_none_or(over) {
            *self = Minute {
                since: Some(now),
                done: 0,
            };
        }
        if self.done == MOST_A_MINUTE {
            return false;
        }
        self.done += 1;
        true
    }
}

impl Torrent {
    /// Says something about dialling back to a peer that takes it.
    pub fn say_dialback(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        message: Dialback,
    ) {
        let peer = self.peers.get_mut(&conn);
        if let Some(peer) = peer.filter(|peer| peer.ids.dialback != 0) {
            let (id, payload) = (peer.ids.dialback, message.encode());
            shared.send(now, peer, Message::Extended { id, payload });
        }
    }

    pub(super) fn on_dialback(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        conn: ConnId,
        payload: &[u8],
    ) -> Outcome {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        if peer.ids.dialback == 0 || !shared.config.dialback {
            return Ok(());
        }
        let Ok(message) = Dialback::parse(payload) else {
            return Err(Reason::Protocol("sent a malformed sl_dialback"));
        };
        let from = peer.addr.ip();
        match message {
            Dialback::Ask(transport, port) => {
                let again = std::mem::replace(&mut peer.dialled_back[transport as usize], true);
                if again || !shared.dialbacks.take(now) {
                    let answer = Dialback::Answer(transport, port, DialOutcome::NotTried);
                    self.say_dialback(shared, now, conn, answer);
                    return Ok(());
                }
                let to = SocketAddr::new(from, port);
                let wanted = Event::Dialback(conn, DialbackEvent::Wanted(transport, to));
                shared.out.push_back(Output::Event(self.id, wanted));
            }
            Dialback::Answer(transport, _, outcome) => {
                let said = DialbackEvent::Answered(from, transport, outcome);
                let event = Event::Dialback(conn, said);
                shared.out.push_back(Output::Event(self.id, event));
            }
        }
        Ok(())
    }
}
