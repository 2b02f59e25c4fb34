//! The signals that end `top`: the terminal is put back first.

use std::{future::poll_fn, io, sync::mpsc::Sender, task::Poll, thread, time::Duration};

use ratatui::crossterm::terminal::disable_raw_mode;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::feed::News;

/// For the screen to end by itself; a terminal that takes nothing any more may hold it up.
const GRACE: Duration = Duration::from_secs(1);

/// Catches them from now on, on a thread of its own; the first one is news.
pub(super) fn start(news: Sender<News>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
    let mut signals = Vec::with_capacity(kinds.len());
    for kind in kinds {
        signals.push((u8::try_from(kind.as_raw_value()).unwrap_or_default(), signal(kind)?));
    }
    drop(guard);
    thread::spawn(move || {
        let number = runtime.block_on(first(&mut signals));
        let _ = news.send(News::Ended(number));
        thread::sleep(GRACE);
        let _ = disable_raw_mode();
        std::process::exit(128 + i32::from(number));
    });
    Ok(())
}

/// The number of the first that comes.
async fn first(signals: &mut [(u8, Signal)]) -> u8 {
    poll_fn(|context| {
        let mut came =
            signals.iter_mut().filter_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number));
        came.next().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
