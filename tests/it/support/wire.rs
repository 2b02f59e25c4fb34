//! HTTP/1.1 off a socket, read strictly: what evenkeel sends must be well formed, so a bare LF, both framings at once or a
//! bad chunk is an error here and fails the test. Used by the client, by the backends, and to re-read what they recorded.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex};

use super::rng::Rng;

/// A longer line than any test needs: the reader stays bounded when evenkeel runs wild.
const LONGEST_LINE: usize = 256 * 1024;

/// Header or trailer fields in wire order and case. Bytes are read as Latin-1, so that nothing is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// The first value of `name`, in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of `name`, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether `name` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The names as they were written, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether the list field `name` contains `member`.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).iter().any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(member)))
    }
}

/// A start line and its fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

impl Head {
    /// The status of a response head.
    pub(crate) fn status(&self) -> io::Result<u16> {
        let code = self.start.strip_prefix("HTTP/1.1 ").or_else(|| self.start.strip_prefix("HTTP/1.0 "));
        let code = code.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        code.ok_or_else(|| malformed(format!("status line {:?}", self.start)))
    }

    /// How the body of a request with this head is framed.
    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        self.framing(Framing::None)
    }

    /// How the body of a response with this head, to a request with `method`, is framed.
    pub(crate) fn response_framing(&self, method: &str) -> io::Result<Framing> {
        let status = self.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::None);
        }
        self.framing(Framing::UntilClose)
    }

    fn framing(&self, otherwise: Framing) -> io::Result<Framing> {
        match (self.fields.all("content-length").as_slice(), self.fields.all("transfer-encoding").as_slice()) {
            ([], []) => Ok(otherwise),
            ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Framing::Length(length.parse().map_err(|_| malformed(format!("length {length}")))?))
            }
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ambiguous => Err(malformed(format!("ambiguous framing {ambiguous:?}"))),
        }
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A reader with a buffer. What it reads can be recorded, and cut into random pieces.
pub(crate) struct Wire<R> {
    pub(crate) stream: R,
    buf: Vec<u8>,
    taken: usize,
    /// Every byte that came in, for a test that asks what evenkeel sent.
    pub(crate) record: Option<Arc<Mutex<Vec<u8>>>>,
    /// With it each read takes a random number of bytes.
    pub(crate) splits: Option<Rng>,
}

impl<R: Read> Wire<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buf: Vec::new(), taken: 0, record: None, splits: None }
    }

    /// Bytes that are read and not yet consumed.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.buf[self.taken..]
    }

    /// Reads once; 0 means that the other side has ended.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.taken == self.buf.len() {
            self.buf.clear();
            self.taken = 0;
        }
        let room = self.splits.as_mut().map_or(64 * 1024, Rng::split);
        let old = self.buf.len();
        self.buf.resize(old + room, 0);
        let read = loop {
            match self.stream.read(&mut self.buf[old..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buf.truncate(old + *read.as_ref().unwrap_or(&0));
        if let Some(record) = &self.record {
            record.lock().unwrap().extend_from_slice(&self.buf[old..]);
        }
        read
    }

    /// A line without its CRLF; a bare CR or LF in it is an error. `None`: the other side ended before its first byte.
    pub(crate) fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.pending()[seen..].iter().position(|&byte| byte == b'\n') {
                let line = self.pending()[..seen + at].to_vec();
                self.taken += seen + at + 1;
                return match line.strip_suffix(b"\r") {
                    Some(line) if !line.contains(&b'\r') => Ok(Some(line.to_vec())),
                    _ => Err(malformed(format!("bare CR or LF in {:?}", latin1(&line)))),
                };
            }
            seen = self.pending().len();
            if seen > LONGEST_LINE {
                return Err(malformed("endless line"));
            }
            if self.fill()? == 0 {
                return if seen == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Exactly `count` bytes.
    pub(crate) fn exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending().len() < count {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let bytes = self.pending()[..count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    /// The next head, or `None` where the other side ended between two messages.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(start) = self.line()? else { return Ok(None) };
        Ok(Some(Head { start: latin1(&start), fields: self.fields()? }))
    }

    /// Fields up to the empty line.
    fn fields(&mut self) -> io::Result<Fields> {
        let mut fields = Fields::default();
        loop {
            let line = self.line()?.ok_or(ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let line = latin1(&line);
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(format!("field {line:?}")))?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(malformed(format!("field name {name:?}")));
            }
            fields.0.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// Reads a body, gives its pieces to `take`, and returns its trailers.
    pub(crate) fn body(&mut self, framing: Framing, take: &mut dyn FnMut(&[u8])) -> io::Result<Fields> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.pieces(length, take)?,
            Framing::Chunked => return self.chunks(take),
            Framing::UntilClose => loop {
                take(self.pending());
                self.taken = self.buf.len();
                if self.fill()? == 0 {
                    break;
                }
            },
        }
        Ok(Fields::default())
    }

    fn pieces(&mut self, mut left: u64, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.pending().is_empty() && self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let piece = self.pending().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&self.pending()[..piece]);
            self.taken += piece;
            left -= piece as u64;
        }
        Ok(())
    }

    fn chunks(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<Fields> {
        loop {
            let line = latin1(&self.line()?.ok_or(ErrorKind::UnexpectedEof)?);
            if line.is_empty() || line.len() > 16 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(malformed(format!("chunk size {line:?}: extensions are not passed on")));
            }
            let size = u64::from_str_radix(&line, 16).map_err(|_| malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                return self.fields();
            }
            self.pieces(size, take)?;
            if self.exact(2)? != b"\r\n" {
                return Err(malformed("no CRLF after a chunk"));
            }
        }
    }
}

/// A whole body in memory, with its trailers. `true`: it ended before it was complete.
pub(crate) fn collect<R: Read>(wire: &mut Wire<R>, framing: Framing) -> io::Result<(Vec<u8>, Fields, bool)> {
    let mut body = Vec::new();
    match wire.body(framing, &mut |piece| body.extend_from_slice(piece)) {
        Ok(trailers) => Ok((body, trailers, false)),
        Err(error) if ended(&error) => Ok((body, Fields::default(), true)),
        Err(error) => Err(error),
    }
}

/// Whether `error` is the other side's end of the connection, rather than silence or nonsense.
pub(crate) fn ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Every byte as the character of the same number.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

pub(crate) fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}
