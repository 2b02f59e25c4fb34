//! HTTP/1.1 (RFC 9112), both sides.

mod chunked;
pub(crate) mod parse;
mod serve;
mod splice;
mod wire;
pub mod write;
mod writer;

pub(super) use chunked::Chunked;
pub(super) use serve::{After, active};
pub use serve::{ClientSide, Served, read, serve};
pub use splice::{SpliceError, Splicer};
pub use wire::{NoHead, Wire};
pub use writer::Writer;

use super::{Head, Reject, guard};
use crate::{config::Underscores, error::Kind};

/// Bounds of a message head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a whole head, its empty line included.
    pub max_size: usize,
    /// Field lines.
    pub max_fields: usize,
    /// Bytes of a request's target.
    pub max_target: usize,
    /// Octets of a request's target that are not ASCII are percent-encoded, not refused.
    pub encode: bool,
}

/// Checks the trailers of a request, whatever version they came in; those with `_` in their name as fields are.
///
/// # Errors
/// One of them frames or routes (RFC 9110 section 6.5.1).
pub fn check_trailers(trailers: &mut Head, underscores: Underscores) -> Result<(), Reject> {
    guard::check_underscores(trailers, underscores)?;
    if trailers.names().any(guard::forbidden_in_trailers) {
        return Err(Reject { kind: Kind::BadRequest, why: "a trailer frames or routes" });
    }
    Ok(())
}

/// Drops the trailers of a response that frame or route.
pub(crate) fn strip_trailers(trailers: &mut Head) {
    let forbidden: Vec<_> = trailers.names().filter(|&name| guard::forbidden_in_trailers(name)).collect();
    forbidden.into_iter().for_each(|name| trailers.remove(name));
}
