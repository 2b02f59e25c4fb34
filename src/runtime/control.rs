//! The control thread: what serves no client. It never blocks for long.

use super::{Admin, Ready, Shared, accept};
use crate::admin;
use arc_swap::ArcSwapOption;
use std::{
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::sync::mpsc;

/// Runs control until the process stops.
pub(super) fn run(
    shared: &Arc<Shared>,
    unix: Vec<(usize, UnixListener)>,
    admin: Option<Admin>,
    name: &str,
    ready: &Ready,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let _ = ready.send(Ok(()));
    let draining = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        accept::started(shared).await;
        let accepting: Vec<_> = unix
            .into_iter()
            .map(|(number, socket)| tokio::spawn(accept::unix(Arc::clone(shared), number, socket)))
            .collect();
        if let Some(admin) = admin {
            // Nobody reads commands: the API answers them with 503, and says so.
            let asked = admin::Shared {
                telemetry: Arc::clone(&shared.telemetry),
                name: name.to_string(),
                token: Arc::new(ArcSwapOption::empty()),
                commands: mpsc::unbounded_channel().0,
                draining: Arc::clone(&draining),
            };
            tokio::spawn(serve_admin(admin, asked));
        }
        accept::draining(shared).await;
        draining.store(true, Relaxed);
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        let mut phase = shared.phase.clone();
        let _ = phase.wait_for(|phase| *phase == super::Phase::Stopped).await;
    });
}

async fn serve_admin(socket: Admin, shared: admin::Shared) {
    let listener = match socket {
        Admin::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(admin::Listener::Tcp),
        Admin::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(admin::Listener::Unix),
    };
    match listener {
        Ok(listener) => admin::serve(listener, shared, admin::Access::Full).await,
        Err(error) => tracing::error!(%error, "the admin listener cannot be served"),
    }
}
