//! Problems of a configuration: what is wrong, where, and what to write instead; drawn for people, iterated for tools.
//!
//! Made by `report`; printed by the commands, and by control when a reload fails.

use std::{
    error, fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    slice, str, vec,
};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

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
#[derive(Clone, Debug)]
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
    pub(super) also: Option<(Range<usize>, &'static str)>,
    /// It says that something is not there: not to be believed of a text that is not TOML.
    pub(super) absence: bool,
}

/// All problems of one file, in its order; never empty.
#[derive(Clone, Debug)]
pub struct Problems {
    source: Source,
    list: Vec<Problem>,
}

impl Problems {
    /// Sorted by place; `None` if there is no problem.
    pub(super) fn new(source: Source, mut list: Vec<Problem>) -> Option<Self> {
        list.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        (!list.is_empty()).then_some(Self { source, list })
    }

    /// The file cannot be opened or read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let source = Source::new(path, "");
        let mut problem = source.problem(None, "", format!("the file cannot be read: {error}"));
        if error.kind() == io::ErrorKind::NotFound {
            problem.help = Some("name the file to read with `-c FILE`".into());
        }
        Self { source, list: vec![problem] }
    }

    /// The file holds `bytes` that are no text.
    pub(super) fn not_utf8(path: &Path, bytes: &[u8], error: str::Utf8Error) -> Self {
        let at = error.valid_up_to();
        let found = bytes.get(at).copied().unwrap_or_default();
        let source = Source::new(path, &String::from_utf8_lossy(bytes));
        let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
        let mut problem = source.problem(Some(span), "", format!("found the byte 0x{found:02x}, wanted UTF-8 text"));
        problem.help = Some("save the file as UTF-8".into());
        Self { source, list: vec![problem] }
    }

    /// The file that they are of.
    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// One after the other, in the order of the file.
    pub fn iter(&self) -> slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Drawn with the lines of the file and carets, ending in a line that counts them; with ANSI colours if `color`.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.list {
            out.push_str(&self.source.draw(problem, &renderer));
            out.push_str("\n\n");
        }
        let count = self.list.len();
        out.push_str(&format!("{}: {count} problem{}", self.file().display(), if count == 1 { "" } else { "s" }));
        out
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
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: String,
    starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { file: file.to_path_buf(), text: text.into(), starts }
    }

    /// An error at `span`, or of the file as a whole.
    pub(super) fn problem(&self, span: Option<Range<usize>>, key: &str, message: String) -> Problem {
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
            absence: false,
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

    fn draw(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let colon = if problem.key.is_empty() { "" } else { ": " };
        let title = level.primary_title(format!("{}{colon}{}", problem.key, problem.message));
        let file = self.file.display().to_string();
        let mut group = match &problem.span {
            Some(span) => title.element(self.snippet(span, problem.also.as_ref()).path(file)),
            None => title.element(Origin::path(file)),
        };
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// Only the lines from the first place to the last: what is drawn costs nothing for the rest of a long file.
    fn snippet(
        &self,
        span: &Range<usize>,
        also: Option<&(Range<usize>, &'static str)>,
    ) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let from = also.map_or(span.start, |(place, _)| place.start.min(span.start));
        let to = also.map_or(span.end, |(place, _)| place.end.max(span.end));
        let (first, last) = (self.line(from), self.line(to));
        let offset = self.starts[first];
        let text = self.text[offset..self.line_span(last).end].trim_start_matches('\u{feff}');
        let offset = self.line_span(last).end - text.len();
        let moved = |place: &Range<usize>| place.start.saturating_sub(offset)..place.end.saturating_sub(offset);
        let snippet = Snippet::source(text).line_start(first + 1).annotation(AnnotationKind::Primary.span(moved(span)));
        match also {
            Some((place, what)) => snippet.annotation(AnnotationKind::Context.span(moved(place)).label(*what)),
            None => snippet,
        }
    }
}
