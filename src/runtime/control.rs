//! The control thread: what serves no client. It never blocks for long.

use super::{Admin, Shared, accept};
use std::{os::unix::net::UnixListener, sync::Arc};

/// Runs control until the process stops.
pub(super) fn run(shared: &Arc<Shared>, unix: Vec<(usize, UnixListener)>, admin: Option<Admin>, name: &str) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "control has no runtime");
            std::process::abort();
        }
    };
    runtime.block_on(async {
        let accepting: Vec<_> = unix
            .into_iter()
            .map(|(number, socket)| tokio::spawn(accept::unix(Arc::clone(shared), number, socket)))
            .collect();
        let _ = (admin, name);
        accept::draining(shared).await;
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        let mut phase = shared.phase.clone();
        let _ = phase.wait_for(|phase| *phase == super::Phase::Stopped).await;
    });
}
