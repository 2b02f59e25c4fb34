//! A body that is let through slowly, as an operator rehearses it. Used by `body::Source`; not hot.

use super::body::{Broken, Chunk, Pulled, Source};
use crate::http::Head;
use bytes::Bytes;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Pieces are so large that there are so many a second.
const PIECES: u64 = 10;

/// Another body, so many bytes a second of it. No more of it is read than one piece before it has gone.
#[derive(Debug)]
pub struct Slow<'c> {
    source: Source<'c>,
    rate: u64,
    /// Read, and not yet let through.
    held: Bytes,
    /// Nothing comes behind that.
    last: bool,
    /// When the next piece may go.
    sleep: Pin<Box<Sleep>>,
}

impl<'c> Slow<'c> {
    pub(super) fn new(source: Source<'c>, rate: u64) -> Self {
        Self {
            source,
            rate: rate.max(1),
            held: Bytes::new(),
            last: false,
            sleep: Box::pin(sleep_until(Instant::now())),
        }
    }

    pub(super) fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Pulled>, Broken>> {
        ready!(self.sleep.as_mut().poll(cx));
        if self.held.is_empty() {
            let Some(pulled) = ready!(self.source.poll_pull(cx))? else { return Poll::Ready(Ok(None)) };
            self.last = pulled.last;
            self.held = match pulled.chunk {
                Chunk::Bytes(bytes) => bytes,
                chunk => Bytes::copy_from_slice(chunk.bytes()),
            };
        }
        let length = usize::try_from(self.rate.div_ceil(PIECES)).unwrap_or(usize::MAX).min(self.held.len());
        let piece = self.held.split_to(length);
        self.sleep.as_mut().reset(Instant::now() + Duration::from_secs_f64(length as f64 / self.rate as f64));
        Poll::Ready(Ok(Some(Pulled { chunk: Chunk::Bytes(piece), last: self.has_ended() })))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.last && self.held.is_empty()
    }

    pub(super) fn narrow(&mut self, most: u64) {
        self.source.narrow(most);
    }

    pub(super) fn take_trailers(&mut self) -> Option<Box<Head>> {
        self.source.take_trailers()
    }

    pub(super) fn received(&self) -> u64 {
        self.source.received()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn so_many_bytes_a_second_go_through() {
        let (begun, mut source) = (Instant::now(), Source::Bytes(Bytes::from(vec![7; 2500])).slowly(1000));
        let (mut sizes, mut ended) = (Vec::new(), false);
        while let Some(pulled) = poll_fn(|cx| source.poll_pull(cx)).await.unwrap() {
            assert!(!ended, "something came behind the last piece");
            sizes.push(pulled.chunk.len());
            ended = pulled.last;
            assert_eq!(source.has_ended(), ended);
        }
        assert_eq!((sizes.iter().sum::<usize>(), sizes.len(), ended), (2500, 25, true));
        let took = begun.elapsed();
        assert!((Duration::from_millis(2400)..Duration::from_millis(2700)).contains(&took), "{took:?}");
    }
}
