//! One backend: who it is, and what all workers share of it. Settings live in the plan.

use super::Health;
use crate::{
    balance::Load,
    config::Address,
    net::{Budget, Permit},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Identity and state of one address of one pool.
#[derive(Debug)]
pub struct Backend {
    /// Its number in metrics, dialers and tables.
    pub id: u32,
    /// In logs, metrics and the API.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// As it is written in `Host` when the client's is not passed.
    pub host: String,
    /// Its share beside the others'.
    pub weight: u32,
    /// What it carries now.
    pub load: Arc<Load>,
    /// What checks have found out.
    pub health: Health,
    connections: AtomicUsize,
    /// Connections of the process to all backends.
    process: Arc<Budget>,
}

impl Backend {
    /// A backend that nobody has called yet. Its connections count in `process` as well.
    pub fn new(id: u32, name: String, address: Address, weight: u32, process: Arc<Budget>) -> Self {
        let host = match &address {
            Address::Tcp(address) => address.to_string(),
            // RFC 9110 section 7.2 wants a host; a path is none.
            Address::Unix(_) => "localhost".into(),
        };
        Self {
            id,
            name,
            address,
            host,
            weight,
            load: Arc::default(),
            health: Health::default(),
            connections: AtomicUsize::new(0),
            process,
        }
    }

    /// Open connections of all workers, idle ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The right to one more connection, if that keeps their number within `max`, and the process within its bound.
    pub fn connection(self: &Arc<Self>, max: Option<usize>) -> Option<Counted> {
        let max = max.unwrap_or(usize::MAX);
        let permit = self.process.take()?;
        let more = self.connections.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1));
        more.ok().map(|_| Counted { backend: Arc::clone(self), _permit: permit })
    }
}

/// One counted connection to a backend.
#[derive(Debug)]
pub struct Counted {
    backend: Arc<Backend>,
    _permit: Permit,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.backend.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_and_come_back() {
        let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let process = Budget::new(Some(2));
        let backend = Arc::new(Backend::new(0, "a".into(), address, 1, Arc::clone(&process)));
        let held = backend.connection(Some(1)).unwrap();
        assert!(backend.connection(Some(1)).is_none());
        drop(held);
        assert_eq!(backend.connections(), 0);
        assert!(backend.connection(Some(1)).is_some());
        let _others = (process.take(), process.take());
        assert!(backend.connection(None).is_none(), "the process is full");
    }
}
