//! Where passwords are checked: a few at a time, beside the workers, while further ones wait in a queue that has an end.
//! What was right is remembered for some minutes. Made when the first `basic` is; `proxy` carries a [`Job`] out.

use super::{
    super::{Verdict, Visit},
    basic,
};
use crate::{config::auth::PasswordHash, net::Holder};
use argon2::{Argon2, password_hash::PasswordVerifier};
use aws_lc_rs::hmac;
use quick_cache::sync::Cache;
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What was right is right for so long: then its hash is made again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Right passwords that are remembered: there is one a user, so that guessing puts nobody out.
const MOST: usize = 16_384;
/// So many wait for each that is being checked: at a tenth of a second each, the last waits some seconds.
const QUEUE: usize = 64;

/// Checks passwords, and remembers those that were right.
pub struct Desk {
    key: hmac::Key,
    /// Of right passwords: until when they are remembered, in nanoseconds since the process began.
    right: Cache<Ticket, u64>,
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    most: usize,
}

/// Who waits. Behind a lock: what is waited for takes a thousand times as long.
#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_client: HashMap<Option<Holder>, usize>,
}

/// A hash and a password, as a MAC under a key of this process. Whether they fit depends on nothing else: a line that
/// changes makes other tickets, and nothing has to be forgotten.
type Ticket = [u8; 32];

/// A place in the queue; given back when it is dropped.
#[derive(Debug)]
pub struct Seat<'d> {
    desk: &'d Desk,
    client: Option<Holder>,
}

/// A password that is to be checked.
pub struct Job {
    pub(super) desk: Arc<Desk>,
    pub(super) hash: PasswordHash,
    pub(super) password: Box<[u8]>,
    /// Whose it is said to be; `None`: there is nobody of that name, and it is wrong whatever comes out.
    pub(super) user: Option<Box<[u8]>>,
    pub(super) ticket: Ticket,
    pub(super) challenge: Arc<[u8]>,
}

impl Default for Desk {
    fn default() -> Self {
        // Workers want the cores as well.
        Self::new(thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)))
    }
}

impl Desk {
    fn new(places: usize) -> Self {
        let mut key = [0; 32];
        // Without randomness nothing else of this process would have begun: TLS and request ids want it.
        getrandom::fill(&mut key).expect("the kernel has random bytes");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            right: Cache::new(MOST),
            places: Arc::new(Semaphore::new(places)),
            waiting: Mutex::default(),
            most: places * QUEUE,
        }
    }

    pub(super) fn ticket(&self, hash: &PasswordHash, password: &[u8]) -> Ticket {
        let mut mac = hmac::Context::with_key(&self.key);
        let hash = hash.expose().as_bytes();
        mac.update(&(hash.len() as u64).to_le_bytes());
        mac.update(hash);
        mac.update(password);
        self.bytes(&mac.sign())
    }

    /// A number for `name`, the same while the process lives, that nobody else can tell.
    pub(super) fn number(&self, name: &[u8]) -> u64 {
        let bytes = self.bytes(&hmac::sign(&self.key, name));
        u64::from_le_bytes(*bytes.first_chunk().unwrap_or(&[0; 8]))
    }

    fn bytes(&self, tag: &hmac::Tag) -> Ticket {
        tag.as_ref().try_into().unwrap_or_default()
    }

    /// At `now`, it was right a short time ago.
    pub(super) fn remembers(&self, ticket: &Ticket, now: u64) -> bool {
        self.right.get(ticket).is_some_and(|until| now < until)
    }

    /// A place in the queue for `client`; `None`: there is none, or its address has a quarter of them all.
    pub fn queue(&self, client: Option<IpAddr>) -> Option<Seat<'_>> {
        let client = client.map(Holder::of);
        let mut waiting = self.waiting();
        let own = waiting.by_client.get(&client).copied().unwrap_or_default();
        if waiting.all >= self.most || own >= self.most / 4 {
            return None;
        }
        waiting.all += 1;
        waiting.by_client.insert(client, own + 1);
        Some(Seat { desk: self, client })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Seat<'_> {
    /// It is our turn: while the permit lives, no other password is checked in its place.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.desk.places).acquire_owned().await.ok()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.desk.waiting();
        waiting.all -= 1;
        match waiting.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(waiting.by_client.remove(&self.client)),
        }
    }
}

impl Job {
    /// Where it is done.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Another request has found out that it is right, at `now`, while this one waited.
    pub fn is_done(&self, now: u64) -> bool {
        self.user.is_some() && self.desk.remembers(&self.ticket, now)
    }

    /// The password fits the hash. Takes milliseconds of a core.
    pub fn fits(&self) -> bool {
        match &self.hash {
            PasswordHash::Bcrypt(hash) => bcrypt::verify(&self.password, hash).unwrap_or(false),
            PasswordHash::Argon2(hash) => Argon2::default().verify_password(&self.password, &**hash).is_ok(),
        }
    }

    /// What that means for the request, at `now`.
    pub fn settle(self, fits: bool, visit: &mut Visit, now: u64) -> Verdict {
        match self.user {
            Some(user) if fits => {
                let until = now.saturating_add(u64::try_from(REMEMBERED.as_nanos()).unwrap_or(u64::MAX));
                self.desk.right.insert(self.ticket, until);
                visit.user = Some(user);
                Verdict::Pass
            }
            _ => basic::refuse(visit, &self.challenge),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn the_queue_has_an_end_and_who_leaves_makes_room() {
        let desk = Desk::new(2);
        let seats: Vec<_> = (0..2 * QUEUE as u32).map(|number| desk.queue(client(number)).unwrap()).collect();
        assert!(desk.queue(client(1_000)).is_none() && desk.queue(client(1_001)).is_none());
        drop(seats);
        assert!(desk.waiting().by_client.is_empty() && desk.waiting().all == 0);
        let again = (0..3 * QUEUE as u32).filter_map(|number| desk.queue(client(number)).map(std::mem::forget));
        assert_eq!(again.count(), 2 * QUEUE);
    }

    #[test]
    fn nobody_fills_it_alone() {
        let desk = Desk::new(1);
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (one, same, other) in [
            (address("192.0.2.1"), address("::ffff:192.0.2.1"), address("192.0.2.2")),
            (address("2001:db8::1"), address("2001:db8::ffff:2"), address("2001:db8:0:1::1")),
            (None, None, address("192.0.2.3")),
        ] {
            let mut seats: Vec<_> = (0..QUEUE / 4).map(|_| desk.queue(one).unwrap()).collect();
            assert!(desk.queue(same).is_none() && desk.queue(other).is_some());
            seats.pop();
            assert!(desk.queue(same).is_some());
        }
    }

    #[test]
    fn so_many_are_checked_at_a_time_as_there_are_places() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let desk = Desk::new(2);
            let seats: Vec<_> = (0..3).map(|number| desk.queue(client(number)).unwrap()).collect();
            let (first, second) = (seats[0].turn().await.unwrap(), seats[1].turn().await.unwrap());
            let mut third = std::pin::pin!(seats[2].turn());
            assert!(poll(third.as_mut()).await.is_none());
            drop((second, first));
            assert!(poll(third.as_mut()).await.is_some());
        });
    }

    /// What `future` has come to, without waiting.
    async fn poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = Option<T>>>) -> Option<T> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(turn) => std::task::Poll::Ready(turn),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[test]
    fn tickets_differ_by_every_byte_and_by_process() {
        let (one, other) = (Desk::new(1), Desk::new(1));
        let hash = |text: &str| PasswordHash::Bcrypt(text.into());
        let ticket = one.ticket(&hash("ab"), b"c");
        assert_eq!(ticket, one.ticket(&hash("ab"), b"c"));
        assert_ne!(ticket, one.ticket(&hash("a"), b"bc"), "the border counts");
        assert_ne!(ticket, one.ticket(&hash("ab"), b"d"));
        assert_ne!(ticket, other.ticket(&hash("ab"), b"c"));
        assert_ne!(one.number(b"a"), other.number(b"a"));
    }
}
