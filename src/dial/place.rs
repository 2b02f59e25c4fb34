//! Whether a kept connection still goes where its backend is: a name may stand for other addresses by now. Hot path.

use crate::{net::Stream, net::dns::Question, pool::Backend};
use std::{cell::Cell, net::IpAddr, sync::Arc};

/// Where a connection goes. Nothing of a backend whose address is no name.
#[derive(Debug)]
pub(super) struct Place(Option<Named>);

#[derive(Debug)]
struct Named {
    question: Arc<Question>,
    ip: IpAddr,
    /// The answer that had `ip` last.
    version: Cell<u64>,
}

impl Place {
    /// Where `stream` goes, a fresh connection to `backend`.
    pub(super) fn of(stream: &Stream, backend: &Backend) -> Self {
        let named = |question: &Arc<Question>| {
            let ip = stream.remote()?.ip().to_canonical();
            // Of no answer yet: it may have changed while the connection was made.
            Some(Named { question: Arc::clone(question), ip, version: Cell::new(0) })
        };
        Self(backend.question.as_ref().and_then(named))
    }

    /// Its backend is still there. One load while no answer is news.
    pub(super) fn is_current(&self) -> bool {
        let Some(Named { question, ip, version }) = &self.0 else { return true };
        let today = question.version();
        if version.get() == today {
            return true;
        }
        let is_there = question.has(*ip);
        if is_there {
            version.set(today);
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dns::Ask;

    #[test]
    fn it_is_current_while_an_answer_has_its_address() {
        assert!(Place(None).is_current());
        let question = Arc::new(Question::new(Ask::Addresses("app.internal".into())));
        question.tell(&["10.0.0.1"]);
        let named = Named { question: Arc::clone(&question), ip: "10.0.0.1".parse().unwrap(), version: Cell::new(0) };
        let place = Place(Some(named));
        assert!(place.is_current());
        question.tell(&["10.0.0.1", "10.0.0.2"]);
        assert!(place.is_current());
        question.tell(&["10.0.0.2"]);
        assert!(!place.is_current());
        question.tell(&["10.0.0.2", "10.0.0.1"]);
        assert!(place.is_current());
    }
}
