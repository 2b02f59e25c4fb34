//! What a backend has said of itself last. Hot path: one relaxed store for a metric that it says.
//!
//! Called by `plan` for workers and polls; read when a scrape gathers, and by the API.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::names::Labels;

/// The series of one metric of one backend.
#[derive(Debug)]
pub struct ReportedLoad {
    pub(super) labels: Labels,
    /// The bits of the number; of NaN until there is one.
    value: AtomicU64,
}

impl ReportedLoad {
    /// Nothing has been said.
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, value: AtomicU64::new(f64::NAN.to_bits()) }
    }

    /// It says this now.
    pub fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Relaxed);
    }

    /// What it said last.
    pub fn value(&self) -> Option<f64> {
        Some(f64::from_bits(self.value.load(Relaxed))).filter(|value| !value.is_nan())
    }
}
