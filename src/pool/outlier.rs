//! Who is much slower than the others of its pool, and for how long. Pure: times and response times are arguments. Control
//! asks once a second.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// However far above the median: so many microseconds more are nothing that users notice.
const NOTICEABLE: f32 = 10_000.0;

/// What makes an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierRule {
    /// So many times the median of the others' response times,
    pub factor: f32,
    /// for so many microseconds.
    pub lasts: u64,
}

/// What has become of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has been far above the others for long.
    Begins,
    /// It has been among them for as long.
    Ends,
}

/// How far one backend is from the others: kept over reloads.
#[derive(Debug, Default)]
pub struct Outlier {
    /// Since when it is not what it was.
    since: Mutex<Option<u64>>,
    is: AtomicBool,
}

impl Outlier {
    /// It is one.
    pub fn is_one(&self) -> bool {
        self.is.load(Relaxed)
    }

    /// It is none, and has not begun to become one.
    pub fn is_calm(&self) -> bool {
        !self.is_one() && self.since.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// It is far above the others at this moment, or not; who is not known is not.
    pub fn look(&self, far: bool, rule: &OutlierRule, now: u64) -> Option<News> {
        let is = self.is_one();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if far == is {
            *since = None;
            return None;
        }
        let begun = *since.get_or_insert(now);
        if now.saturating_sub(begun) < rule.lasts {
            return None;
        }
        *since = None;
        self.is.store(far, Relaxed);
        Some(if far { News::Begins } else { News::Ends })
    }

    /// It begins anew: it is out.
    pub fn forget(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.is.store(false, Relaxed);
    }
}

/// Which of `times`, in microseconds, are far above the median of the others; `None` is not known.
pub fn judge(times: &[Option<f32>], rule: &OutlierRule) -> Vec<bool> {
    let mut order: Vec<f32> = times.iter().flatten().copied().filter(|time| time.is_finite()).collect();
    order.sort_unstable_by(f32::total_cmp);
    let far = |time: f32| {
        let Some(median) = median_without(&order, time) else { return false };
        time > median * rule.factor && time - median >= NOTICEABLE
    };
    times.iter().map(|time| time.is_some_and(far)).collect()
}

/// The lower median of `order` without one `time` of it.
fn median_without(order: &[f32], time: f32) -> Option<f32> {
    let others = order.len().checked_sub(2)? / 2;
    let own = order.partition_point(|other| *other < time);
    // Behind its own place all others come one earlier.
    order.get(if others < own { others } else { others + 1 }).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: OutlierRule = OutlierRule { factor: 3.0, lasts: 30 };

    fn far(times: &[f32]) -> Vec<bool> {
        judge(&times.iter().map(|time| Some(time * 1000.0)).collect::<Vec<_>>(), &RULE)
    }

    #[test]
    fn who_is_far_above_the_others_is_told() {
        assert_eq!(far(&[10.0, 10.0, 10.0, 40.0]), [false, false, false, true]);
        assert_eq!(far(&[10.0, 40.0]), [false, true], "one other is enough");
        assert_eq!(far(&[40.0]), [false]);
        assert_eq!(far(&[]), [false; 0]);
        assert_eq!(far(&[10.0, 12.0, 29.0]), [false; 3]);
        assert_eq!(far(&[1.0, 1.0, 1.0, 10.9]), [false; 4], "10 ms are noticed");
        assert_eq!(far(&[1.0, 1.0, 1.0, 11.0]), [false, false, false, true]);
        assert_eq!(far(&[10.0, 100.0, 100.0, 10.0, 10.0]), [false, true, true, false, false]);
    }

    #[test]
    fn who_is_not_known_is_not_judged_and_judges_nobody() {
        let times = [Some(10_000.0), None, Some(40_000.0), Some(f32::NAN)];
        assert_eq!(judge(&times, &RULE), [false, false, true, false]);
    }

    #[test]
    fn the_median_is_that_of_the_others() {
        for count in 2..9_u8 {
            let order: Vec<f32> = (0..count).map(f32::from).collect();
            for own in &order {
                let others: Vec<f32> = order.iter().copied().filter(|other| other != own).collect();
                let wanted = others[(others.len() - 1) / 2];
                assert_eq!(median_without(&order, *own), Some(wanted), "{own} of {count}");
            }
        }
    }

    #[test]
    fn it_takes_as_long_to_end_as_to_begin_and_no_break() {
        let outlier = Outlier::default();
        assert_eq!(outlier.look(true, &RULE, 0), None);
        assert_eq!(outlier.look(true, &RULE, 29), None);
        assert_eq!(outlier.look(false, &RULE, 29), None);
        assert_eq!(outlier.look(true, &RULE, 31), None, "from the beginning");
        assert_eq!(outlier.look(true, &RULE, 61), Some(News::Begins));
        assert!(outlier.is_one());
        assert_eq!(outlier.look(true, &RULE, 62), None);
        assert_eq!(outlier.look(false, &RULE, 63), None);
        assert_eq!(outlier.look(true, &RULE, 80), None);
        assert_eq!(outlier.look(false, &RULE, 81), None);
        assert_eq!(outlier.look(false, &RULE, 111), Some(News::Ends));
        outlier.look(true, &RULE, 200);
        outlier.forget();
        assert_eq!(outlier.look(true, &RULE, 230), None);
        assert!(!outlier.is_one());
    }
}
