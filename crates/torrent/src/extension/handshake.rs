//! The extended handshake: which extensions a peer takes under which numbers, and facts about itself (BEP 10).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ExtensionError, limits};
use crate::bencode::{self, Owned, Value};
use crate::tracker::compact;

/// Longest extended handshake read, in bytes; they are a few hundred.
pub const MAX_HANDSHAKE_LEN: usize = 16 * 1024;

/// Longest client name kept, in characters; it is shown to people.
pub const MAX_CLIENT_LEN: usize = 64;

/// The numbers under which a peer takes extension messages: use *its* numbers when sending to it.
///
/// `None`: the handshake does not mention the extension; zero: the peer takes no such messages (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Metadata from peers (BEP 9).
    pub ut_metadata: Option<u8>,
    /// Peer exchange (BEP 11).
    pub ut_pex: Option<u8>,
    /// Pieces taken back (BEP 54).
    pub lt_donthave: Option<u8>,
    /// Changes of the upload-only state.
    pub upload_only: Option<u8>,
    /// Help with connecting through NATs (BEP 55).
    pub ut_holepunch: Option<u8>,
    /// Dialling back, an extension of our own.
    pub sl_dialback: Option<u8>,
}

impl Ids {
    /// Takes over what a later handshake of the same peer changes; what it does not mention stays (BEP 10).
    pub fn update(&mut self, later: &Ids) {
        for ((_, mine), (_, theirs)) in self.named_mut().into_iter().zip(later.named()) {
            *mine = theirs.or(*mine);
        }
    }

    fn named(&self) -> [(&'static str, Option<u8>); 6] {
        let mut copy = *self;
        copy.named_mut().map(|(name, id)| (name, *id))
    }

    /// In the order of their names, as a bencoded dictionary wants them.
    fn named_mut(&mut self) -> [(&'static str, &mut Option<u8>); 6] {
        [
            ("lt_donthave", &mut self.lt_donthave),
            ("sl_dialback", &mut self.sl_dialback),
            ("upload_only", &mut self.upload_only),
            ("ut_holepunch", &mut self.ut_holepunch),
            ("ut_metadata", &mut self.ut_metadata),
            ("ut_pex", &mut self.ut_pex),
        ]
    }
}

/// What a peer says about itself in an extended handshake. Every part may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Numbers of the extensions the sender takes.
    pub m: Ids,
    /// Name and version of the client, at most [`MAX_CLIENT_LEN`] characters, none of them control characters.
    pub v: Option<String>,
    /// TCP port where the sender listens; never zero.
    pub p: Option<u16>,
    /// How many requests the sender queues before it drops some; never zero.
    pub reqq: Option<u32>,
    /// Length of the info dictionary in bytes, if the sender has it (BEP 9); never zero.
    pub metadata_size: Option<u32>,
    /// The address the sender sees the receiver at.
    pub yourip: Option<IpAddr>,
    /// Another address of the sender.
    pub ipv4: Option<Ipv4Addr>,
    /// Another address of the sender.
    pub ipv6: Option<Ipv6Addr>,
    /// Whether the sender wants nothing more (BEP 21); `None`: not mentioned.
    pub upload_only: Option<bool>,
}

impl Handshake {
    /// The payload of extended message 0.
    pub fn encode(&self) -> Vec<u8> {
        let ids = self
            .m
            .named()
            .into_iter()
            .filter_map(|(name, id)| Some((name, Owned::from(id?))));
        let mut dict = vec![("m", Owned::dict(ids))];
        let mut put = |key, value: Option<Owned>| dict.extend(value.map(|value| (key, value)));
        put("v", self.v.as_deref().map(Owned::from));
        put("p", self.p.map(Owned::from));
        put("reqq", self.reqq.map(Owned::from));
        put("metadata_size", self.metadata_size.map(Owned::from));
        put("yourip", self.yourip.map(packed));
        put("ipv4", self.ipv4.map(|ip| packed(ip.into())));
        put("ipv6", self.ipv6.map(|ip| packed(ip.into())));
        put("upload_only", self.upload_only.map(Owned::from));
        Owned::dict(dict).encode()
    }

    /// Reads the payload of extended message 0. Parts that make no sense are taken as missing.
    ///
    /// # Errors
    /// Only if the payload is no bencoded dictionary, or longer than [`MAX_HANDSHAKE_LEN`].
    pub fn parse(payload: &[u8]) -> Result<Handshake, ExtensionError> {
        let root = bencode::parse(payload, limits(MAX_HANDSHAKE_LEN))?;
        let dict = root.as_dict().ok_or(ExtensionError::NotDict)?;
        let address = |key| {
            dict.get(key)
                .and_then(|value: Value<'_>| compact::ip(value.as_bytes()?))
        };

        let mut m = Ids::default();
        if let Some(names) = dict.get("m") {
            for (name, id) in m.named_mut() {
                *id = number(names.get(name)).and_then(|id| u8::try_from(id).ok());
            }
        }
        Ok(Handshake {
            m,
            v: dict.get("v").and_then(|v| v.as_bytes()).map(printable),
            p: number(dict.get("p"))
                .and_then(|p| u16::try_from(p).ok())
                .filter(|&p| p != 0),
            reqq: number(dict.get("reqq")).filter(|&n| n != 0),
            metadata_size: number(dict.get("metadata_size")).filter(|&n| n != 0),
            yourip: address("yourip"),
            ipv4: dict
                .get("ipv4")
                .and_then(|ip| ip.as_array::<4>())
                .map(|ip| Ipv4Addr::from(*ip)),
            ipv6: dict
                .get("ipv6")
                .and_then(|ip| ip.as_array::<16>())
                .map(|ip| Ipv6Addr::from(*ip)),
            upload_only: number(dict.get("upload_only")).map(|flag| flag != 0),
        })
    }
}

fn packed(ip: IpAddr) -> Owned {
    let mut bytes = Vec::new();
    compact::push_ip(&mut bytes, ip);
    Owned::Bytes(bytes)
}

fn number(value: Option<Value<'_>>) -> Option<u32> {
    value?.as_uint().and_then(|n| u32::try_from(n).ok())
}

/// Text from a stranger, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CLIENT_LEN)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_bep_9_and_10_are_read() {
        let bep10 = b"d1:md11:LT_metadatai1e6:ut_pexi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e";
        let handshake = Handshake::parse(bep10).unwrap();
        assert_eq!(
            handshake.m,
            Ids {
                ut_pex: Some(2),
                ..Ids::default()
            }
        );
        assert_eq!(handshake.p, Some(6881));
        assert_eq!(handshake.v.as_deref(), Some("µTorrent 1.2"));

        let bep9 = Handshake::parse(b"d1:md11:ut_metadatai3ee13:metadata_sizei31235ee").unwrap();
        assert_eq!(
            (bep9.m.ut_metadata, bep9.metadata_size),
            (Some(3), Some(31235))
        );
    }

    #[test]
    fn a_handshake_is_written_in_canonical_order() {
        let handshake = Handshake {
            m: Ids {
                ut_pex: Some(1),
                ut_metadata: Some(2),
                ..Ids::default()
            },
            upload_only: Some(true),
            yourip: Some("10.0.0.5".parse().unwrap()),
            ..Handshake::default()
        };
        let expected =
            b"d1:md11:ut_metadatai2e6:ut_pexi1ee11:upload_onlyi1e6:yourip4:\x0a\0\0\x05e";
        assert_eq!(handshake.encode(), expected);
    }

    #[test]
    fn a_later_handshake_changes_only_what_it_mentions() {
        let mut ids = Ids {
            ut_pex: Some(1),
            ut_metadata: Some(2),
            ..Ids::default()
        };
        ids.update(
            &Handshake::parse(b"d1:md6:ut_pexi0e11:lt_donthavei7eee")
                .unwrap()
                .m,
        );
        let expected = Ids {
            ut_pex: Some(0),
            ut_metadata: Some(2),
            lt_donthave: Some(7),
            ..Ids::default()
        };
        assert_eq!(ids, expected);
    }

    #[test]
    fn senseless_parts_are_taken_as_missing() {
        let odd = b"d4:ipv43:abc1:mi5e13:metadata_sizei-1e1:pi70000e4:reqqi0e11:upload_only3:yes1:vi2e6:yourip5:abcdee";
        assert_eq!(Handshake::parse(odd).unwrap(), Handshake::default());
        let ids = Handshake::parse(b"d1:md6:ut_pexi256e11:ut_metadata1:2ee")
            .unwrap()
            .m;
        assert_eq!(ids, Ids::default());
        assert_eq!(Handshake::parse(b"de").unwrap(), Handshake::default());
    }

    #[test]
    fn a_client_name_cannot_steer_a_terminal() {
        let name = format!("d1:v{}:\x1b[2Jevil\n{}e", 9 + 300, "x".repeat(300));
        let v = Handshake::parse(name.as_bytes()).unwrap().v.unwrap();
        assert!(v.starts_with("[2Jevilxxx"));
        assert_eq!(v.chars().count(), MAX_CLIENT_LEN);
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        assert_eq!(Handshake::parse(b"le"), Err(ExtensionError::NotDict));
        assert!(matches!(
            Handshake::parse(b"d1:m"),
            Err(ExtensionError::Bencode(_))
        ));
        let long = format!(
            "d1:v{}:{}e",
            MAX_HANDSHAKE_LEN,
            " ".repeat(MAX_HANDSHAKE_LEN)
        );
        assert!(matches!(
            Handshake::parse(long.as_bytes()),
            Err(ExtensionError::Bencode(_))
        ));
    }

    proptest! {
        #[test]
        fn every_handshake_survives_the_wire(
            m in any::<[Option<u8>; 6]>(),
            v in proptest::option::of("[ -~]{0,64}"),
            p in proptest::option::of(1u16..),
            reqq in proptest::option::of(1u32..),
            metadata_size in proptest::option::of(1u32..),
            yourip in any::<Option<IpAddr>>(),
            ipv4 in any::<Option<Ipv4Addr>>(),
            ipv6 in any::<Option<Ipv6Addr>>(),
            upload_only in any::<Option<bool>>(),
        ) {
            let [ut_metadata, ut_pex, lt_donthave, only, ut_holepunch, sl_dialback] = m;
            let m = Ids { ut_metadata, ut_pex, lt_donthave, upload_only: only, ut_holepunch, sl_dialback };
            let handshake = Handshake { m, v, p, reqq, metadata_size, yourip, ipv4, ipv6, upload_only };
            prop_assert_eq!(Handshake::parse(&handshake.encode()), Ok(handshake));
        }
    }
}
