//! How commands talk to a running process: its admin API, over TCP or a unix socket. Used by `reload`, `status`, `top`
//! and `backends`.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{DEFAULT_CONFIG, table::printable};
use crate::admin::TEST_FAILED;
use crate::config::{Address, Config, Secret};

/// For a whole call; the process itself gives up after 10 s, and says so.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer: the pools of 100,000 backends fit.
const ANSWER_SIZE: usize = 64 << 20;
/// Bytes of a file with a token.
const TOKEN_SIZE: u64 = 64 << 10;

/// Where the running process is, and what it wants to see.
#[derive(Args, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The configuration of the running process, for its admin address and token
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG, global = true)]
    pub config: PathBuf,
    /// Its admin address, IP:PORT or unix:/PATH, in place of the configuration
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, global = true)]
    pub admin: Option<Address>,
    /// A file with its token, in place of the configuration's
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// Why a command has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody was asked, or nobody has answered: why.
    Unreachable(String),
    /// It was asked, and said no.
    Refused {
        /// Of its answer.
        status: StatusCode,
        /// Its type.
        kind: String,
        /// Why.
        detail: String,
    },
    /// What was asked for cannot be told apart or is not there.
    Unclear(String),
    /// What was found out cannot be written.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Unclear(why) => f.write_str(why),
            // Problems of a file are drawn over several lines.
            Self::Refused { status, detail, .. } if detail.contains('\n') => write!(f, "refused ({status}):\n{detail}"),
            Self::Refused { status, detail, .. } => write!(f, "refused: {detail} ({status})"),
            Self::Output(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl Failure {
    /// A test of the configuration has failed, and nothing else is wrong with it.
    pub(super) fn is_of_test(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == TEST_FAILED)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Says on stderr why a command has failed, and what it exits with. A reader that has left is no failure.
pub(super) fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "evenkeel: {}", printable(&failure.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// `name` as one segment of a path.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// Where the API has `pool`.
pub(super) fn pool_path(pool: &str) -> String {
    format!("/api/v1/pools/{}", segment(pool))
}

/// Where the API has the backend `name` of `pool`.
pub(super) fn backend_path(pool: &str, name: &str) -> String {
    format!("{}/backends/{}", pool_path(pool), segment(name))
}

/// Calls to the running process.
#[derive(Debug)]
pub(super) struct Caller {
    address: Address,
    token: Option<Secret>,
    /// Why the configuration gives no token; `None`: it does, or nobody wants it.
    without: Option<String>,
}

/// A problem as the API tells it.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    r#type: String,
    detail: String,
}

impl Remote {
    /// Finds out whom to call. `--admin` alone sends no token: the configuration's is meant for its own process.
    pub(super) fn caller(&self) -> Result<Caller, Failure> {
        let shown = self.token_file.as_deref().map(read_token).transpose()?;
        if let Some(address) = &self.admin {
            return Ok(Caller { address: address.clone(), token: shown, without: None });
        }
        let file = self.config.display();
        let (admin, unread) = Config::admin_of(&self.config).map_err(|problems| {
            let hint = "name the process with --admin ADDRESS, or its configuration with -c FILE";
            Failure::Unreachable(format!("the configuration does not say whom to call; {hint}:\n{problems}"))
        })?;
        let off = || Failure::Unreachable(format!("{file}: admin.address is \"off\": nobody can be called"));
        let address = callable(admin.address.ok_or_else(off)?);
        if address.is_any_port() {
            let why = "admin.address has port 0: name the one that it got with --admin ADDRESS";
            return Err(Failure::Unreachable(format!("{file}: {why}")));
        }
        let token = shown.or(admin.token);
        let nowhere = || format!("{file} has no admin.token: --token-file FILE names one");
        let without = token.is_none().then(|| unread.unwrap_or_else(nowhere));
        Ok(Caller { address, token, without })
    }
}

impl Caller {
    /// What is at `path`, as it was sent and as it is read.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Bytes), Failure> {
        let body = self.call(Method::GET, path, String::new())?;
        Ok((self.parse(&body)?, body))
    }

    /// Has something changed, with the token where there is one.
    pub(super) fn change<T: DeserializeOwned>(&self, method: Method, path: &str, body: String) -> Result<T, Failure> {
        self.parse(&self.call(method, path, body)?)
    }

    /// Reads what comes from `path`, for as long as it does and `hear` wants more.
    pub(super) fn follow(&self, path: &str, hear: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        let request = self.request(Method::GET, path, String::new())?;
        match self.block_on(async { listen(in_time(self.connect()).await??, request, hear).await })? {
            None => Ok(()),
            Some((status, body)) => Err(self.refused(status, &body)),
        }
    }

    /// Whether it has a token to show.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some() || matches!(self.address, Address::Unix(_))
    }

    fn parse<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let address = &self.address;
            Failure::Unreachable(format!("{address} does not answer as an evenkeel of this version: {error}"))
        })
    }

    fn call(&self, method: Method, path: &str, body: String) -> Result<Bytes, Failure> {
        let request = self.request(method, path, body)?;
        let exchange = async { converse(self.connect().await?, request).await };
        let (status, body) = self.block_on(async { in_time(exchange).await? })?;
        if status.is_success() {
            return Ok(body);
        }
        Err(self.refused(status, &body))
    }

    /// What the answer `body` says of why not.
    fn refused(&self, status: StatusCode, body: &Bytes) -> Failure {
        let none = Problem { r#type: String::new(), detail: "without a reason".into() };
        let mut problem = serde_json::from_slice(body).unwrap_or(none);
        if let Some(without) = self.without.as_ref().filter(|_| status == StatusCode::UNAUTHORIZED) {
            problem.detail = format!("{}; {without}", problem.detail);
        }
        Failure::Refused { status, kind: problem.r#type, detail: problem.detail }
    }

    fn request(&self, method: Method, path: &str, body: String) -> Result<Request<Full<Bytes>>, Failure> {
        let unfit = |what: &str| Failure::Unclear(format!("{what} cannot be sent"));
        let host = match &self.address {
            Address::Unix(_) => "localhost".into(),
            address => address.to_string(),
        };
        let mut request = Request::builder().method(&method).uri(path).header(HOST, host);
        if let Some(token) = self.token.as_ref().filter(|_| method != Method::GET) {
            let bearer = [b"Bearer ", token.expose()].concat();
            let mut bearer = HeaderValue::from_bytes(&bearer).map_err(|_| unfit("the token"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        request.body(Full::new(Bytes::from(body))).map_err(|_| unfit("the name"))
    }

    /// What comes of `work`, which talks to the process.
    fn block_on<T>(&self, work: impl Future<Output = Result<T, Wrong>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.map_err(Wrong::from).and_then(|runtime| runtime.block_on(work));
        outcome.map_err(|why| Failure::Unreachable(format!("cannot reach {}: {why}{}", self.address, hint(&*why))))
    }

    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        Ok(match &self.address {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Address::Named(name, port) => Box::new(TcpStream::connect((&**name, *port)).await?),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// A connection to the process, of whatever kind.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What to look at, where nobody listens.
fn hint(why: &(dyn std::error::Error + 'static)) -> &'static str {
    match why.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            " (is evenkeel running? what changes admin.address holds from its next start: --admin names the old one)"
        }
        _ => "",
    }
}

type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// One request on a connection of its own, whose answer is heard as it comes. The answer, if it is a refusal.
async fn listen(
    stream: Box<dyn Io>,
    request: Request<Full<Bytes>>,
    mut hear: impl FnMut(&[u8]) -> bool,
) -> Result<Option<(StatusCode, Bytes)>, Wrong> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let answer = in_time(sender.send_request(request)).await??;
        if !answer.status().is_success() {
            return Ok(Some(in_time(whole(answer)).await??));
        }
        let mut body = answer.into_body();
        while let Some(frame) = in_time(body.frame()).await? {
            if frame?.data_ref().is_some_and(|data| !hear(data)) {
                break;
            }
        }
        Ok(None)
    };
    driven(connection, exchange).await
}

/// What comes of `work`, unless the process lets it wait too long.
async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, String> {
    timeout(PATIENCE, work).await.map_err(|_| format!("no answer within {PATIENCE:?}"))
}

/// One request on a connection of its own.
async fn converse(stream: Box<dyn Io>, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Wrong> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Takes the sender, whose end closes the connection: the process would keep it for the next request.
    driven(connection, async move { whole(sender.send_request(request).await?).await }).await
}

/// What comes of `exchange` on `connection`. What ends that one early is told by the exchange.
async fn driven<T>(connection: impl Future, exchange: impl Future<Output = Result<T, Wrong>>) -> Result<T, Wrong> {
    tokio::join!(exchange, connection).0
}

async fn whole(answer: Response<Incoming>) -> Result<(StatusCode, Bytes), Wrong> {
    let status = answer.status();
    Ok((status, Limited::new(answer.into_body(), ANSWER_SIZE).collect().await?.to_bytes()))
}

/// Where a process that listens on `address` is called from here.
fn callable(address: Address) -> Address {
    match address {
        Address::Tcp(tcp) if tcp.ip().is_unspecified() => {
            let loopback: IpAddr = if tcp.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            Address::Tcp(SocketAddr::new(loopback, tcp.port()))
        }
        other => other,
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let address = match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Some(Address::Unix(path.into())),
        Some(_) => None,
        None => text.parse().ok().filter(|address: &SocketAddr| address.port() != 0).map(Address::Tcp),
    };
    address.map(callable).ok_or_else(|| "wanted IP:PORT or unix:/PATH, such as 127.0.0.1:9900".into())
}

fn read_token(path: &Path) -> Result<Secret, Failure> {
    let wrong = |why: &dyn fmt::Display| Failure::Unclear(format!("the token file {}: {why}", path.display()));
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(TOKEN_SIZE).read_to_end(&mut bytes));
    read.map_err(|error| wrong(&error))?;
    let token = Secret::new(&bytes);
    if token.expose().is_empty() { Err(wrong(&"it is empty")) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{File, file};
    use super::*;
    use crate::admin::{
        command::Reloaded,
        testing::{Admin, Play},
    };
    use std::{convert::Infallible, future::pending};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[test]
    fn an_address_is_ip_and_port_or_a_socket() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        assert_eq!(parse_address("192.0.2.1:9900"), tcp("192.0.2.1:9900"));
        assert_eq!(parse_address("0.0.0.0:9900"), tcp("127.0.0.1:9900"));
        assert_eq!(parse_address("[::]:9900"), tcp("[::1]:9900"));
        assert_eq!(parse_address("unix:/run/x"), Ok(Address::Unix("/run/x".into())));
        for wrong in ["", "unix:", "9900", "127.0.0.1", "127.0.0.1:0", "localhost:9900", "/run/x", "http://127.0.0.1:1"]
        {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_become_segments() {
        assert_eq!(segment("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(segment("unix:/run/ä?x"), "unix:%2Frun%2F%C3%A4%3Fx");
    }

    fn remote(config: &str) -> (File, Remote) {
        let file = file(config);
        let remote = Remote { config: file.0.clone(), admin: None, token_file: None };
        (file, remote)
    }

    const POOL: &str = "listener.address = \"[::]:0\"\npool.web.backends = [\"10.0.0.1:80\"]\n";

    #[test]
    fn the_file_says_whom_to_call() {
        let address = |admin: &str| {
            let (_file, remote) = remote(&format!("{POOL}{admin}"));
            remote.caller().map(|caller| caller.address.to_string()).map_err(|failure| failure.to_string())
        };
        assert_eq!(address(""), Ok("127.0.0.1:9900".into()));
        assert_eq!(address("admin.address = \"0.0.0.0:9901\""), Ok("127.0.0.1:9901".into()));
        assert_eq!(address("admin.address = \"[::]:9901\""), Ok("[::1]:9901".into()));
        assert_eq!(address("admin.address = \"unix:/run/x\""), Ok("unix:/run/x".into()));
        assert!(address("admin.address = \"off\"").unwrap_err().contains("off"));
        assert!(address("admin.address = \"127.0.0.1:0\"").unwrap_err().contains("--admin"));
        assert!(address("admin.adress = 1").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn a_token_comes_from_its_file_alone_when_the_address_does_not() {
        let token = file(" secret-of-16-bytes\n");
        let (_file, mut remote) = remote(POOL);
        assert_eq!(remote.caller().unwrap().token, None);
        remote.admin = Some(Address::Unix("/run/x".into()));
        assert_eq!(remote.caller().unwrap().token, None);
        remote.token_file = Some(token.0.clone());
        assert_eq!(remote.caller().unwrap().token, Some(Secret::new(b"secret-of-16-bytes")));
        let empty = file(" \n");
        for wrong in [empty.0.clone(), "/nowhere".into()] {
            remote.token_file = Some(wrong);
            assert!(remote.caller().unwrap_err().to_string().contains("token file"));
        }
    }

    #[test]
    fn a_token_that_cannot_be_read_is_named_where_one_is_wanted() {
        let admin = Admin::tcp(Play::default(), Some("0123456789abcdef"));
        let token = "admin.token = { file = \"/nowhere/evenkeel.token\" }\n";
        let (_file, mut remote) = remote(&format!("{POOL}admin.address = \"{}\"\n{token}", admin.address));
        let reload = |remote: &Remote| {
            let caller = remote.caller().unwrap();
            caller.change::<Reloaded>(Method::POST, "/api/v1/reload", String::new()).unwrap_err().to_string()
        };
        let told = reload(&remote);
        assert!(told.contains("a token is needed") && told.contains("/nowhere/evenkeel.token"), "{told}");
        let (_file, bare) = self::remote(&format!("{POOL}admin.address = \"{}\"\n", admin.address));
        assert!(reload(&bare).contains("has no admin.token"), "{}", reload(&bare));
        let wrong = file("fedcba9876543210");
        remote.token_file = Some(wrong.0.clone());
        assert_eq!(reload(&remote), "refused: the token is wrong (401 Unauthorized)");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_falls_silent_is_told_of_in_plain_words() {
        let (news, refusal) = ("200 OK\r\nTransfer-Encoding: chunked", "401 Unauthorized\r\nContent-Length: 5");
        for said in ["".to_owned(), format!("HTTP/1.1 {news}\r\n\r\n"), format!("HTTP/1.1 {refusal}\r\n\r\n")] {
            let (ours, mut theirs) = duplex(1024);
            let answering = async {
                assert!(theirs.read(&mut [0; 512]).await.unwrap() > 0);
                theirs.write_all(said.as_bytes()).await.unwrap();
                pending::<Infallible>().await
            };
            let silent = tokio::select! {
                silent = listen(Box::new(ours), Request::new(Full::default()), |_| true) => silent.unwrap_err(),
                never = answering => match never {},
            };
            assert_eq!(silent.to_string(), "no answer within 15s", "after {said:?}");
        }
    }
}
