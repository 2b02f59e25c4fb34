//! `evenkeel run`: serves until it is told to stop. Called by `main`.

use crate::{config::Config, runtime::Server};
use std::{io, process::ExitCode};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serves `config` in the foreground, until TERM, INT or QUIT.
pub fn run(config: Config) -> ExitCode {
    log(&config.log.level);
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    match Server::start(config) {
        Ok(server) => signals.serve(server),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("cannot start: {error}");
    ExitCode::FAILURE
}

/// The program's own log, on stderr. `RUST_LOG` wins over the file.
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second subscriber, as an embedding program may have set one, is not an error.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(super::color())
        .try_init();
}

/// The signals of PRODUCT.md section 5, on a small runtime of the main thread.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    ends: [Signal; 3],
    reload: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        let reload = signal(SignalKind::hangup())?;
        drop(guard);
        Ok(Self { runtime, ends, reload })
    }

    /// Lets `server` run until one of them ends it: the first drains, a second one stops at once.
    pub(super) fn serve(mut self, mut server: Server) -> ExitCode {
        self.runtime.block_on(self_ends(&mut self.ends, Some(&mut self.reload)));
        tracing::info!("draining");
        let hurry = server.hurry();
        let Self { runtime, mut ends, .. } = self;
        std::thread::spawn(move || {
            runtime.block_on(self_ends(&mut ends, None));
            hurry.stop();
        });
        server.drain();
        tracing::info!("stopped");
        ExitCode::SUCCESS
    }
}

/// Resolves with the first signal that ends the process.
async fn self_ends(ends: &mut [Signal; 3], mut reload: Option<&mut Signal>) {
    let [term, int, quit] = ends;
    loop {
        let reloaded = async {
            match &mut reload {
                Some(reload) => reload.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => return,
            _ = int.recv() => return,
            _ = quit.recv() => return,
            _ = reloaded => tracing::warn!("this build cannot reload its configuration: restart it"),
        }
    }
}
