//! Problems of a configuration: what is wrong, where, and what to write instead; drawn for people, iterated for tools.
//!
//! Made by `report`; printed by the commands, and by control when a reload fails.

use std::{
    error, fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    slice, str,
    sync::Arc,
    vec,
};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, Title};

/// Problems that are drawn for people; the rest are counted. Tools get all.
const MOST_DRAWN: usize = 100;
/// Keys whose value is a secret: a line that has it as text is not drawn.
const SECRETS: [&str; 3] = ["token", "secret", "password"];

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Suspicious, but it has a meaning.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl Severity {
    /// The word for tools: `warning` or `error`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Line in the file, from 1; 1 as well where the file as a whole is meant.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Dotted path, such as `listener[0].header_timeout`; empty where no key is meant.
    pub key: String,
    /// What was found and what was wanted: a fragment, lower case, without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Bytes of the text to underline; `None` = the file as a whole.
    pub(super) span: Option<Range<usize>>,
    /// A second place that has to do with it, and what it is.
    pub(super) also: Option<(Place, &'static str)>,
    /// What it can only be believed with.
    pub(super) rests_on: RestsOn,
    /// The file that it is of.
    pub(super) source: Arc<Source>,
}

impl Problem {
    /// The file that it is of.
    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// The files that it shows lines of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let also = self.also.iter().map(|(place, _)| &*place.source.file);
        also.chain([self.file()])
    }

    /// The file at `path` cannot be opened or read.
    pub(super) fn unreadable(path: &Path, order: usize, error: &io::Error) -> Self {
        let source = Arc::new(Source::new(path, order, ""));
        let mut problem = source.problem(None, "", format!("the file cannot be read: {error}"));
        if error.kind() == io::ErrorKind::NotFound && order == 0 {
            problem.help = Some("name the file to read with `-c FILE`".into());
        }
        problem
    }

    /// The file at `path` holds `bytes` that are no text.
    pub(super) fn not_utf8(path: &Path, order: usize, bytes: &[u8], error: str::Utf8Error) -> Self {
        let at = error.valid_up_to();
        let found = bytes.get(at).copied().unwrap_or_default();
        let source = Arc::new(Source::new(path, order, &String::from_utf8_lossy(bytes)));
        let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
        let mut problem = source.problem(Some(span), "", format!("found the byte 0x{found:02x}, wanted UTF-8 text"));
        problem.help = Some("save the file as UTF-8".into());
        problem
    }

    fn draw(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let colon = if self.key.is_empty() { "" } else { ": " };
        let title = level.primary_title(format!("{}{colon}{}", self.key, self.message));
        let file = self.source.name();
        let mut group = match &self.span {
            Some(span) if self.is_near_a_secret() || self.source.tells(span) => {
                title.element(Origin::path(file).line(self.line).char_column(self.column))
            }
            Some(span) => self.snippets(span, title),
            None => title.element(Origin::path(file)),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// The key is a secret's, or a slip that may have been meant for one: what stands there is not drawn.
    fn is_near_a_secret(&self) -> bool {
        let of_admin = self.key.strip_prefix("admin.").map(|key| !matches!(key, "address" | "metrics_address"));
        let of_sticky = self.key.rsplit_once(".sticky.");
        let of_sticky = of_sticky.map(|(_, key)| !matches!(key, "type" | "name" | "ttl" | "fallback"));
        of_admin.or(of_sticky).unwrap_or(false)
    }

    /// One piece of text, or two where the second place is in another file.
    fn snippets<'a>(&'a self, span: &Range<usize>, title: Title<'a>) -> Group<'a> {
        let primary = AnnotationKind::Primary;
        match &self.also {
            None => title.element(self.source.snippet(&[(primary, span, None)])),
            Some((place, what)) if Arc::ptr_eq(&place.source, &self.source) => {
                let second = (AnnotationKind::Context, &place.span, Some(*what));
                title.element(self.source.snippet(&[(primary, span, None), second]))
            }
            Some((place, what)) => title
                .element(self.source.snippet(&[(primary, span, None)]))
                .element(place.source.snippet(&[(AnnotationKind::Context, &place.span, Some(*what))])),
        }
    }
}

/// What must hold for a problem to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestsOn {
    /// Nothing but what it underlines.
    Itself,
    /// The rest of its file: something is not there.
    File,
    /// All files: something is in none of them.
    All,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

/// All problems of a configuration, file by file and in the order of each; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    /// Sorted by place; `None` if there is no problem. `file` is the one that was asked for, and includes the others.
    pub(super) fn new(file: &Path, mut list: Vec<Problem>) -> Option<Self> {
        let at = |problem: &Problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start);
        list.sort_by_key(|problem| (problem.source.order, at(problem)));
        (!list.is_empty()).then(|| Self { file: file.to_path_buf(), list })
    }

    /// The file that was read; a problem may be of one that it includes: [`Problem::file`].
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// One after the other, in the order of the files.
    pub fn iter(&self) -> slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Drawn with the lines of the files and carets, ending in a line that counts them; with ANSI colours if `color`.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in self.list.iter().take(MOST_DRAWN) {
            out.push_str(&problem.draw(&renderer));
            out.push_str("\n\n");
        }
        if let Some(more) = self.list.len().checked_sub(MOST_DRAWN).filter(|more| *more > 0) {
            out.push_str(&format!("… and {more} more\n\n"));
        }
        out.push_str(&format!("{}: {}", self.file.display(), self.count()));
        out
    }

    /// `2 problems`, `1 warning`, `1 problem, 1 warning`.
    fn count(&self) -> String {
        let of = |severity, word| {
            let count = self.list.iter().filter(|problem| problem.severity == severity).count();
            (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
        };
        let parts = [of(Severity::Error, "problem"), of(Severity::Warning, "warning")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl error::Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// A file's text, and where its lines start: a problem is placed without reading the text again.
#[derive(Clone, PartialEq)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: String,
    /// 0 for the file that was asked for, then those that it includes, as they are read.
    order: usize,
    starts: Vec<usize>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name())
    }
}

impl Source {
    pub(super) fn new(file: &Path, order: usize, text: &str) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { file: file.to_path_buf(), text: text.into(), order, starts }
    }

    /// An error at `span`, or of the file as a whole.
    pub(super) fn problem(self: &Arc<Self>, span: Option<Range<usize>>, key: &str, message: String) -> Problem {
        let span = span.map(|span| self.visible(span));
        let (line, column) = span.as_ref().map_or((1, 1), |span| self.position(span.start));
        Problem {
            line,
            column,
            key: key.into(),
            message,
            help: None,
            severity: Severity::Error,
            span,
            also: None,
            rests_on: RestsOn::Itself,
            source: Arc::clone(self),
        }
    }

    /// Number of the line at byte `at`, from 0.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) - 1
    }

    /// Bytes of line `number`, from 0, without its end.
    pub(super) fn line_span(&self, number: usize) -> Range<usize> {
        let start = self.starts[number];
        let end = self.starts.get(number + 1).copied().unwrap_or(self.text.len());
        start..start + self.text[start..end].trim_end_matches(['\r', '\n']).len()
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line(at);
        let before = self.text[self.starts[line]..at].trim_start_matches('\u{feff}');
        (line + 1, before.chars().count() + 1)
    }

    /// The part of `span` in its first line, moved back from behind the last character: a caret needs one to point at.
    fn visible(&self, span: Range<usize>) -> Range<usize> {
        let mut start = span.start.min(self.text.len());
        if start == self.text.len() && self.text.ends_with('\n') {
            start = self.text.trim_end().len();
        }
        let end = span.end.min(self.line_span(self.line(start)).end).max(start);
        start..end
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// The line from which `span` is drawn shows a secret.
    fn tells(&self, span: &Range<usize>) -> bool {
        shows_secret(&self.text[self.line_span(self.line(span.start))])
    }

    /// Only the lines from the first place to the last: what is drawn costs nothing for the rest of a long file.
    fn snippet<'a>(
        &'a self,
        places: &[(AnnotationKind, &Range<usize>, Option<&'static str>)],
    ) -> Snippet<'a, Annotation<'a>> {
        let from = places.iter().map(|(_, span, _)| span.start).min().unwrap_or_default();
        let to = places.iter().map(|(_, span, _)| span.end).max().unwrap_or_default();
        let (first, last) = (self.line(from), self.line(to));
        let offset = self.starts[first];
        let text = self.text[offset..self.line_span(last).end].trim_start_matches('\u{feff}');
        let offset = self.line_span(last).end - text.len();
        let moved = |place: &Range<usize>| place.start.saturating_sub(offset)..place.end.saturating_sub(offset);
        let annotations = places.iter().map(|(kind, span, what)| match what {
            Some(what) => kind.span(moved(span)).label(*what),
            None => kind.span(moved(span)),
        });
        Snippet::source(text).line_start(first + 1).annotations(annotations).path(self.name())
    }
}

/// `line` has a secret as its value, as people write it before they are told not to: it is neither drawn nor quoted.
pub(super) fn shows_secret(line: &str) -> bool {
    if line.contains("PRIVATE KEY-----") {
        return true;
    }
    SECRETS.iter().any(|word| {
        let value = line.find(word).map(|at| line[at + word.len()..].trim_start_matches(['"', '\'', ' ', '\t']));
        let value = value.and_then(|rest| rest.strip_prefix(['=', ':'])).map(str::trim_start);
        value.is_some_and(|value| !value.is_empty() && !value.starts_with('{'))
    })
}
