//! CRC32C (RFC 4960 appendix B; polynomial 0x1EDC6F41, reflected), for the one addition of PROXY version 2 that has it.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82F6_3B78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// The checksum of all `pieces`, one after the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> u32 {
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(!0, |sum, &byte| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::checksum;

    /// The vectors of RFC 3720 appendix B.4 (iSCSI has the same one), and the usual check value.
    #[test]
    fn known_answers() {
        assert_eq!(checksum(&[b"123456789"]), 0xE306_9283);
        assert_eq!(checksum(&[&[0; 32]]), 0x8A91_36AA);
        assert_eq!(checksum(&[&[0xFF; 16], &[0xFF; 16]]), 0x62A8_AB43);
        assert_eq!(checksum(&[&(0..32).collect::<Vec<u8>>()]), 0x46DD_794E);
    }
}
