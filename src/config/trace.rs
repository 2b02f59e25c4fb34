//! `[trace]`: whose spans are recorded, and where they go.

use super::Url;

/// Spans of requests, for a collector that speaks OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Where they are sent, with the path of OTLP over HTTP.
    pub otlp: Url,
    /// The share of requests, of those that no believed caller has sampled: 0 to 1.
    pub sample: f64,
}
