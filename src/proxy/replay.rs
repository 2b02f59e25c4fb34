//! What has been sent of a request's body, kept for one more try while it is small. Hot path.

use super::{forwarding, mirror, pump::Watch, report};
use crate::{
    config::Underscores,
    http::{
        Framing, Head,
        body::Broken,
        h1::{check_trailers, strip_trailers},
    },
    policy::Written,
};
use std::sync::Arc;

/// A copy of a body that streams by; given up when it grows too large, or is no longer wanted.
#[derive(Debug)]
pub(super) struct Replay {
    held: Vec<u8>,
    /// The most that is kept, in bytes.
    most: usize,
    whole: bool,
    /// All of it fits: its length is known.
    fits: bool,
    trailers: Option<Box<Head>>,
    rules: Trailers,
    /// A copy of the request, which becomes whole with the body.
    copy: Option<Box<mirror::Copy>>,
}

/// What a request's trailers may be.
#[derive(Debug)]
pub(super) struct Trailers {
    /// What becomes of names with `_`.
    pub(super) underscores: Underscores,
    /// What backends hear from us alone.
    pub(super) written: Option<Arc<Written>>,
}

impl Replay {
    /// Keeps what passes of a body with that framing, up to `most` bytes. What `copy` needs it keeps itself.
    pub(super) fn new(body: Framing, most: usize, rules: Trailers, copy: Option<Box<mirror::Copy>>) -> Self {
        let fits = matches!(body, Framing::Length(length) if length <= most as u64);
        Self { held: Vec::new(), most, whole: body != Framing::None, fits, trailers: None, rules, copy }
    }

    /// Everything that has passed, unless it was given up.
    pub(super) fn held(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.held)
    }

    /// It is no longer wanted.
    pub(super) fn give_up(&mut self) {
        self.whole = false;
        self.held = Vec::new();
        self.trailers = None;
    }

    /// All of the body has passed: so the copy is whole, if there is one.
    pub(super) fn passed(&mut self) {
        if let Some(copy) = self.copy.take() {
            mirror::send(copy);
        }
    }

    /// The trailers that came behind it.
    pub(super) fn take_trailers(&mut self) -> Option<Box<Head>> {
        self.trailers.take()
    }
}

impl Watch for Replay {
    fn piece(&mut self, bytes: &[u8]) {
        if self.copy.as_mut().is_some_and(|copy| !copy.add(bytes)) {
            self.copy = None;
        }
        if !self.whole {
            return;
        }
        if self.held.len() + bytes.len() > self.most {
            self.give_up();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    fn blind(&mut self) {
        self.give_up();
    }

    fn sees_all(&self) -> bool {
        self.copy.is_some() || self.whole && self.fits
    }

    fn trailers(&mut self, trailers: &mut Head) -> Result<(), Broken> {
        check_trailers(trailers, self.rules.underscores).map_err(Broken::Malformed)?;
        forwarding::strip_trailers(trailers);
        if let Some(written) = &self.rules.written {
            written.remove(trailers);
        }
        if self.whole {
            self.trailers = Some(Box::new(trailers.clone()));
        }
        Ok(())
    }
}

/// Watches a response's body.
#[derive(Debug)]
pub(super) struct Response;

impl Watch for Response {
    fn piece(&mut self, _bytes: &[u8]) {}

    fn blind(&mut self) {}

    fn trailers(&mut self, trailers: &mut Head) -> Result<(), Broken> {
        strip_trailers(trailers);
        report::strip(trailers);
        Ok(())
    }
}
