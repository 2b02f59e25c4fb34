//! WebSocket, whatever versions of HTTP the two sides speak (RFC 6455, RFC 8441): a library's client and server talk through
//! evenkeel as if they were alone.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::thread;
use std::time::{Duration, Instant};

use ::h2::{Reason, ext::Protocol};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::{
    self, Error, Message, WebSocket,
    handshake::server::{Request as Opening, Response as Switch},
    protocol::{CloseFrame, Role, frame::coding::CloseCode},
};

use crate::support::tunnel::{self, End, Tunnel};
use crate::support::{Backend, Client, Evenkeel, Gate, H2Backend, PATIENCE, Process, Setup, wait_for};

/// What a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}
use Over::{Http1, Http2};

/// Client and backend.
const PAIRS: [(Over, Over); 4] = [(Http1, Http1), (Http1, Http2), (Http2, Http1), (Http2, Http2)];

/// An end of a tunnel.
trait Duplex: Read + Write + Send {
    /// Ends our direction.
    fn finish(&self);
    /// Ends both with a reset, where it is a socket of TCP; else the tunnel's owner does it.
    fn reset(&self) {}
}

impl Duplex for TcpStream {
    fn reset(&self) {
        rustix::net::connect_unspec(self).unwrap();
    }

    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Duplex for UnixStream {
    fn finish(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

type Socket = Box<dyn Duplex>;

/// The fields of the openings that a backend took.
type Seen = Arc<Mutex<Vec<HeaderMap>>>;

/// A backend that takes every opening.
struct Far {
    over: Over,
    address: SocketAddr,
    seen: Seen,
    /// How the tunnels' other side ended them (HTTP/2).
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
    _http1: Option<Backend>,
}

impl Far {
    /// Serves each tunnel with `serve`, on a thread of its own.
    fn start(over: Over, serve: impl Fn(Socket) + Clone + Send + Sync + 'static) -> Self {
        let (seen, tunnels) = (Seen::default(), Arc::<Mutex<Vec<Tunnel>>>::default());
        let (noted, held) = (Arc::clone(&seen), Arc::clone(&tunnels));
        if over == Http1 {
            let backend = Backend::raw(move |conn, _| {
                let stream = conn.wire.stream.try_clone().unwrap();
                #[allow(clippy::result_large_err, reason = "the library's signature")]
                let note = |request: &Opening, mut answer: Switch| {
                    noted.lock().unwrap().push(request.headers().clone());
                    if request.headers().contains_key("sec-websocket-protocol") {
                        answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
                    }
                    Ok(answer)
                };
                if let Ok(socket) = tungstenite::accept_hdr(stream, note) {
                    serve(Box::new(socket.into_inner()));
                }
            });
            return Self { over, address: backend.address(), seen, tunnels, _http1: Some(backend) };
        }
        let backend = H2Backend::with(
            |builder| _ = builder.enable_connect_protocol(),
            move |request, mut respond| {
                let (serve, noted, held) = (serve.clone(), Arc::clone(&noted), Arc::clone(&held));
                async move {
                    let (parts, recv) = request.into_parts();
                    assert_eq!(parts.method, http::Method::CONNECT);
                    assert_eq!(parts.extensions.get::<Protocol>().unwrap().as_str(), "websocket");
                    assert_eq!(parts.uri.path(), "/chat");
                    let mut answer = Response::new(());
                    if parts.headers.contains_key("sec-websocket-protocol") {
                        answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
                    }
                    noted.lock().unwrap().push(parts.headers);
                    let send = respond.send_response(answer, false).unwrap();
                    let (tunnel, mover) = Tunnel::new();
                    let stream = tunnel.stream.try_clone().unwrap();
                    held.lock().unwrap().push(tunnel);
                    thread::spawn(move || serve(Box::new(stream)));
                    mover.run(recv, send).await;
                }
            },
        );
        Self { over, address: backend.address(), seen, tunnels, _http1: None }
    }

    /// Sends every message back.
    fn echo(over: Over) -> Self {
        Self::start(over, |socket| {
            let mut socket = WebSocket::from_raw_socket(socket, Role::Server, None);
            while let Ok(message) = socket.read() {
                if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                    return;
                }
            }
            // The close has been answered: what is left is the end of our direction.
            socket.get_ref().finish();
        })
    }

    /// Sends every byte back, and `bye` behind the end of the client's direction.
    fn mirror(over: Over) -> Self {
        Self::start(over, |mut socket| {
            let mut room = [0; 4096];
            while let Ok(n @ 1..) = socket.read(&mut room) {
                if socket.write_all(&room[..n]).is_err() {
                    return;
                }
            }
            if socket.write_all(b"bye").is_ok() {
                socket.finish();
            }
        })
    }

    fn keys(&self) -> &'static str {
        if self.over == Http2 { "protocol = \"h2\"\n" } else { "" }
    }

    fn setup(&self, pool: &str) -> Setup {
        Setup::to(&[self.address]).one_worker().pool(format!("{}{pool}", self.keys()))
    }

    fn behind(&self) -> Evenkeel {
        self.setup("").start()
    }
}

/// An open tunnel at the client's side.
struct Near {
    socket: Socket,
    fields: HeaderMap,
    /// Over HTTP/2.
    tunnel: Option<Tunnel>,
}

/// Another answer: status, word, body.
#[derive(Debug)]
struct Refused(u16, Option<String>, String);

fn open_with(over: Over, address: SocketAddr, fields: &[(&'static str, &str)]) -> Result<Near, Refused> {
    let uri = if over == Http1 { "ws://test/chat" } else { "http://test/chat" };
    let mut request = match over {
        Http1 => tungstenite::client::IntoClientRequest::into_client_request(uri).unwrap(),
        Http2 => Request::builder().method("CONNECT").uri(uri).header("sec-websocket-version", "13").body(()).unwrap(),
    };
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    if over == Http2 {
        let opened = tunnel::open(address, request, Some("websocket"), b"");
        let word = opened.word().map(str::to_owned);
        let Some(tunnel) = opened.tunnel else { return Err(Refused(opened.status, word, opened.body)) };
        assert_eq!(opened.status, 200);
        let socket = Box::new(tunnel.stream.try_clone().unwrap());
        return Ok(Near { socket, fields: opened.fields, tunnel: Some(tunnel) });
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    match tungstenite::client::client(request, stream) {
        Ok((socket, answer)) => {
            let socket = Box::new(socket.into_inner());
            Ok(Near { socket, fields: answer.headers().clone(), tunnel: None })
        }
        Err(tungstenite::HandshakeError::Failure(Error::Http(answer))) => {
            let said = answer.headers().get("proxy-status").map(|said| said.to_str().unwrap());
            let word = said.and_then(|said| Some(said.split_once("details=")?.1.trim_matches('"').to_owned()));
            let body = answer.body().as_deref().unwrap_or_default();
            Err(Refused(answer.status().as_u16(), word, String::from_utf8_lossy(body).into_owned()))
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn open(over: Over, address: SocketAddr) -> Near {
    open_with(over, address, &[]).unwrap_or_else(|refused| panic!("{over:?}: {refused:?}"))
}

#[track_caller]
fn assert_refused(over: Over, evenkeel: &Evenkeel, status: u16, word: Option<&str>) {
    let Err(refused) = open_with(over, evenkeel.address(), &[]) else { panic!("{over:?}: it was accepted") };
    assert_eq!((refused.0, refused.1.as_deref()), (status, word), "{over:?}: {refused:?}");
}

impl Near {
    fn talk(self) -> WebSocket<Socket> {
        WebSocket::from_raw_socket(self.socket, Role::Client, None)
    }

    fn say(&mut self, text: &[u8]) {
        self.socket.write_all(text).unwrap();
    }

    fn hear(&mut self, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        self.socket.read_exact(&mut heard).unwrap();
        assert_eq!(heard, text);
    }

    /// Everything until the end of either kind.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("still open: {error:?}"),
            _ => rest,
        }
    }
}

#[track_caller]
fn wait_gone(evenkeel: &Evenkeel) {
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0);
}

#[test]
fn messages_pings_and_the_close_pass_between_all_versions() {
    for (near, far) in PAIRS {
        let backend = Far::echo(far);
        let evenkeel = backend.behind();
        let asked = [
            ("sec-websocket-protocol", "chat, superchat"),
            ("sec-websocket-extensions", "x-none"),
            ("origin", "http://test"),
            ("cookie", "a=1"),
        ];
        let opened = open_with(near, evenkeel.address(), &asked[1..]).unwrap();
        assert!(!opened.fields.contains_key("content-length") && !opened.fields.contains_key("transfer-encoding"));
        assert_eq!(opened.fields.contains_key("sec-websocket-accept"), near == Http1, "{near:?} {far:?}");
        assert_eq!(opened.fields.contains_key("upgrade"), near == Http1);
        let mut socket = opened.talk();
        for text in ["hello", "", "w\u{f6}rld"] {
            socket.send(Message::text(text)).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text(text), "{near:?} {far:?}");
        }
        socket.send(Message::Ping("are you there".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
        socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "lunch".into() })).unwrap();
        match socket.read().unwrap() {
            Message::Close(Some(frame)) => assert_eq!((frame.code, &*frame.reason), (CloseCode::Away, "lunch")),
            other => panic!("{near:?} {far:?}: {other:?}"),
        }
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "{near:?} {far:?}");
        drop(socket);
        wait_gone(&evenkeel);
        evenkeel.assert_no_failure();
        let counted = |code: &str| evenkeel.metric("evenkeel_requests_total", &[("code", code)]);
        assert_eq!(counted("101"), 1.0, "{near:?} {far:?}");

        let seen = backend.seen.lock().unwrap()[0].clone();
        for (name, value) in &asked[1..] {
            assert_eq!(seen.get(*name).unwrap(), value, "{near:?} {far:?}");
        }
        assert_eq!(seen.get("sec-websocket-version").unwrap(), "13");
        assert_eq!(seen.get_all("sec-websocket-key").iter().count(), usize::from(far == Http1));
        assert_eq!(seen.contains_key("upgrade"), far == Http1);
    }
}

#[test]
fn a_subprotocol_is_agreed_on_over_http_2() {
    // The library's own client insists on how it is asked for.
    for far in [Http1, Http2] {
        let backend = Far::echo(far);
        let evenkeel = backend.behind();
        let opened = open_with(Http2, evenkeel.address(), &[("sec-websocket-protocol", "chat, superchat")]).unwrap();
        assert_eq!(opened.fields.get("sec-websocket-protocol").unwrap(), "chat", "{far:?}");
    }
}

#[test]
fn frames_of_16_mib_pass_both_ways() {
    for (near, far) in PAIRS {
        let backend = Far::echo(far);
        let evenkeel = backend.behind();
        let mut socket = open(near, evenkeel.address()).talk();
        let large: Vec<u8> = (0..16 << 20).map(|place: u32| (place / 251) as u8).collect();
        socket.send(Message::binary(large.clone())).unwrap();
        let back = socket.read().unwrap().into_data();
        assert!(back == large, "{near:?} {far:?}: {} bytes came back", back.len());
    }
}

#[test]
fn each_side_ends_by_itself() {
    for (near, far) in PAIRS {
        let backend = Far::mirror(far);
        let evenkeel = backend.behind();
        let mut client = open(near, evenkeel.address());
        client.say(b"last");
        client.socket.finish();
        assert_eq!(client.rest(), b"lastbye", "{near:?} {far:?}");
        if let Some(tunnel) = &client.tunnel {
            assert_eq!(tunnel.end(), Some(End::Finished), "{far:?}");
        }
        wait_gone(&evenkeel);
        evenkeel.assert_no_failure();
    }
}

#[test]
fn a_reset_by_the_client_ends_the_other_side_at_once_even_after_its_own_end() {
    for (far, finished) in [(Http1, false), (Http2, false), (Http1, true), (Http2, true)] {
        let (left, gate) = (Arc::new(AtomicUsize::new(0)), Gate::default());
        let (leaving, go) = (Arc::clone(&left), gate.clone());
        // It says nothing, so that nobody learns of the end by writing.
        let backend = Far::start(far, move |mut socket| {
            let _ = socket.read_to_end(&mut Vec::new());
            leaving.fetch_add(1, SeqCst);
            go.pass();
        });
        let evenkeel = backend.behind();
        let mut client = open(Http2, evenkeel.address());
        client.say(b"half");
        if finished {
            client.socket.finish();
            wait_for("the backend has heard the end", || left.load(SeqCst) == 1);
        }
        assert_eq!(evenkeel.in_flight(), 1.0);
        client.tunnel.as_ref().unwrap().reset(Reason::CANCEL);
        wait_gone(&evenkeel);
        wait_for("the backend is left", || left.load(SeqCst) == 1);
        gate.open();
        if far == Http2 && !finished {
            let tunnels = backend.tunnels.lock().unwrap();
            assert_eq!(tunnels[0].end(), Some(End::Reset(Reason::CANCEL)), "RFC 8441 section 5");
        }
    }
}

#[test]
fn a_backend_that_dies_ends_its_clients_at_once() {
    for (near, far) in PAIRS {
        let backend = Far::start(far, |mut socket| {
            let _ = socket.read(&mut [0]);
            socket.reset();
        });
        let evenkeel = backend.behind();
        let mut client = open(near, evenkeel.address());
        client.say(b"x");
        if far == Http2 {
            wait_for("the tunnel is known", || !backend.tunnels.lock().unwrap().is_empty());
            backend.tunnels.lock().unwrap()[0].reset(Reason::INTERNAL_ERROR);
        }
        assert_eq!(client.rest(), b"", "{near:?} {far:?}");
        wait_gone(&evenkeel);
        if let Some(tunnel) = &client.tunnel {
            assert_eq!(tunnel.end(), Some(End::Reset(Reason::CANCEL)), "{far:?}");
        }
    }
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    for (near, far) in PAIRS {
        let backend = Far::mirror(far);
        let evenkeel = backend.setup("tunnel_timeout = \"300ms\"").start();
        let mut client = open(near, evenkeel.address());
        client.say(b"x");
        client.hear(b"x");
        let start = Instant::now();
        client.rest();
        assert!(start.elapsed() >= Duration::from_millis(250), "{near:?} {far:?}: {:?}", start.elapsed());
        wait_gone(&evenkeel);
    }
}

#[test]
fn who_reads_nothing_stalls_the_sender_and_gets_everything_later() {
    const ALL: usize = 64 << 20;
    for (near, far) in PAIRS {
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = Arc::clone(&sent);
        let backend = Far::start(far, move |mut socket| {
            // The library's client would lose what comes with the head.
            socket.read_exact(&mut [0]).unwrap();
            let piece = vec![7; 64 * 1024];
            while sending.load(SeqCst) < ALL && socket.write_all(&piece).is_ok() {
                sending.fetch_add(piece.len(), SeqCst);
            }
            socket.finish();
        });
        let evenkeel = backend.behind();
        let mut client = open(near, evenkeel.address());
        client.say(b"!");
        // What the kernel's buffers and the windows hold; sockets on this machine take up to 6 MiB each.
        let (mut before, mut since) = (0, Instant::now());
        wait_for("the sender is stalled", || {
            let now = sent.load(SeqCst);
            if now != before {
                (before, since) = (now, Instant::now());
            }
            before > 0 && since.elapsed() > Duration::from_millis(300)
        });
        assert!(before < ALL / 2, "{near:?} {far:?}: {before} bytes were taken of a client that reads nothing");
        client.socket.finish();
        assert_eq!(client.rest().len(), ALL, "{near:?} {far:?}");
    }
}

#[test]
fn a_route_without_upgrades_takes_none() {
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).toml() + "\n[[route]]\nupgrade = []\npool = \"web\"\n";
    let evenkeel = Evenkeel::start(&toml);
    assert_refused(Http1, &evenkeel, 200, None);
    assert_refused(Http2, &evenkeel, 405, Some("connect_denied"));
    assert_eq!(backend.requests(), 1);
    assert!(!backend.last().head.fields.has("upgrade"));
}

#[test]
fn another_protocol_than_websocket_is_refused() {
    let backend = Far::mirror(Http1);
    let evenkeel = backend.behind();
    let request = Request::builder().method("CONNECT").uri("http://test/chat").body(()).unwrap();
    let opened = tunnel::open(evenkeel.address(), request, Some("connect-udp"), b"");
    assert_eq!((opened.status, opened.word()), (405, Some("connect_denied")));
}

#[test]
fn another_answer_than_a_switch_is_an_answer() {
    let backend = Backend::http(|_| crate::support::Reply::new("403 Forbidden", "X-Why: not you\r\n", "no"));
    let evenkeel = Setup::to(&[backend.address()]).start();
    for near in [Http1, Http2] {
        let refused = open_with(near, evenkeel.address(), &[]).err().unwrap();
        assert_eq!((refused.0, refused.1), (403, None), "{near:?}");
    }
    let backend = H2Backend::with(
        |builder| _ = builder.enable_connect_protocol(),
        |_, mut respond| async move {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::FORBIDDEN;
            let mut send = respond.send_response(answer, false).unwrap();
            crate::support::push(&mut send, b"no".to_vec(), true).await;
        },
    );
    let evenkeel = Setup::to(&[backend.address()]).pool("protocol = \"h2\"").start();
    for near in [Http1, Http2] {
        let refused = open_with(near, evenkeel.address(), &[]).err().unwrap();
        // The library does not undo the chunks of HTTP/1.1.
        assert!((refused.0, refused.1) == (403, None) && refused.2.contains("no"), "{near:?}: {}", refused.2);
    }
    evenkeel.assert_no_failure();
}

#[test]
fn a_success_that_is_no_switch_never_passes_for_one() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).start();
    assert_refused(Http2, &evenkeel, 502, Some("upgrade_failed"));
    evenkeel.wait_failures("upgrade_failed", 1);

    let ours = "\n[[route]]\nrespond = { status = 200, body = \"ours\" }\n";
    let evenkeel = Evenkeel::start(&(Setup::to(&[backend.address()]).toml() + ours));
    assert_refused(Http2, &evenkeel, 405, Some("connect_denied"));
}

#[test]
fn a_backend_that_does_not_prove_to_know_the_key_is_refused() {
    let accepts = ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"];
    for accept in accepts {
        let backend = Backend::raw(move |conn, _| {
            conn.request();
            conn.send(format!("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{accept}\r\n"));
            conn.wait_closed();
        });
        let evenkeel = Setup::to(&[backend.address()]).start();
        assert_refused(Http2, &evenkeel, 502, Some("upgrade_failed"));
        wait_for("the backend is left", || backend.open() == 0);
    }
}

#[test]
fn keys_differ_from_opening_to_opening() {
    let backend = Far::mirror(Http1);
    let evenkeel = backend.behind();
    let _held = [open(Http2, evenkeel.address()), open(Http2, evenkeel.address())];
    let seen = backend.seen.lock().unwrap();
    assert_ne!(seen[0].get("sec-websocket-key"), seen[1].get("sec-websocket-key"));
}

#[test]
fn a_backend_without_extended_connect_is_said_so_and_serves_on() {
    let backend = H2Backend::echo();
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool("protocol = \"h2\"").start();
    for near in [Http1, Http2] {
        assert_refused(near, &evenkeel, 502, Some("upgrade_failed"));
    }
    assert_eq!(backend.requests(), 0, "it is not even asked");
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_never_says_its_settings_is_waited_for_no_longer_than_for_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let held: Vec<_> = listener.incoming().take(2).collect();
        thread::sleep(PATIENCE * 2);
        drop(held);
    });
    let pool = "protocol = \"h2\"\nconnect_timeout = \"300ms\"";
    let evenkeel = Setup::to(&[address]).pool(pool).start();
    assert_refused(Http2, &evenkeel, 504, Some("connect_timeout"));
}

#[test]
fn a_key_is_looked_at_only_where_it_must_be_answered() {
    let ask = |key: &str| {
        format!(
            "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n"
        )
    };
    let (http1, http2) = (Backend::ok("your affair"), Far::mirror(Http2));
    let (passing, answering) = (Setup::to(&[http1.address()]).start(), http2.behind());
    for key in ["", "Sec-WebSocket-Key: short\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n"] {
        assert_eq!(passing.client().exchange(ask(key)).status, 200, "{key}");
        answering.client().exchange(ask(key)).assert_refused(400, "bad_request");
    }
}

#[test]
fn an_http_1_server_is_never_asked_for_what_follows_a_refused_opening() {
    // RFC 9113 section 8.5: what a client sends on its stream is the tunnel's, and there is none.
    let backend = Backend::http(|_| crate::support::Reply::new("403 Forbidden", "", "no"));
    let evenkeel = Setup::to(&[backend.address()]).start();
    let request = Request::builder().method("CONNECT").uri("http://test/chat").body(()).unwrap();
    let opened =
        tunnel::open(evenkeel.address(), request, Some("websocket"), b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(opened.status, 403);
    wait_gone(&evenkeel);
    assert_eq!(backend.requests(), 1);
    assert!(backend.records()[0].ends_with(b"\r\n\r\n"));
}

const CHAT: &str = "[[route]]\nname = \"chat\"\npath = \"/chat\"\npool = \"web\"\n\n";
const REST: &str = "[[route]]\nname = \"rest\"\npool = \"web\"\n";

#[test]
fn a_tunnel_stays_over_reloads_until_its_route_goes() {
    for (near, far) in [(Http1, Http2), (Http2, Http1), (Http2, Http2)] {
        let backend = Far::mirror(far);
        let setup = || backend.setup("").server("drain_timeout = \"500ms\"").toml();
        let evenkeel = Process::spawn(&format!("{}\n{CHAT}{REST}", setup()));
        let mut client = open(near, evenkeel.address());
        for turn in 0..3 {
            evenkeel.reload(&format!("{}\n{CHAT}{REST}# {turn}\n", setup()));
            client.say(b"still");
            client.hear(b"still");
        }
        let start = Instant::now();
        evenkeel.reload(&format!("{}\n{REST}", setup()));
        client.rest();
        assert!(start.elapsed() < Duration::from_secs(6), "{near:?} {far:?}: {:?}", start.elapsed());
        wait_for("it is over", || evenkeel.metric("evenkeel_requests_in_flight", &[]) == 0.0);
    }
}

#[test]
fn a_tunnel_is_cut_when_the_process_has_drained_for_its_time() {
    for (near, far) in [(Http1, Http2), (Http2, Http1), (Http2, Http2)] {
        let backend = Far::mirror(far);
        let mut evenkeel = backend.setup("").server("drain_timeout = \"500ms\"").spawn();
        let mut client = open(near, evenkeel.address());
        let start = Instant::now();
        evenkeel.signal("TERM");
        wait_for("nobody is let in any more", || Client::connect(evenkeel.address()).is_err());
        client.say(b"still");
        client.hear(b"still");
        client.rest();
        assert!(start.elapsed() >= Duration::from_millis(450), "{near:?} {far:?}");
        assert_eq!(evenkeel.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "{near:?} {far:?}: {:?}", start.elapsed());
    }
}
