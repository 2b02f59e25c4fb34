//! `GET /api/v1/events`: how the process is, once a second, as server-sent events. Called by `answer`.
//!
//! One task looks and writes for all who listen, and runs only while somebody does. Bounded: so many listen at a time, each
//! with a few events of its own that wait; whoever takes none for that long is cut off. After some minutes a stream ends, so
//! that a connection does too, and its client calls again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use hyper::body::{Body, Frame};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Shared;
use super::command::{Command, Counts, Look};
use super::problem::{Answer, Problem, stream};
use crate::telemetry::locked;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that latencies are told over.
const WINDOW: usize = 10;
/// Who listens at a time.
const MOST: usize = 32;
/// Events that wait for a client: more, and it is cut off.
const WAITING: usize = 8;
/// A stream ends after it. Well before its connection is cut, which is at most ten minutes old.
const LIFE: Duration = Duration::from_secs(300);
/// While there is nothing to tell, this often that we are there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The first words to a client: when to call again.
const HELLO: Bytes = Bytes::from_static(b"retry: 1000\n\n");
const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");
/// The last words: what became of it.
const DRAINING: Bytes = Bytes::from_static(b"event: end\ndata: {\"reason\":\"draining\"}\n\n");
const AGAIN: Bytes = Bytes::from_static(b"event: end\ndata: {\"reason\":\"again\"}\n\n");

/// Cuts off a client that takes nothing: its connection waits for it.
pub(super) type Cut = Arc<Notify>;

/// Who listens.
#[derive(Clone, Debug)]
pub(super) struct Events(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    commands: mpsc::UnboundedSender<Command>,
    draining: Arc<AtomicBool>,
    every: Duration,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    list: Vec<Client>,
    /// The task that serves them is there.
    served: bool,
    /// For those who come in between.
    last: Option<Bytes>,
}

#[derive(Debug)]
struct Client {
    events: mpsc::Sender<Bytes>,
    cut: Cut,
    until: Instant,
}

/// Earlier looks, the oldest first.
#[derive(Debug, Default)]
struct Past(VecDeque<Counts>);

/// What goes to one client.
#[derive(Debug)]
pub(super) struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

impl Events {
    /// Nobody listens yet.
    pub(super) fn new(shared: &Shared) -> Self {
        Self::with(shared, EVERY)
    }

    fn with(shared: &Shared, every: Duration) -> Self {
        let (commands, draining) = (shared.commands.clone(), Arc::clone(&shared.draining));
        Self(Arc::new(Hub { commands, draining, every, clients: Mutex::default() }))
    }

    /// One more listens, on the connection that `cut` ends.
    pub(super) fn subscribe(&self, cut: &Cut) -> Result<Answer, Problem> {
        Ok(stream(self.listen(cut)?))
    }

    fn listen(&self, cut: &Cut) -> Result<Stream, Problem> {
        if self.0.draining.load(Relaxed) {
            return Err(later("this instance is draining"));
        }
        let mut clients = self.0.clients();
        clients.list.retain(|client| !client.events.is_closed());
        if clients.list.len() >= MOST {
            return Err(later("too many listen already"));
        }
        let (events, stream) = mpsc::channel(WAITING);
        for event in [HELLO].into_iter().chain(clients.last.clone()) {
            let _ = events.try_send(event);
        }
        clients.list.push(Client { events, cut: Arc::clone(cut), until: Instant::now() + LIFE });
        if !mem::replace(&mut clients.served, true) {
            tokio::spawn(Arc::clone(&self.0).serve());
        }
        Ok(Stream(stream))
    }
}

fn later(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).with(RETRY_AFTER, HeaderValue::from_static("5"))
}

impl Hub {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        locked(&self.clients)
    }

    /// Looks and tells until nobody listens any more.
    async fn serve(self: Arc<Self>) {
        let past = Arc::<Mutex<Past>>::default();
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.draining.load(Relaxed) {
                return self.end();
            }
            let told = match timeout(HEARTBEAT, self.look(&past)).await {
                Ok(Some(event)) => self.tell(&event, true),
                // Control is gone, and the process soon is.
                Ok(None) => return self.end(),
                Err(_) => self.tell(&ALIVE, false),
            };
            if !told {
                return;
            }
        }
    }

    /// Has control look, and makes an event of it; `None`: nobody looks any more.
    async fn look(&self, past: &Arc<Mutex<Past>>) -> Option<Bytes> {
        let (reply, sample) = oneshot::channel();
        self.commands.send(Command::Snapshot(reply)).ok()?;
        let (sample, past) = (sample.await.ok()?, Arc::clone(past));
        // With a thousand backends it takes milliseconds, which are not control's.
        let event = move || locked(&past).event(sample);
        spawn_blocking(event).await.ok()
    }

    /// Tells all; those who do not take it are cut off. False if nobody is left.
    fn tell(&self, event: &Bytes, is_news: bool) -> bool {
        let now = Instant::now();
        let mut clients = self.clients();
        if is_news {
            clients.last = Some(event.clone());
        }
        clients.list.retain(|client| {
            let old = now >= client.until;
            match client.events.try_send(event.clone()) {
                Ok(()) if old => drop(client.events.try_send(AGAIN)),
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Full(_)) => client.cut.notify_one(),
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
            false
        });
        if clients.list.is_empty() {
            *clients = Clients::default();
        }
        clients.served
    }

    /// All streams end.
    fn end(&self) {
        let clients = mem::take(&mut *self.clients());
        clients.list.iter().for_each(|client| drop(client.events.try_send(DRAINING)));
    }
}

impl Past {
    /// The event of a look.
    fn event(&mut self, sample: Look) -> Bytes {
        let (snapshot, counts) = sample.rated(self.0.back(), self.0.front());
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(counts);
        let json =
            serde_json::to_string(&snapshot).expect("a snapshot has text for keys, and no number that is not finite");
        // JSON has no line breaks but escaped ones.
        Bytes::from(format!("event: snapshot\ndata: {json}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::Snapshot;
    use super::super::testing::{Play, shared};
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    /// A hub before a control that plays, which counts how often it is looked at.
    fn hub(every: Duration) -> (Events, Shared, Arc<AtomicUsize>) {
        let (shared, mut commands) = shared(None);
        let events = Events::with(&shared, every);
        let looks = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&looks);
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                let Command::Snapshot(reply) = command else { panic!("{command:?}") };
                counted.fetch_add(1, Relaxed);
                let _ = reply.send(Play::default().sample());
            }
        });
        (events, shared, looks)
    }

    async fn next(stream: &mut Stream) -> Option<String> {
        let event = poll_fn(|context| stream.0.poll_recv(context)).await?;
        Some(String::from_utf8(event.to_vec()).unwrap())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(20), test).await.expect("the test hangs") });
    }

    fn snapshot(event: &str) -> Snapshot {
        let data = event.strip_prefix("event: snapshot\ndata: ").unwrap_or_else(|| panic!("no snapshot: {event}"));
        serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap()
    }

    #[test]
    fn one_look_is_told_to_all_and_nobody_looks_for_nobody() {
        run(async {
            let (events, _shared, looks) = hub(Duration::from_millis(1));
            let (mut one, mut other) =
                (events.listen(&Cut::default()).unwrap(), events.listen(&Cut::default()).unwrap());
            for stream in [&mut one, &mut other] {
                assert_eq!(next(stream).await.unwrap(), "retry: 1000\n\n");
                let first = snapshot(&next(stream).await.unwrap());
                assert!(first.about.instance == "lb-1" && first.traffic.rates.is_none());
            }
            let second = (next(&mut one).await.unwrap(), next(&mut other).await.unwrap());
            assert_eq!(second.0, second.1, "the same text for both");
            assert!(snapshot(&second.0).traffic.rates.is_some());
            drop((one, other));
            while events.0.clients().served {
                tokio::task::yield_now().await;
            }
            let before = looks.load(Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(looks.load(Relaxed), before, "nobody listens");
            let mut again = events.listen(&Cut::default()).unwrap();
            next(&mut again).await.unwrap();
            assert!(snapshot(&next(&mut again).await.unwrap()).traffic.rates.is_none(), "it begins anew");
        });
    }

    #[test]
    fn who_takes_nothing_is_cut_off_and_others_stay() {
        run(async {
            let (events, _shared, _) = hub(Duration::from_millis(1));
            let cut = Cut::default();
            let _slow = events.listen(&cut).unwrap();
            let mut quick = events.listen(&Cut::default()).unwrap();
            let reading = async {
                loop {
                    next(&mut quick).await.unwrap();
                }
            };
            tokio::select! {
                () = cut.notified() => {}
                () = reading => {}
            }
            assert_eq!(events.0.clients().list.len(), 1);
        });
    }

    #[test]
    fn so_many_listen_and_no_more() {
        run(async {
            let (events, _shared, _) = hub(Duration::from_secs(1));
            let mut held: Vec<_> = (0..MOST).map(|_| events.listen(&Cut::default()).unwrap()).collect();
            assert_eq!(events.listen(&Cut::default()).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
            held.pop();
            assert!(events.listen(&Cut::default()).is_ok());
        });
    }

    #[test]
    fn streams_end_with_a_drain_and_none_begins() {
        run(async {
            let (events, shared, _) = hub(Duration::from_millis(1));
            let mut stream = events.listen(&Cut::default()).unwrap();
            next(&mut stream).await.unwrap();
            shared.draining.store(true, Relaxed);
            let mut last = String::new();
            while let Some(event) = next(&mut stream).await {
                last = event;
            }
            assert!(last.contains("\"draining\""), "{last}");
            assert!(events.listen(&Cut::default()).is_err());
        });
    }

    #[test]
    fn whoever_comes_later_is_told_the_last_look_at_once() {
        run(async {
            let (events, _shared, looks) = hub(Duration::from_secs(3600));
            let mut one = events.listen(&Cut::default()).unwrap();
            next(&mut one).await.unwrap();
            let last = next(&mut one).await.unwrap();
            let mut later = events.listen(&Cut::default()).unwrap();
            assert_eq!(next(&mut later).await.unwrap(), "retry: 1000\n\n");
            assert_eq!(next(&mut later).await.unwrap(), last);
            assert_eq!(looks.load(Relaxed), 1);
        });
    }

    #[test]
    fn of_the_past_there_is_a_window() {
        let mut past = Past::default();
        for looks in 1..=2 * WINDOW {
            past.event(Play::default().sample());
            assert_eq!(past.0.len(), looks.min(WINDOW));
        }
    }

    #[test]
    fn old_streams_end_and_while_control_is_busy_there_is_a_heartbeat() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (shared, mut commands) = shared(None);
            let events = Events::with(&shared, EVERY);
            let mut stream = events.listen(&Cut::default()).unwrap();
            assert_eq!(next(&mut stream).await.unwrap(), "retry: 1000\n\n");
            let began = Instant::now();
            // Nobody answers.
            assert_eq!(next(&mut stream).await.unwrap(), ": alive\n\n");
            assert_eq!(began.elapsed(), HEARTBEAT);
            let mut last = String::new();
            while let Some(event) = next(&mut stream).await {
                last = event;
            }
            assert!(last.contains("\"again\"") && began.elapsed() >= LIFE, "{last}");
            assert!(commands.try_recv().is_ok());
        });
    }
}
