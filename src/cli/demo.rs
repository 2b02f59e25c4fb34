//! `evenkeel demo`: three built-in backends of different speed, one of which fails from time to time, and a balancer in
//! front of them, with the dashboard. Called by `main`.

use super::run::Signals;
use crate::{
    config::{Config, Secret},
    runtime::Server,
};
use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    io::{self, IsTerminal, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, ExitCode, Stdio},
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
    let mut config = Config::parse(&text, Path::new("demo.toml"))?;
    let token = format!("demo-{:016x}", getrandom::u64()?);
    config.admin.token = Some(Secret::new(token.as_bytes()));
    let server = Server::start(config)?;
    tell(&server, &backends, &token)?;
    if let Some(admin) = server.admin() {
        open(&format!("http://{admin}/"));
    }
    Ok((server, signals))
}

/// Shows the dashboard to somebody who sits in front of it: stdout is a terminal, of this machine, beside a desktop. That it
/// cannot be opened is no failure: its address is printed.
fn open(url: &str) {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktop = is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    if !io::stdout().is_terminal() || !desktop || is_set("SSH_CONNECTION") {
        return;
    }
    let mut opener = Command::new("xdg-open");
    let quiet = opener.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = quiet.spawn() {
        std::thread::spawn(move || child.wait());
    }
}

fn tell(server: &Server, backends: &[(Actor, SocketAddr)], token: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(address) = server.address("demo") {
        writeln!(out, "balancer  http://{address}/")?;
    }
    for (Actor { name, thinks, fails }, address) in backends {
        let fails = if *fails { "; answers nobody for 10 s of every 30" } else { "" };
        writeln!(out, "backend   http://{address}/  {name}, answers after {} ms{fails}", thinks.as_millis())?;
    }
    if let Some(admin) = server.admin() {
        writeln!(out, "dashboard http://{admin}/  (open it in a browser; token for its buttons: {token})")?;
        writeln!(out, "metrics   http://{admin}/metrics")?;
        writeln!(out, "pools     http://{admin}/api/v1/pools")?;
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
