//! The one message form: a request's or response's head, whatever version it came in. Hot path.
//!
//! A `Head` owns its bytes and crosses `.await`. Versions are translated at the edges alone; guard, router, policies,
//! log and encoders see this. Fields are spans into one buffer in wire order and case; edits are appended behind, and
//! what was replaced or removed is only marked. Workers reuse heads, so that no exchange allocates one.

pub use super::method::Method;
use super::{name::Name, target};
use memchr::memchr;

/// A place in a head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize, "heads are bounded far below 4 GiB");
        Self { start: start as u32, end: end as u32 }
    }

    /// Nothing is there.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// How many bytes there are.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn end(self) -> usize {
        self.end as usize
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
    id: Name,
    live: bool,
    /// The value is followed by CRLF, so that the line can be copied as it stands.
    verbatim: bool,
}

/// What a head begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request line, or the pseudo-fields of later versions.
    Request(Method),
    /// A status, 100 to 599, and the reason phrase as it came (HTTP/1 alone; may be empty).
    Response(u16, Span),
}

/// The version that a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the version itself")]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// Where a request goes: normalised once, by the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `http` or `https` was written (absolute form) or is known (HTTP/2); empty otherwise.
    pub scheme: Span,
    /// Host and port as the client wrote them; empty if an HTTP/1.0 client named none.
    pub authority: Span,
    /// Begins with `/`, or is `*`.
    pub path: Span,
    /// With its `?`; empty if there is none.
    pub query: Span,
}

/// A field that may stand once stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// A message head.
#[derive(Clone, Debug)]
pub struct Head {
    buf: Vec<u8>,
    fields: Vec<Field>,
    /// Number of the first live field of each well-known name, plus one; 0 = none.
    known: [u16; Name::COUNT],
    start: Start,
    version: Version,
    /// The target to forward.
    pub target: Target,
    /// The target as it came, before rewrites: for log, tests and `X-Forwarded-Host`.
    pub received: Target,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            buf: Vec::new(),
            fields: Vec::new(),
            known: [0; Name::COUNT],
            start: Start::Response(200, Span::default()),
            version: Version::Http11,
            target: Target::default(),
            received: Target::default(),
        }
    }
}

impl Head {
    /// Empties the head and keeps its memory.
    pub fn clear(&mut self) {
        self.start = Start::Response(200, Span::default());
        self.version = Version::Http11;
        if self.buf.is_empty() {
            // Nothing points anywhere.
            return;
        }
        self.buf.clear();
        self.fields.clear();
        self.known = [0; Name::COUNT];
        self.target = Target::default();
        self.received = Target::default();
    }

    /// Begins anew as a head of ours.
    pub fn begin(&mut self, start: Start, version: Version) {
        self.clear();
        self.start = start;
        self.version = version;
    }

    /// Begins anew as an answer of ours.
    pub fn begin_answer(&mut self, status: u16, reason: &str) {
        self.clear();
        self.start = Start::Response(status, self.note(reason.as_bytes()));
    }

    /// From here on the path to forward is `path`, which begins with `/`; its dot segments are removed.
    pub fn set_path(&mut self, path: &[u8]) {
        debug_assert!(path.starts_with(b"/"), "a path begins with a slash");
        let start = self.buf.len();
        target::remove_dot_segments(path, &mut self.buf);
        self.target.path = Span::new(start, self.buf.len());
    }

    /// From here on it asks for `path` and `query`, which has its `?`, at `authority`, whatever it has asked for.
    pub fn become_get(&mut self, authority: &[u8], path: &[u8], query: &[u8]) {
        self.start = Start::Request(Method::Get);
        let (authority, path, query) = (self.note(authority), self.note(path), self.note(query));
        self.target = Target { scheme: Span::default(), authority, path, query };
    }

    /// What the head begins with.
    pub fn start(&self) -> Start {
        self.start
    }

    pub(super) fn set_start(&mut self, start: Start, version: Version) {
        self.start = start;
        self.version = version;
    }

    /// The version that it came in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A request's method. A response has none: it counts as `GET`.
    pub fn method(&self) -> Method {
        match self.start {
            Start::Request(method) => method,
            Start::Response(..) => Method::Get,
        }
    }

    /// The method as it is written.
    pub fn method_text(&self) -> &[u8] {
        match self.method() {
            Method::Get => b"GET",
            Method::Head => b"HEAD",
            Method::Post => b"POST",
            Method::Put => b"PUT",
            Method::Delete => b"DELETE",
            Method::Options => b"OPTIONS",
            Method::Patch => b"PATCH",
            Method::Connect => b"CONNECT",
            Method::Trace => b"TRACE",
            Method::Other(span) => self.text(span),
        }
    }

    /// A response's status; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Response(status, _) => status,
            Start::Request(_) => 0,
        }
    }

    /// The bytes at `span`.
    pub fn text(&self, span: Span) -> &[u8] {
        &self.buf[span.range()]
    }

    /// All bytes, edits included: spans point into them.
    pub(super) fn buf(&self) -> &[u8] {
        &self.buf
    }

    pub(super) fn buf_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Appends `bytes` behind and says where they are.
    pub fn note(&mut self, bytes: &[u8]) -> Span {
        let start = self.buf.len();
        self.buf.extend_from_slice(bytes);
        Span::new(start, self.buf.len())
    }

    /// The value of the first live field `id`.
    pub fn get(&self, id: Name) -> Option<&[u8]> {
        let number = usize::from(self.known[id as usize]);
        (number > 0).then(|| self.text(self.fields[number - 1].value))
    }

    /// Where the value of the one field `id` is; an error if there are several.
    ///
    /// # Errors
    /// There is more than one.
    pub fn single(&self, id: Name) -> Result<Option<Span>, Repeated> {
        let first = usize::from(self.known[id as usize]);
        if first == 0 {
            return Ok(None);
        }
        let repeated = self.fields[first..].iter().any(|field| field.live && field.id == id);
        if repeated { Err(Repeated) } else { Ok(Some(self.fields[first - 1].value)) }
    }

    /// There is a live field `id`.
    pub fn has(&self, id: Name) -> bool {
        self.known[id as usize] != 0
    }

    /// The values of all live fields `id`, in wire order.
    pub fn all(&self, id: Name) -> impl Iterator<Item = &[u8]> {
        let first = usize::from(self.known[id as usize]);
        let rest = if first == 0 { &[] } else { &self.fields[first - 1..] };
        rest.iter().filter(move |field| field.live && field.id == id).map(|field| self.text(field.value))
    }

    /// The well-known names of all live fields.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.fields.iter().filter(|field| field.live).map(|field| field.id)
    }

    /// All live fields as name and value, in wire order and case.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter(|field| field.live).map(|field| (self.text(field.name), self.text(field.value)))
    }

    /// All live fields: the number of the name, and where name and value are.
    pub(super) fn places(&self) -> impl Iterator<Item = (Name, Span, Span)> {
        self.fields.iter().filter(|field| field.live).map(|field| (field.id, field.name, field.value))
    }

    /// The value of the first live field of that name, in any case. For names that are not well known.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// How many field lines there are, removed ones included.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// No field line has ever been here.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Appends a field of ours; `id`'s spelling is sent. Returns where its value is.
    pub fn add(&mut self, id: Name, value: &[u8]) -> Span {
        self.add_pieces(id.spelling().as_bytes(), id, &[value])
    }

    /// Appends a field of ours whose value `write` appends. Returns where its value is.
    pub fn add_with(&mut self, id: Name, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        self.append(id.spelling().as_bytes(), id, write)
    }

    /// Appends a field whose value is already somewhere in this head.
    pub fn add_copy(&mut self, id: Name, value: Span) {
        self.add_with(id, |buf| buf.extend_from_within(value.range()));
    }

    /// Appends a field whose value is made of `pieces`.
    pub fn add_pieces(&mut self, name: &[u8], id: Name, pieces: &[&[u8]]) -> Span {
        self.append(name, id, |buf| pieces.iter().for_each(|piece| buf.extend_from_slice(piece)))
    }

    #[inline]
    fn append(&mut self, name: &[u8], id: Name, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let name = self.note(name);
        self.buf.extend_from_slice(b": ");
        let start = self.buf.len();
        write(&mut self.buf);
        let value = Span::new(start, self.buf.len());
        self.buf.extend_from_slice(b"\r\n");
        self.push(name, value, id, true);
        value
    }

    /// Appends a field of ours that is written already: `line` is `id`'s spelling, a colon, a blank, the value, and CRLF.
    /// Returns where the value is.
    #[inline]
    pub fn add_line(&mut self, id: Name, line: &[u8]) -> Span {
        let start = self.buf.len();
        let name = Span::new(start, start + id.spelling().len());
        self.buf.extend_from_slice(line);
        let value = Span::new(name.end() + 2, self.buf.len() - 2);
        self.push(name, value, id, true);
        value
    }

    /// Appends field lines that were made beforehand.
    pub fn add_lines(&mut self, lines: &Lines) {
        let base = self.buf.len();
        self.buf.extend_from_slice(&lines.bytes);
        let fields = lines.values.iter().zip(&lines.names).take(usize::from(lines.count));
        for (value, &id) in fields {
            let (start, end) = (base + value.start(), base + value.end());
            let colon = start - 2;
            self.push(Span::new(colon - id.spelling().len(), colon), Span::new(start, end), id, true);
        }
    }

    /// A field that is already in the bytes.
    pub(super) fn push(&mut self, name: Span, value: Span, id: Name, verbatim: bool) {
        self.fields.push(Field { name, value, id, live: true, verbatim });
        let known = &mut self.known[id as usize];
        if *known == 0 {
            // Heads have far fewer fields than 65,535: `max_headers` and the encoders of later versions bound them.
            *known = u16::try_from(self.fields.len()).unwrap_or(u16::MAX);
        }
    }

    /// Removes every field `id`.
    pub fn remove(&mut self, id: Name) {
        let first = usize::from(self.known[id as usize]);
        if first == 0 {
            return;
        }
        for field in &mut self.fields[first - 1..] {
            field.live &= field.id != id;
        }
        self.known[id as usize] = 0;
    }

    /// Removes every field of that name, in any case.
    pub fn remove_named(&mut self, name: &[u8]) {
        match Name::of(name) {
            Name::Other => self.remove_where(|other| other.eq_ignore_ascii_case(name)),
            id => self.remove(id),
        }
    }

    /// Removes the fields that have no well-known name and whose name satisfies `unwanted`.
    pub fn remove_where(&mut self, unwanted: impl Fn(&[u8]) -> bool) {
        for field in self.fields.iter_mut().filter(|field| field.id == Name::Other) {
            if field.live && unwanted(&self.buf[field.name.range()]) {
                field.live = false;
            }
        }
    }

    /// Some live field that has no well-known name has `_` in it.
    pub(super) fn has_underscore(&self) -> bool {
        let mut others = self.fields.iter().filter(|field| field.live && field.id == Name::Other);
        others.any(|field| memchr(b'_', self.text(field.name)).is_some())
    }

    /// Writes all live fields as HTTP/1.1 lines. Runs of untouched neighbours are one copy.
    pub(super) fn write_fields(&self, out: &mut Vec<u8>) {
        // What is to be copied in one piece.
        let (mut first, mut last) = (0, 0);
        for field in self.fields.iter().filter(|field| field.live) {
            let start = field.name.start as usize;
            if field.verbatim {
                if start != last {
                    out.extend_from_slice(&self.buf[first..last]);
                    first = start;
                }
                last = field.value.end as usize + 2;
                continue;
            }
            out.extend_from_slice(&self.buf[first..last]);
            (first, last) = (0, 0);
            out.extend_from_slice(self.text(field.name));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.text(field.value));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&self.buf[first..last]);
    }
}

/// Up to four field lines that stay the same for all requests of a connection.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the value of each is; its name, as we spell it, stands in front of it.
    values: [Span; 4],
    names: [Name; 4],
    count: u8,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Lines {
    /// No lines yet, and room for what usual ones need.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(112), values: [Span::default(); 4], names: [Name::Other; 4], count: 0 }
    }

    /// Appends a line whose value `write` appends. There is no fifth.
    pub fn add(&mut self, id: Name, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(id.spelling().as_bytes());
        self.bytes.extend_from_slice(b": ");
        let start = self.bytes.len();
        write(&mut self.bytes);
        let place = usize::from(self.count);
        (self.values[place], self.names[place]) = (Span::new(start, self.bytes.len()), id);
        self.count += 1;
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// A worker's spare heads.
#[derive(Debug, Default)]
pub struct Heads {
    #[allow(clippy::vec_box, reason = "heads travel through futures: a pointer is moved, not 200 bytes")]
    spare: std::cell::RefCell<Vec<Box<Head>>>,
}

impl Heads {
    /// How many are kept, and up to which size: streams of HTTP/2 are many at a time.
    const KEEP: usize = 512;
    const ROOM: usize = 4 * 1024;

    /// An empty head.
    pub fn take(&self) -> Box<Head> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives back all that is spare.
    pub fn clear(&self) {
        drop(self.spare.take());
    }

    /// Takes a head back, unless it has grown large.
    pub fn give(&self, mut head: Box<Head>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < Self::KEEP && (1..=Self::ROOM).contains(&head.buf.capacity()) {
            head.clear();
            spare.push(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(head: &Head) -> String {
        let mut out = Vec::new();
        head.write_fields(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn edits_keep_order_and_case() {
        let mut head = Head::default();
        head.add_pieces(b"x-A", Name::Other, &[b"1"]);
        head.add(Name::Via, b"1.1 a");
        head.add_pieces(b"x-b", Name::Other, &[b"2", b"3"]);
        head.add(Name::Via, b"1.1 b");
        assert_eq!(head.all(Name::Via).collect::<Vec<_>>(), [b"1.1 a", b"1.1 b"]);
        assert_eq!(lines(&head), "x-A: 1\r\nVia: 1.1 a\r\nx-b: 23\r\nVia: 1.1 b\r\n");
        head.remove(Name::Via);
        assert!(head.get(Name::Via).is_none());
        head.remove_named(b"X-a");
        head.add(Name::Via, b"1.1 c");
        assert_eq!(lines(&head), "x-b: 23\r\nVia: 1.1 c\r\n");
        assert_eq!(head.get(Name::Via), Some(&b"1.1 c"[..]));
    }
}
