//! Random numbers of a simulation: the same for the same seed, on every machine. Hot path of the simulator.

use crate::{
    balance::splitmix64,
    config::scenario::{Distribution, Kind},
};
use rand::TryRng;
use rand_distr::{Distribution as _, Exp1, StandardNormal};
use std::convert::Infallible;

/// A stream of random bits.
#[derive(Clone, Debug)]
pub(super) struct Bits(u64);

impl Bits {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(splitmix64(&mut self.0)) * u128::from(end)) >> 64) as u64
    }

    pub(super) fn next(&mut self) -> u64 {
        splitmix64(&mut self.0)
    }

    /// The time to the next of events that come once in a unit of time, and know nothing of each other.
    pub(super) fn gap(&mut self) -> f64 {
        Exp1.sample(self)
    }
}

impl TryRng for Bits {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }
}

/// One of a distribution.
pub(super) fn sample(of: Distribution, bits: &mut Bits) -> f64 {
    match of.kind {
        Kind::Constant => of.mean,
        Kind::Exponential => of.mean * bits.gap(),
        Kind::LogNormal(sigma) => {
            let normal: f64 = StandardNormal.sample(bits);
            // So that the mean is the mean.
            of.mean * (sigma * normal - sigma * sigma / 2.0).exp()
        }
        // The logarithm of a Pareto variate is exponential.
        Kind::Pareto(index) => of.mean * (index - 1.0) / index * (bits.gap() / index).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(kind: Kind) -> f64 {
        let (mut bits, count) = (Bits::new(7), 400_000);
        (0..count).map(|_| sample(Distribution { kind, mean: 10.0 }, &mut bits)).sum::<f64>() / f64::from(count)
    }

    #[test]
    fn means_are_as_written() {
        assert_eq!(mean(Kind::Constant), 10.0);
        for kind in [Kind::Exponential, Kind::LogNormal(0.5), Kind::LogNormal(1.5), Kind::Pareto(3.0)] {
            let mean = mean(kind);
            assert!((mean - 10.0).abs() < 0.15, "{kind:?}: {mean}");
        }
    }

    #[test]
    fn tails_are_as_published() {
        let over = |kind, bound: f64| {
            let (mut bits, count) = (Bits::new(3), 200_000);
            let of = Distribution { kind, mean: 1.0 };
            (0..count).filter(|_| sample(of, &mut bits) > bound).count() as f64 / f64::from(count)
        };
        assert!((over(Kind::Exponential, 3.0) - (-3f64).exp()).abs() < 0.002);
        // The least of a Pareto of mean 1 and index 2 is 1/2: P(> x) = (1/2 / x)^2.
        assert!((over(Kind::Pareto(2.0), 5.0) - 0.01).abs() < 0.001);
        // The median of a lognormal is exp(-sigma^2 / 2) of its mean.
        assert!((over(Kind::LogNormal(1.0), (-0.5f64).exp()) - 0.5).abs() < 0.005);
    }
}
