//! `evenkeel top`: the running process on a terminal, live; or as JSON, a snapshot a line. Called by `main`.

mod app;
mod feed;
mod figures;
mod signals;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use http::Method;
use ratatui::{
    DefaultTerminal, Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event},
};

use self::{
    app::{App, Asked, Order},
    feed::News,
    view::Colors,
};
use super::remote::{Caller, Failure, Remote, backend_path, finish};
use super::wants_color;
use crate::admin::command::{BackendChange, BackendView, Snapshot};

/// How long keys are waited for before it is looked whether there is news.
const GLANCE: Duration = Duration::from_millis(100);
/// Columns of a screen that is written once.
const WIDTH: u16 = 160;
/// Lines of it beside the rows.
const FRAME: u16 = 6;

/// Shows the process until `q`; with `json` or `once` it is written to stdout.
pub fn top(remote: &Remote, json: bool, once: bool) -> ExitCode {
    if json || once {
        return finish(write(remote, json, once, &mut io::stdout().lock()));
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let hint = "--once writes one screen, and --json a snapshot a line";
        let _ = writeln!(io::stderr().lock(), "evenkeel: top needs a terminal; {hint}");
        return ExitCode::from(2);
    }
    match remote.caller().and_then(|caller| show(Arc::new(caller))) {
        // As shells have it.
        Ok(Some(signal)) => ExitCode::from(128 + signal),
        shown => finish(shown.map(drop)),
    }
}

/// Snapshots as they come, or, if `once`, the first that has rates.
fn write(remote: &Remote, json: bool, once: bool, out: &mut impl Write) -> Result<(), Failure> {
    let caller = remote.caller()?;
    let mut written = Ok(());
    let mut line = |text: &str| -> io::Result<ControlFlow<()>> {
        let snapshot: Snapshot = serde_json::from_str(text).map_err(io::Error::other)?;
        if once && snapshot.traffic.rates.is_none() {
            return Ok(ControlFlow::Continue(()));
        }
        if json {
            writeln!(out, "{text}")?;
        } else {
            screen(snapshot, out)?;
        }
        out.flush()?;
        Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    feed::hear(&caller, |text| {
        line(text).unwrap_or_else(|error| {
            written = Err(error);
            ControlFlow::Break(())
        })
    })?;
    Ok(written?)
}

/// What a terminal of enough room would show, without its last line.
fn screen(snapshot: Snapshot, out: &mut impl Write) -> io::Result<()> {
    let mut app = App::new(false);
    app.hear(News::Snapshot(Box::new(snapshot)));
    let height = u16::try_from(app.rows().len()).unwrap_or(u16::MAX).saturating_add(FRAME);
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, height)).map_err(io::Error::other)?;
    terminal.draw(|frame| view::draw(&app, Colors(false), frame)).map_err(io::Error::other)?;
    let cells = &terminal.backend().buffer().content;
    for row in cells.chunks(usize::from(WIDTH)).take(usize::from(height) - 1) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// On the terminal, which is as it was when this ends, also by a panic or by a signal: that one, then.
fn show(caller: Arc<Caller>) -> Result<Option<u8>, Failure> {
    let (news, heard) = mpsc::channel();
    signals::start(news.clone())?;
    feed::start(Arc::clone(&caller), news.clone());
    let mut terminal = ratatui::try_init()?;
    let shown = run(&caller, &news, &heard, &mut terminal);
    let restored = ratatui::try_restore();
    if let Ok(Some(signal)) = shown {
        // SIGHUP: there may be no terminal any more.
        return Ok(Some(signal));
    }
    restored?;
    Ok(shown?)
}

fn run(
    caller: &Arc<Caller>,
    news: &Sender<News>,
    heard: &Receiver<News>,
    terminal: &mut DefaultTerminal,
) -> io::Result<Option<u8>> {
    let mut word = Instant::now();
    let mut app = App::new(caller.has_token());
    let colors = Colors(wants_color());
    loop {
        terminal.draw(|frame| view::draw(&app, colors, frame))?;
        // A key, a new size, news or none for too long: whatever comes first is drawn.
        let mut changed = false;
        while !changed {
            if event::poll(GLANCE)? {
                changed = true;
                if let Event::Key(key) = event::read()? {
                    match app.press(key) {
                        Some(Asked::Quit) => return Ok(None),
                        Some(Asked::Change(order)) => change(caller, order, news),
                        None => {}
                    }
                }
            }
            for news in heard.try_iter() {
                match news {
                    News::Ended(signal) => return Ok(Some(signal)),
                    News::Snapshot(_) => word = Instant::now(),
                    News::Lost(_) | News::Changed(_) => {}
                }
                changed = true;
                app.hear(news);
            }
            changed |= app.wait(word.elapsed());
        }
    }
}

/// Asks for a change; what comes of it is news. On a thread of its own: the process may take its time.
fn change(caller: &Arc<Caller>, order: Order, news: &Sender<News>) {
    let (caller, news) = (Arc::clone(caller), news.clone());
    thread::spawn(move || {
        let (pool, name) = &order.place;
        let path = backend_path(pool, name);
        let change = BackendChange { state: Some(order.state), ..BackendChange::default() };
        let body = serde_json::to_string(&change).unwrap_or_default();
        let changed = caller.change::<BackendView>(Method::PATCH, &path, body);
        let _ = news.send(News::Changed(changed.map(Box::new).map_err(|failure| failure.to_string())));
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, remote, said};
    use super::*;
    use crate::admin::command::AdminState;
    use crate::admin::testing::{Admin, Play, TOKEN};

    #[test]
    fn one_screen_or_one_line_is_written() {
        let admin = Admin::tcp(Play::default(), None);
        let text = said(|out| write(&remote(&admin, None), false, true, out)).unwrap();
        assert!(text.starts_with("evenkeel lb-1") && text.contains("\n  unix:/run/x "), "{text}");
        assert!(!text.contains("quit") && text.lines().all(|line| line == line.trim_end()), "{text}");
        let json = said(|out| write(&remote(&admin, None), true, true, out)).unwrap();
        assert_eq!(json.lines().count(), 1);
        let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
        assert!(snapshot.traffic.rates.is_some() && snapshot.pools.len() == 2);
    }

    #[test]
    fn a_reader_that_has_left_ends_it() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let admin = Admin::tcp(Play::default(), None);
        let failure = write(&remote(&admin, None), true, false, &mut Gone).unwrap_err();
        assert!(matches!(failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn what_comes_of_a_change_is_news() {
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let order = || Order { place: ("api".into(), "b".into()), state: AdminState::Drain, is_last: false };
        let token = file(TOKEN);
        for (token, wanted) in [(Some(&token), Ok("drain")), (None, Err("token"))] {
            let caller = Arc::new(remote(&admin, token).caller().unwrap());
            let (news, heard) = mpsc::channel();
            change(&caller, order(), &news);
            let News::Changed(changed) = heard.recv().unwrap() else { panic!("a change was asked for") };
            match (changed, wanted) {
                (Ok(view), Ok(state)) => assert_eq!(view.state, state),
                (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
                (changed, wanted) => panic!("{changed:?}, not {wanted:?}"),
            }
        }
    }
}
