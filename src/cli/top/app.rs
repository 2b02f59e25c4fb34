//! What `top` knows and what its keys do, without a terminal.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{super::status::can_serve, feed::News};
use crate::admin::command::{AdminState, BackendLive, PoolLive, Snapshot};

/// So many rows are a page.
const PAGE: isize = 10;
/// Without a word for so long, it is said: one comes each second.
const SILENCE: Duration = Duration::from_secs(3);

/// How the rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the file: each pool, then its backends.
    Pool,
    /// The most requests first, and so on.
    Requests,
    Errors,
    InFlight,
    Latency,
    /// Those that are not up first.
    State,
}

impl Sort {
    const ALL: [Self; 6] = [Self::Pool, Self::Requests, Self::Errors, Self::InFlight, Self::Latency, Self::State];

    pub(super) fn word(self) -> &'static str {
        ["pool", "requests", "errors", "in flight", "p99", "state"][self as usize]
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What the keys mean now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each its own.
    #[default]
    Look,
    /// Text of the filter.
    Filter,
    /// Whether that is to be done.
    Ask(Order),
}

/// A backend, by its pool and its name.
pub(super) type Place = (String, String);

/// Something to be done to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) place: Place,
    pub(super) state: AdminState,
    /// Nobody else of its pool takes requests.
    pub(super) is_last: bool,
}

/// What a key asks of whoever has the terminal and the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Quit,
    Change(Order),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    Pool(&'a PoolLive),
    Backend(&'a PoolLive, &'a BackendLive),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) snapshot: Option<Box<Snapshot>>,
    /// Why nothing is heard, if so.
    pub(super) lost: Option<String>,
    /// Seconds without a word, once there are too many.
    pub(super) silent: Option<u64>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// What has come of the last change.
    pub(super) said: String,
    pub(super) selected: Option<Place>,
    /// Changes can be asked for.
    pub(super) may_change: bool,
}

impl App {
    pub(super) fn new(may_change: bool) -> Self {
        let (sort, mode) = (Sort::Pool, Mode::Look);
        Self {
            snapshot: None,
            lost: None,
            silent: None,
            sort,
            filter: String::new(),
            mode,
            said: String::new(),
            selected: None,
            may_change,
        }
    }

    /// Takes in what was heard.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Snapshot(snapshot) => {
                self.snapshot = Some(snapshot);
                self.lost = None;
                self.silent = None;
                if self.place().is_none() {
                    self.selected = self.places().into_iter().next();
                }
            }
            News::Lost(why) => self.lost = Some(why),
            News::Changed(Ok(view)) => self.said = format!("{} is now: {}", view.name, view.state),
            News::Changed(Err(why)) => self.said = why,
            News::Ended(_) => {}
        }
    }

    /// Nothing was heard for `time`. Whether that is to be shown, and is not yet.
    pub(super) fn wait(&mut self, time: Duration) -> bool {
        let silent = (time >= SILENCE).then_some(time.as_secs());
        std::mem::replace(&mut self.silent, silent) != silent
    }

    /// The rows, sorted and filtered. Where they are not sorted by pool, there are backends alone.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let mut rows = Vec::new();
        for pool in &snapshot.pools {
            let fits = |live: &&BackendLive| self.fits(pool, live);
            let backends: Vec<_> = pool.backends.iter().filter(fits).map(|live| Row::Backend(pool, live)).collect();
            let shown = !backends.is_empty() || (pool.backends.is_empty() && self.filter.is_empty());
            if self.sort == Sort::Pool && shown {
                rows.push(Row::Pool(pool));
            }
            rows.extend(backends);
        }
        // Sorting is stable: those that are equal stay in the order of the file.
        let most = |rank: fn(&BackendLive) -> f64| move |row: &Row<'_>| -row.backend().map_or(0.0, rank);
        match self.sort {
            Sort::Pool => {}
            Sort::Requests => sort(&mut rows, most(|live| live.requests_per_second.unwrap_or_default())),
            Sort::Errors => sort(&mut rows, most(|live| live.errors_per_second.unwrap_or_default())),
            Sort::InFlight => sort(&mut rows, most(|live| live.view.in_flight as f64)),
            Sort::Latency => sort(&mut rows, most(|live| live.p99_ms.unwrap_or_default())),
            Sort::State => sort(&mut rows, most(|live| f64::from(rank(&live.view.state)))),
        }
        rows
    }

    fn fits(&self, pool: &PoolLive, live: &BackendLive) -> bool {
        let (wanted, view) = (self.filter.to_lowercase(), &live.view);
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        [&pool.name, &view.name, &view.address, &view.state, &view.reason].into_iter().any(|text| has(text))
    }

    /// The backends that are shown.
    fn places(&self) -> Vec<Place> {
        self.rows().iter().filter_map(Row::place).collect()
    }

    /// Which row is selected.
    pub(super) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows().iter().position(|row| row.place().as_ref() == Some(selected))
    }

    fn go(&mut self, by: isize) {
        let places = self.places();
        let at = places.iter().position(|place| Some(place) == self.selected.as_ref()).unwrap_or_default();
        let to = at.saturating_add_signed(by).min(places.len().saturating_sub(1));
        self.selected = places.get(to).cloned();
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Asked> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Asked::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Ask(order) => self.answer(key, order),
            Mode::Filter => {
                self.edit(key);
                None
            }
            Mode::Look => self.look(key),
        }
    }

    fn answer(&mut self, key: KeyEvent, order: Order) -> Option<Asked> {
        if key.code == KeyCode::Char('y') {
            return Some(Asked::Change(order));
        }
        self.said = "left alone".into();
        None
    }

    fn edit(&mut self, key: KeyEvent) {
        self.mode = Mode::Filter;
        match key.code {
            KeyCode::Enter => self.mode = Mode::Look,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Look;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        if self.place().is_none() {
            self.go(0);
        }
    }

    fn look(&mut self, key: KeyEvent) -> Option<Asked> {
        self.said.clear();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Asked::Quit),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(PAGE),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            KeyCode::Char('d') => self.ask(AdminState::Drain),
            KeyCode::Char('e') => self.ask(AdminState::Ready),
            KeyCode::Char('m') => self.ask(AdminState::Maintenance),
            _ => {}
        }
        None
    }

    /// Nothing is changed by one slip of a finger.
    fn ask(&mut self, state: AdminState) {
        let Some(place) = self.selected.clone().filter(|_| self.place().is_some()) else { return };
        if !self.may_change {
            self.said = "no token: start top with --token-file FILE, or with -c of a file that names it".into();
            return;
        }
        let pools = self.snapshot.iter().flat_map(|snapshot| &snapshot.pools);
        let up = pools.filter(|pool| pool.name == place.0).flat_map(|pool| &pool.backends).filter(|live| is_up(live));
        let up: Vec<_> = up.map(|live| &live.view.name).collect();
        let is_last = state != AdminState::Ready && up == [&place.1];
        self.mode = Mode::Ask(Order { place, state, is_last });
    }
}

impl Row<'_> {
    fn backend(&self) -> Option<&BackendLive> {
        match self {
            Self::Pool(_) => None,
            Self::Backend(_, live) => Some(live),
        }
    }

    /// Which backend it is.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Pool(_) => None,
            Self::Backend(pool, live) => Some((pool.name.clone(), live.view.name.clone())),
        }
    }
}

fn sort(rows: &mut [Row<'_>], rank: impl Fn(&Row<'_>) -> f64) {
    rows.sort_by(|one, other| rank(one).total_cmp(&rank(other)));
}

/// It takes requests.
pub(super) fn is_up(live: &BackendLive) -> bool {
    can_serve(&live.view) && live.view.effective_weight > 0.0
}

/// How much a state needs to be seen.
fn rank(state: &str) -> u8 {
    match state {
        "down" => 6,
        "ejected" => 5,
        "starting" => 4,
        "degraded" => 3,
        "drain" => 2,
        "maintenance" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::testing::Play;

    /// Pools `web` (a, unix:/run/x) and `api` (a, b); b is down and has the most requests.
    fn app() -> App {
        let mut snapshot = Play::default().sample().snapshot;
        let b = &mut snapshot.pools[1].backends[1];
        (b.view.state, b.view.reason) = ("down".into(), "connection refused".into());
        b.requests_per_second = Some(5.0);
        let mut app = App::new(true);
        app.hear(News::Snapshot(Box::new(snapshot)));
        app
    }

    fn press(app: &mut App, keys: &str) -> Option<Asked> {
        keys.chars().map(|letter| app.press(KeyCode::Char(letter).into())).last().flatten()
    }

    fn shown(app: &App) -> Vec<String> {
        let name = |row: &Row<'_>| match row {
            Row::Pool(pool) => pool.name.clone(),
            Row::Backend(pool, live) => format!("{}/{}", pool.name, live.view.name),
        };
        app.rows().iter().map(name).collect()
    }

    #[test]
    fn a_key_that_is_let_go_is_none_and_news_leave_the_selection() {
        let mut app = app();
        let let_go = KeyEvent { kind: KeyEventKind::Release, ..KeyCode::Char('q').into() };
        assert_eq!(app.press(let_go), None);
        press(&mut app, "jj");
        let selected = app.selected.clone();
        app.hear(News::Snapshot(Box::new(Play::default().sample().snapshot)));
        assert_eq!((app.selected.clone(), app.place()), (selected, Some(4)));
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut app = app();
        assert_eq!(shown(&app), ["web", "web/a", "web/unix:/run/x", "api", "api/a", "api/b"]);
        press(&mut app, "s");
        assert_eq!((app.sort, &*shown(&app)[0]), (Sort::Requests, "api/b"));
        press(&mut app, "ssss");
        assert_eq!((app.sort, shown(&app).len(), &*shown(&app)[0]), (Sort::State, 4, "api/b"));
        press(&mut app, "s/REFUSED");
        assert_eq!((app.mode.clone(), shown(&app)), (Mode::Filter, vec!["api".to_owned(), "api/b".into()]));
        assert_eq!(app.selected, Some(("api".into(), "b".into())), "what is selected is shown");
        app.press(KeyCode::Backspace.into());
        assert_eq!(app.filter, "REFUSE");
        app.press(KeyCode::Esc.into());
        assert_eq!((app.mode.clone(), shown(&app).len()), (Mode::Look, 6));
        press(&mut app, "/none");
        assert!(shown(&app).is_empty() && app.selected.is_none());
    }

    #[test]
    fn the_selection_moves_over_backends_and_stays_with_its_backend() {
        let mut app = app();
        let at = |app: &App| app.selected.clone().map(|(pool, name)| format!("{pool}/{name}")).unwrap();
        assert_eq!((at(&app), app.place()), ("web/a".into(), Some(1)));
        press(&mut app, "jj");
        assert_eq!((at(&app), app.place()), ("api/a".into(), Some(4)));
        app.press(KeyCode::End.into());
        press(&mut app, "j");
        assert_eq!(at(&app), "api/b");
        press(&mut app, "s");
        assert_eq!((at(&app), app.place()), ("api/b".into(), Some(0)));
        app.press(KeyCode::Home.into());
        assert_eq!(at(&app), "api/b");
    }

    #[test]
    fn a_change_is_asked_for_and_confirmed() {
        let mut app = app();
        let order = |is_last| Order { place: ("web".into(), "a".into()), state: AdminState::Drain, is_last };
        assert_eq!(press(&mut app, "d"), None);
        assert_eq!(app.mode, Mode::Ask(order(false)));
        assert_eq!(press(&mut app, "n"), None);
        assert_eq!((app.mode.clone(), &*app.said), (Mode::Look, "left alone"));
        assert_eq!(press(&mut app, "dy"), Some(Asked::Change(order(false))));
        app.snapshot.as_mut().unwrap().pools[0].backends[1].view.effective_weight = 0.0;
        press(&mut app, "d");
        assert_eq!(app.mode, Mode::Ask(order(true)), "the other one takes nothing");
        app.mode = Mode::Look;
        app.may_change = false;
        assert_eq!((press(&mut app, "d"), app.mode.clone()), (None, Mode::Look));
        assert!(app.said.contains("--token-file"));
        assert_eq!(press(&mut app, "q"), Some(Asked::Quit));
        assert_eq!(app.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Asked::Quit));
    }
}
