//! The random bits of one pick. Hot path.

/// The next 64 random bits after `state`, which moves on; not for secrets. (Steele, Lea and Flood, OOPSLA 2014.)
pub fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Random numbers out of the bits that a pick brings.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(random: u64) -> Self {
        Self(random)
    }

    /// 64 random bits.
    pub(super) fn roll(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    /// A number below `end`, without a division (Lemire 2019); 0 if `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64
    }
}
