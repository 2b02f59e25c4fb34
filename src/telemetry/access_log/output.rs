//! The file behind the access log. Called by the log's thread; opened by whoever starts or changes the log.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use memchr::{memchr, memchr_iter};

use super::Sink;

/// How long a reader that takes nothing is left alone, where whoever shares the pipe has made it non-blocking.
const FULL: Duration = Duration::from_millis(5);

/// An open file, and where to find it again.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// Of a file that can be opened anew.
    path: Option<PathBuf>,
    /// The end of a line whose beginning was written: the next bytes to write, into the same file.
    torn: Vec<u8>,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

impl Output {
    /// # Errors
    /// The file cannot be opened or made.
    pub(super) fn open(sink: &Sink) -> io::Result<Self> {
        // Without std's own buffers and locks, which are made for println.
        let (file, path) = match sink {
            Sink::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Sink::Stderr => (File::from(io::stderr().as_fd().try_clone_to_owned()?), None),
            Sink::File(path) => (append(path)?, Some(path.clone())),
        };
        Ok(Self { file, path, torn: Vec::new() })
    }

    /// Writes whole `lines`. After a failure in the midst of a line, its rest is kept and written first the next time:
    /// no line is torn, and none that follows is glued to it.
    ///
    /// # Errors
    /// Some lines could not be written; they are lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        if let Err(error) = self.mend() {
            return Err(Lost { lines: count(lines), error });
        }
        let (written, Some(error)) = put(&self.file, lines) else { return Ok(()) };
        let mut rest = &lines[written..];
        if written > 0 && lines[written - 1] != b'\n' {
            let (torn, whole) = rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |end| end + 1));
            self.torn.extend_from_slice(torn);
            rest = whole;
        }
        Err(Lost { lines: count(rest), error })
    }

    /// Opens the file anew, where it is one; what [`Output::finish`] said to the old one.
    ///
    /// # Errors
    /// It cannot be opened: the old one stays.
    pub(super) fn reopen(&mut self) -> io::Result<Result<(), Lost>> {
        let Some(path) = &self.path else { return Ok(Ok(())) };
        let file = append(path)?;
        let finished = self.finish();
        self.file = file;
        Ok(finished)
    }

    /// Completes the last line; nothing more will be written.
    ///
    /// # Errors
    /// It cannot be completed, and is lost.
    pub(super) fn finish(&mut self) -> Result<(), Lost> {
        let mended = self.mend();
        self.torn.clear();
        mended.map_err(|error| Lost { lines: 1, error })
    }

    /// Where the log is written to, for people.
    pub(super) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "the standard stream".into(), |path| path.display().to_string())
    }

    fn mend(&mut self) -> io::Result<()> {
        let (written, error) = put(&self.file, &self.torn);
        self.torn.drain(..written);
        error.map_or(Ok(()), Err)
    }
}

/// A FIFO that nobody reads is an error: waiting for its reader would hold up whoever opens it.
fn append(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(nonblocking.bits()).unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - nonblocking)?;
    Ok(file)
}

/// Writes as much of `bytes` as can be. Says how much, and what went wrong.
fn put(mut file: &File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

fn count(lines: &[u8]) -> u64 {
    memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process;

    use super::*;

    #[test]
    fn a_line_that_was_cut_by_a_failure_is_completed_by_the_next_write() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut output = Output { file: writer.into(), path: None, torn: Vec::new() };
        let lines: Vec<u8> = (0..40_000).flat_map(|number| format!("line {number:06}\n").into_bytes()).collect();
        let taken = thread::spawn(move || {
            let mut taken = vec![0; 1_000];
            File::from(reader).read_exact(&mut taken).unwrap();
            taken // and nobody reads any more
        });
        let Err(lost) = output.write(&lines) else { panic!("more than a pipe holds was written") };
        assert_eq!(lost.error.kind(), ErrorKind::BrokenPipe);
        assert!(lines.starts_with(&taken.join().unwrap()));
        let torn = output.torn.clone();
        assert!(torn.len() < 12 && (torn.is_empty() || torn.ends_with(b"\n")), "{torn:?}");
        assert!(lost.lines > 30_000, "{}", lost.lines);

        let Err(again) = output.write(b"a\nb\n") else { panic!("nobody reads") };
        assert_eq!((again.lines, &output.torn), (2, &torn), "the end of the line waits");

        let path = std::env::temp_dir().join(format!("evenkeel-log-torn-{}", process::id()));
        output.file = append(&path).unwrap();
        output.torn = b"012345\n".to_vec();
        output.write(b"a\nb\n").unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, "012345\na\nb\n");
    }

    #[test]
    fn where_nothing_can_be_written_every_line_is_counted() {
        let mut output = Output::open(&Sink::File("/dev/full".into())).unwrap();
        let lost = output.write(b"a\nb\nc\n").unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (3, ErrorKind::StorageFull));
        assert!(output.torn.is_empty());
    }
}
