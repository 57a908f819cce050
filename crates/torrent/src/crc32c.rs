//! CRC32-C (Castagnoli), the checksum that BEP 40 ranks peers by and BEP 42 ties DHT ids to addresses with.
//!
//! Source: RFC 3720, appendix B.4 (test vectors), polynomial 0x1EDC6F41, bits reversed.

/// The polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The checksum of these bytes.
pub const fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0;
    let mut at = 0;
    while at < bytes.len() {
        crc = (crc >> 8) ^ TABLE[((crc as u8) ^ bytes[at]) as usize];
        at += 1;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_3720_hold() {
        let ascending: [u8; 32] = std::array::from_fn(|i| i as u8);
        let descending: [u8; 32] = std::array::from_fn(|i| 31 - i as u8);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(&descending), 0x113f_db5c);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
