//! What `top` hears: the admin API's events, read on a thread of its own, which calls again when they end.

use std::{
    ops::ControlFlow,
    sync::{Arc, mpsc::Sender},
    thread,
    time::Duration,
};

use super::super::remote::{Caller, Failure};
use crate::admin::command::{BackendView, Snapshot};

const EVENTS: &str = "/api/v1/events";
/// Bytes of one event: those of 100,000 backends fit.
const EVENT_SIZE: usize = 64 << 20;
/// Before it is called again.
const PAUSE: Duration = Duration::from_secs(2);

/// Something that the screen should know.
#[derive(Debug)]
pub(super) enum News {
    /// How the process is now.
    Snapshot(Box<Snapshot>),
    /// It cannot be heard, and why.
    Lost(String),
    /// A change was made, or not.
    Changed(Result<Box<BackendView>, String>),
    /// That signal wants `top` to end.
    Ended(u8),
}

/// One server-sent event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Cuts a stream into events, as WHATWG's HTML section 9.2.6 has it, as far as our own process writes them.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<u8>);

impl Events {
    /// The events that are whole with `bytes`.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        // The end of an event may lie on both sides.
        let mut from = self.0.len().saturating_sub(1);
        self.0.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(at) = self.0[from..].windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.0.drain(..from + at + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
            from = 0;
        }
        if self.0.len() > EVENT_SIZE {
            self.0.clear();
        }
        events
    }
}

/// What the lines between two empty ones mean; nothing without data.
fn event(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = field("data")?.to_owned();
    Some(Event { name: field("event").unwrap_or("message").to_owned(), data })
}

/// Tells `heard` the text of each snapshot until it has heard enough. Calls again where a stream ends for its age alone.
pub(super) fn hear(caller: &Caller, mut heard: impl FnMut(&str) -> ControlFlow<()>) -> Result<(), Failure> {
    loop {
        let (mut events, mut enough, mut again) = (Events::default(), false, false);
        caller.follow(EVENTS, |bytes| {
            for event in events.feed(bytes) {
                match &*event.name {
                    "snapshot" => enough = enough || heard(&event.data).is_break(),
                    "end" => again = event.data.contains("\"again\""),
                    _ => {}
                }
            }
            !enough
        })?;
        if enough {
            return Ok(());
        }
        if !again {
            return Err(Failure::Unreachable("the process is draining, or has ended".into()));
        }
    }
}

/// Hears on a thread of its own for as long as somebody takes the news.
pub(super) fn start(caller: Arc<Caller>, news: Sender<News>) {
    thread::spawn(move || {
        loop {
            let heard = |text: &str| {
                let told = match serde_json::from_str(text) {
                    Ok(snapshot) => News::Snapshot(Box::new(snapshot)),
                    Err(error) => News::Lost(format!("it does not tell as an evenkeel of this version: {error}")),
                };
                if news.send(told).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let Err(failure) = hear(&caller, heard) else { return };
            if news.send(News::Lost(failure.to_string())).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::super::{remote::Remote, testing::remote};
    use super::*;
    use crate::admin::testing::{Admin, Play};
    use crate::config::Address;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn events_are_whole_however_they_are_cut() {
        let text = b"retry: 1000\n\nevent: snapshot\ndata: {\"a\":1}\n\n: alive\n\nevent: end\ndata: {}\n\ndata: x\n\n";
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        let wanted = [event("snapshot", "{\"a\":1}"), event("end", "{}"), event("message", "x")];
        for size in 1..text.len() {
            let mut events = Events::default();
            let found: Vec<_> = text.chunks(size).flat_map(|part| events.feed(part)).collect();
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_that_ends_is_called_again_and_a_drain_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let admin = thread::spawn(move || {
            let end = |reason: &str| format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n");
            for events in [end("again"), format!("event: snapshot\ndata: {{}}\n\n{}", end("draining"))] {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                let fields = format!("Content-Length: {}\r\nConnection: close\r\n", events.len());
                write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\n{events}").unwrap();
            }
        });
        let remote = Remote { config: "/nowhere".into(), admin: Some(address), token_file: None };
        let mut heard = Vec::new();
        let ended = hear(&remote.caller().unwrap(), |text| {
            heard.push(text.to_owned());
            ControlFlow::Continue(())
        });
        assert_eq!(heard, ["{}"]);
        assert!(ended.unwrap_err().to_string().contains("draining"));
        admin.join().unwrap();
    }

    #[test]
    fn an_event_without_end_is_forgotten() {
        let mut events = Events::default();
        assert_eq!(events.feed(&vec![b'x'; EVENT_SIZE + 1]), []);
        assert!(events.0.is_empty());
    }

    #[test]
    fn snapshots_are_heard_until_it_is_enough() {
        for admin in [Admin::tcp(Play::default(), None), Admin::unix(Play::default())] {
            let caller = remote(&admin, None).caller().unwrap();
            let mut instances = Vec::new();
            let heard = |text: &str| {
                let snapshot: Snapshot = serde_json::from_str(text).unwrap();
                instances.push((snapshot.about.instance, snapshot.traffic.rates.is_some()));
                if instances.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            hear(&caller, heard).unwrap();
            assert_eq!(instances, [("lb-1".to_owned(), false), ("lb-1".to_owned(), true)]);
        }
    }
}
