//! Names of backends, and what DNS says of them: asked again and again by control ([`Names`]), looked at by whoever dials.
//!
//! A [`Question`] is one name. Everybody who wants to know the same shares it, so it is asked once; it keeps its last good
//! answer for as long as there is no other.

mod names;
mod resolver;
mod schedule;

pub use self::{
    names::{Names, first},
    resolver::{Failure, Found, Resolver},
};

use arc_swap::ArcSwapOption;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{sync::SetOnce, time::Instant};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// The addresses (A and AAAA) of a host.
    Addresses(String),
    /// The records of a service (SRV, RFC 2782), and the addresses of the hosts that they name.
    Services(String),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(name) => f.write_str(name),
            Self::Services(name) => write!(f, "{name} (SRV)"),
        }
    }
}

/// One address of an answer. Priority and weight are 0 but in an answer of services, and so is the port: then the asker
/// knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The lower, the earlier it is chosen.
    pub priority: u16,
    /// Where.
    pub ip: IpAddr,
    /// 0: the asker knows it.
    pub port: u16,
    /// Its share beside others of its priority.
    pub weight: u16,
}

/// A name that is asked for, and its last good answer.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// Sorted, without repetitions, never empty. `None`: there has been none.
    answer: ArcSwapOption<Vec<Endpoint>>,
    /// How many answers were news.
    version: AtomicU64,
    /// There has been an answer.
    answered: SetOnce<()>,
    progress: Mutex<Progress>,
}

/// How the asking goes: kept here, so that whoever goes on with it knows.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// When it is asked again.
    due: Option<Instant>,
    /// Failures since the last answer.
    failures: u32,
}

impl Question {
    /// One that has not been asked.
    pub fn new(ask: Ask) -> Self {
        let (answer, version, answered, progress) = Default::default();
        Self { ask, answer, version, answered, progress }
    }

    /// The last good answer.
    pub fn answer(&self) -> Option<Arc<Vec<Endpoint>>> {
        self.answer.load_full()
    }

    /// There has been a good answer.
    pub fn is_answered(&self) -> bool {
        self.answered.initialized()
    }

    /// Waits for the first good answer.
    pub async fn answered(&self) {
        self.answered.wait().await;
    }

    /// Grows with each answer that was news. A look costs no more than a load.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// That address is in the last good answer.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.answer.load().as_ref().is_some_and(|answer| answer.iter().any(|endpoint| endpoint.ip == ip))
    }

    /// Where to connect for `port`, in the order of RFC 8305 section 4: families take turns, IPv6 begins. Within a family
    /// the addresses take turns from one connection to the next. Empty before the first answer.
    pub fn remotes(&self, port: u16, turn: usize) -> Vec<SocketAddr> {
        let answer = self.answer.load();
        let endpoints = answer.as_ref().map_or(&[][..], |answer| answer);
        let family = |v6: bool| {
            let mut of: Vec<_> = endpoints.iter().map(|endpoint| endpoint.ip).filter(|ip| ip.is_ipv6() == v6).collect();
            let first = turn % of.len().max(1);
            of.rotate_left(first);
            of
        };
        let (mut v6, mut v4) = (family(true).into_iter(), family(false).into_iter());
        let mut remotes = Vec::with_capacity(endpoints.len());
        while remotes.len() < endpoints.len() {
            remotes.extend([v6.next(), v4.next()].into_iter().flatten().map(|ip| SocketAddr::new(ip, port)));
        }
        remotes
    }

    /// There is an answer: `endpoints`, at least one.
    fn take(&self, mut endpoints: Vec<Endpoint>) {
        endpoints.sort_unstable();
        endpoints.dedup();
        if self.answer.load().as_ref().is_some_and(|answer| **answer == endpoints) {
            return;
        }
        self.answer.store(Some(Arc::new(endpoints)));
        self.version.fetch_add(1, Relaxed);
        // It is an error the second time.
        let _ = self.answered.set(());
    }

    #[cfg(test)]
    pub(crate) fn tell(&self, ips: &[&str]) {
        let endpoint = |ip: &&str| Endpoint { ip: ip.parse().unwrap(), port: 0, priority: 0, weight: 0 };
        self.take(ips.iter().map(endpoint).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(ips: &[&str]) -> Question {
        let question = Question::new(Ask::Addresses("app.internal".into()));
        question.tell(ips);
        question
    }

    #[test]
    fn families_take_turns_and_addresses_do_too() {
        let question = question(&["10.0.0.3", "10.0.0.1", "2001:db8::2", "10.0.0.2", "2001:db8::1"]);
        let remotes = |turn| question.remotes(80, turn).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let all = "[2001:db8::1]:80 10.0.0.1:80 [2001:db8::2]:80 10.0.0.2:80 10.0.0.3:80";
        assert_eq!(remotes(0), all);
        assert_eq!(remotes(1), "[2001:db8::2]:80 10.0.0.2:80 [2001:db8::1]:80 10.0.0.3:80 10.0.0.1:80");
        assert_eq!(remotes(6), all);
        assert_eq!(Question::new(Ask::Addresses(String::new())).remotes(80, 3), []);
    }

    #[test]
    fn another_order_is_no_news_and_another_address_is() {
        let question = question(&["10.0.0.2", "10.0.0.1"]);
        assert_eq!((question.version(), question.is_answered()), (1, true));
        question.tell(&["10.0.0.1", "10.0.0.2", "10.0.0.1"]);
        assert_eq!(question.version(), 1);
        question.tell(&["10.0.0.3"]);
        assert_eq!(question.version(), 2);
        assert!(question.has("10.0.0.3".parse().unwrap()) && !question.has("10.0.0.1".parse().unwrap()));
    }
}
