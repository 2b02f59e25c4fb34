//! Where passwords are checked: a few at a time, beside the workers, while further ones wait in a queue that has an end.
//! What was right is remembered for some minutes. Made when the first `basic` is; `proxy` carries a [`Job`] out.

use super::{
    super::{Verdict, Visit},
    basic,
};
use crate::config::auth::PasswordHash;
use argon2::{Argon2, password_hash::PasswordVerifier};
use aws_lc_rs::hmac;
use quick_cache::sync::Cache;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
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
    waiting: AtomicUsize,
    most: usize,
}

/// A hash and a password, as a MAC under a key of this process. Whether they fit depends on nothing else: a line that
/// changes makes other tickets, and nothing has to be forgotten.
type Ticket = [u8; 32];

/// A place in the queue; given back when it is dropped.
#[derive(Debug)]
pub struct Seat<'d>(&'d Desk);

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
            waiting: AtomicUsize::new(0),
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

    /// A place in the queue; `None`: there is none.
    pub fn queue(&self) -> Option<Seat<'_>> {
        if self.waiting.fetch_add(1, Relaxed) < self.most {
            return Some(Seat(self));
        }
        self.waiting.fetch_sub(1, Relaxed);
        None
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
        Arc::clone(&self.0.places).acquire_owned().await.ok()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
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
