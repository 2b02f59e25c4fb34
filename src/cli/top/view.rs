//! What `top` shows: all traffic, then a row for each pool and backend, and what the keys do.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{self, Cell, Paragraph, Table, TableState},
};

use super::{
    super::table::printable,
    app::{App, Mode, Row, Sort, is_up},
    figures::{bytes, check, mark, rate, time, uptime, weight},
};
use crate::admin::command::{AdminState, BackendLive, PoolLive, Snapshot};

const TITLES: [&str; 11] =
    ["BACKEND", "STATE", "REQ/S", "ERR/S", "IN FLIGHT", "P99", "WEIGHT", "CONNS", "CIRCUIT", "CHECK", "REASON"];
/// The columns with numbers, which stand at the right.
const NUMBERS: std::ops::Range<usize> = 2..8;
/// The columns that go first where there is no room, by the width below which they do.
const NARROW: [(u16, &[usize]); 4] = [(124, &[7, 9]), (100, &[8, 6]), (90, &[5]), (72, &[3])];
/// Names are given as much room as the longest wants, up to this.
const NAME: u16 = 40;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colors(pub(super) bool);

impl Colors {
    fn of(self, color: Color) -> Style {
        if self.0 { Style::new().fg(color) } else { Style::new() }
    }

    fn state(self, state: &str) -> Style {
        match state {
            "ready" => self.of(Color::Green),
            "down" | "ejected" => self.of(Color::Red).add_modifier(Modifier::BOLD),
            "starting" => Style::new(),
            _ => self.of(Color::Yellow),
        }
    }

    fn alarm(self, is_one: bool) -> Style {
        if is_one { self.of(Color::Red).add_modifier(Modifier::BOLD) } else { Style::new() }
    }
}

const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(app: &App, colors: Colors, frame: &mut Frame<'_>) {
    let rows = [Constraint::Length(3), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [head, _, body, foot] = frame.area().layout(&Layout::vertical(rows));
    match &app.snapshot {
        Some(snapshot) => {
            frame.render_widget(Paragraph::new(header(app, snapshot, colors)), head);
            table(app, colors, frame, body);
        }
        None => {
            let waiting = match (&app.lost, app.silent) {
                (Some(why), _) => why.clone(),
                (None, Some(seconds)) => format!("waiting for the first figures: {}", no_word(seconds)),
                (None, None) => "waiting for the first figures…".into(),
            };
            frame.render_widget(Paragraph::new(printable(&waiting)), head);
        }
    }
    frame.render_widget(Paragraph::new(footer(app, colors)), foot);
}

fn header<'a>(app: &'a App, snapshot: &'a Snapshot, colors: Colors) -> Text<'a> {
    let link = match (&app.lost, app.silent) {
        (None, None) if snapshot.about.phase == "running" => Span::styled("live", colors.of(Color::Green)),
        (None, None) => Span::styled(snapshot.about.phase.clone(), colors.of(Color::Yellow)),
        (None, Some(seconds)) => Span::styled(no_word(seconds), colors.alarm(true)),
        (Some(why), _) => Span::styled(format!("CONNECTION LOST: {}", printable(why)), colors.alarm(true)),
    };
    let (generation, up) = (snapshot.about.generation, uptime(snapshot.about.uptime_seconds));
    let who = Line::from_iter([
        Span::styled(format!("evenkeel {}", printable(&snapshot.about.instance)), BOLD),
        Span::raw(format!("   {}   up {up}   configuration {generation}   ", snapshot.about.version)),
        link,
    ]);
    let traffic = &snapshot.traffic;
    let rates = traffic.rates.as_ref();
    let errors = rates.map(|rates| rates.errors_per_second);
    let mut flow = vec![
        Span::raw("requests "),
        Span::styled(format!("{}/s", rate(rates.map(|rates| rates.requests_per_second))), BOLD),
        Span::raw("   errors "),
        Span::styled(format!("{}/s", rate(errors)), colors.alarm(errors > Some(0.0)).patch(BOLD)),
        Span::raw(format!("   in flight {}   connections {}", traffic.in_flight, traffic.connections)),
    ];
    if let Some(rates) = rates {
        let (inward, outward) = (bytes(rates.bytes_in_per_second), bytes(rates.bytes_out_per_second));
        flow.push(Span::raw(format!("   in {inward}   out {outward}")));
    }
    let latency = traffic.latency;
    let [p50, p90, p99] = [
        latency.map(|latency| latency.p50_ms),
        latency.map(|latency| latency.p90_ms),
        latency.map(|latency| latency.p99_ms),
    ]
    .map(time);
    let mut third = format!("p50 {p50}   p90 {p90}   p99 {p99}");
    for (word, rate_of) in rates.iter().flat_map(|rates| &rates.failures) {
        third.push_str(&format!("   {word} {}/s", rate(Some(*rate_of))));
    }
    let notes = [
        (!snapshot.about.config.last_reload_successful).then_some("   THE LAST RELOAD WAS REFUSED"),
        snapshot.about.config.rolled_back_to.as_ref().map(|_| "   ROLLED BACK: THE FILE IS NOT IN USE"),
        (!snapshot.about.chaos.is_empty()).then_some("   FAILURES ARE BEING REHEARSED"),
    ];
    let notes = notes.into_iter().flatten().map(|note| Span::styled(note, colors.alarm(true)));
    Text::from_iter([who, Line::from(flow), Line::from_iter(std::iter::once(Span::raw(third)).chain(notes))])
}

fn no_word(seconds: u64) -> String {
    format!("NO WORD FOR {seconds} s")
}

fn table(app: &App, colors: Colors, frame: &mut Frame<'_>, area: Rect) {
    let shown: Vec<usize> = (0..TITLES.len()).filter(|column| !is_left_out(*column, area.width)).collect();
    let lay = |cells: Vec<Cell<'static>>| {
        let mut cells: Vec<_> = cells.into_iter().map(Some).collect();
        widgets::Row::new(shown.iter().filter_map(|column| cells[*column].take()).collect::<Vec<_>>())
    };
    let head = TITLES.iter().enumerate().map(|(column, title)| aligned(column, (*title).to_owned()));
    let rows = app.rows();
    let drawn: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Row::Pool(pool) => lay(of_pool(pool, colors)).style(BOLD),
            Row::Backend(_, live) => lay(of_backend(name(app, row), live, colors)),
        })
        .collect();
    let names = rows.iter().map(|row| name(app, row).chars().count()).max().unwrap_or_default();
    let names = u16::try_from(names).unwrap_or(NAME).clamp(8, NAME);
    let widths = shown.iter().map(|column| width(*column, names));
    let table = Table::new(drawn, widths)
        .header(lay(head.collect()).style(QUIET))
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    // The offset follows the selection; it begins anew each time, so that a screen depends on what is shown alone.
    let mut state = TableState::new().with_selected(app.place());
    frame.render_stateful_widget(table, area, &mut state);
    if rows.is_empty() {
        let text = if app.filter.is_empty() { "no pools: every route answers by itself" } else { "nothing matches" };
        let below = Rect { y: area.y.saturating_add(1), height: area.height.saturating_sub(1).min(1), ..area };
        frame.render_widget(Paragraph::new(text), below);
    }
}

fn is_left_out(column: usize, width: u16) -> bool {
    NARROW.iter().any(|(below, columns)| width < *below && columns.contains(&column))
}

fn width(column: usize, names: u16) -> Constraint {
    match column {
        0 => Constraint::Length(names),
        1 => Constraint::Length(15),
        2 | 3 | 7 => Constraint::Length(6),
        4 => Constraint::Length(9),
        5 => Constraint::Length(8),
        6 => Constraint::Length(7),
        8 => Constraint::Length(9),
        9 => Constraint::Length(13),
        _ => Constraint::Fill(1),
    }
}

fn aligned(column: usize, text: String) -> Cell<'static> {
    let line = Line::from(text);
    Cell::new(if NUMBERS.contains(&column) { line.alignment(Alignment::Right) } else { line })
}

fn of_pool(pool: &PoolLive, colors: Colors) -> Vec<Cell<'static>> {
    let up = pool.backends.iter().filter(|live| is_up(live)).count();
    let all = pool.backends.len();
    let retries = pool.retries_per_second.filter(|retries| *retries > 0.0);
    let mut reason = vec![];
    reason.extend(Some(printable(&pool.reason)).filter(|reason| !reason.is_empty()));
    reason.extend((pool.queue > 0).then(|| format!("{} queued", pool.queue)));
    reason.extend(retries.map(|retries| format!("{} retries/s", rate(Some(retries)))));
    let in_flight: u64 = pool.backends.iter().map(|live| live.view.in_flight).sum();
    let connections: usize = pool.backends.iter().map(|live| live.connections).sum();
    let texts = [
        printable(&pool.name),
        format!("{up} of {all} up"),
        rate(pool.requests_per_second),
        rate(pool.errors_per_second),
        in_flight.to_string(),
        String::new(),
        String::new(),
        connections.to_string(),
        pool.circuit.clone(),
        String::new(),
        reason.join(", "),
    ];
    let mut cells: Vec<_> = texts.into_iter().enumerate().map(|(column, text)| aligned(column, text)).collect();
    let standing = if up == 0 { "down" } else { "" };
    cells[1] = cells[1].clone().style(if up == all { Style::new() } else { colors.state(standing) });
    cells[3] = cells[3].clone().style(colors.alarm(pool.errors_per_second > Some(0.0)));
    cells[8] = cells[8].clone().style(colors.alarm(pool.circuit == "open"));
    cells
}

/// How a row is called: a backend by its pool, too, where it does not stand below it.
fn name(app: &App, row: &Row<'_>) -> String {
    match row {
        Row::Pool(pool) => printable(&pool.name),
        Row::Backend(_, live) if app.sort == Sort::Pool => format!("  {}", printable(&live.view.name)),
        Row::Backend(pool, live) => format!("{}/{}", printable(&pool.name), printable(&live.view.name)),
    }
}

fn of_backend(name: String, live: &BackendLive, colors: Colors) -> Vec<Cell<'static>> {
    let view = &live.view;
    let until = view.deadline.as_ref().map(|deadline| format!("until {deadline}"));
    let backup = view.backup.then(|| "backup".to_owned());
    let reason = Some(printable(&view.reason)).filter(|reason| !reason.is_empty());
    let texts = [
        name,
        format!("{} {}", mark(&view.state), view.state),
        rate(live.requests_per_second),
        rate(live.errors_per_second),
        view.in_flight.to_string(),
        time(live.p99_ms),
        weight(view),
        live.connections.to_string(),
        view.circuit.clone(),
        check(live),
        [reason, until, backup].into_iter().flatten().collect::<Vec<_>>().join(", "),
    ];
    let mut cells: Vec<_> = texts.into_iter().enumerate().map(|(column, text)| aligned(column, text)).collect();
    cells[1] = cells[1].clone().style(colors.state(&view.state));
    cells[3] = cells[3].clone().style(colors.alarm(live.errors_per_second > Some(0.0)));
    cells[8] = cells[8].clone().style(colors.alarm(view.circuit == "open"));
    cells
}

fn footer(app: &App, colors: Colors) -> Line<'_> {
    match &app.mode {
        Mode::Ask(order) => {
            let what = match order.state {
                AdminState::Drain => "drain",
                AdminState::Maintenance => "put into maintenance:",
                AdminState::Ready => "enable",
            };
            let (pool, name) = (printable(&order.place.0), printable(&order.place.1));
            let last = if order.is_last { " It is the LAST that takes requests of its pool." } else { "" };
            let style = if order.is_last { colors.alarm(true) } else { BOLD };
            Line::styled(format!("{what} {name} of {pool}?{last} y = yes, any other key = no"), style)
        }
        Mode::Filter => Line::from(format!("filter: {}▏  Enter keeps it, Esc clears it", printable(&app.filter))),
        Mode::Look if !app.said.is_empty() => Line::styled(printable(&app.said), BOLD),
        Mode::Look => {
            let filter = if app.filter.is_empty() { String::new() } else { format!(" ({})", printable(&app.filter)) };
            let sort = app.sort.word();
            let keys = format!("q quit  s sort: {sort}  / filter{filter}  ↑↓ select  d drain  e enable  m maintenance");
            Line::styled(keys, QUIET)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, crossterm::event::KeyCode};

    use super::super::feed::News;
    use super::*;
    use crate::admin::{
        command::{CheckView, Latency, Rates},
        testing::Play,
    };

    /// Pools `web` and `api`; the last backend of `api` is down.
    fn app() -> App {
        let mut snapshot = Play::default().sample().snapshot;
        snapshot.traffic.in_flight = 7;
        snapshot.traffic.rates = Some(Rates {
            requests_per_second: 1234.0,
            errors_per_second: 2.0,
            failures: [("reset".to_owned(), 2.0)].into(),
            bytes_out_per_second: 5.6e6,
            ..Rates::default()
        });
        snapshot.traffic.latency = Some(Latency { p50_ms: 1.2, p90_ms: 8.0, p99_ms: 1500.0 });
        let api = &mut snapshot.pools[1];
        (api.errors_per_second, api.retries_per_second) = (Some(2.0), Some(1.0));
        let b = &mut api.backends[1];
        (b.view.state, b.view.reason, b.view.effective_weight) =
            ("down".into(), "connection\u{1b}[31m refused".into(), 0.0);
        b.check = Some(CheckView { result: "fail".into(), duration_ms: 0.4, failed: 3 });
        let mut app = App::new(true);
        app.hear(News::Snapshot(Box::new(snapshot)));
        app
    }

    fn drawn(app: &App, (width, height): (u16, u16), color: bool) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(app, Colors(color), frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        buffer.content.chunks(width).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>()).collect()
    }

    #[test]
    fn a_screen_tells_the_traffic_and_each_backend() {
        let lines = lines(&drawn(&app(), (140, 14), false));
        assert!(lines[0].starts_with("evenkeel lb-1   0.1.0   up 1h 2m   configuration 7   live"), "{lines:#?}");
        let flow = "requests 1234/s   errors 2.0/s   in flight 7   connections 0   in 0 B/s   out 5.6 MB/s";
        assert!(lines[1].starts_with(flow), "{lines:#?}");
        assert!(lines[2].starts_with("p50 1.2 ms   p90 8.0 ms   p99 1.5 s   reset 2.0/s"), "{lines:#?}");
        assert!(lines[4].starts_with("BACKEND ") && lines[4].contains("  REASON"), "{lines:#?}");
        assert!(lines[5].starts_with("web ") && lines[5].contains("2 of 2 up"), "{lines:#?}");
        assert!(lines[6].starts_with("  a ") && lines[6].contains("● ready"), "{lines:#?}");
        assert!(lines[8].starts_with("api ") && lines[8].contains("1 of 2 up") && lines[8].contains("1.0 retries/s"));
        assert!(lines[10].contains("✕ down") && lines[10].contains("fail 0.40 ms"), "{lines:#?}");
        assert!(lines[10].contains("connection\u{fffd}[31m refused"), "a terminal obeys nothing of it");
        assert!(lines[13].contains("s sort: pool") && lines[13].contains("d drain"), "{lines:#?}");
    }

    #[test]
    fn a_narrow_screen_leaves_columns_out_and_a_tiny_one_is_fine() {
        let app = app();
        let narrow = lines(&drawn(&app, (80, 14), false));
        assert!(!narrow[4].contains("CONNS") && narrow[4].contains("REASON"), "{narrow:#?}");
        assert!(narrow[10].contains("✕ down") && narrow[10].contains("connection"), "{narrow:#?}");
        for size in [(1, 1), (5, 3), (20, 6), (300, 2)] {
            drawn(&app, size, true);
        }
    }

    #[test]
    fn colours_are_a_wish() {
        let colored = |buffer: &Buffer| buffer.content.iter().any(|cell| cell.fg != Color::Reset);
        assert!(colored(&drawn(&app(), (140, 14), true)));
        assert!(!colored(&drawn(&app(), (140, 14), false)));
    }

    #[test]
    fn what_is_asked_and_what_is_lost_is_said() {
        let mut app = app();
        app.press(KeyCode::Char('d').into());
        assert!(lines(&drawn(&app, (100, 12), false))[11].starts_with("drain a of web? y = yes"));
        app.press(KeyCode::Char('n').into());
        app.press(KeyCode::Char('/').into());
        app.press(KeyCode::Char('x').into());
        app.press(KeyCode::Char('y').into());
        let shown = lines(&drawn(&app, (100, 12), false));
        assert!(shown[11].starts_with("filter: xy▏") && shown[5].starts_with("nothing matches"), "{shown:#?}");
        app.hear(News::Lost("refused".into()));
        assert!(lines(&drawn(&app, (100, 12), false))[0].contains("CONNECTION LOST: refused"));
        assert!(lines(&drawn(&App::new(false), (100, 12), false))[0].starts_with("waiting"));
    }

    #[test]
    fn silence_is_said_and_counted_until_there_is_a_word() {
        let mut app = app();
        let head = |app: &App| lines(&drawn(app, (100, 12), false))[0].clone();
        let wait = |app: &mut App, millis| app.wait(Duration::from_millis(millis));
        assert!(!wait(&mut app, 2999) && head(&app).trim_end().ends_with("   live"));
        assert!(wait(&mut app, 3000) && head(&app).trim_end().ends_with("   NO WORD FOR 3 s"), "{}", head(&app));
        assert!(!wait(&mut app, 3999), "nothing new to draw");
        assert!(wait(&mut app, 8200) && head(&app).contains("NO WORD FOR 8 s"));
        let snapshot = app.snapshot.take().unwrap();
        assert_eq!(head(&app).trim_end(), "waiting for the first figures: NO WORD FOR 8 s");
        app.hear(News::Snapshot(snapshot));
        assert!(head(&app).trim_end().ends_with("   live"), "{}", head(&app));
    }

    #[test]
    fn what_an_operator_should_not_forget_is_said() {
        let mut app = app();
        let third = |app: &App| lines(&drawn(app, (140, 12), false))[2].clone();
        assert!(!third(&app).contains("ROLLED BACK"), "{}", third(&app));
        let config = &mut app.snapshot.as_mut().unwrap().about.config;
        (config.rolled_back_to, config.last_reload_successful) = (Some("2026-01-02T03:04:05Z".into()), false);
        let said = "THE LAST RELOAD WAS REFUSED   ROLLED BACK: THE FILE IS NOT IN USE";
        assert!(third(&app).trim_end().ends_with(said), "{}", third(&app));
    }

    #[test]
    fn what_is_selected_is_on_the_screen() {
        let mut app = app();
        let pool = &mut app.snapshot.as_mut().unwrap().pools[0];
        let like = pool.backends[0].clone();
        pool.backends = (0..200)
            .map(|number| {
                let mut live = like.clone();
                live.view.name = format!("n{number}");
                live
            })
            .collect();
        app.press(KeyCode::Home.into());
        (0..150).for_each(|_| drop(app.press(KeyCode::Char('j').into())));
        let shown = lines(&drawn(&app, (100, 20), false));
        assert!(shown.iter().any(|line| line.starts_with("  n150 ")), "{shown:#?}");
    }
}
