//! What the process says about itself. Imports nothing of ours: control registers what it reads.

pub mod access_log;
pub mod log;
pub mod metrics;
mod seldom;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;

pub use seldom::{Seldom, SeldomOf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A duration in the records of the access log and of spans where there is none.
const NO_MICROS: u64 = u64::MAX;

/// A duration as records have it. Without the 128-bit division of `Duration::as_micros`.
fn micros(duration: Option<Duration>) -> u64 {
    let Some(duration) = duration else { return NO_MICROS };
    let seconds = duration.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(duration.subsec_micros().into()).min(NO_MICROS - 1)
}

/// `at` in milliseconds since 1970, as cookies, spans and the API count; 0 before.
pub(crate) fn unix_millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// No state is left half-changed by a panic: a poisoned lock is as good as any.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
