//! `evenkeel backends`: lists the backends of the running process, and changes one of them. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Subcommand;
use http::Method;

use super::{
    remote::{Caller, Failure, Remote, backend_path, finish, pool_path},
    status,
    table::printable,
};
use crate::admin::command::{
    AdminState, BackendChange, BackendView, MAX_WEIGHT, PoolView, Pools, Removal, parse_deadline,
};

/// What is to be done with backends.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Show them all, or those of one pool
    #[command(after_help = "Example: evenkeel backends list --pool web")]
    List,
    /// Send it no new clients; those who stick to it stay, and exchanges go on
    #[command(after_help = "Example: evenkeel backends drain 10.0.1.10:8080 --deadline 5m")]
    Drain {
        /// Its name; its address, where it has none
        name: String,
        /// End what is left after this long, within 5 s then
        #[arg(long, value_name = "DURATION", value_parser = parse_deadline)]
        deadline: Option<Duration>,
    },
    /// Let it serve again, while it is healthy
    #[command(after_help = "Example: evenkeel backends enable 10.0.1.10:8080")]
    Enable {
        /// Its name; its address, where it has none
        name: String,
    },
    /// Put it into maintenance: it takes nothing
    #[command(after_help = "Example: evenkeel backends disable 10.0.1.10:8080")]
    Disable {
        /// Its name; its address, where it has none
        name: String,
    },
    /// Add one to the pool at --pool, or to the only one, until the file has it itself
    #[command(after_help = "Example: evenkeel backends add 10.0.1.12:8080 --pool web --weight 3")]
    Add {
        /// Where it is called, as in the file
        address: String,
        /// What it is called; its address, without
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// 0 to 1000
        #[arg(long, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_WEIGHT)))]
        weight: Option<u32>,
        /// Use it only while no other can be
        #[arg(long)]
        backup: bool,
    },
    /// Remove one, until the file changes it; exchanges with it may end within `server.drain_timeout`
    #[command(after_help = "Example: evenkeel backends remove 10.0.1.12:8080")]
    Remove {
        /// Its name; its address, where it has none
        name: String,
        /// End what is left after this long, within 5 s then, if that is sooner
        #[arg(long, value_name = "DURATION", value_parser = parse_deadline)]
        deadline: Option<Duration>,
    },
    /// Set its weight
    #[command(after_help = "Example: evenkeel backends weight 10.0.1.10:8080 3")]
    Weight {
        /// Its name; its address, where it has none
        name: String,
        /// 0 to 1000; 0 = clients who stick to it alone
        #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_WEIGHT)))]
        weight: u32,
    },
}

/// Does `action`, in `pool` where it is named; exit code 1 if it is refused.
pub fn backends(remote: &Remote, pool: Option<&str>, action: &Action) -> ExitCode {
    finish(try_backends(remote, pool, action, &mut io::stdout().lock()))
}

fn try_backends(remote: &Remote, pool: Option<&str>, action: &Action, out: &mut impl Write) -> Result<(), Failure> {
    let caller = remote.caller()?;
    match action {
        Action::Add { .. } => return add(pool, action, &caller, out),
        Action::Remove { name, deadline } => return remove(pool, name, *deadline, &caller, out),
        _ => {}
    }
    let Some((name, change)) = action.change() else {
        let pools = match pool {
            Some(pool) => vec![caller.read(&pool_path(pool))?.0],
            None => caller.read::<Pools>("/api/v1/pools")?.0.pools,
        };
        return Ok(status::pools(&pools, Some(SystemTime::now()), out)?);
    };
    let pool = match pool {
        Some(pool) => pool.to_owned(),
        None => pool_of(name, &caller)?,
    };
    let path = backend_path(&pool, name);
    let body = serde_json::to_string(&change).map_err(io::Error::from)?;
    let view: BackendView = caller.change(Method::PATCH, &path, body)?;
    let until = view.deadline.map(|deadline| format!(" until {deadline}")).unwrap_or_default();
    let (name, state, weight) = (view.name, view.state, view.weight);
    let line = format!("{pool}: {name}: {state}{until}, weight {weight}, {} in flight", view.in_flight);
    writeln!(out, "{}", printable(&line))?;
    if matches!(action, Action::Drain { .. } | Action::Disable { .. }) { warn_of_none(&pool, &caller) } else { Ok(()) }
}

/// Says on stderr that nobody is left in `pool`: what was asked for is done.
fn warn_of_none(pool: &str, caller: &Caller) -> Result<(), Failure> {
    let view: PoolView = caller.read(&pool_path(pool))?.0;
    if !view.backends.iter().any(status::can_serve) {
        let line = format!("evenkeel: warning: no backend of {pool} can serve now: its requests are refused with 503");
        let _ = writeln!(io::stderr().lock(), "{}", printable(&line));
    }
    Ok(())
}

fn add(pool: Option<&str>, action: &Action, caller: &Caller, out: &mut impl Write) -> Result<(), Failure> {
    let Action::Add { address, name, weight, backup } = action else { return Ok(()) };
    let pool = match pool {
        Some(pool) => pool.to_owned(),
        None => only(caller)?,
    };
    let path = format!("{}/backends", pool_path(&pool));
    let body = serde_json::json!({ "address": address, "name": name, "weight": weight, "backup": backup });
    let view: BackendView = caller.change(Method::POST, &path, body.to_string())?;
    Ok(writeln!(
        out,
        "{}",
        printable(&format!("{pool}: {}: added, {}, weight {}", view.name, view.state, view.weight))
    )?)
}

fn remove(
    pool: Option<&str>,
    name: &str,
    deadline: Option<Duration>,
    caller: &Caller,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let pool = match pool {
        Some(pool) => pool.to_owned(),
        None => pool_of(name, caller)?,
    };
    let path = backend_path(&pool, name);
    let body = serde_json::to_string(&Removal { deadline }).map_err(io::Error::from)?;
    let view: BackendView = caller.change(Method::DELETE, &path, body)?;
    writeln!(out, "{}", printable(&format!("{pool}: {}: removed, {} in flight", view.name, view.in_flight)))?;
    warn_of_none(&pool, caller)
}

/// The pool, if there is one alone.
fn only(caller: &Caller) -> Result<String, Failure> {
    let Pools { pools } = caller.read("/api/v1/pools")?.0;
    let names: Vec<_> = pools.into_iter().map(|pool| pool.name).collect();
    match &names[..] {
        [pool] => Ok(pool.clone()),
        _ => Err(Failure::Unclear(format!("there are several pools: {}; name one with --pool", names.join(", ")))),
    }
}

/// The only pool that has a backend of that name.
fn pool_of(name: &str, caller: &Caller) -> Result<String, Failure> {
    let Pools { pools } = caller.read("/api/v1/pools")?.0;
    let has = |pool: &PoolView| pool.backends.iter().any(|backend| backend.name == name);
    let names: Vec<_> = pools.into_iter().filter(has).map(|pool| pool.name).collect();
    match &names[..] {
        [pool] => Ok(pool.clone()),
        [] => Err(Failure::Unclear(format!("no pool has a backend {name:?}: see `evenkeel backends list`"))),
        _ => {
            let pools = names.join(", ");
            Err(Failure::Unclear(format!("several pools have a backend {name:?}: {pools}; name one with --pool")))
        }
    }
}

impl Action {
    /// Which backend is to change, and what of it.
    fn change(&self) -> Option<(&str, BackendChange)> {
        let to = |state| BackendChange { state: Some(state), ..BackendChange::default() };
        match self {
            Self::List | Self::Add { .. } | Self::Remove { .. } => None,
            Self::Drain { name, deadline } => {
                Some((name, BackendChange { deadline: *deadline, ..to(AdminState::Drain) }))
            }
            Self::Enable { name } => Some((name, to(AdminState::Ready))),
            Self::Disable { name } => Some((name, to(AdminState::Maintenance))),
            Self::Weight { name, weight } => {
                Some((name, BackendChange { weight: Some(*weight), ..BackendChange::default() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, remote, said};
    use super::*;
    use crate::admin::testing::{Admin, Play, TOKEN};

    fn told(admin: &Admin, pool: Option<&str>, action: Action) -> Result<String, String> {
        let token = file(TOKEN);
        said(|out| try_backends(&remote(admin, Some(&token)), pool, &action, out))
    }

    fn backend(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn they_are_listed_by_pool() {
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let all = told(&admin, None, Action::List).unwrap();
        assert_eq!(all.lines().count(), 5, "{all}");
        assert!(all.starts_with("POOL  BACKEND ") && all.contains("\nweb   unix:/run/x  "), "{all}");
        let one = told(&admin, Some("api"), Action::List).unwrap();
        assert!(one.lines().count() == 3 && !one.contains("web"), "{one}");
        let none = told(&admin, Some("né/x"), Action::List);
        assert_eq!(none, Err("refused: there is no pool \"né/x\" (404 Not Found)".into()));
    }

    #[test]
    fn one_is_changed_over_tcp_and_over_a_socket() {
        for admin in [Admin::tcp(Play::default(), Some(TOKEN)), Admin::unix(Play::default())] {
            let five = Some(Duration::from_secs(300));
            let drained = told(&admin, None, Action::Drain { name: backend("b"), deadline: five });
            assert_eq!(drained, Ok("api: b: drain, weight 1, 3 in flight\n".into()));
            let listed = told(&admin, Some("api"), Action::List).unwrap();
            assert!(listed.contains("within 300s"), "{listed}");
            let disabled = told(&admin, None, Action::Disable { name: backend("unix:/run/x") });
            assert_eq!(disabled, Ok("web: unix:/run/x: maintenance, weight 1, 3 in flight\n".into()));
            let enabled = told(&admin, None, Action::Enable { name: backend("unix:/run/x") });
            assert_eq!(enabled, Ok("web: unix:/run/x: ready, weight 1, 3 in flight\n".into()));
            let weighed = told(&admin, Some("web"), Action::Weight { name: backend("a"), weight: 0 });
            assert_eq!(weighed, Ok("web: a: ready, weight 0, 3 in flight\n".into()));
        }
    }

    #[test]
    fn one_is_added_and_removed() {
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let new = || Action::Add { address: "10.0.0.9:80".into(), name: Some("c".into()), weight: None, backup: false };
        assert_eq!(told(&admin, Some("api"), new()), Ok("api: c: added, ready, weight 1\n".into()));
        let several = told(&admin, None, new()).unwrap_err();
        assert!(several.contains("web, api") && several.contains("--pool"), "{several}");
        let wrong = Action::Add { address: "10.0.0.9".into(), name: None, weight: None, backup: false };
        let wrong = told(&admin, Some("api"), wrong).unwrap_err();
        assert!(wrong.contains("backend.address"), "{wrong}");
        let gone = || Action::Remove { name: backend("c"), deadline: None };
        assert_eq!(told(&admin, None, gone()), Ok("api: c: removed, 3 in flight\n".into()));
        assert!(told(&admin, None, gone()).unwrap_err().contains("no pool has a backend"));
    }

    #[test]
    fn a_name_that_is_not_there_or_there_twice_is_told() {
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let twice = told(&admin, None, Action::Enable { name: backend("a") }).unwrap_err();
        assert!(twice.contains("web, api") && twice.contains("--pool"), "{twice}");
        let none = told(&admin, None, Action::Enable { name: backend("c") }).unwrap_err();
        assert!(none.contains("\"c\""), "{none}");
        let none = told(&admin, Some("web"), Action::Enable { name: backend("c") });
        assert_eq!(none, Err("refused: there is no backend \"c\" (404 Not Found)".into()));
    }
}
