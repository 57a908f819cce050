//! Links, as people send them around: what survives, what is noticed, and the vectors of docs/design/links.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod page;

use std::net::SocketAddr;

use identity::link::{DeviceLink, Expiry, Fix, Hints, Relay, SCHEME, ShareLink};
use identity::{DeviceId, Link, LinkError, Party, PersonId, ShareSecret, UnixTime};
use proptest::prelude::*;

fn hints() -> impl Strategy<Value = Hints> {
    let relay = prop_oneof![
        any::<SocketAddr>().prop_map(|address| address.to_string()),
        "[a-z][a-z0-9]{0,20}(\\.[a-z]{2,9}){0,2}:[1-9][0-9]{0,3}",
    ];
    let relays = prop::collection::vec(relay, 0..4);
    let addresses = prop::collection::vec(any::<SocketAddr>(), 0..8);
    (addresses, any::<Option<u16>>(), relays).prop_map(|(addresses, tcp, relays)| {
        let relays = relays.iter().filter_map(|text| text.parse::<Relay>().ok());
        Hints::new(addresses, tcp, relays)
    })
}

fn links() -> impl Strategy<Value = Link> {
    let share = (
        any::<([u8; 16], [u8; 32], Option<u64>, Option<[u8; 4]>)>(),
        hints(),
    );
    let device = (any::<[u8; 32]>(), hints());
    prop_oneof![
        share.prop_map(
            |((secret, sharer, expires, audience), hints)| Link::Share(ShareLink {
                secret: ShareSecret::from_bytes(&secret),
                sharer: DeviceId(sharer),
                expires: expires.map(|time| Expiry::at(UnixTime(time))),
                audience,
                hints,
            })
        ),
        device.prop_map(|(device, hints)| Link::Device(DeviceLink {
            device: DeviceId(device),
            hints
        })),
        any::<[u8; 32]>().prop_map(|person| Link::Person(PersonId(person))),
    ]
}

/// The letters behind the colon.
fn letters(link: &Link) -> Vec<char> {
    let text = link.to_string();
    text.strip_prefix(SCHEME).unwrap().chars().collect()
}

fn parse(letters: impl IntoIterator<Item = char>) -> Result<Link, LinkError> {
    let text: String = SCHEME.chars().chain(letters).collect();
    Link::parse(&text)
}

proptest! {
    #[test]
    fn every_link_survives(link in links()) {
        let (shown, pictured) = (link.to_string(), link.for_qr());
        prop_assert_eq!(Link::parse(&shown), Ok(link.clone()));
        prop_assert_eq!(Link::parse(&pictured), Ok(link));
    }

    #[test]
    fn mail_programs_do_no_harm(link in links(), every in 1_usize..80, with in 0_usize..6) {
        let between = ["\n", "\r\n> ", "\u{200b}", " \u{ad}", "\n>> ", "\u{2060}\t"][with];
        let letters: Vec<char> = link.to_string().chars().collect();
        let lines: Vec<String> = letters.chunks(every).map(|line| line.iter().collect()).collect();
        let sent = format!("\u{feff}\"<{}>\",", lines.join(between));
        if sent.len() <= 4096 {
            prop_assert_eq!(Link::parse(&sent), Ok(link));
        }
    }

    #[test]
    fn a_wrong_letter_is_named_and_the_right_one_told(
        link in links(),
        at in any::<prop::sample::Index>(),
        is in "[a-z2-7AZ0189é_+]",
    ) {
        let mut letters = letters(&link);
        let at = at.index(letters.len());
        let is = is.chars().next().unwrap();
        let should = std::mem::replace(&mut letters[at], is);
        prop_assume!(is.to_ascii_lowercase() != should);
        let told = parse(letters.iter().copied());
        let last = at + 1 == letters.len();
        if last && !is.is_alphanumeric() {
            // What stands behind a link is no part of it.
            prop_assert!(told.is_err());
        } else {
            prop_assert_eq!(told, Err(LinkError::Damaged(Some(Fix { at: at + 1, is, should }))));
        }
    }

    #[test]
    fn two_letters_that_changed_places_are_noticed(
        link in links(),
        one in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let mut letters = letters(&link);
        let (one, other) = (one.index(letters.len()), other.index(letters.len()));
        letters.swap(one, other);
        let same = letters[one] == letters[other];
        prop_assert_eq!(parse(letters).is_ok(), same);
    }

    #[test]
    fn every_cut_is_noticed_and_called_one(link in links()) {
        let letters = letters(&link);
        for len in 0..letters.len() {
            let told = parse(letters[..len].iter().copied());
            prop_assert_eq!(told, Err(LinkError::Truncated), "{} of {}", len, letters.len());
        }
    }

    #[test]
    fn a_letter_too_many_or_too_few_is_noticed(link in links(), at in any::<prop::sample::Index>()) {
        let whole = letters(&link);
        let mut more = whole.clone();
        more.insert(at.index(whole.len() + 1), 'q');
        prop_assert!(parse(more).is_err());
        let mut fewer = whole.clone();
        fewer.remove(at.index(whole.len()));
        prop_assert!(parse(fewer).is_err());
    }

    #[test]
    fn any_text_is_a_link_or_a_sentence(text in "(starling:)?\\PC{0,300}") {
        match Link::parse(&text) {
            Ok(link) => prop_assert_eq!(Link::parse(&link.to_string()), Ok(link)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn the_vectors_of_the_page_hold() {
    let secret = ShareSecret::from_bytes(&page::count(0x10));
    let (device, person) = (DeviceId(page::count(0x20)), PersonId(page::count(0x40)));
    let full = Hints::new(
        ["192.168.1.7:4433", "203.0.113.9:4433", "[2001:db8::7]:4433"]
            .map(|text| text.parse().unwrap()),
        Some(6881),
        ["198.51.100.3:443", "relay.example.org:443"].map(|text| text.parse().unwrap()),
    );
    let share = |hints, expires, audience| {
        Link::Share(ShareLink {
            secret: secret.clone(),
            sharer: device,
            expires,
            audience,
            hints,
        })
    };
    let expires = Expiry::at(UnixTime(1_800_000_000));
    let all = [
        ("link.share", share(Hints::default(), None, None)),
        (
            "link.share.full",
            share(
                full.clone(),
                Some(expires),
                Some(Party::Person(person).mark()),
            ),
        ),
        (
            "link.device",
            Link::Device(DeviceLink {
                device,
                hints: full,
            }),
        ),
        ("link.person", Link::Person(person)),
    ];
    for (name, link) in all {
        let pinned = page::vector(name);
        assert_eq!(link.to_string(), pinned, "{name}");
        assert_eq!(Link::parse(&pinned), Ok(link), "{name}");
    }
}

#[test]
fn what_people_paste_instead_has_a_sentence_for_each() {
    let link = page::vector("link.share");
    let whole = link.strip_prefix(SCHEME).unwrap();
    let (head, tail) = whole.split_at(40);
    for (text, said) in [
        ("magnet:?xt=urn:btih:…".to_owned(), "no Starling link"),
        (format!("{SCHEME}{head}"), "cut off"),
        (
            format!("{SCHEME}{head}0{}", &tail[1..]),
            "letter 41 behind the colon is \"0\" and should be",
        ),
        (
            format!("{SCHEME}{head}xyz{}", &tail[3..]),
            "more than one letter",
        ),
        (format!("{SCHEME}{}", whole.repeat(6)), "too long"),
        (page::vector("link.newer"), "Update Starling"),
    ] {
        let told = Link::parse(&text).unwrap_err().to_string();
        assert!(told.contains(said), "{text}: {told}");
    }
}
