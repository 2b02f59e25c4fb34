//! `evenkeel explain`: what would become of a request, and why. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use http::Method;

use super::{
    remote::{Failure, Remote, finish},
    table::{printable, table},
};
use crate::{
    admin::explain::ExplainBody,
    config::{Config, Sample, Who},
    plan::{Candidate, Explanation, Plan, PoolSaid, Setting},
};

/// What is asked about, and whom.
#[derive(Args, Debug, PartialEq, Eq)]
pub struct Explain {
    /// Its method
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// Its URL, http:// or https:// with a host, or a path alone; for CONNECT host:port
    #[arg(value_name = "URL")]
    pub url: String,
    /// A header of it; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// Who connects: an IP address, or "unix" [default: 192.0.2.1, which is in nobody's network]
    #[arg(long, value_name = "IP", value_parser = Who::parse)]
    pub from: Option<Who>,
    /// Ask the running process: how its backends are now, and the configuration that is in force
    #[arg(long)]
    pub live: bool,
    /// One JSON object, as POST /api/v1/explain answers
    #[arg(long)]
    pub json: bool,
    /// Whom to call; --admin asks the running process there.
    #[command(flatten)]
    pub remote: Remote,
}

/// Explains; exit code 1 if nobody could be asked.
pub fn explain(asked: &Explain) -> ExitCode {
    finish(try_explain(asked, &mut io::stdout().lock()))
}

fn try_explain(asked: &Explain, out: &mut impl Write) -> Result<(), Failure> {
    let headers = asked.headers.clone();
    let sample = Sample::new(&asked.method, &asked.url, headers, asked.from.unwrap_or_default());
    let sample = sample.map_err(Failure::Unclear)?;
    let explanation = match asked.live || asked.remote.admin.is_some() {
        true => ask(asked, &sample)?,
        false => alone(asked, &sample)?,
    };
    if asked.json {
        serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    Ok(tell(&explanation, out)?)
}

/// The running process says it.
fn ask(asked: &Explain, sample: &Sample) -> Result<Explanation, Failure> {
    let body = serde_json::to_string(&ExplainBody::from(sample)).map_err(io::Error::from)?;
    asked.remote.caller()?.change(Method::POST, "/api/v1/explain", body)
}

/// The file says it.
fn alone(asked: &Explain, sample: &Sample) -> Result<Explanation, Failure> {
    let file = &asked.remote.config;
    let config = Config::load(file).map_err(|problems| {
        Failure::Unclear(format!("the configuration is not valid:\n{}", problems.render(super::color())))
    })?;
    let plan = Plan::alone(&config).map_err(|why| Failure::Unclear(format!("{}: {why}", file.display())))?;
    Ok(plan.explain(&config, sample, false))
}

fn tell(explanation: &Explanation, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", printable(&explanation.headline()))?;
    let request = &explanation.request;
    let host = if request.host.is_empty() { String::new() } else { format!("{}://{}", request.scheme, request.host) };
    let from = request.client_ip.as_deref().unwrap_or("a unix socket");
    let line = format!("{} {host}{}{}", request.method, request.path, request.query);
    writeln!(out, "  {} from {from}, at listener {:?}", printable(&line), explanation.listener)?;
    for note in &explanation.notes {
        writeln!(out, "  note: {}", printable(note))?;
    }
    if let Some(answer) = &explanation.answer {
        writeln!(out, "\nanswered here: {}", printable(&answer.why))?;
        settings(&answer.headers, out)?;
    }
    if !explanation.routes.is_empty() {
        writeln!(out, "\nroutes, in the order in which they are tried:")?;
        let mark = |matched| if matched { "->" } else { "  " };
        let rows = explanation
            .routes
            .iter()
            .map(|tried| vec![format!("{} {}", mark(tried.matched), tried.name), tried.why.clone()]);
        table(&rows.collect::<Vec<_>>(), out)?;
    }
    if !explanation.settings.is_empty() {
        writeln!(out, "\nin force:")?;
        settings(&explanation.settings, out)?;
    }
    if !explanation.response_headers.is_empty() {
        writeln!(out, "\nwith the answer:")?;
        settings(&explanation.response_headers, out)?;
    }
    if !explanation.split.is_empty() {
        writeln!(out, "\nsplit:")?;
        let kept = |kept| if kept { "kept here" } else { "" };
        let rows = explanation
            .split
            .iter()
            .map(|side| vec![format!("  {}", side.pool), side.share.clone(), kept(side.kept).to_owned()]);
        table(&rows.collect::<Vec<_>>(), out)?;
    }
    explanation.pools.iter().try_for_each(|said| pool(said, &explanation.candidates, out))
}

fn settings(settings: &[Setting], out: &mut impl Write) -> io::Result<()> {
    let rows = settings.iter().map(|setting| vec![format!("  {}", setting.name), setting.value.clone()]);
    table(&rows.collect::<Vec<_>>(), out)
}

fn pool(said: &PoolSaid, candidates: &[Candidate], out: &mut impl Write) -> io::Result<()> {
    let backend = said.backend.as_ref().map_or_else(String::new, |name| format!(", backend {name:?}"));
    writeln!(out, "\npool {:?}: {}{}", said.name, said.algorithm, printable(&backend))?;
    settings(&said.settings, out)?;
    writeln!(out)?;
    let own = candidates.iter().filter(|candidate| candidate.pool == said.name);
    let live = own.clone().any(|candidate| candidate.usable.is_some());
    let mut rows = vec![["  BACKEND", "ADDRESS", "STATE", "WEIGHT", "IN FLIGHT", "REASON"].map(str::to_owned).to_vec()];
    rows.extend(own.map(row));
    if !live {
        // Nobody was asked how they are.
        rows.iter_mut().for_each(|row| row.truncate(4));
    }
    table(&rows, out)
}

fn row(candidate: &Candidate) -> Vec<String> {
    let backup = if candidate.backup { " (backup)" } else { "" };
    let weight = match candidate.effective_weight {
        Some(effective) if effective != f64::from(candidate.weight) => format!("{} of {}", effective, candidate.weight),
        _ => candidate.weight.to_string(),
    };
    let most = candidate.max_in_flight.map_or_else(String::new, |most| format!(" of {most}"));
    let in_flight = candidate.in_flight.map_or_else(String::new, |count| format!("{count}{most}"));
    let why = match candidate.usable {
        Some(false) if candidate.reason.is_empty() => "cannot be chosen now".to_owned(),
        _ => candidate.reason.clone(),
    };
    vec![
        format!("  {}{backup}", candidate.name),
        candidate.address.clone(),
        candidate.state.clone(),
        weight,
        in_flight,
        why,
    ]
}

/// `NAME: VALUE`, as curl has it.
fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("wanted NAME: VALUE, such as 'accept: text/html'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
