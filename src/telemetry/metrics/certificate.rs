//! What is known of a certificate. Written by control when it is loaded or has changed on disk; read when a scrape gathers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::names::Labels;

/// The series of one certificate of the configuration.
#[derive(Debug)]
pub struct CertificateMetrics {
    pub(super) labels: Labels,
    /// Unix time, in seconds.
    not_after: AtomicU64,
}

impl CertificateMetrics {
    /// With an end that nobody knows yet: 0.
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, not_after: AtomicU64::new(0) }
    }

    /// The certificate that is shown now ends then.
    pub fn set_not_after(&self, end: SystemTime) {
        self.not_after.store(end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(), Relaxed);
    }

    /// As it was set.
    pub(super) fn not_after(&self) -> u64 {
        self.not_after.load(Relaxed)
    }
}
