//! Where a response comes from, whatever version carries it. Hot path.

use super::{
    Head,
    body::{Outlet, Source},
    guard::{self, Asked, Framing, Guarded, Reject},
    h1::{HeadLimits, NoHead, Wire},
    h2,
};
use crate::error::Kind;
use std::task::{Context, Poll, ready};

/// A response that comes in.
#[derive(Debug)]
pub enum Inlet<'w> {
    /// From an HTTP/1.1 connection.
    H1(&'w Wire),
    /// From an HTTP/2 stream.
    H2(Box<h2::Reply>),
}

impl<'w> Inlet<'w> {
    /// Reads the next head into `head`, and guards it: interim ones come before the final one.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        limits: &HeadLimits,
        asked: Asked,
    ) -> Poll<Result<Guarded, NoHead>> {
        let wire = match self {
            Self::H1(wire) => wire,
            Self::H2(reply) => return reply.poll_head(cx, head, asked),
        };
        ready!(wire.poll_response(cx, head, limits))?;
        Poll::Ready(guard::h1_response(head, asked).map_err(|reject| {
            let switch = head.status() == 101 && asked.upgrade.is_some();
            NoHead::Reject(Reject { kind: if switch { Kind::UpgradeFailed } else { reject.kind }, ..reject })
        }))
    }

    /// Nothing has come that was not used.
    pub fn is_drained(&self) -> bool {
        match self {
            Self::H1(wire) => wire.is_drained(),
            Self::H2(_) => true,
        }
    }

    /// The body behind the final head that was just read.
    pub fn body(&mut self, framing: Framing, limits: &HeadLimits) -> Source<'w> {
        match self {
            Self::H1(wire) => {
                wire.expect_body(framing, limits, None);
                if framing == Framing::None { Source::Empty } else { Source::H1(wire) }
            }
            Self::H2(_) if framing == Framing::None => Source::Empty,
            Self::H2(reply) => reply.body(),
        }
    }

    /// What comes after a switch of protocols.
    pub fn tunnel(&mut self) -> Source<'w> {
        match self {
            Self::H1(wire) => {
                wire.expect_tunnel();
                Source::H1(wire)
            }
            Self::H2(reply) => reply.body(),
        }
    }

    /// Stages the whole body in `to`, if it is short and here already: the usual case, without pieces and turns. True if
    /// it did, and where there is no body.
    pub fn pass_short(&self, to: &mut Outlet<'_>) -> bool {
        match (self, to) {
            (Self::H1(wire), Outlet::H1(writer)) => wire.pass_short(writer),
            _ => false,
        }
    }
}
