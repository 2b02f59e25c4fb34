//! Load: clients on threads of their own that ask without a pause, and remember everything that was not a whole 200.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use super::client::Client;
use super::wait_for;

/// What became of the requests of some clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whole answers with 200.
    pub(crate) fine: usize,
    /// Answers with another status, which are whole.
    pub(crate) others: Vec<String>,
    /// Answers that ended before they were whole.
    pub(crate) cut: Vec<String>,
    /// Requests whose connection ended without a byte of an answer.
    pub(crate) unanswered: Vec<String>,
    /// Connections that did not come about.
    pub(crate) refused: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.fine += other.fine;
        self.others.extend(other.others);
        self.cut.extend(other.cut);
        self.unanswered.extend(other.unanswered);
        self.refused.extend(other.refused);
    }

    /// Fails unless every request was answered with 200.
    #[track_caller]
    pub(crate) fn assert_all_fine(&self) {
        let Self { fine, others, cut, unanswered, refused } = self;
        let wrong = others.len() + cut.len() + unanswered.len() + refused.len();
        let first = [others, cut, unanswered, refused].map(|list| list.first());
        assert!(wrong == 0 && *fine > 0, "{wrong} of {} went wrong, such as {first:?}", wrong + fine);
    }
}

struct Shared {
    stop: AtomicBool,
    fine: AtomicUsize,
}

/// Clients that ask until they are told to stop.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// `clients` clients of `address`: every second one keeps its connection, the others make a new one for each request.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Self {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), fine: AtomicUsize::new(0) });
        let client = |number: usize| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || ask(address, number.is_multiple_of(2), &shared))
        };
        Self { clients: (0..clients).map(client).collect(), shared }
    }

    /// Whole answers with 200 so far.
    pub(crate) fn fine(&self) -> usize {
        self.shared.fine.load(SeqCst)
    }

    /// Waits for `more` whole answers with 200, counted from now.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let enough = self.fine() + more;
        wait_for(&format!("{more} more answers came"), || self.fine() >= enough);
    }

    /// Ends it after the answers on their way.
    pub(crate) fn stop(self) -> Tally {
        self.shared.stop.store(true, SeqCst);
        self.wait()
    }

    /// Waits until every client has ended: none can connect any more.
    pub(crate) fn wait(self) -> Tally {
        let mut all = Tally::default();
        self.clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
        all
    }
}

/// One client: it stops when it is told to, or when it cannot connect.
fn ask(address: SocketAddr, keep: bool, shared: &Shared) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    while !shared.stop.load(SeqCst) {
        let mut client = match kept.take().map_or_else(|| Client::connect(address), Ok) {
            Ok(client) => client,
            Err(error) => {
                tally.refused.push(format!("{error:?}"));
                break;
            }
        };
        if one(&mut client, keep, shared, &mut tally) {
            kept = Some(client);
        }
    }
    tally
}

/// One exchange; whether the connection can be used again.
fn one(client: &mut Client, keep: bool, shared: &Shared, tally: &mut Tally) -> bool {
    let field = if keep { "" } else { "Connection: close\r\n" };
    let sent = client.try_send(format!("GET / HTTP/1.1\r\nHost: test\r\n{field}\r\n"));
    let response = match sent.and_then(|()| client.try_response("GET")) {
        Ok(response) => response,
        Err(error) if client.wire.pending().is_empty() => {
            tally.unanswered.push(format!("{error:?}"));
            return false;
        }
        Err(error) => {
            tally.cut.push(format!("{error:?}"));
            return false;
        }
    };
    if response.cut {
        tally.cut.push(format!("{response:?}"));
        return false;
    }
    if response.status == 200 {
        tally.fine += 1;
        shared.fine.fetch_add(1, SeqCst);
    } else {
        tally.others.push(format!("{response:?}"));
    }
    keep && !response.head.fields.lists("connection", "close")
}
