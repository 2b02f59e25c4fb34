//! What the service manager and we tell each other: readiness, reloads, the watchdog, and sockets that it has opened
//! (sd_notify(3), sd_listen_fds(3)). Called by `runtime` at start, and by control.
//!
//! Without `NOTIFY_SOCKET` nothing is said. A message may block while the service manager reads none.

use super::{StartError, cannot};
use crate::{
    config::{Address, Listener},
    net::Passed,
};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::{io, time::Duration};

/// All listeners accept.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it, also one that fails. In one message, as `Type=notify-reload` wants it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// Nothing more is accepted.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// What `systemctl status` shows of us, in one line.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(&one_line(text))]);
}

/// How often [`pet`] is wanted: half of `WATCHDOG_USEC`, as sd_watchdog_enabled(3) has it. `None`: nobody watches.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| limit / 2)
}

/// Every worker has answered.
pub(crate) fn pet() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// A line break would begin a message of its own.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A socket that the service manager has opened for us.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Its `FileDescriptorName=`: the name of a listener.
    pub(crate) name: String,
    pub(crate) socket: Passed,
}

/// The sockets of `LISTEN_FDS` and their names of `LISTEN_FDNAMES`, once; none if they are another process's. To be
/// called before any other thread runs: `LISTEN_FDS` and `LISTEN_PID` leave the environment.
///
/// # Errors
/// The variables contradict each other, or a descriptor is no socket that listens for streams.
pub(crate) fn inherited() -> Result<Vec<Inherited>, StartError> {
    let unusable = || cannot("the inherited sockets cannot be used");
    // Names without sockets are what a parent was given: sd-notify would call them a contradiction.
    if sd_notify::listen_fds().map_err(unusable())?.len() == 0 {
        return Ok(Vec::new());
    }
    let names: Vec<String> = sd_notify::listen_fds_with_names().map_err(unusable())?.map(|(_, name)| name).collect();
    let mut sockets = ListenFd::from_env();
    let take = |(place, name): (usize, String)| {
        let socket =
            take(&mut sockets, place).map_err(cannot(format!("the inherited socket {name} cannot be used")))?;
        Ok(Inherited { name, socket })
    };
    names.into_iter().enumerate().map(take).collect()
}

fn take(sockets: &mut ListenFd, place: usize) -> io::Result<Passed> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    // What is of one kind stays in its place when the other is asked for.
    let tcp = sockets.take_tcp_listener(place).ok().flatten().map(Passed::Tcp);
    let unix = || sockets.take_unix_listener(place).ok().flatten().map(Passed::Unix);
    let socket = tcp.or_else(unix).ok_or_else(|| wrong("it is neither a TCP nor a unix stream socket"))?;
    let listens = match &socket {
        Passed::Tcp(socket) => rustix::net::sockopt::socket_acceptconn(socket),
        Passed::Unix(socket) => rustix::net::sockopt::socket_acceptconn(socket),
    };
    if listens? { Ok(socket) } else { Err(wrong("it does not listen (Accept=no is needed)")) }
}

/// Deals the inherited sockets out, by the listeners' numbers. One that listens elsewhere than the configuration says is
/// used, with a warning.
///
/// # Errors
/// A socket has the name of no listener, or that of another socket.
pub(crate) fn assign(inherited: Vec<Inherited>, listeners: &[Listener]) -> Result<Vec<Option<Passed>>, StartError> {
    let mut dealt: Vec<Option<Passed>> = listeners.iter().map(|_| None).collect();
    for Inherited { name, socket } in inherited {
        let Some(number) = listeners.iter().position(|listener| listener.name == name) else {
            return Err(unknown(&name, listeners));
        };
        let found = socket.address();
        if !found.as_ref().is_some_and(|found| agrees(&listeners[number].address, found)) {
            let found = found.map_or_else(|| "no address".into(), |found| found.to_string());
            tracing::warn!(listener = %name, configured = %listeners[number].address, inherited = %found,
                "the inherited socket listens elsewhere than the configuration says");
        }
        if dealt[number].replace(socket).is_some() {
            let what =
                format!("two inherited sockets are named {name}, and a listener has one: give each its own name");
            return Err(StartError::new(what));
        }
    }
    Ok(dealt)
}

fn unknown(name: &str, listeners: &[Listener]) -> StartError {
    let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let what = format!(
        "the inherited socket {name} has no listener of its name (listeners: {}): \
         FileDescriptorName= in its unit and name in [[listener]] must be equal",
        names.join(", ")
    );
    StartError::new(what)
}

/// Port 0 is any port.
fn agrees(configured: &Address, found: &Address) -> bool {
    match (configured, found) {
        (Address::Tcp(configured), Address::Tcp(found)) if configured.port() == 0 => configured.ip() == found.ip(),
        _ => configured == found,
    }
}

#[cfg(test)]
mod tests;
