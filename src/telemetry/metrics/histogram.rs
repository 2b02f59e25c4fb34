//! A histogram of durations in one worker's cells. Hot path: [`Histogram::observe`] takes no lock and no memory.

use std::time::Duration;

use super::count::Cells;

/// The default `metrics.buckets`, in seconds.
pub const BUCKETS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The upper bounds of the buckets, ascending; the last bucket, without a bound, is implied.
#[derive(Debug)]
pub(super) struct Bounds {
    /// What is compared with, in nanoseconds.
    nanos: Box<[u64]>,
    /// The label `le` of each, in seconds: as written, so that `0.1` stays `0.1`.
    labels: Box<[Box<str>]>,
}

impl Bounds {
    /// Bounds from `seconds`, in any order; those that are equal, infinite or not above 0 are left out.
    pub(super) fn new(seconds: &[f64]) -> Self {
        let mut seconds: Vec<f64> = seconds.iter().copied().filter(|s| s.is_finite() && *s > 0.0).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.dedup();
        let nanos = seconds.iter().map(|s| (s * 1e9).round() as u64).collect();
        Self { nanos, labels: seconds.iter().map(|s| s.to_string().into()).collect() }
    }

    /// The label `le` of each bound, ascending.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(Box::as_ref)
    }

    /// Each bound in nanoseconds, ascending.
    pub(super) fn nanos(&self) -> &[u64] {
        &self.nanos
    }
}

/// One worker's share of one series. Its cells: the sum in nanoseconds (a float: it can not wrap), then the buckets,
/// not cumulated; the count is their sum, so that both always agree.
#[derive(Debug)]
pub(super) struct Histogram(Cells);

impl Histogram {
    /// An empty histogram with the buckets of `bounds`.
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self(Cells::new(1 + bounds.nanos.len() + 1))
    }

    /// Counts `duration`; `bounds` are those it was made with. For the owner of the cells alone.
    pub(super) fn observe(&self, bounds: &Bounds, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bounds.nanos.iter().position(|bound| nanos <= *bound).unwrap_or(bounds.nanos.len());
        self.0.at(0).add_float(nanos as f64);
        self.0.at(1 + bucket).add(1);
    }
}

/// A histogram as it is exported.
#[derive(Debug, PartialEq)]
pub(super) struct Total {
    /// For each bound: how many observations were at or below it.
    pub(super) cumulated: Vec<u64>,
    /// How many observations there were.
    pub(super) count: u64,
    /// Their sum, in seconds.
    pub(super) seconds: f64,
}

impl Total {
    /// The sum of several histograms with the same `bounds`.
    pub(super) fn of<'a>(bounds: &Bounds, parts: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut cumulated = vec![0; bounds.nanos.len() + 1];
        let mut nanos = 0.0;
        for Histogram(cells) in parts {
            nanos += cells.at(0).float();
            for (bucket, count) in cumulated.iter_mut().enumerate() {
                *count += cells.at(1 + bucket).value();
            }
        }
        let mut count = 0;
        for bucket in &mut cumulated {
            count += *bucket;
            *bucket = count;
        }
        cumulated.pop();
        Self { cumulated, count, seconds: nanos / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_are_cumulated() {
        let bounds = Bounds::new(&[0.01, 0.001, 0.01, f64::INFINITY, -1.0, f64::NAN]);
        assert_eq!(bounds.labels().collect::<Vec<_>>(), ["0.001", "0.01"]);
        let (one, other) = (Histogram::new(&bounds), Histogram::new(&bounds));
        one.observe(&bounds, Duration::ZERO);
        one.observe(&bounds, Duration::from_millis(1));
        other.observe(&bounds, Duration::from_nanos(1_000_001));
        other.observe(&bounds, Duration::from_secs(2));
        let total = Total::of(&bounds, [&one, &other]);
        assert_eq!((total.cumulated.as_slice(), total.count), ([2, 3].as_slice(), 4));
        assert!((total.seconds - 2.002).abs() < 1e-6);
    }

    #[test]
    fn no_bounds_and_the_longest_duration_are_fine() {
        let bounds = Bounds::new(&[]);
        let histogram = Histogram::new(&bounds);
        histogram.observe(&bounds, Duration::MAX);
        let total = Total::of(&bounds, [&histogram]);
        assert_eq!((total.cumulated.len(), total.count), (0, 1));
    }
}
