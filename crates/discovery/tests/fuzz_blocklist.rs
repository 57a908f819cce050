//! Block lists come from strangers: any line may be in them, and a lookup agrees with the plainest model of one.

use std::net::{IpAddr, Ipv4Addr};

use discovery::blocklist::Builder;

#[test]
fn fuzz_lines_of_block_lists() {
    let seeds = [
        "001.009.096.105 - 001.009.096.107 , 000 , owner",
        "an owner:203.0.113.0-203.0.113.127",
        "203.0.113.128/25 # x",
        "2001:db8::1-2001:db8::5",
        "2001:db8::/32",
    ];
    bolero::check!()
        .with_type::<(u8, Vec<(u16, u8)>, Vec<u8>)>()
        .for_each(|(seed, changes, noise)| {
            let mut builder = Builder::default();
            let _ = builder.line(noise);
            let mut line = seeds[usize::from(*seed) % seeds.len()].as_bytes().to_vec();
            for &(at, byte) in changes.iter().take(3) {
                let at = usize::from(at) % line.len();
                line[at] = byte;
            }
            let _ = builder.line(&line);
            assert!(builder.finish().ranges() <= 2);
        });
}

#[test]
fn fuzz_lookups_in_block_lists() {
    bolero::check!()
        .with_type::<(Vec<(u16, u8)>, Vec<u16>)>()
        .for_each(|(ranges, asked)| {
            // All close together, so that many overlap and touch.
            let ip = |low: u16| Ipv4Addr::from(0xc000_0200 + u32::from(low));
            let mut builder = Builder::default();
            for &(from, len) in ranges {
                let to = from.saturating_add(len.into());
                let line = format!("{}-{}", ip(from), ip(to));
                builder.line(line.as_bytes()).unwrap();
            }
            let list = builder.finish();
            for &low in asked {
                let model = ranges
                    .iter()
                    .any(|&(from, len)| (from..=from.saturating_add(len.into())).contains(&low));
                assert_eq!(list.contains(IpAddr::V4(ip(low))), model);
            }
        });
}
