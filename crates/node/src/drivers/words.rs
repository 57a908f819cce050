//! What peers and trackers are doing, in words.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use api::TrackerState;
use swarm::PeerStatus;

use super::trackers::Heard;

/// What a peer does for us, and we for it.
pub(super) fn peer(peer: &PeerStatus) -> String {
    let ours = match () {
        () if peer.rate_down > 0 => Some("sends to us"),
        () if peer.snubs_us => Some("lets us ask and sends nothing"),
        () if peer.interested && peer.chokes_us => Some("lets us wait"),
        () if peer.interested => Some("is asked"),
        () => None,
    };
    let theirs = match () {
        () if peer.rate_up > 0 => Some("takes from us"),
        () if peer.interested_in_us && peer.choked => Some("waits for its turn"),
        () if peer.interested_in_us => Some("may ask us"),
        () => None,
    };
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => format!("{ours}, {theirs}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "has nothing we want, wants nothing".to_owned(),
    }
}

/// How it goes with a tracker. `follows`: the transfer announces itself; `next`: it is decided when this one is asked.
pub(super) fn tracker(
    state: TrackerState,
    follows: bool,
    heard: Option<&Heard>,
    next: bool,
) -> String {
    let said = heard.and_then(|heard| heard.message.as_deref());
    match (state, said) {
        (TrackerState::Idle, _) if !follows => "not asked while the transfer stands still",
        (TrackerState::Idle, _) if !next => "asked when those before it fail",
        (TrackerState::Idle, _) => "not asked yet",
        (TrackerState::Announcing, _) => "being asked",
        (TrackerState::Working, said) => {
            let peers = match heard.map_or(0, |heard| heard.peers) {
                0 => "knows nobody else".to_owned(),
                1 => "named 1 peer".to_owned(),
                n => format!("named {n} peers"),
            };
            return match said {
                Some(said) => format!("{peers}, and says: {said}"),
                None => peers,
            };
        }
        (TrackerState::Failed, said) => said.unwrap_or("did not answer"),
    }
    .to_owned()
}

/// A moment as it is told: seconds since 1970, the same for the same moment whenever it is asked for.
pub(super) fn unix_time(at: Instant) -> u64 {
    static BASE: OnceLock<(Instant, SystemTime)> = OnceLock::new();
    let (instant, clock) = *BASE.get_or_init(|| (Instant::now(), SystemTime::now()));
    let moment = clock + at.saturating_duration_since(instant);
    let since = moment.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_told_in_words() {
        let said = |message: Option<&str>, peers| Heard {
            works: message.is_none(),
            message: message.map(str::to_owned),
            peers,
            ..Heard::default()
        };
        for (state, follows, heard, next, expected) in [
            (
                TrackerState::Idle,
                false,
                None,
                false,
                "not asked while the transfer stands still",
            ),
            (
                TrackerState::Idle,
                true,
                None,
                false,
                "asked when those before it fail",
            ),
            (TrackerState::Idle, true, None, true, "not asked yet"),
            (
                TrackerState::Announcing,
                true,
                Some(said(None, 2)),
                false,
                "being asked",
            ),
            (
                TrackerState::Working,
                true,
                Some(said(None, 2)),
                true,
                "named 2 peers",
            ),
            (
                TrackerState::Working,
                true,
                Some(said(Some("slow down"), 0)),
                true,
                "knows nobody else, and says: slow down",
            ),
            (
                TrackerState::Failed,
                true,
                Some(said(Some("it is down"), 0)),
                true,
                "it is down",
            ),
        ] {
            assert_eq!(tracker(state, follows, heard.as_ref(), next), expected);
        }
    }
}
