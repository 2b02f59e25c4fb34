//! `evenkeel run`: serves until it is told to stop. Called by `main`.

use super::TEST_FAILED;
use crate::{
    config::{LogFormat, Problems},
    runtime::{Handle, Server, State},
    telemetry::log::{self, Format},
};
use std::{io, path::Path, process::ExitCode, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves the configuration at `path` in the foreground, until TERM, INT or QUIT.
pub fn run(path: &Path) -> ExitCode {
    let mut state = State::open(&State::directory(), path);
    let (config, rolled_back) = state.load(path);
    let mut config = match config {
        Ok(config) => config,
        Err(problems) => {
            super::check::complain(&problems);
            return ExitCode::FAILURE;
        }
    };
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let level = log::init(&config.log.level, format, super::color());
    rolled_back.inspect(|said| tracing::warn!("{said}"));
    warn(config.warnings.take());
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    match Server::builder().file(path).log(level).state(state).start(config) {
        Ok(server) => signals.serve(server),
        Err(error) if error.is_of_test() => {
            failed(&error);
            ExitCode::from(TEST_FAILED)
        }
        Err(error) => failed(&error),
    }
}

fn warn(warnings: Option<Problems>) {
    if let Some(warnings) = warnings {
        tracing::warn!("the configuration is legal, and perhaps not what was meant:\n{}", warnings.render(false));
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("cannot start: {error}");
    ExitCode::FAILURE
}

/// The signals of PRODUCT.md section 5, on a small runtime of the main thread.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    ends: [Signal; 3],
    others: [Signal; 3],
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
        let others =
            [signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?];
        drop(guard);
        Ok(Self { runtime, ends, others })
    }

    /// Lets `server` run until one of them ends it: the first drains, a second one stops at once.
    pub(super) fn serve(self, mut server: Server) -> ExitCode {
        let Self { runtime, mut ends, mut others } = self;
        let handle = server.handle();
        runtime.block_on(async {
            tokio::select! {
                () = first(&mut ends) => {}
                () = obey(&mut others, &handle) => {}
            }
        });
        tracing::info!("draining");
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = first(&mut ends) => handle.stop(),
                    () = obey(&mut others, &handle) => {}
                }
            });
        });
        server.drain();
        tracing::info!("stopped");
        ExitCode::SUCCESS
    }
}

/// Resolves with the first signal that ends the process.
async fn first(ends: &mut [Signal; 3]) {
    let [term, int, quit] = ends;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = quit.recv() => {}
    }
}

/// Does what the other signals ask for, without end.
async fn obey(others: &mut [Signal; 3], handle: &Handle) {
    let [hangup, first, second] = others;
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => handle.reload(),
            Some(()) = first.recv() => handle.reopen_logs(),
            Some(()) = second.recv() => {
                tracing::warn!("this build cannot hand over to a new binary (USR2): restart it");
            }
            else => tokio::time::sleep(Duration::MAX).await,
        }
    }
}
