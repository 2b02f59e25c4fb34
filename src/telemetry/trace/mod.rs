//! Traces: W3C trace context in and out, and the spans of those requests that are sampled.
//!
//! A worker leaves records of what it has seen in a place of its own ([`Spans::push`]: bytes, no formatting, no waiting);
//! control takes them all from time to time, makes OTLP messages of them ([`message`]) and sends those. What there is no
//! room for is dropped and counted. Without `[trace]` in the configuration nothing is recorded, and only the context is
//! passed on.

mod context;
mod entry;
mod otlp;
mod spans;
mod state;

pub use context::{Begin, Context, Parent, TraceId, hexadecimal, is_plain, parse, span};
pub use entry::{Entry, Kind};
pub use otlp::{BATCH, Batches, CONTENT_TYPE, Source, message, rejected};
pub use spans::{LIMIT, Spans};
pub use state::join;
