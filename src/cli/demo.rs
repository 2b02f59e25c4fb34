//! `evenkeel demo`: three built-in backends of different speed, one of which fails from time to time, and a balancer in
//! front of them. Called by `main`.

use super::run::Signals;
use crate::{config::Config, runtime::Server};
use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

/// A backend of the demonstration.
#[derive(Clone, Copy)]
struct Actor {
    name: &'static str,
    /// How long it thinks.
    thinks: Duration,
    /// From time to time it answers nobody.
    fails: bool,
}

const BACKENDS: [Actor; 3] = [
    Actor { name: "swift", thinks: Duration::ZERO, fails: false },
    Actor { name: "steady", thinks: Duration::from_millis(20), fails: true },
    Actor { name: "slow", thinks: Duration::from_millis(80), fails: false },
];
/// One that fails is well for so long, and then ill for so long.
const WELL: Duration = Duration::from_secs(20);
const ILL: Duration = Duration::from_secs(10);

/// Runs the demonstration until Ctrl-C.
pub fn demo() -> ExitCode {
    match start() {
        Ok((server, signals)) => signals.serve(server),
        Err(error) => {
            let _ = writeln!(io::stderr(), "evenkeel: the demo cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(Server, Signals), Box<dyn std::error::Error>> {
    let signals = Signals::new()?;
    let mut backends = Vec::new();
    for actor in BACKENDS {
        backends.push((actor, backend(actor)?));
    }
    let list: String = backends
        .iter()
        .map(|(actor, address)| format!("  {{ name = \"{}\", address = \"{address}\" }},\n", actor.name))
        .collect();
    let text = format!(
        "include = []\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[log]\naccess = \"off\"\n\n\
         [[listener]]\nname = \"demo\"\naddress = \"127.0.0.1:0\"\n\n\
         [pool.demo]\nbackends = [\n{list}]\n\n\
         [pool.demo.health_check]\ntype = \"http\"\npath = \"/health\"\ninterval = \"1s\"\ninterval_down = \"500ms\"\n"
    );
    let config = Config::parse(&text, Path::new("demo.toml"))?;
    let server = Server::start(config)?;
    tell(&server, &backends)?;
    Ok((server, signals))
}

fn tell(server: &Server, backends: &[(Actor, SocketAddr)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(address) = server.address("demo") {
        writeln!(out, "balancer http://{address}/")?;
    }
    for (Actor { name, thinks, fails }, address) in backends {
        let fails = if *fails { "; answers nobody for 10 s of every 30" } else { "" };
        writeln!(out, "backend  http://{address}/  {name}, answers after {} ms{fails}", thinks.as_millis())?;
    }
    if let Some(admin) = server.admin() {
        writeln!(out, "metrics  http://{admin}/metrics")?;
        writeln!(out, "pools    http://{admin}/api/v1/pools")?;
    }
    if let Some(address) = server.address("demo") {
        writeln!(out, "\nAsk the balancer, several times (Ctrl-C ends the demo):\n\ncurl http://{address}/")?;
    }
    out.flush()
}

/// A small web server on a thread of its own. Returns its address.
fn backend(actor: Actor) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("demo-{}", actor.name)).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let born = Instant::now();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request| answer(actor, born, request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    })?;
    Ok(address)
}

/// It is one of the times in which `actor` answers nobody.
fn is_ill(actor: Actor, born: Instant) -> bool {
    actor.fails && born.elapsed().as_secs_f64() % (WELL + ILL).as_secs_f64() >= WELL.as_secs_f64()
}

/// An error ends the connection without an answer.
async fn answer(
    actor: Actor,
    born: Instant,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let Actor { name, thinks, .. } = actor;
    tokio::time::sleep(thinks).await;
    if is_ill(actor, born) {
        return Err("ill");
    }
    let mut text = format!("Hello from {name}.\n\n{} {}\n", request.method(), request.uri());
    for (field, value) in request.headers() {
        text.push_str(&format!("{field}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response.headers_mut().insert("x-backend", http::HeaderValue::from_static(name));
    Ok(response)
}
