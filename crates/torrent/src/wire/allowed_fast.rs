//! Which pieces a peer may ask for while choked (BEP 6, "Allowed Fast Set Generation").

use std::net::Ipv4Addr;

use sha1::{Digest, Sha1};

/// The `k` pieces that the peer at `ip` may fetch while choked, in the canonical order; all pieces if there are no
/// more than `k`. Meant for small `k` (everybody uses 10).
pub fn allowed_fast_set(ip: Ipv4Addr, info_hash: &[u8; 20], pieces: u32, k: usize) -> Vec<u32> {
    if k >= pieces as usize {
        return (0..pieces).collect();
    }
    let [a, b, c, _] = ip.octets();
    let mut digest = Sha1::new()
        .chain_update([a, b, c, 0])
        .chain_update(info_hash)
        .finalize();
    let mut set = Vec::with_capacity(k);
    while set.len() < k {
        for number in digest.as_chunks::<4>().0 {
            let piece = u32::from_be_bytes(*number) % pieces;
            if set.len() < k && !set.contains(&piece) {
                set.push(piece);
            }
        }
        digest = Sha1::digest(digest);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: Ipv4Addr = Ipv4Addr::new(80, 4, 4, 200);

    #[test]
    fn the_vectors_of_bep_6_come_out() {
        let seven = [1059, 431, 808, 1217, 287, 376, 1188];
        let nine = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];
        assert_eq!(allowed_fast_set(IP, &[0xaa; 20], 1313, 7), seven);
        assert_eq!(allowed_fast_set(IP, &[0xaa; 20], 1313, 9), nine);
    }

    #[test]
    fn the_last_octet_of_the_address_does_not_matter() {
        let neighbour = Ipv4Addr::new(80, 4, 4, 1);
        assert_eq!(
            allowed_fast_set(IP, &[7; 20], 999, 10),
            allowed_fast_set(neighbour, &[7; 20], 999, 10)
        );
    }

    #[test]
    fn a_small_torrent_is_allowed_whole_and_an_empty_one_not_at_all() {
        assert_eq!(allowed_fast_set(IP, &[7; 20], 3, 10), [0, 1, 2]);
        assert_eq!(allowed_fast_set(IP, &[7; 20], 0, 10), [0u32; 0]);
        assert_eq!(allowed_fast_set(IP, &[7; 20], 5, 0), [0u32; 0]);
    }
}
