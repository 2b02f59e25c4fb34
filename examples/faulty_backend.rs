//! A backend that fails when it is told to, for `tests/soak/run`.
//!
//! ```text
//! cargo run --release --example faulty_backend -- 9001
//! ```
//! It answers each request with its port; what asks for an upgrade becomes a tunnel that sends back what comes. Each line
//! on stdin says how it is from then on: `well`; `refuse`: it listens no more, and every connection is reset; `reset`:
//! each connection is reset at its next request, tunnels at once; `silent`: requests are taken and never answered. It ends
//! with stdin.

use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use std::{env, process, thread};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Refuse,
    Reset,
    Silent,
}

impl Mood {
    fn read(word: &str) -> Option<Self> {
        Some(match word.trim() {
            "well" => Self::Well,
            "refuse" => Self::Refuse,
            "reset" => Self::Reset,
            "silent" => Self::Silent,
            _ => return None,
        })
    }
}

/// Longer request heads are a mistake of the caller.
const MAX_HEAD: usize = 64 << 10;
/// Of the one key that callers send, RFC 6455 section 1.3: nothing here looks at what is in a tunnel.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn main() {
    let Some(port) = env::args().nth(1).and_then(|port| port.parse().ok()) else {
        eprintln!("usage: faulty_backend PORT    (and on stdin: well | refuse | reset | silent, a line each)");
        process::exit(2);
    };
    let (mood, moods) = watch::channel(Mood::Well);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match Mood::read(&line) {
                Some(new) => drop(mood.send(new)),
                None => eprintln!("faulty_backend: {line:?} is no mood"),
            }
        }
        process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    if let Err(error) = runtime.and_then(|runtime| runtime.block_on(serve(port, moods))) {
        eprintln!("faulty_backend: {error}");
        process::exit(1);
    }
}

/// Accepts, but while it refuses.
async fn serve(port: u16, mut moods: watch::Receiver<Mood>) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    loop {
        if moods.wait_for(|mood| *mood != Mood::Refuse).await.is_err() {
            return Ok(());
        }
        let listener = TcpListener::bind(address).await?;
        let seen = moods.clone();
        loop {
            tokio::select! {
                refuses = moods.wait_for(|mood| *mood == Mood::Refuse) => match refuses {
                    Ok(_) => break,
                    Err(_) => return Ok(()),
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, port, seen.clone()))),
                    // Out of descriptors, perhaps for a moment.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
            }
        }
    }
}

/// One connection, to its end. It ends with a reset unless the peer has ended it.
async fn connection(mut stream: TcpStream, port: u16, mut moods: watch::Receiver<Mood>) {
    let _ = stream.set_nodelay(true);
    let over = tokio::select! {
        over = exchanges(&mut stream, port, moods.clone()) => over,
        _ = moods.wait_for(|mood| *mood == Mood::Refuse) => End::Reset,
    };
    if over == End::Reset {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Reset,
    /// The peer's.
    Fin,
}

/// Requests and answers, until the peer ends it or the mood does.
async fn exchanges(stream: &mut TcpStream, port: u16, mut moods: watch::Receiver<Mood>) -> End {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if held.len() > MAX_HEAD {
                return End::Reset;
            }
            match stream.read_buf(&mut held).await {
                Ok(1..) => {}
                _ => return End::Fin,
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
        held.drain(..end);
        let mood = *moods.borrow_and_update();
        match mood {
            Mood::Well => {}
            Mood::Silent => return swallow(stream).await,
            Mood::Reset | Mood::Refuse => return End::Reset,
        }
        if head.contains("\r\nupgrade: websocket\r\n") {
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\nX-Backend: {port}\r\n\r\n"
            );
            if stream.write_all(switch.as_bytes()).await.is_err() {
                return End::Fin;
            }
            return tokio::select! {
                () = echo(stream) => End::Fin,
                _ = moods.wait_for(|mood| *mood == Mood::Reset) => End::Reset,
            };
        }
        let body = format!("{port}\n");
        // One write: an answer has begun and ended, or it has not begun.
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Backend: {port}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return End::Fin;
        }
    }
}

/// Takes everything and says nothing.
async fn swallow(stream: &mut TcpStream) -> End {
    let mut room = [0; 4096];
    while matches!(stream.read(&mut room).await, Ok(1..)) {}
    End::Fin
}

/// Sends back what comes.
async fn echo(stream: &mut TcpStream) {
    let mut room = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut room).await {
        if stream.write_all(&room[..read]).await.is_err() {
            return;
        }
    }
}
