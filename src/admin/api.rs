//! `/api/v1`: reads a request, sends the [`Command`] that it means to control, and tells what came of it. Called by `answer`.
//!
//! Everything is bounded: the size of a body, the time for it, and the wait for control. What changes something is told
//! in the log, with who asked; that line is written even when the client has left.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::chaos::ChaosChange;
use super::command::{
    BackendChange, BackendView, Command, PoolChange, PoolView, Pools, Refused, ReloadOrder, Reloaded, Removal, Rules,
    Status,
};
use super::explain::ExplainBody;
use super::openapi;
use super::path::Resource;
use super::permit;
use super::problem::{Answer, Problem, json};
use super::{Limits, Peer, Shared};
use crate::config::{Backend, Problems, Secret};
use crate::telemetry::Seldom;

/// Whoever asks for the lines that tell who has changed what: `log.level = "warn,evenkeel::audit=info"`.
const AUDIT: &str = "evenkeel::audit";
/// How often it is said at the most that somebody has no token, or a wrong one.
const STRANGERS: Duration = Duration::from_secs(1);
/// Bytes of a request's body.
const BODY_SIZE: usize = 64 * 1024;
/// Bytes of a configuration.
const CONFIG_SIZE: usize = 1024 * 1024;
/// Bytes of a larger body that are read and forgotten, so that its client comes to read the refusal.
const BODY_DRAIN: usize = 1024 * 1024;

/// The resources below `/api/v1`.
#[derive(Debug)]
pub(super) struct Api {
    token: Arc<ArcSwapOption<Secret>>,
    commands: mpsc::UnboundedSender<Command>,
    body: Duration,
    command: Duration,
    /// Says that somebody may not change anything.
    strangers: Seldom,
}

/// The body of a rollback, which may be left out: nothing can be asked of it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Api {
    pub(super) fn new(shared: &Shared, limits: &Limits) -> Self {
        Self {
            token: Arc::clone(&shared.token),
            commands: shared.commands.clone(),
            body: limits.body,
            command: limits.command,
            strangers: Seldom::new(STRANGERS),
        }
    }

    /// The answer to `request` for `resource`, which has its method.
    pub(super) async fn answer(
        &self,
        resource: Resource,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Answer, Problem> {
        match resource {
            Resource::Backends(pool) => self.add(pool, request, peer).await,
            Resource::Backend(pool, backend) if request.method() == Method::DELETE => {
                self.remove((pool, backend), request, peer).await
            }
            Resource::Backend(pool, backend) => self.change((pool, backend), request, peer).await,
            Resource::Pool(pool) if request.method() == Method::PATCH => self.change_pool(pool, request, peer).await,
            Resource::Reload => self.reload(request, peer).await,
            Resource::Rollback => self.rollback(request, peer).await,
            Resource::Diff => self.diff(request, peer).await,
            Resource::Chaos => self.chaos(request, peer).await,
            Resource::Explain => self.explain(request).await,
            Resource::OpenApi => Ok(json(&*openapi::DOCUMENT, None)),
            reading => self.read(reading).await,
        }
    }

    /// All of it comes from one status: its generation may be older than what the pools say, and is never newer.
    async fn read(&self, resource: Resource) -> Result<Answer, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Status(reply))?;
        let status: Status = self.wait(async { answer.await.ok() }).await?;
        let generation = Some(status.about.generation);
        match resource {
            Resource::Pools => Ok(json(&Pools { pools: status.pools }, generation)),
            Resource::Pool(name) => match status.pools.iter().find(|pool| pool.name == name) {
                Some(pool) => Ok(json(pool, generation)),
                None => Err(Refused::NotFound(format!("pool {name:?}")).into()),
            },
            _ => Ok(json(&status, generation)),
        }
    }

    async fn change(
        &self,
        (pool, backend): (String, String),
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let change: BackendChange = parse(&body)?;
        change.check().map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
        let mut before = self.before(&pool, Some(&backend))?;
        let (by, asked) = (peer.to_string(), change.clone());
        let command = {
            let (pool, backend) = (pool.clone(), backend.clone());
            |reply| Command::Change { pool, backend, change, if_match, reply }
        };
        let view = self.order(command, move |after| {
            let view = before.try_recv().unwrap_or_default();
            tell_change(&by, (&pool, view.as_ref()), &backend, &asked, after);
        });
        Ok(json(&view.await?, None))
    }

    async fn add(&self, pool: String, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let wrong = |problems: Problems| Problem::new(StatusCode::BAD_REQUEST, problems.render(false));
        let table: serde_json::Map<_, _> = parse(&body)?;
        let asked = serde_json::to_string(&table).unwrap_or_default();
        let backend = Box::new(Backend::of_json(table).map_err(wrong)?);
        let (by, of, name) = (peer.to_string(), pool.clone(), backend.name.clone());
        let view = self.order(
            |reply| Command::Add { pool, backend, if_match, reply },
            move |after| match after {
                Ok(_) => tracing::info!(target: AUDIT, by, pool = of, backend = name, asked, "added over the admin API"),
                Err(refused) => {
                    let why = why(refused);
                    tracing::info!(target: AUDIT, by, pool = of, backend = name, asked, why, "not added over the admin API");
                }
            },
        );
        let mut answer = json(&view.await?, None);
        *answer.status_mut() = StatusCode::CREATED;
        Ok(answer)
    }

    async fn remove(
        &self,
        (pool, backend): (String, String),
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let Removal { deadline } = parse_if_there(&body)?;
        let asked = serde_json::to_string(&Removal { deadline }).unwrap_or_default();
        let (by, of, name) = (peer.to_string(), pool.clone(), backend.clone());
        let view = self.order(
            |reply| Command::Remove { pool, backend, deadline, if_match, reply },
            move |after| match after {
                Ok(_) => tracing::info!(target: AUDIT, by, pool = of, backend = name, asked, "removed over the admin API"),
                Err(refused) => {
                    let why = why(refused);
                    tracing::info!(target: AUDIT, by, pool = of, backend = name, asked, why, "not removed over the admin API");
                }
            },
        );
        Ok(json(&view.await?, None))
    }

    async fn change_pool(&self, pool: String, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let change: PoolChange = parse(&body)?;
        change.check().map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
        let mut before = self.before(&pool, None)?;
        let (by, asked) = (peer.to_string(), serde_json::to_string(&change).unwrap_or_default());
        let name = pool.clone();
        let view = self.order(
            |reply| Command::ChangePool { pool: name, change, if_match, reply },
            move |after| {
                let from = before.try_recv().unwrap_or_default().map(|view| view.circuit).unwrap_or_default();
                match after {
                    Ok(view) => {
                        tracing::info!(target: AUDIT, by, pool, asked, from, to = view.circuit, "changed over the admin API");
                    }
                    Err(refused) => {
                        let why = why(refused);
                        tracing::info!(target: AUDIT, by, pool, asked, from, why, "a change over the admin API was refused");
                    }
                }
            },
        );
        Ok(json(&view.await?, None))
    }

    async fn reload(&self, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let ReloadOrder { if_drops } = parse_if_there(&body)?;
        let said = ["reloaded over the admin API", "a reload over the admin API was refused"];
        self.put_in_force(|reply| Command::Reload { if_drops, if_match, reply }, said, peer).await
    }

    /// Needs no token: it changes nothing, and tells no secret.
    async fn explain(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let body: ExplainBody = parse(&self.whole(request.into_body(), BODY_SIZE).await?)?;
        let sample = body.sample().map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Explain { sample, reply })?;
        let explanation = self.wait(async { answer.await.ok() }).await?;
        Ok(json(&explanation, None))
    }

    async fn rollback(&self, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let Nothing {} = parse_if_there(&body)?;
        let said = ["rolled back over the admin API", "a rollback over the admin API was refused"];
        self.put_in_force(|reply| Command::Rollback { if_match, reply }, said, peer).await
    }

    /// Has control put a configuration in force; the log has the first of what is `said` if it does, else the second.
    async fn put_in_force(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<Reloaded, Refused>>) -> Command,
        [done, refused]: [&'static str; 2],
        peer: &Peer,
    ) -> Result<Answer, Problem> {
        let by = peer.to_string();
        let reloaded = self.order(command, move |after| match after {
            Ok(now) => tracing::info!(target: AUDIT, by, generation = now.generation, "{done}"),
            Err(refusal) => tracing::info!(target: AUDIT, by, why = why(refusal), "{refused}"),
        });
        let reloaded = reloaded.await?;
        Ok(json(&reloaded, Some(reloaded.generation)))
    }

    /// Changes nothing, and needs the token all the same: it reads files as the process may.
    async fn diff(&self, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (head, body) = request.into_parts();
        self.authorize(&head.headers, peer)?;
        let body = self.whole(body, CONFIG_SIZE).await?;
        let wrong =
            |_| Problem::new(StatusCode::BAD_REQUEST, "the body: wanted a configuration in TOML, which is UTF-8");
        let text = String::from_utf8(body).map_err(wrong)?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Diff { text, reply })?;
        let diff = self.wait(async { answer.await.ok() }).await??;
        Ok(json(&diff, diff.generation))
    }

    async fn chaos(&self, request: Request<Incoming>, peer: &Peer) -> Result<Answer, Problem> {
        let (if_match, body) = self.permitted(request, peer).await?;
        let change: ChaosChange = parse(&body)?;
        let rule = change.rule().map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
        let (by, asked) = (peer.to_string(), serde_json::to_string(&change).unwrap_or_default());
        let chaos = self.order(
            |reply| Command::Chaos { rule, if_match, reply },
            move |after| match after {
                Ok(_) => tracing::info!(target: AUDIT, by, asked, "chaos was set over the admin API"),
                Err(refused) => {
                    tracing::info!(target: AUDIT, by, asked, why = why(refused), "chaos was not set over the admin API");
                }
            },
        );
        Ok(json(&Rules { chaos: chaos.await? }, None))
    }

    /// How the pool is now, and that backend of it. Control takes one command after the other: by the time that it has
    /// answered the next one, this has been answered.
    fn before(&self, pool: &str, backend: Option<&str>) -> Result<oneshot::Receiver<Option<PoolView>>, Problem> {
        let (reply, before) = oneshot::channel();
        self.send(Command::Pool { pool: pool.to_owned(), backend: backend.map(str::to_owned), reply })?;
        Ok(before)
    }

    /// Sends the command that `command` makes, and waits for what comes of it. `tell` writes that into the log, also when
    /// nobody waits any more.
    async fn order<T: Send + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Command,
        tell: impl FnOnce(&Result<T, Refused>) + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, after) = oneshot::channel();
        self.send(command(reply))?;
        let done = tokio::spawn(async move {
            let after = after.await;
            if let Ok(after) = &after {
                tell(after);
            }
            after
        });
        Ok(self.wait(async { done.await.ok()?.ok() }).await??)
    }

    /// The generation that it asks for and the body of a request that may change something.
    async fn permitted(&self, request: Request<Incoming>, peer: &Peer) -> Result<(Option<u64>, Vec<u8>), Problem> {
        let (head, body) = request.into_parts();
        self.authorize(&head.headers, peer)?;
        let if_match = permit::generation(&head.headers)?;
        Ok((if_match, self.whole(body, BODY_SIZE).await?))
    }

    /// A body of at most `most` bytes, in time.
    async fn whole(&self, body: Incoming, most: usize) -> Result<Vec<u8>, Problem> {
        let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body is too slow");
        timeout(self.body, read(body, most)).await.map_err(late)?
    }

    /// A unix socket's permissions say who may; others show the token.
    fn authorize(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Problem> {
        match peer {
            Peer::Unix(_) => Ok(()),
            Peer::Tcp(_) => permit::token(headers, self.token.load().as_deref()).inspect_err(|refused| {
                if let Some(times) = self.strangers.happens() {
                    let why = refused.detail();
                    tracing::warn!(target: AUDIT, by = %peer, times, "refused on the admin listener: {why}");
                }
            }),
        }
    }

    fn send(&self, command: Command) -> Result<(), Problem> {
        self.commands.send(command).map_err(|_| stopping())
    }

    /// `None` = control has dropped the command.
    async fn wait<T>(&self, answer: impl Future<Output = Option<T>>) -> Result<T, Problem> {
        match timeout(self.command, answer).await {
            Ok(answer) => answer.ok_or_else(stopping),
            Err(_) => {
                let detail = format!("control has not answered within {:?}; it may still do it", self.command);
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
            }
        }
    }
}

/// A whole body of at most `most` bytes.
async fn read(mut body: Incoming, most: usize) -> Result<Vec<u8>, Problem> {
    let (mut kept, mut taken) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let broken = |error| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        taken += data.len();
        if taken <= most {
            kept.extend_from_slice(&data);
        } else if taken > most + BODY_DRAIN {
            break;
        }
    }
    if taken > most {
        let detail = format!("the body is larger than {} KiB", most >> 10);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(kept)
}

/// An object with known keys; serde would take an array for one, too.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let wrong = |why: &dyn Display| Problem::new(StatusCode::BAD_REQUEST, format!("the body: {why}"));
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(wrong(&"wanted a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| wrong(&error))
}

/// As [`parse`], of a body that may be left out.
fn parse_if_there<T: Default + DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { parse(body) }
}

fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "control takes no commands: the process is starting or stopping")
}

/// The audit line of a change. Names come from the request: as fields they are written escaped.
fn tell_change(
    by: &str,
    (pool, view): (&str, Option<&PoolView>),
    backend: &str,
    change: &BackendChange,
    after: &Result<BackendView, Refused>,
) {
    let brief = |view: &BackendView| match &view.deadline {
        None => format!("{}, weight {}", view.state, view.weight),
        Some(until) => format!("{}, weight {}, until {until}", view.state, view.weight),
    };
    let from = view.and_then(|pool| pool.backends.first()).map(brief).unwrap_or_default();
    let asked = serde_json::to_string(change).unwrap_or_default();
    match after {
        Ok(view) => {
            let to = brief(view);
            tracing::info!(target: AUDIT, by, pool, backend, asked, from, to, "changed over the admin API");
        }
        Err(refused) => {
            let why = why(refused);
            tracing::info!(target: AUDIT, by, pool, backend, asked, from, why, "a change over the admin API was refused");
        }
    }
}

/// In a word or a line: the problems of a file are in control's own log.
fn why(refused: &Refused) -> &str {
    match refused {
        Refused::NotFound(_) => "not found",
        Refused::Stale { .. } => "someone else was faster",
        Refused::Invalid(why) | Refused::Unwanted(why) => why,
        Refused::Failed(_) => "the configuration has problems",
        Refused::TestFailed(_) => "a test of the configuration has failed",
    }
}
