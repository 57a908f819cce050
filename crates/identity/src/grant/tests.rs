use proptest::prelude::*;

use super::*;
use crate::key::{PersonKey, SealKey};
use crate::link::Hints;
use crate::name::Name;
use crate::phrase::Phrase;

/// A year, in seconds.
const YEAR: u64 = 365 * 24 * 3600;
/// When the grants here are made.
const THEN: UnixTime = UnixTime(1_800_000_000);

fn secret() -> ShareSecret {
    ShareSecret::from_bytes(&[7; 16])
}

fn device(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

fn terms() -> Terms {
    Terms {
        content: [9; 32],
        label: Label::new("contracts").unwrap(),
        issued: THEN,
        expires: None,
        audience: Vec::new(),
        spread: Spread::Sharer,
    }
}

fn grant(terms: Terms) -> Grant {
    Grant::issue(&device(1), &secret(), terms).unwrap()
}

fn parties() -> impl Strategy<Value = Vec<Party>> {
    let party = any::<(bool, [u8; 32])>().prop_map(|(is_person, id)| match is_person {
        true => Party::Person(PersonId(id)),
        false => Party::Device(DeviceId(id)),
    });
    prop::collection::vec(party, 0..=MAX_AUDIENCE)
}

proptest! {
    #[test]
    fn what_is_granted_is_read(
        audience in parties(),
        content in any::<[u8; 32]>(),
        issued in 0..u64::MAX / 2,
        lasts in prop::option::of(1..u64::MAX / 2),
        label in "[^\\p{C}\\p{Z}]{1,32}",
        spread in 0..3,
    ) {
        let spread = [Spread::Sharer, Spread::Once, Spread::Holders][spread as usize];
        let made = grant(Terms {
            content,
            label: Label::new(&label).unwrap(),
            issued: UnixTime(issued),
            expires: lasts.map(|lasts| UnixTime(issued + lasts)),
            audience,
            spread,
        });
        let bytes = made.encode();
        prop_assert!(bytes.len() <= Grant::MAX_LEN);
        let read = Grant::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!(read.encode(), bytes);
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_noticed() {
    let whole = grant(terms()).encode();
    let withdrawal = Withdrawal::issue(&device(1), ShareId::of(&secret()), THEN).encode();
    assert_eq!(withdrawal.len(), Withdrawal::LEN);
    for at in 0..whole.len() {
        assert!(Grant::parse(&whole[..at]).is_err(), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(Grant::parse(&changed).is_err(), "changed at {at}");
    }
    for at in 0..withdrawal.len() {
        assert!(Withdrawal::parse(&withdrawal[..at]).is_err(), "cut at {at}");
        let mut changed = withdrawal.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(Withdrawal::parse(&changed).is_err(), "changed at {at}");
    }
    assert!(Grant::parse(&[&whole[..], b"x"].concat()).is_err());
}

#[test]
fn what_cannot_be_granted_is_not() {
    let many = (0..17).map(|n| Party::Device(DeviceId([n; 32]))).collect();
    let issue = |terms| Grant::issue(&device(1), &secret(), terms);
    let too_many = Terms {
        audience: many,
        ..terms()
    };
    assert_eq!(issue(too_many), Err(TermsError::Audience));
    let over = Terms {
        expires: Some(THEN),
        ..terms()
    };
    assert_eq!(issue(over), Err(TermsError::Expiry));
}

#[test]
fn a_grant_is_one_links_alone() {
    let link = ShareLink {
        secret: secret(),
        sharer: device(1).id(),
        expires: None,
        audience: None,
        hints: Hints::default(),
    };
    let bytes = grant(terms()).encode();
    assert_eq!(Grant::of(&link, &bytes), Ok(grant(terms())));
    let of_eve = Grant::issue(&device(66), &secret(), terms()).unwrap();
    assert_eq!(Grant::of(&link, &of_eve.encode()), Err(GrantError::Sharer));
    let other = ShareSecret::from_bytes(&[8; 16]);
    let moved = Grant::issue(&device(1), &other, terms()).unwrap();
    assert_eq!(Grant::of(&link, &moved.encode()), Err(GrantError::Secret));
    assert_eq!(
        Grant::of(&link, b"\x02"),
        Err(GrantError::Statement(StatementError::Newer(2)))
    );
}

#[test]
fn a_grant_ends_by_the_clock_of_who_is_asked() {
    let ends = grant(Terms {
        expires: Some(THEN.plus_seconds(3600)),
        ..terms()
    });
    let bob = Peer::new(device(2).id());
    let at = |now: u64| ends.permits(UnixTime(now), &bob);
    assert_eq!(at(THEN.0), Ok(()));
    assert_eq!(at(THEN.0 + 3599), Ok(()));
    assert_eq!(at(THEN.0 + 3600), Err(Refusal::Expired));
    // A clock a year ahead, a little behind, a year behind, and one that begins in 1970.
    assert_eq!(at(THEN.0 + YEAR), Err(Refusal::Expired));
    assert_eq!(at(THEN.0 - 600), Ok(()));
    assert_eq!(at(THEN.0 - 601), Err(Refusal::ClockBehind));
    assert_eq!(at(THEN.0 - YEAR), Err(Refusal::ClockBehind));
    assert_eq!(at(0), Err(Refusal::ClockBehind));
    // Without an expiry no clock is asked.
    for now in [0, THEN.0 - YEAR, THEN.0, u64::MAX] {
        assert_eq!(grant(terms()).permits(UnixTime(now), &bob), Ok(()));
    }
}

#[test]
fn a_grant_is_for_its_audience() {
    let person = PersonKey::from_phrase(&Phrase::from_entropy(&[3; 16]));
    let named = grant(Terms {
        audience: vec![Party::Person(person.id()), Party::Device(device(2).id())],
        ..terms()
    });
    let seal = SealKey::from_bytes(&[0; 32]);
    let laptop = Name::new("laptop").unwrap();
    let certificate = Certificate::issue(&person, &device(4), &seal, laptop, THEN);
    let permits = |peer: Peer| named.permits(THEN, &peer);
    assert_eq!(permits(Peer::new(device(2).id())), Ok(()));
    assert_eq!(permits(Peer::new(device(4).id())), Err(Refusal::Audience));
    assert_eq!(
        permits(Peer::new(device(4).id()).with(&certificate)),
        Ok(())
    );
    let eve = Peer::new(device(66).id()).with(&certificate);
    assert_eq!(
        permits(eve),
        Err(Refusal::Audience),
        "somebody else's certificate"
    );
    assert_eq!(permits(Peer::new(device(1).id())), Ok(()), "the sharer");
}

#[test]
fn the_terms_say_who_hands_on() {
    for (spread, others) in [
        (Spread::Sharer, false),
        (Spread::Once, false),
        (Spread::Holders, true),
    ] {
        let grant = grant(Terms { spread, ..terms() });
        assert!(grant.may_be_served_by(device(1).id()));
        assert_eq!(grant.may_be_served_by(device(2).id()), others);
    }
}

#[test]
fn only_the_sharer_takes_a_share_back() {
    let grant = grant(terms());
    let by = |seed, share| Withdrawal::issue(&device(seed), share, THEN);
    let right = Withdrawal::parse(&by(1, grant.share()).encode()).unwrap();
    assert!(grant.is_withdrawn_by(&right));
    assert_eq!((right.share(), right.at()), (grant.share(), THEN));
    assert!(!grant.is_withdrawn_by(&by(66, grant.share())));
    assert!(!grant.is_withdrawn_by(&by(1, ShareId([0; 16]))));
}
