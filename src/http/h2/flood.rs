//! Counts what a client may send only so often: frames that cost us more than they cost it. Hot path.
//!
//! Called by `frames` for each such frame. A clock is read when a budget is spent, not at each frame.

use tokio::time::Instant;

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// RST_STREAM: requests that are begun and given up ("rapid reset").
    Resets,
    /// PING that no answer of ours came before.
    Pings,
    /// SETTINGS.
    Settings,
    /// Empty DATA that ends no stream; empty HEADERS and CONTINUATION.
    Empty,
    /// PRIORITY.
    Priorities,
    /// WINDOW_UPDATE by very little that answers nothing, and bodies that windows cut into tiny pieces.
    TinyWindows,
    /// What the `h2` crate has bounds of its own for: CONTINUATION, field blocks far over the limit, streams that it had
    /// to reset, tiny DATA.
    Other,
}

impl Flood {
    /// How many kinds there are that we count ourselves.
    const COUNTED: usize = Self::Other as usize;

    /// One word for the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::Empty => "empty_frames",
            Self::Priorities => "priorities",
            Self::TinyWindows => "tiny_windows",
            Self::Other => "frames",
        }
    }
}

/// What is left of each kind: one second's worth at first, and as much again for each second. Who has spent it within
/// that second is over it, so that twice the rate may pass in one second, and never more.
#[derive(Debug)]
pub(super) struct Meter {
    /// A second; `None` = no limit.
    rate: Option<u32>,
    budgets: [Budget; Flood::COUNTED],
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u32,
    /// When it was last filled.
    since: Instant,
}

impl Meter {
    pub(super) fn new(rate: Option<u32>, now: Instant) -> Self {
        let budget = Budget { left: rate.unwrap_or(0), since: now };
        Self { rate, budgets: [budget; Flood::COUNTED] }
    }

    /// One more of that kind.
    ///
    /// # Errors
    /// It is one too many.
    pub(super) fn count(&mut self, kind: Flood) -> Result<(), Flood> {
        let Some(rate) = self.rate else { return Ok(()) };
        let Some(budget) = self.budgets.get_mut(kind as usize) else { return Ok(()) };
        if budget.left == 0 {
            budget.fill(rate, Instant::now());
        }
        budget.left = budget.left.checked_sub(1).ok_or(kind)?;
        Ok(())
    }
}

impl Budget {
    fn fill(&mut self, rate: u32, now: Instant) {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(rate);
        self.left = earned.min(f64::from(rate)) as u32;
        if self.left > 0 {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_at_once_and_then_the_rate() {
        let mut meter = Meter::new(Some(10), Instant::now());
        for _ in 0..10 {
            assert_eq!(meter.count(Flood::Pings), Ok(()));
        }
        assert_eq!(meter.count(Flood::Pings), Err(Flood::Pings));
        assert_eq!(meter.count(Flood::Resets), Ok(()), "each kind has its own");
        advance(Duration::from_millis(350)).await;
        for _ in 0..3 {
            assert_eq!(meter.count(Flood::Pings), Ok(()));
        }
        assert_eq!(meter.count(Flood::Pings), Err(Flood::Pings));
        // However long it was silent, it has earned no more than that.
        advance(Duration::from_secs(3600)).await;
        let passed = (0..100).take_while(|_| meter.count(Flood::Pings).is_ok()).count();
        assert_eq!(passed, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_stream_at_the_rate_goes_on_for_ever() {
        let mut meter = Meter::new(Some(10), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(meter.count(Flood::Resets), Ok(()));
            advance(Duration::from_millis(100)).await;
        }
        let mut off = Meter::new(None, Instant::now());
        assert!((0..100_000).all(|_| off.count(Flood::Settings).is_ok()));
    }
}
