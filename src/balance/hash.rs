//! The hash that keys and names are compared by. Hot path.

/// FNV-1a of 64 bits, then the finalizer of MurmurHash3 (`fmix64`), which spreads over all bits what FNV leaves in the
/// lower ones. It is the same in every process and every version: all instances agree by it. Not for secrets.
pub fn hash(bytes: &[u8]) -> u64 {
    hash_of(bytes.iter().copied())
}

/// [`hash`] of bytes that do not stand together.
pub fn hash_of(bytes: impl Iterator<Item = u8>) -> u64 {
    let fnv =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    fmix64(fnv)
}

fn fmix64(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_one() {
        assert_eq!(fmix64(0), 0);
        assert_eq!(fmix64(1), 0xb456_bcfc_34c2_cb2c);
        // FNV-1a's own test vectors, before the finalizer.
        assert_eq!(hash(b""), fmix64(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), fmix64(0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash(b"foobar"), fmix64(0x8594_4171_f739_67e8));
    }
}
