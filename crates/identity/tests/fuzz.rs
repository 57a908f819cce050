//! Random input for the readers of statements, links and phrases.
//!
//! Plain random bytes hardly ever get past the first check, so genuine ones are also taken and a few of their bytes
//! changed: what is read then must be what was made.

use bolero::check;
use identity::grant::{Spread, Terms, Withdrawal};
use identity::slots::{Day, Slots};
use identity::{
    Certificate, DeviceKey, Devices, Grant, Label, Link, LinkError, Name, Party, PersonKey, Phrase,
    Revocation, SealKey, ShareId, ShareSecret, UnixTime,
};

/// Which statement, and what to change in it: where, to what, and whether to remove the byte instead.
type Changes = (u8, Vec<(u16, u8, bool)>);

fn changed(genuine: &[Vec<u8>], (which, changes): &Changes) -> (usize, Vec<u8>) {
    let which = usize::from(*which) % genuine.len();
    let mut bytes = genuine[which].clone();
    for &(at, byte, remove) in changes.iter().take(4) {
        let at = usize::from(at) % bytes.len();
        if remove {
            bytes.remove(at);
        } else {
            bytes[at] = byte;
        }
    }
    (which, bytes)
}

/// One of each kind.
fn statements() -> Vec<Vec<u8>> {
    let person = PersonKey::from_phrase(&Phrase::from_entropy(&[1; 16]));
    let (device, seal) = (
        DeviceKey::from_seed(&[2; 32]),
        SealKey::from_bytes(&[3; 32]),
    );
    let name = Name::new("laptop").expect("it is a name");
    let certificate = Certificate::issue(&person, &device, &seal, name, UnixTime(4));
    let revocation = Revocation::issue(&person, device.id(), UnixTime(5));
    let mut devices = Devices::of(person.id());
    devices
        .add(certificate.clone())
        .expect("it is the person's");
    devices
        .revoke(revocation.clone())
        .expect("it is the person's");
    let secret = ShareSecret::from_bytes(&[6; 16]);
    let terms = Terms {
        content: [7; 32],
        label: Label::new("contracts").expect("it is a label"),
        issued: UnixTime(8),
        expires: Some(UnixTime(9)),
        audience: vec![Party::Device(device.id()), Party::Person(person.id())],
        spread: Spread::Holders,
    };
    let grant = Grant::issue(&device, &secret, terms).expect("it can be granted");
    let withdrawal = Withdrawal::issue(&device, ShareId::of(&secret), UnixTime(9));
    vec![
        certificate.encode(),
        revocation.encode(),
        devices.encode(),
        grant.encode(),
        withdrawal.encode(),
    ]
}

/// What each reader makes of the bytes, written again.
fn read(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    vec![
        Certificate::parse(bytes).ok().map(|read| read.encode()),
        Revocation::parse(bytes).ok().map(|read| read.encode()),
        Devices::parse(bytes).ok().map(|read| read.encode()),
        Grant::parse(bytes).ok().map(|read| read.encode()),
        Withdrawal::parse(bytes).ok().map(|read| read.encode()),
    ]
}

#[test]
fn fuzz_statements_from_noise() {
    check!().for_each(|bytes: &[u8]| {
        for again in read(bytes).into_iter().flatten() {
            assert_eq!(again, bytes, "one value has one encoding");
        }
    });
}

#[test]
fn fuzz_statements_from_genuine_ones() {
    let genuine = statements();
    check!().with_type::<Changes>().for_each(|changes| {
        let (which, bytes) = changed(&genuine, changes);
        for (reader, again) in read(&bytes).into_iter().enumerate() {
            if let Some(again) = again {
                assert_eq!(again, bytes, "one value has one encoding");
                // A list of which a byte was changed may still be a list, of fewer devices.
                assert!(
                    reader == 2 || bytes == genuine[which],
                    "a forgery was believed"
                );
            }
        }
    });
}

/// A share with everything in it; a device; a person. Those of docs/design/links.md.
const LINKS: [&str; 3] = [
    "starling:churaeiscmkbkfqxdamrugy4dupb6ibbeirsijjge4ucskrlfqws4lzqgezdgnbvgy3tqoj2hm6d2pr7aaifvyebwf2yugxbycuac\
     byrkhfqa4ijcfisaainxaaaaaaaaaaaaaaaaaaaoekratddgzadag5vc4tfnrqxsltfpbqw24dmmuxg64thag5yocvrwa",
    "starling:ciusaijcemsckjrhfausukzmfuxc6mbrgiztinjwg44dsor3hq6t4py24hakqaihcfi4wadrbeivciabbw4aaaaaaaaaaaaaaabyrk\
     ecmmm3eama3wulsmvwgc6jomv4gc3lqnrss433sm4a3x6plfmra",
    "starling:cnaecqsdircumr2ijffewtcnjzhvauksknkfkvsxlbmvuw24lvpf6vjaqwsq",
];

#[test]
fn fuzz_links_from_noise() {
    check!().for_each(|bytes: &[u8]| {
        let noise = String::from_utf8_lossy(bytes);
        for text in [noise.clone().into_owned(), format!("starling:{noise}")] {
            if let Ok(link) = Link::parse(&text) {
                assert_eq!(Link::parse(&link.to_string()), Ok(link));
            }
        }
    });
}

#[test]
fn fuzz_links_from_genuine_ones() {
    check!().with_type::<Changes>().for_each(|changes| {
        let genuine: Vec<Vec<u8>> = LINKS.iter().map(|link| link.bytes().collect()).collect();
        let (which, bytes) = changed(&genuine, changes);
        let text = String::from_utf8_lossy(&bytes);
        match Link::parse(&text) {
            Ok(link) => assert_eq!(link.to_string(), LINKS[which], "damage went unnoticed"),
            Err(LinkError::Newer | LinkError::Malformed(_)) => panic!("damage was taken for sense"),
            Err(_) => {}
        }
    });
}

#[test]
fn fuzz_phrases() {
    check!().for_each(|bytes: &[u8]| {
        if let Ok(phrase) = Phrase::parse(&String::from_utf8_lossy(bytes)) {
            assert!(Phrase::parse(&phrase.words()).is_ok());
        }
    });
}

#[test]
fn fuzz_slots() {
    let slots = Slots::of(&ShareSecret::from_bytes(&[6; 16]), Day(1));
    check!().for_each(|bytes: &[u8]| {
        let value = [b"995:", bytes].concat();
        assert!(slots.read(&value).is_empty() && slots.read(bytes).is_empty());
    });
}
