//! The vectors of docs/design/links.md for everything but links.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod page;

use identity::grant::{Spread, Terms, Withdrawal};
use identity::link::Hints;
use identity::proof::{Channel, ProofKey, Role};
use identity::slots::{Day, Holder, SLOTS, Slots};
use identity::{
    Certificate, DeviceId, DeviceKey, Grant, Label, Name, Party, PersonKey, Phrase, Revocation,
    SealKey, ShareId, ShareSecret, UnixTime,
};
use page::{bytes, count};

const THEN: UnixTime = UnixTime(1_800_000_000);

fn person() -> PersonKey {
    PersonKey::from_phrase(&Phrase::from_entropy(&[0x7f; 16]))
}

fn device() -> DeviceKey {
    DeviceKey::from_seed(&count(0x60))
}

fn secret() -> ShareSecret {
    ShareSecret::from_bytes(&count(0x10))
}

#[test]
fn keys() {
    assert_eq!(person().id().0[..], bytes("person"));
    assert_eq!(device().id().0[..], bytes("device"));
    assert_eq!(
        SealKey::from_bytes(&count(0x80)).public()[..],
        bytes("seal")
    );
}

#[test]
fn statements() {
    let (seal, name) = (
        SealKey::from_bytes(&count(0x80)),
        Name::new("laptop").unwrap(),
    );
    let certificate = Certificate::issue(&person(), &device(), &seal, name, THEN);
    assert_eq!(certificate.encode(), bytes("certificate"));
    assert_eq!(Certificate::parse(&bytes("certificate")), Ok(certificate));
    let revocation = Revocation::issue(&person(), device().id(), THEN);
    assert_eq!(revocation.encode(), bytes("revocation"));
    assert_eq!(Revocation::parse(&bytes("revocation")), Ok(revocation));
}

#[test]
fn grants() {
    let share = ShareId::of(&secret());
    assert_eq!(share.0[..], bytes("share"));
    let terms = Terms {
        content: count(0xa0),
        label: Label::new("contracts").unwrap(),
        issued: THEN,
        expires: Some(THEN.plus_seconds(24 * 3600)),
        audience: vec![
            Party::Person(person().id()),
            Party::Device(DeviceId(count(0x20))),
        ],
        spread: Spread::Holders,
    };
    let grant = Grant::issue(&device(), &secret(), terms).unwrap();
    assert_eq!(grant.encode(), bytes("grant"));
    assert_eq!(Grant::parse(&bytes("grant")), Ok(grant));
    let withdrawal = Withdrawal::issue(&device(), share, THEN);
    assert_eq!(withdrawal.encode(), bytes("withdrawal"));
    assert_eq!(Withdrawal::parse(&bytes("withdrawal")), Ok(withdrawal));
}

#[test]
fn proofs() {
    let channel = Channel {
        exporter: count(0xc0),
        dialer: DeviceId(count(0x20)),
        acceptor: DeviceId(count(0x40)),
    };
    let key = ProofKey::of(&secret());
    assert_eq!(channel.prove(&key, Role::Dialer)[..], bytes("proof.dialer"));
    assert_eq!(
        channel.prove(&key, Role::Acceptor)[..],
        bytes("proof.acceptor")
    );
}

#[test]
fn slots() {
    let slots = Slots::of(&secret(), Day(20_833));
    assert_eq!(Day::around(THEN), [Day(20_833)]);
    for slot in 0..SLOTS {
        // A device key is made from its seed as any Ed25519 key is.
        let key = DeviceKey::from_seed(&slots.seed(slot));
        assert_eq!(key.id().0[..], bytes(&format!("slot.{slot}")));
    }
    let device = DeviceId(count(0x20));
    assert_eq!(bytes("slot.first"), [slots.first_of(device) as u8]);
    let addresses = ["203.0.113.9:4433", "[2001:db8::7]:4433"].map(|text| text.parse().unwrap());
    let holder = Holder {
        device,
        at: THEN,
        hints: Hints::new(addresses, Some(6881), []),
    };
    assert_eq!(slots.seal(&holder, count(0xe0))[..], bytes("slot.entry"));
}
