//! Connects to a backend: to one of the addresses of its name, from one of our source addresses, where there are such.

use super::{Stream, dns::Question, sys};
use crate::config::Address;
use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream, UnixStream},
    time::sleep,
};

/// So long one address is given before the next is called as well (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses to connect from, in turn; none = the kernel chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// Of both families.
    pub list: &'a [IpAddr],
    /// Whose turn it is; the addresses of a name take turns by it as well.
    pub turn: usize,
}

/// A connection to `address`; `question` is that of its name, if it has one. The caller bounds the time.
///
/// # Errors
/// Those of connect(2), and of a name that has never resolved. With several addresses, the one that says most. `AddrNotAvailable`
/// and `AddrInUse`: no local port is left for it.
pub async fn connect(address: &Address, question: Option<&Question>, from: Sources<'_>) -> io::Result<Stream> {
    let connected = match address {
        Address::Tcp(remote) => from_any(*remote, from).await?,
        Address::Unix(path) => return Ok(Stream::unix(UnixStream::connect(path).await?)),
        Address::Named(_, port) => {
            let remotes = question.map(|question| question.remotes(*port, from.turn)).unwrap_or_default();
            match remotes[..] {
                [] => return Err(io::Error::other("the name has not resolved yet")),
                [remote] => from_any(remote, from).await?,
                _ => race(&remotes, |remote| from_any(remote, from)).await?,
            }
        }
    };
    Ok(Stream::tcp(connected))
}

/// No local port is left.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// The first connection that is there ("happy eyeballs", RFC 8305 section 5): each remote is called when the one before it
/// has had its time, or at once when one has failed. Those that are late are closed.
async fn race<T, F: Future<Output = io::Result<T>>>(
    remotes: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut rest = remotes.iter().copied();
    let (mut called, mut failed) = (Vec::new(), None);
    loop {
        called.extend(rest.next().map(|remote| Box::pin(connect(remote))));
        let mut due = pin!(sleep(STAGGER));
        let ended = poll_fn(|cx| {
            for place in 0..called.len() {
                if let Poll::Ready(ended) = called[place].as_mut().poll(cx) {
                    drop(called.swap_remove(place));
                    return Poll::Ready(Some(ended));
                }
            }
            if rest.len() > 0 { due.as_mut().poll(cx).map(|()| None) } else { Poll::Pending }
        });
        match ended.await {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => failed = Some(telling(failed, error)),
            None => {}
        }
        if called.is_empty()
            && rest.len() == 0
            && let Some(error) = failed
        {
            return Err(error);
        }
    }
}

/// Of two failures the one that says more: that somebody is there and refuses, then anything but a want of our own.
fn telling(first: Option<io::Error>, second: io::Error) -> io::Error {
    let says = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => 2,
        _ if is_shortage(error) || error.kind() == io::ErrorKind::Unsupported => 0,
        _ => 1,
    };
    match first {
        Some(first) if says(&first) >= says(&second) => first,
        _ => second,
    }
}

/// From each source address of the remote's family in turn, until one has a port left.
async fn from_any(remote: SocketAddr, from: Sources<'_>) -> io::Result<TcpStream> {
    if from.list.is_empty() {
        return from_one(remote, None).await;
    }
    let fitting = || from.list.iter().filter(|source| source.is_ipv4() == remote.is_ipv4());
    let count = fitting().count();
    let mut last = None;
    for turn in 0..count {
        let source = fitting().nth((from.turn.wrapping_add(turn)) % count).copied();
        match from_one(remote, source).await {
            Err(error) if is_shortage(&error) => last = Some(error),
            // Another one may be of this host.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => last = last.or(Some(error)),
            outcome => return outcome,
        }
    }
    let version = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
    Err(last.unwrap_or_else(|| unusable(format!("no source_address is an {version} address"))))
}

async fn from_one(remote: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        // Older kernels lack it: the port is then taken at bind, as it always was.
        let _ = sys::bind_address_no_port(&socket);
        socket.bind((source, 0).into()).map_err(|error| match error.kind() {
            // No port is chosen yet: it is the address itself.
            io::ErrorKind::AddrNotAvailable => unusable(format!("source_address {source} is not one of this host's")),
            _ => error,
        })?;
    }
    socket.connect(remote).await
}

/// What the configuration asks for cannot be had.
fn unusable(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

#[cfg(test)]
mod tests {
    use super::{super::dns::Ask, *};
    use proptest::prelude::*;
    use std::{cell::RefCell, net::Ipv4Addr};
    use tokio::{net::TcpListener, time::Instant};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// What becomes of a call: after how long, and how it ends; `None` = never.
    type Play = Option<(u64, Result<(), io::ErrorKind>)>;

    /// Races calls that end as `plays` say, one a remote. When it ended, how, and when each was called.
    async fn play(plays: &[Play]) -> (u64, Result<usize, io::ErrorKind>, Vec<u64>) {
        let remotes: Vec<_> = (0..plays.len()).map(|at| SocketAddr::from((Ipv4Addr::LOCALHOST, at as u16))).collect();
        let (begun, calls) = (Instant::now(), RefCell::new(Vec::new()));
        let connect = |remote: SocketAddr| {
            calls.borrow_mut().push(begun.elapsed().as_millis() as u64);
            let place = usize::from(remote.port());
            async move {
                let Some((after, outcome)) = plays[place] else { return std::future::pending().await };
                sleep(MS(after)).await;
                outcome.map(|()| place).map_err(io::Error::from)
            }
        };
        let outcome = tokio::time::timeout(MS(10_000), race(&remotes, connect)).await;
        let outcome = outcome.unwrap_or(Err(io::ErrorKind::TimedOut.into())).map_err(|error| error.kind());
        (begun.elapsed().as_millis() as u64, outcome, calls.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_called_when_the_one_before_is_late_or_has_failed() {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable};
        let fine = |after| Some((after, Ok(())));
        let fails = |after, why| Some((after, Err(why)));
        assert_eq!(play(&[fine(10), fine(0)]).await, (10, Ok(0), vec![0]));
        assert_eq!(play(&[None, fine(10)]).await, (260, Ok(1), vec![0, 250]), "a black hole costs the stagger");
        assert_eq!(play(&[fails(5, ConnectionRefused), fine(10)]).await, (15, Ok(1), vec![0, 5]), "at once");
        assert_eq!(play(&[fine(400), fine(300)]).await, (400, Ok(0), vec![0, 250]), "the first that is there");
        assert_eq!(play(&[None, None, fine(1)]).await, (501, Ok(2), vec![0, 250, 500]));
        assert_eq!(play(&[None, fails(5, HostUnreachable), fine(1)]).await, (256, Ok(2), vec![0, 250, 255]));
        let (_, outcome, calls) =
            play(&[fails(1, AddrNotAvailable), fails(9, ConnectionRefused), fails(1, HostUnreachable)]).await;
        assert_eq!((outcome, calls), (Err(ConnectionRefused), vec![0, 1, 10]), "what says most is said");
        assert_eq!(play(&[fails(1, AddrNotAvailable), fails(9, AddrNotAvailable)]).await.1, Err(AddrNotAvailable));
    }

    proptest! {
        #[test]
        fn whoever_answers_is_found_in_time(plays in prop::collection::vec(prop::option::of((0u64..900, any::<bool>())), 2..7)) {
            let plays: Vec<Play> = plays
                .iter()
                .map(|play| play.map(|(after, fine)| (after, if fine { Ok(()) } else { Err(io::ErrorKind::HostUnreachable) })))
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let (took, outcome, calls) = runtime.block_on(play(&plays));
            // Nobody is called later than his turn, nor are others called once somebody is there.
            prop_assert!(calls.iter().zip(0..).all(|(at, turn)| *at <= 250 * turn && *at <= took), "{calls:?}");
            let fine = |(turn, play): (u64, &Play)| play.filter(|(_, ends)| ends.is_ok()).map(|(after, _)| 250 * turn + after);
            match (0..).zip(&plays).filter_map(fine).min() {
                Some(latest) => prop_assert!(outcome.is_ok() && took <= latest, "{outcome:?} after {took}, wanted {latest}"),
                None if plays.iter().all(Option::is_some) => prop_assert_eq!(outcome, Err(io::ErrorKind::HostUnreachable)),
                None => prop_assert_eq!(outcome, Err(io::ErrorKind::TimedOut)),
            }
            if let Ok(winner) = outcome {
                prop_assert!(matches!(plays[winner], Some((after, Ok(()))) if calls[winner] + after == took));
            }
        }
    }

    fn named(ips: &[&str]) -> Question {
        let question = Question::new(Ask::Addresses("app.internal".into()));
        question.tell(ips);
        question
    }

    #[tokio::test]
    async fn a_name_is_called_at_the_address_that_answers() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let remote = listener.local_addr().unwrap();
        let address = Address::Named("app.internal".into(), remote.port());
        let question = named(&["127.0.0.1", "127.0.0.2", "::1"]);
        let stream = connect(&address, Some(&question), Sources::default()).await.unwrap();
        assert_eq!(stream.remote(), Some(remote));
        let none = Question::new(Ask::Addresses("app.internal".into()));
        assert!(connect(&address, Some(&none), Sources::default()).await.is_err());
    }

    #[tokio::test]
    async fn sources_of_the_other_family_are_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let list: Vec<IpAddr> = ["::1", "127.0.0.2", "127.0.0.3", "192.0.2.1"].map(|ip| ip.parse().unwrap()).into();
        let from = |turn, list| Sources { list, turn };
        for (turn, source) in [(0, "127.0.0.2"), (1, "127.0.0.3"), (2, "127.0.0.2"), (3, "127.0.0.2")] {
            let stream = connect(&address, None, from(turn, &list)).await.unwrap();
            assert_eq!(
                stream.local().unwrap().ip().to_string(),
                source,
                "turn {turn}: one not of this host is passed over"
            );
        }
        for (list, why) in [
            (&list[..1], "no source_address is an IPv4 address"),
            (&list[3..], "source_address 192.0.2.1 is not one of this host's"),
        ] {
            let error = connect(&address, None, from(0, list)).await.unwrap_err();
            assert_eq!((error.to_string().as_str(), is_shortage(&error)), (why, false));
        }
    }
}
