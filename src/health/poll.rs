//! Backends that are asked what they carry (`custom_load` with `source = "poll"`), on control's runtime. Not hot.
//!
//! Control makes one [`Poller`] and hands it the list of backends at start and after each reload. One small task a backend
//! asks by HTTP/1.1, whatever the pool speaks otherwise: also one that is down, so that its load is known when it comes
//! back. A poll that fails says nothing of a backend's health; what it said before counts until it expires.

use super::{
    Running,
    http::{Conversation, failed},
    lock,
    probe::{Outcome, Reason, Remote},
    schedule::{Place, Random, jittered},
    slots,
};
use crate::{
    config::{LoadSource, ProxyVersion},
    http::orca,
    plan::CustomLoad,
    pool::Backend,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, CONNECTION, HOST, USER_AGENT},
};
use http_body_util::Full;
use std::{
    borrow::Cow,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Whose polls these are.
const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (load)");
/// No poll takes longer, however long the interval is.
const PATIENCE: Duration = Duration::from_secs(5);

/// A backend that is asked.
#[derive(Clone, Debug)]
pub struct Polled {
    /// Who it is.
    pub backend: Arc<Backend>,
    /// What is asked, how, and who wants to know. Those that want none are passed over.
    pub load: Arc<CustomLoad>,
    /// Polls come from the first of these addresses that fits; empty = the kernel chooses.
    pub sources: Arc<[IpAddr]>,
    /// They begin with a PROXY header that says that they are our own.
    pub proxy: Option<ProxyVersion>,
}

/// Asks backends until it is dropped.
#[derive(Debug)]
pub struct Poller {
    /// Times are counted from here.
    epoch: Instant,
    /// By where the backend is in memory, which the entry keeps.
    entries: Mutex<HashMap<usize, Entry>>,
    /// Polls at a time.
    slots: Arc<Semaphore>,
    seeds: Mutex<Random>,
}

/// A backend with its task.
#[derive(Debug)]
struct Entry {
    polled: Polled,
    /// Who wants to know today: changes with each configuration.
    load: Arc<ArcSwap<CustomLoad>>,
    /// Stopped with it.
    _running: Running,
}

impl Poller {
    /// Asks nobody yet. Times of reports are counted from `epoch`.
    pub fn new(epoch: Instant) -> Self {
        let (slots, seeds) = (Arc::new(Semaphore::new(slots())), Random::new(getrandom::u64().unwrap_or_default()));
        Self { epoch, entries: Mutex::default(), slots, seeds: Mutex::new(seeds) }
    }

    /// Follows the list: new backends are asked, gone ones are not. Of one that stays, and is asked the same, the rhythm
    /// stays. Must be called on a tokio runtime, on which the polls then run.
    pub fn watch(&self, list: Vec<Polled>) {
        let mut entries = lock(&self.entries);
        let mut old = std::mem::take(&mut *entries);
        let list: Vec<_> = list.into_iter().filter(|polled| asks(&polled.load).is_some()).collect();
        let of = list.len();
        for (number, polled) in list.into_iter().enumerate() {
            let key = Arc::as_ptr(&polled.backend).addr();
            let entry = match old.remove(&key) {
                Some(entry) if entry.polled.is_same(&polled) => {
                    entry.load.store(Arc::clone(&polled.load));
                    Entry { polled, ..entry }
                }
                _ => self.start(polled, Place { number, of }),
            };
            entries.insert(key, entry);
        }
    }

    fn start(&self, polled: Polled, place: Place) -> Entry {
        let load = Arc::new(ArcSwap::new(Arc::clone(&polled.load)));
        let task = Task {
            backend: Arc::clone(&polled.backend),
            load: Arc::clone(&load),
            sources: Arc::clone(&polled.sources),
            proxy: polled.proxy,
            epoch: self.epoch,
            slots: Arc::clone(&self.slots),
            random: Random::new(lock(&self.seeds).bits()),
            last: None,
        };
        let running = tokio::spawn(task.run(place));
        Entry { polled, load, _running: Running(running.abort_handle()) }
    }
}

/// What is asked, and how often.
fn asks(load: &CustomLoad) -> Option<(&str, Duration)> {
    match &load.source {
        LoadSource::Poll { path, interval } => Some((path, *interval)),
        LoadSource::Header => None,
    }
}

impl Polled {
    /// It is asked in the same way.
    fn is_same(&self, other: &Self) -> bool {
        let secured = |polled: &Self| polled.load.tls.as_ref().map(|tls| Arc::as_ptr(tls.config()));
        (&self.sources, self.proxy, asks(&self.load)) == (&other.sources, other.proxy, asks(&other.load))
            && secured(self) == secured(other)
    }
}

fn request(path: &str, host: &str) -> http::Result<Request<Full<Bytes>>> {
    let request = Request::get(path).header(HOST, host).header(USER_AGENT, AGENT);
    request.header(ACCEPT, "application/json").header(CONNECTION, "close").body(Full::default())
}

/// The polls of one backend.
struct Task {
    backend: Arc<Backend>,
    /// Today's: what an old one has is not kept.
    load: Arc<ArcSwap<CustomLoad>>,
    sources: Arc<[IpAddr]>,
    proxy: Option<ProxyVersion>,
    epoch: Instant,
    slots: Arc<Semaphore>,
    random: Random,
    /// How the last poll went; empty = well.
    last: Option<Reason>,
}

impl Task {
    async fn run(mut self, place: Place) {
        let Some((_, interval)) = asks(&self.load.load_full()) else { return };
        sleep(place.delay(interval)).await;
        loop {
            let started = self.once(interval).await;
            let wait = jittered(interval, &mut self.random);
            // One that takes longer than its interval leaves some room all the same.
            sleep_until((started + wait).max(Instant::now() + wait / 10)).await;
        }
    }

    /// One poll; when it began.
    async fn once(&mut self, interval: Duration) -> Instant {
        self.backend.resolved().await;
        // Nobody closes the semaphore; without a permit the backend would be asked all the same.
        let slot = self.slots.acquire().await;
        let started = Instant::now();
        self.load.load().expect(self.micros());
        // Boxed, so that the many that wait hold nothing for the few that ask.
        let answer = Box::pin(timeout(interval.min(PATIENCE), self.answer())).await;
        drop(slot);
        let read = match answer {
            Ok(Ok(answer)) => self.hear(&answer),
            Ok(Err(Outcome::Failed(reason))) => Err(reason),
            Ok(Err(Outcome::Unasked(error))) => Err(Cow::Owned(error.to_string())),
            Ok(Err(Outcome::Passed)) => Ok(()),
            Err(_) => Err(Cow::Borrowed("timed out")),
        };
        self.note(read.err().unwrap_or_default());
        started
    }

    /// The answer to one poll.
    ///
    /// # Errors
    /// Why there is none.
    async fn answer(&self) -> Result<Vec<u8>, Outcome> {
        let load = self.load.load_full();
        let mut remote = Remote::new(&self.backend.address, 0, &self.sources, self.proxy);
        (remote.tls, remote.question) = (load.tls.clone(), self.backend.question.clone());
        let path = asks(&load).map_or("/", |(path, _)| path);
        let request = request(path, &remote.host(None, &self.backend));
        let request = request.map_err(|_| Outcome::failed("request cannot be sent"))?;
        let mut conversation = Conversation::open(&remote).await?;
        let response = conversation.send(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Outcome::Failed(format!("status {}", status.as_u16()).into()));
        }
        match conversation.body(response.into_body()).await {
            Ok(body) if body.whole => Ok(body.bytes),
            Ok(_) => Err(Outcome::failed("answer is too large")),
            Err(_) => Err(Outcome::failed("answer was cut short")),
        }
    }

    fn hear(&self, answer: &[u8]) -> Result<(), Reason> {
        let mut read = Ok(());
        self.load.load().hear(&self.backend, self.micros(), |say| read = orca::json(answer, say));
        read.map_err(|_| Cow::Borrowed("answer is no json object"))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Says it where it has changed; an empty `reason` is a poll that went well.
    fn note(&mut self, reason: Reason) {
        let (pool, backend) = (&*self.backend.pool, &*self.backend.name);
        match &self.last {
            Some(last) if *last == reason => {}
            _ if reason.is_empty() => tracing::debug!(pool, backend, "the poll of its load is answered"),
            _ => tracing::debug!(pool, backend, %reason, "the poll of its load failed"),
        }
        self.last = Some(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        net::Budget,
        plan::{Ground, Numbers, Plan},
        pool::Registry,
        telemetry::metrics::Telemetry,
    };
    use std::{
        net::SocketAddr,
        path::Path,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
    };

    /// Answers polls, and counts them.
    async fn backend() -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (counts, mut serving) = (Arc::clone(&count), JoinSet::new());
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                counts.fetch_add(1, SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"a\":1,\"b\":2}").await;
            }
        });
        (address, count, serving)
    }

    /// A plan whose pool asks `address` with these keys.
    fn plan(registry: &Registry, address: SocketAddr, keys: &str) -> Plan {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[pool.p]\nbackends = [\"{address}\"]\n\
             algorithm = \"custom_load\"\n[pool.p.custom_load]\n{keys}\n"
        );
        let config = Config::parse(&text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut numbers = Numbers::default();
        let mut ground = Ground {
            registry,
            memory: &crate::policy::Memory::default(),
            numbers: &mut numbers,
            algorithm: None,
            before: None,
        };
        Plan::build(&config, 1, &mut ground).unwrap()
    }

    fn list(plan: &Plan) -> Vec<Polled> {
        let pool = &plan.pools[0];
        let load = pool.custom_load.as_ref().unwrap();
        let polled = |member: &crate::plan::Member| Polled {
            backend: Arc::clone(&member.backend),
            load: Arc::clone(load),
            sources: Arc::default(),
            proxy: None,
        };
        pool.members.iter().map(polled).collect()
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    #[tokio::test]
    async fn a_reload_keeps_the_rhythm_and_nothing_of_the_old() {
        let (address, count, _serving) = backend().await;
        let registry = Registry::new(Budget::new(None), Arc::new(Telemetry::new(&[], &[1.0], 1)), 1);
        let keys = |weights: &str, interval: &str| {
            format!(
                "source = \"poll\"\npoll = {{ path = \"/\", interval = \"{interval}\" }}\nweights = {{ {weights} }}"
            )
        };
        let said = |plan: &Plan| {
            let pool = &plan.pools[0];
            let load = pool.custom_load.as_ref().unwrap();
            load.said(&pool.members[0].backend).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let poller = Poller::new(Instant::now());
        let first = plan(&registry, address, &keys("a = 1", "60s"));
        poller.watch(list(&first));
        until("it is heard", || said(&first) == ["a=1"]).await;
        let second = plan(&registry, address, &keys("b = 1", "60s"));
        let old = Arc::downgrade(first.pools[0].custom_load.as_ref().unwrap());
        poller.watch(list(&second));
        drop(first);
        until("the old one has gone", || old.strong_count() == 0).await;
        // Another interval is another rhythm, which begins at once; it would be the third poll had the second reload begun one.
        let third = plan(&registry, address, &keys("b = 1", "59s"));
        poller.watch(list(&third));
        until("it is heard again", || said(&third) == ["b=2"]).await;
        assert_eq!(count.load(SeqCst), 2);
        poller.watch(Vec::new());
        let load = third.pools[0].custom_load.as_ref().unwrap();
        until("nobody is asked", || Arc::strong_count(load) == 1).await;
    }
}
