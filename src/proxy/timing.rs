//! When an exchange has waited long enough, and for whom. Hot path: clocks are read when something waits, not before.
//!
//! A gRPC call between HTTP/2 sides has a silence of its own in place of [`upload`], and of what [`download`] says of the
//! backend: see `grpc`. A client that does not take what is held for it is cut all the same.

use super::pump::{Awaits, Pump};
use crate::{
    error::Kind,
    http::{Limits, body::Outlet},
    plan::Settings,
};
use std::time::Duration;
use tokio::time::Instant;

/// A request body's rate is looked at after this time, and then as often.
const RATE_GRACE: Duration = Duration::from_secs(5);
const RATE_EVERY: Duration = Duration::from_secs(1);

/// How long one direction has been silent.
#[derive(Debug)]
pub(super) struct Silence {
    steps: u64,
    since: Instant,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { steps: 0, since: now }
    }

    /// Since when nothing has moved; a step since the last look begins the silence anew.
    pub(super) fn since(&mut self, steps: u64) -> Instant {
        if self.steps != steps {
            self.steps = steps;
            self.since = Instant::now();
        }
        self.since
    }
}

/// The least rate of a request's body.
#[derive(Debug)]
pub(super) struct Rate {
    started: Instant,
    next: Instant,
    /// Time in which the client could not send because the backend did not take.
    held: Duration,
    held_since: Option<Instant>,
}

impl Rate {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, next: started + RATE_GRACE, held: Duration::ZERO, held_since: None }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The client cannot send, because the backend does not take; or it can again.
    pub(super) fn hold(&mut self, held: bool) {
        match (held, self.held_since) {
            (true, None) => self.held_since = Some(Instant::now()),
            (false, Some(since)) => {
                self.held += since.elapsed();
                self.held_since = None;
            }
            _ => {}
        }
    }

    /// The mean since the start is below `least` bytes a second.
    pub(super) fn is_below(&mut self, least: u64, received: u64, now: Instant) -> bool {
        self.next = now + RATE_EVERY;
        let time = now.duration_since(self.started).saturating_sub(self.held);
        // Held time does not shorten the grace.
        time >= RATE_GRACE && (received as f64) < least as f64 * time.as_secs_f64()
    }
}

/// How fast the request's body moves.
pub(super) struct Pace {
    pub(super) silence: Silence,
    pub(super) rate: Rate,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Box<Self> {
        Box::new(Self { silence: Silence::new(now), rate: Rate::new(now) })
    }
}

/// A moment, and what it means when it comes.
pub(super) type Deadline = Option<(Instant, Kind)>;

/// The earlier of two.
pub(super) fn earlier(a: Deadline, b: Deadline) -> Deadline {
    match (a, b) {
        (Some(first), Some(second)) => Some(if second.0 < first.0 { second } else { first }),
        (first, second) => first.or(second),
    }
}

fn after(since: Instant, time: Option<Duration>, kind: Kind) -> Deadline {
    time.map(|time| (since + time, kind))
}

/// When the request's body has been silent for too long.
pub(super) fn upload(
    pump: &Pump,
    outlet: &Outlet<'_>,
    silence: &mut Silence,
    limits: &Limits,
    settings: &Settings,
) -> Deadline {
    let since = silence.since(pump.steps(outlet));
    match pump.awaits() {
        Awaits::Outlet => after(since, settings.body_timeout, Kind::ResponseTimeout),
        Awaits::Source => after(since, limits.body_timeout, Kind::RequestTimeout),
    }
}

/// The response body's next deadline.
pub(super) fn download(
    pump: &Pump,
    outlet: &Outlet<'_>,
    silence: &mut Silence,
    limits: &Limits,
    settings: &Settings,
) -> Deadline {
    let since = silence.since(pump.steps(outlet));
    match pump.awaits() {
        Awaits::Source => after(since, settings.body_timeout, Kind::BodyTimeout),
        Awaits::Outlet => after(since, limits.write_timeout, Kind::WriteTimeout),
    }
}

/// When the whole call must be over, if it is one that says so.
pub(super) fn call(ends: Option<Instant>) -> Deadline {
    ends.map(|ends| (ends, Kind::Deadline))
}

/// The response head's deadline, once the request has been sent.
pub(super) fn response(sent: Instant, settings: &Settings) -> Deadline {
    after(sent, settings.response_timeout, Kind::ResponseTimeout)
}
