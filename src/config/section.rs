//! A walk over the TOML tree that knows where everything stands: [`Section`] is a table, [`Field`] one value in it.
//!
//! Opening a section looks at all of its keys; reading a field gives its value, or reports why not and gives the default.

use std::{ops::Range, path::PathBuf};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    folder,
    keys::{DOCUMENT, Keys},
    problem::Place,
    report::{Report, Wrong},
    values,
};

/// One value of the file, what it is called and where it stands.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// Dotted path, for messages.
    pub(super) key: String,
    value: &'a Spanned<DeValue<'a>>,
    /// Where its name stands, if its name is of the operator's making.
    named: Option<Range<usize>>,
    report: Report<'a>,
}

impl<'a> Field<'a> {
    /// The value of `key` in `table`, which is a whole file.
    pub(super) fn of(table: &'a DeTable<'a>, key: &str, report: Report<'a>) -> Option<Self> {
        Some(Self { key: key.to_owned(), value: table.get(key)?, named: None, report })
    }

    /// The value itself.
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Where it stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Where relative paths start.
    pub(super) fn folder(&self) -> PathBuf {
        folder(&self.report.source.file)
    }

    /// Its value by `parse`; reports and gives `None` if it has none.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Wrong>) -> Option<T> {
        parse(self).map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// Reports this value.
    pub(super) fn wrong(&self, wrong: Wrong) {
        self.report.wrong(self.span(), &self.key, wrong);
    }

    /// Reports the name of this value.
    pub(super) fn wrong_name(&self, wrong: Wrong) {
        self.report.wrong(self.named.clone().unwrap_or_else(|| self.span()), &self.key, wrong);
    }

    /// Reports this value, which clashes with `first`.
    pub(super) fn clash(&self, wrong: Wrong, first: &Self) {
        self.report.clash(self.span(), &self.key, wrong, (first.place(), "first here"));
    }

    /// Reports this value, which is wrong because of `other`, which is `what`.
    pub(super) fn wrong_because(&self, wrong: Wrong, other: &Self, what: &'static str) {
        self.report.clash(self.span(), &self.key, wrong, (other.place(), what));
    }

    /// Says that this value has a meaning that is hardly meant.
    pub(super) fn warn(&self, wrong: Wrong) {
        self.report.warn(self.span(), &self.key, wrong, None);
    }

    /// As [`Field::warn`], because of `other`, which is `what`.
    pub(super) fn warn_because(&self, wrong: Wrong, other: &Self, what: &'static str) {
        self.report.warn(self.span(), &self.key, wrong, Some((other.place(), what)));
    }

    /// Where it stands, for later.
    pub(super) fn place(&self) -> Place {
        self.report.place(self.span())
    }

    /// The elements of a list; a list of one may be written as its one element.
    pub(super) fn list(&self) -> Vec<Self> {
        let Some(array) = self.value().as_array() else { return vec![self.clone()] };
        let element =
            |(index, value)| Self { key: format!("{}[{index}]", self.key), value, named: None, report: self.report };
        array.iter().enumerate().map(element).collect()
    }

    /// Every key and its value of a table whose keys are names, in the order of the file; nothing if it is no table.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Some(table) = self.value().as_table() else { return Vec::new() };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let key = join(&self.key, name.get_ref());
            (name.get_ref().as_ref(), Self { key, value, named: Some(name.span()), report: self.report })
        };
        entries.into_iter().map(entry).collect()
    }

    /// This value as a table with `keys`; reports and gives `None` if it is none.
    pub(super) fn section(&self, keys: &'static Keys) -> Option<Section<'a>> {
        let Some(table) = self.value().as_table() else {
            let help = keys.turned_off(self.value()).map_or_else(|| format!("write {}", keys.example), str::to_owned);
            self.wrong(values::wanted(self.value(), "a table").help(help));
            return None;
        };
        Some(Section::open(self.report, self.key.clone(), table, self.span(), keys))
    }
}

/// One table of the file, whose keys have been looked at.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    path: String,
    span: Range<usize>,
    keys: &'static Keys,
    /// Keys that unknown ones were probably meant for: they are not missed as well.
    meant: Vec<&'static str>,
    report: Report<'a>,
}

impl<'a> Section<'a> {
    /// Takes `table`, and reports each key in it that is not one of `keys`.
    pub(super) fn open(
        report: Report<'a>,
        path: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        keys: &'static Keys,
    ) -> Self {
        let meant = table.keys().filter_map(|key| keys.meant(key.get_ref())).collect();
        let section = Self { table, path, span, keys, meant, report };
        for key in table.keys() {
            if let Some(wrong) = keys.refuse(key.get_ref()) {
                report.wrong(key.span(), &join(&section.path, key.get_ref()), wrong);
            }
        }
        section
    }

    /// The value of `key`, if it is written.
    pub(super) fn field(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is not a known key of {}", self.keys.title);
        Some(Field { key: join(&self.path, key), value: self.table.get(key)?, named: None, report: self.report })
    }

    /// The value of `key` by `parse`; `default` if it is not written, or wrong and reported.
    pub(super) fn read<T>(&self, key: &str, default: T, parse: impl FnOnce(&Field<'a>) -> Result<T, Wrong>) -> T {
        self.field(key).and_then(|field| field.read(parse)).unwrap_or(default)
    }

    /// Every value by `parse` of the list at `key`; wrong ones are reported and left out.
    pub(super) fn list<T>(&self, key: &str, parse: impl Fn(&Field<'a>) -> Result<T, Wrong>) -> Vec<T> {
        let fields = self.field(key).map(|field| field.list()).unwrap_or_default();
        fields.iter().filter_map(|field| field.read(&parse)).collect()
    }

    /// The table at `key`; reports and gives `None` if it is none.
    pub(super) fn section(&self, key: &str, keys: &'static Keys) -> Option<Section<'a>> {
        self.field(key)?.section(keys)
    }

    /// One of `keys` was probably meant by a key that has been reported.
    pub(super) fn meant(&self, keys: &[&str]) -> bool {
        self.meant.iter().any(|meant| keys.contains(meant))
    }

    /// Reports that `key` must be written in this table, unless a key that was meant for it has been reported.
    pub(super) fn missing(&self, key: &str, wrong: Wrong) {
        if self.meant(&[key]) {
            return;
        }
        self.report.missing(Some(self.span.clone()), &join(&self.path, key), wrong);
    }
}

/// All files together: the one that was asked for, then those that it includes.
pub(super) struct Document<'a>(Vec<Section<'a>>);

impl<'a> Document<'a> {
    /// Takes `files`, and reports each key in them that is none of the file's.
    pub(super) fn open(files: &'a [(Report<'a>, Spanned<DeTable<'a>>)]) -> Self {
        let section = |(report, table): &'a (Report<'a>, Spanned<DeTable<'a>>)| {
            Section::open(*report, String::new(), table.get_ref(), table.span(), &DOCUMENT)
        };
        let files: Vec<_> = files.iter().map(section).collect();
        for field in files.iter().skip(1).filter_map(|file| file.field("include")) {
            field.wrong(Wrong::new("an included file includes no others").help("write it in the main file"));
        }
        Self(files)
    }

    /// The table at `key`, which may stand once in all files.
    pub(super) fn once(&self, key: &str, keys: &'static Keys) -> Option<Section<'a>> {
        self.only(key)?.section(keys)
    }

    /// The value of `key`, which may stand once in all files.
    pub(super) fn only(&self, key: &str) -> Option<Field<'a>> {
        let mut fields = self.written(key).into_iter();
        let first = fields.next()?;
        for other in fields {
            let wrong = Wrong::new(format!("[{key}] stands in another file already"));
            other.clash(wrong.help("write it once in all files"), &first);
        }
        Some(first)
    }

    /// What is written at `key`, in each file that has it.
    pub(super) fn written(&self, key: &str) -> Vec<Field<'a>> {
        self.0.iter().filter_map(|file| file.field(key)).collect()
    }

    /// Reports that `key` must stand in one of the files, unless a key that was meant for it has been reported.
    pub(super) fn missing(&self, key: &str, wrong: Wrong) {
        if !self.0.iter().any(|file| file.meant(&[key])) {
            self.0[0].report.missing(None, key, wrong);
        }
    }
}

/// The path of `key` in the table at `path`; quoted where TOML would want it so.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
