//! `evenkeel status`: how the running process is. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use super::{
    remote::{Failure, Remote, finish},
    table::{printable, table},
};
use crate::admin::{
    chaos::ChaosView,
    command::{BackendView, Override, PoolView, Status},
};

/// Tells people, or tools if `json`: then it is the API's own answer.
pub fn status(remote: &Remote, json: bool) -> ExitCode {
    finish(try_status(remote, json, &mut io::stdout().lock()))
}

fn try_status(remote: &Remote, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let (status, body) = remote.caller()?.read::<Status>("/api/v1/status")?;
    if json {
        out.write_all(&body)?;
        writeln!(out)?;
        return Ok(());
    }
    Ok(tell(&status, out)?)
}

fn tell(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let uptime = humantime::format_duration(Duration::from_secs(status.about.uptime_seconds));
    let line =
        format!("evenkeel {} on {}: {}, for {uptime}", status.about.version, status.about.instance, status.about.phase);
    writeln!(out, "{}, with {} workers", printable(&line), status.about.workers)?;
    summary(&status.pools, out)?;
    let (config, generation) = (&status.about.config, status.about.generation);
    writeln!(out, "{}: generation {generation}", printable(&config.file))?;
    let came_to = if config.last_reload_successful { "accepted" } else { "refused, the one before it is in use" };
    writeln!(out, "last read {}: {came_to}", printable(&config.last_reload))?;
    if let Some(time) = &config.rolled_back_to {
        writeln!(out, "rolled back to the configuration of {}, until the file changes", printable(time))?;
    }
    if let Some(error) = &config.error {
        writeln!(out, "{}", printable(error.trim_end()))?;
    }
    writeln!(out)?;
    let mut rows = vec![row(&["LISTENER", "ADDRESS", "CONNECTIONS"])];
    rows.extend(status.listeners.iter().map(|view| row(&[&view.name, &view.address, &view.connections.to_string()])));
    table(&rows, out)?;
    writeln!(out)?;
    pools(&status.pools, now(status), out)?;
    if !status.overrides.is_empty() {
        writeln!(out, "\nchanged over the admin API, different from the file:")?;
        let view = |view: &Override| row(&[&view.pool, &view.backend, &view.what]);
        table(&status.overrides.iter().map(view).collect::<Vec<_>>(), out)?;
    }
    if !status.about.chaos.is_empty() {
        writeln!(out, "\nfailures that are being rehearsed:")?;
        let mut rows = vec![row(&["ROUTE", "SHARE", "WHAT", "ENDS", "HITS"])];
        let view = |view: &ChaosView| {
            let route = view.route.as_deref().unwrap_or("(all)");
            row(&[route, &view.share, &view.what(), &view.ends, &view.hits.to_string()])
        };
        rows.extend(status.about.chaos.iter().map(view));
        table(&rows, out)?;
    }
    Ok(())
}

/// How many backends can serve.
fn summary(pools: &[PoolView], out: &mut impl Write) -> io::Result<()> {
    let all: Vec<&BackendView> = pools.iter().flat_map(|pool| &pool.backends).collect();
    if all.is_empty() {
        return Ok(());
    }
    let serve = all.iter().filter(|view| can_serve(view)).count();
    writeln!(out, "{serve} of {} backends can serve", all.len())
}

/// New clients may come to it.
pub(super) fn can_serve(view: &BackendView) -> bool {
    matches!(&*view.state, "ready" | "degraded")
}

/// The time where the process is: its clock and ours may differ.
fn now(status: &Status) -> Option<SystemTime> {
    let started = humantime::parse_rfc3339(&status.about.started).ok()?;
    started.checked_add(Duration::from_secs(status.about.uptime_seconds))
}

/// The backends of `pools`, a line each, as they are `now`. The reason comes last: it may be long, and mostly there is none.
pub(super) fn pools(pools: &[PoolView], now: Option<SystemTime>, out: &mut impl Write) -> io::Result<()> {
    let title = [
        "POOL",
        "BACKEND",
        "ADDRESS",
        "STATE",
        "FOR",
        "CIRCUIT",
        "WEIGHT",
        "IN FLIGHT",
        "REQUESTS",
        "ERRORS",
        "REASON",
    ];
    let mut rows = vec![row(&title)];
    for pool in pools {
        if pool.backends.is_empty() {
            rows.push(row(&[&pool.name, "(none)", "", "down", "", &pool.circuit, "", "", "", "", &pool.reason]));
        }
        for view in &pool.backends {
            let [in_flight, requests, errors] =
                [view.in_flight, view.requests, view.errors].map(|number| number.to_string());
            rows.push(row(&[
                &pool.name,
                &view.name,
                &view.address,
                &state(view),
                &age(view, now),
                &circuit(pool, view),
                &weight(view),
                &in_flight,
                &requests,
                &errors,
                &reason(view),
            ]));
        }
    }
    table(&rows, out)?;
    for pool in pools.iter().filter(|pool| pool.queue > 0) {
        writeln!(out, "{} waiting in the queue of {}: all of its backends are full", pool.queue, pool.name)?;
    }
    Ok(())
}

/// Its state, and whether it stands by for the others.
fn state(view: &BackendView) -> String {
    if view.backup { format!("{} (backup)", view.state) } else { view.state.clone() }
}

/// For how long it has been in that state, roughly.
fn age(view: &BackendView, now: Option<SystemTime>) -> String {
    let since = humantime::parse_rfc3339(&view.since).ok();
    let age = now.zip(since).map(|(now, since)| now.duration_since(since).unwrap_or_default());
    let age = age.map(|age| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string());
    age.unwrap_or_default().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Its own circuit, or that of its pool where that one does not let everything through.
fn circuit(pool: &PoolView, view: &BackendView) -> String {
    if matches!(&*pool.circuit, "" | "closed") { view.circuit.clone() } else { format!("pool {}", pool.circuit) }
}

/// What the operator set, and how much of it a backend has that begins slowly, or cannot be chosen.
fn weight(view: &BackendView) -> String {
    let (set, effective) = (view.weight, view.effective_weight);
    match effective {
        _ if effective >= f64::from(set) => set.to_string(),
        0.0 => format!("0 of {set}"),
        _ => format!("{effective:.2} of {set}"),
    }
}

/// It has a part of its weight, as one that has just come.
fn begins_slowly(view: &BackendView) -> bool {
    view.effective_weight > 0.0 && view.effective_weight < f64::from(view.weight)
}

/// Why it is in its state, and until when its drain lasts; that it begins slowly.
fn reason(view: &BackendView) -> String {
    let until = view.deadline.as_ref().map(|deadline| format!("until {deadline}"));
    let said = Some(view.reason.clone()).filter(|reason| !reason.is_empty());
    let slow = begins_slowly(view).then(|| "slow start".to_owned());
    said.into_iter().chain(until).chain(slow).collect::<Vec<_>>().join(", ")
}

fn row(cells: &[&str]) -> Vec<String> {
    // A line break in a cell would break the table.
    cells.iter().map(|cell| cell.replace('\n', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{remote, said};
    use super::*;
    use crate::admin::testing::{Admin, Play};
    use crate::policy::Blow;

    fn told(play: Play, json: bool) -> String {
        let admin = Admin::tcp(play, None);
        said(|out| try_status(&remote(&admin, None), json, out)).unwrap()
    }

    #[test]
    fn people_read_a_table() {
        let mut play = Play::default();
        play.pools[0].backends[1].effective_weight = 0.55;
        let sick = &mut play.pools[1].backends[0];
        (sick.state, sick.effective_weight) = ("down".into(), 0.0);
        sick.reason = "status 503\u{1b}[0m".into();
        play.pools[0].backends[0].circuit = "half-open".into();
        play.pools[1].circuit = "open".into();
        let drained = &mut play.pools[1].backends[1];
        (drained.state, drained.reason) = ("drain".into(), "admin".into());
        drained.deadline = Some("2026-01-02T04:00:00Z".into());
        drained.since = "2026-01-02T04:06:05Z".into();
        let text = "\
evenkeel 0.1.0 on lb-1: running, for 1h 2m 3s, with 2 workers
2 of 4 backends can serve
/etc/evenkeel/evenkeel.toml: generation 7
last read 2026-01-02T03:04:05Z: accepted

LISTENER  ADDRESS     CONNECTIONS
web       0.0.0.0:80  12

POOL  BACKEND      ADDRESS      STATE  FOR    CIRCUIT    WEIGHT     IN FLIGHT  REQUESTS  ERRORS  REASON
web   a            10.0.0.1:80  ready  1h 2m  half-open  1          3          42        2
web   unix:/run/x  unix:/run/x  ready  1h 2m  closed     0.55 of 1  3          42        2       slow start
api   a            10.0.0.1:80  down   1h 2m  pool open  0 of 1     3          42        2       status 503\u{fffd}[0m
api   b            10.0.0.1:80  drain  3s     pool open  1          3          42        2       admin, until 2026-01-02T04:00:00Z

changed over the admin API, different from the file:
api  b  weight 3, 1 in the file
";
        assert_eq!(told(play, false), text);
    }

    #[test]
    fn what_is_rehearsed_is_told() {
        let of_route = ChaosView::new(Some("api"), 0.1, Blow::Abort(503), "2026-01-02T03:09:05Z", 7);
        let of_all = ChaosView::new(None, 1.0, Blow::Reset, "2026-01-02T03:09:06Z", 0);
        let text = told(Play { chaos: vec![of_route, of_all], ..Play::default() }, false);
        let rehearsed = "
failures that are being rehearsed:
ROUTE  SHARE  WHAT       ENDS                  HITS
api    10%    abort 503  2026-01-02T03:09:05Z  7
(all)  100%   reset      2026-01-02T03:09:06Z  0
";
        assert!(text.ends_with(rehearsed), "{text}");
    }

    #[test]
    fn a_file_that_was_refused_is_told_with_its_problems() {
        let play = Play { file: Some("error: x\n --> evenkeel.toml:1:1\n".into()), ..Play::default() };
        let text = told(play, false);
        assert!(text.contains("refused, the one before it is in use\nerror: x\n --> evenkeel.toml:1:1\n\n"), "{text}");
    }

    #[test]
    fn a_process_is_asked_over_a_unix_socket_as_well() {
        let admin = Admin::unix(Play::default());
        let text = said(|out| try_status(&remote(&admin, None), false, out)).unwrap();
        assert_eq!(text, told(Play::default(), false));
    }

    #[test]
    fn tools_read_the_answer() {
        let text = told(Play::default(), true);
        let status: Status = serde_json::from_str(&text).unwrap();
        assert_eq!((status.about.generation, status.pools), (7, Play::default().pools));
    }
}
