//! Bytes of a proxy, and settings for one, may be anything.

use link::proxy::{Proxy, Step, Target, connect, socks5};

fn target() -> Target {
    Target::Name("example.org".into(), 6881)
}

/// Feeds `check` with noise, and with `seeds` in which some bytes are changed and the end perhaps cut off.
fn fuzz(seeds: &[&[u8]], check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    bolero::check!()
        .with_type::<(u8, Vec<(u16, u8)>, u16, Vec<u8>)>()
        .for_each(|(seed, changes, cut, noise)| {
            check(noise);
            let mut bytes = seeds[usize::from(*seed) % seeds.len()].to_vec();
            for &(at, byte) in changes.iter().take(4) {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            check(&bytes);
            bytes.truncate(usize::from(*cut) % (bytes.len() + 1));
            check(&bytes);
        });
}

/// Hands `bytes` over in parts as a socket would; whatever a proxy says, no more is used than was given.
fn talk(bytes: &[u8], mut receive: impl FnMut(&[u8]) -> Option<(usize, Step)>) {
    let mut rest = bytes;
    for part in 1..=bytes.len() {
        let given = &rest[..part.min(rest.len())];
        let Some((used, step)) = receive(given) else {
            return;
        };
        assert!(used <= given.len());
        rest = &rest[used..];
        if matches!(step, Step::Done(_)) || rest.is_empty() {
            return;
        }
    }
}

#[test]
fn fuzz_socks_answers() {
    let seeds: [&[u8]; 2] = [
        b"\x05\x02\x01\x00\x05\x00\x00\x01\x0a\0\0\x01\x04\x38",
        b"\x05\x00\x05\x00\x00\x03\x05proxy\x04\x38",
    ];
    fuzz(&seeds, |bytes| {
        let login = "bob:secret".parse().unwrap();
        for login in [None, Some(&login)] {
            let command = socks5::Command::Associate;
            let (mut opening, _) = socks5::Opening::new(command, &target(), login).unwrap();
            talk(bytes, |part| {
                opening.receive(part).ok().map(|t| (t.used, t.step))
            });
        }
    });
}

#[test]
fn fuzz_connect_answers() {
    let seeds: [&[u8]; 1] = [b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nrest"];
    fuzz(&seeds, |bytes| {
        let (mut opening, _) = connect::Opening::new(&target(), None).unwrap();
        talk(bytes, |part| {
            opening.receive(part).ok().map(|t| (t.used, t.step))
        });
    });
}

#[test]
fn fuzz_relayed_datagrams() {
    let seeds: [&[u8]; 3] = [
        b"\0\0\0\x01\x0a\0\0\x01\x1a\xe1payload",
        b"\0\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1payload",
        b"\0\0\0\x03\x04name\x1a\xe1payload",
    ];
    fuzz(&seeds, |bytes| {
        if let Some((from, payload)) = socks5::unwrap(bytes) {
            let mut again = Vec::new();
            socks5::wrap(&Target::Addr(from), payload, &mut again).unwrap();
            // An IPv4 address may have come written as an IPv6 one.
            assert_eq!(
                socks5::unwrap(&again).map(|(f, p)| (f.ip().to_canonical(), f.port(), p)),
                Some((from.ip().to_canonical(), from.port(), payload))
            );
        }
    });
}

#[test]
fn fuzz_proxy_settings() {
    let seeds: [&[u8]; 2] = [
        b"socks5://a%40:b@host.example:1080",
        b"http://[2001:db8::1]:8/",
    ];
    fuzz(&seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(proxy) = text.parse::<Proxy>() {
            let shown: Proxy = proxy.to_string().parse().unwrap();
            assert_eq!((shown.host, shown.port), (proxy.host, proxy.port));
        }
    });
}
