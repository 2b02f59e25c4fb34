//! The last accepted configurations, in the state directory: what `rollback` goes back to, and what a start takes in place
//! of a file that was rolled back. Everything here blocks: [`keep`] runs it on control's blocking pool.
//!
//! A folder for each configuration's path, readable by us alone, a file for each configuration. Their order is that of an
//! editor's undo: what comes after a rollback takes the place of what was passed over.

use super::rollback::Holds;
use crate::config::Written;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};
use tokio::sync::{mpsc, oneshot};

/// How many configurations are kept.
const KEPT: usize = 10;
/// The record of a rollback that holds.
const ROLLED_BACK: &str = "rolled-back.json";

/// A configuration that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its place in the order.
    pub(crate) sequence: u64,
    /// When it was accepted, RFC 3339.
    pub(crate) time: String,
    /// Of the process that accepted it.
    pub(crate) generation: u64,
    /// Of what follows.
    pub(crate) hash: String,
    /// The main one first.
    pub(crate) files: Vec<KeptFile>,
}

/// One of its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptFile {
    path: PathBuf,
    text: String,
}

impl Kept {
    /// Its files.
    pub(crate) fn written(&self) -> Written {
        Written::of(self.files.iter().map(|file| (file.path.clone(), file.text.clone())))
    }
}

/// A rollback that holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RolledBack {
    /// To that configuration.
    to: u64,
    /// The files on disk, which are not read while they are these.
    passed_over: String,
}

/// Where the configurations of one file are kept.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// The one in force.
    cursor: Option<u64>,
    /// It has been said that nothing can be kept.
    failing: bool,
    /// The rollback that the process starts with.
    pub(super) holds: Option<Holds>,
}

/// What [`keep`] is to do.
#[derive(Debug)]
pub(super) enum Keep {
    /// That is in force now, as it stands on disk and as that generation.
    Accepted(Written, u64),
    /// Say which one was in force before.
    Before(oneshot::Sender<Result<Kept, String>>),
    /// That one is in force again, and the files with that hash are passed over.
    RolledBack(u64, String),
    /// Say when all of that before is done.
    Done(oneshot::Sender<()>),
}

impl State {
    /// The state directory: `$STATE_DIRECTORY`, as systemd sets it, or `/var/lib/evenkeel`.
    pub fn directory() -> PathBuf {
        let set = std::env::var_os("STATE_DIRECTORY").filter(|set| !set.is_empty());
        let first = set.and_then(|set| std::env::split_paths(&set).next());
        first.unwrap_or_else(|| "/var/lib/evenkeel".into())
    }

    /// What is kept in `directory` of the configuration at `file`. Nothing is written yet.
    pub fn open(directory: &Path, file: &Path) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let hash = digest::digest(&digest::SHA256, file.as_os_str().as_encoded_bytes());
        let hash: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut state =
            Self { folder: directory.join(format!("{name}-{hash}")), cursor: None, failing: false, holds: None };
        state.cursor = state.sequences().last().copied();
        state
    }

    /// The configuration that a start takes in place of `written`: one that `written` was rolled back to. Once the files say
    /// something else, that rollback is over.
    pub(crate) fn instead_of(&mut self, written: &Written) -> Option<Kept> {
        let record: RolledBack = read(&self.folder.join(ROLLED_BACK)).ok()?;
        let kept: Kept = read(&self.path(record.to)).ok()?;
        // What comes now follows what was in force.
        self.cursor = Some(record.to);
        if record.passed_over != written.hash() {
            return None;
        }
        self.holds = Some(Holds { to: kept.time.clone(), passed_over: record.passed_over });
        Some(kept)
    }

    /// `written`, as it stands on disk, is in force.
    fn accept(&mut self, written: &Written, generation: u64) -> io::Result<()> {
        let hash = written.hash();
        let now: Option<Kept> = self.cursor.and_then(|sequence| read(&self.path(sequence)).ok());
        remove(&self.folder.join(ROLLED_BACK))?;
        for passed_over in self.sequences().iter().filter(|sequence| Some(**sequence) > self.cursor) {
            remove(&self.path(*passed_over))?;
        }
        if now.is_some_and(|now| now.hash == hash) {
            return Ok(());
        }
        let sequence = self.cursor.map_or(1, |cursor| cursor + 1);
        let file = |(path, text): (&Path, &str)| KeptFile { path: path.to_owned(), text: text.to_owned() };
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let kept = Kept { sequence, time, generation, hash, files: written.files().map(file).collect() };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        write(&self.path(sequence), &kept)?;
        self.cursor = Some(sequence);
        let all = self.sequences();
        all.iter().take(all.len().saturating_sub(KEPT)).try_for_each(|oldest| remove(&self.path(*oldest)))
    }

    /// The one that was in force before the one that is.
    fn before(&self) -> Result<Kept, String> {
        let folder = self.folder.display();
        if self.failing || self.cursor.is_none() {
            return Err(format!("nothing could be kept in {folder}: the log says why"));
        }
        let before = self.sequences().into_iter().rev().find(|sequence| Some(*sequence) < self.cursor);
        let before =
            before.ok_or("there is no configuration before this one: none has been accepted, or it is too long ago")?;
        read(&self.path(before)).map_err(|error| format!("{}: {error}", self.path(before).display()))
    }

    fn roll_back(&mut self, to: u64, passed_over: String) -> io::Result<()> {
        self.cursor = Some(to);
        write(&self.folder.join(ROLLED_BACK), &RolledBack { to, passed_over })
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.folder.join(format!("{sequence:010}.json"))
    }

    /// Those that are there, in order.
    fn sequences(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let mut all: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
        all.sort_unstable();
        all
    }

    fn obey(&mut self, what: Keep) {
        let done = match what {
            Keep::Before(reply) => return drop(reply.send(self.before())),
            Keep::Done(reply) => return reply.send(()).unwrap_or_default(),
            Keep::Accepted(written, generation) => self.accept(&written, generation),
            Keep::RolledBack(to, passed_over) => self.roll_back(to, passed_over),
        };
        match done {
            Ok(()) => self.failing = false,
            // Once: it will be the same with each reload.
            Err(_) if self.failing => {}
            Err(error) => {
                let folder = self.folder.display();
                self.failing = true;
                tracing::warn!(%error, "{folder}: the configuration cannot be kept, and no rollback will find it");
            }
        }
    }
}

/// Does what it is told, one after the other, off the thread that asks.
pub(super) async fn keep(mut state: State, mut orders: mpsc::UnboundedReceiver<Keep>) {
    while let Some(order) = orders.recv().await {
        let obey = move || {
            state.obey(order);
            state
        };
        state = match tokio::task::spawn_blocking(obey).await {
            Ok(state) => state,
            Err(error) => return tracing::error!(%error, "configurations are not kept any more"),
        };
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// All of it, or nothing: also when the power fails.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    remove(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// It need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// A state directory that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("evenkeel-state-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
            Self(std::env::temp_dir().join(name))
        }

        fn open(&self) -> State {
            State::open(&self.0, Path::new("/etc/evenkeel/evenkeel.toml"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn written(text: &str) -> Written {
        Written::of([("/etc/evenkeel/evenkeel.toml".into(), text.to_owned())])
    }

    fn text(kept: &Kept) -> &str {
        &kept.files[0].text
    }

    #[test]
    fn the_one_before_is_found_again() {
        let folder = Folder::new();
        let mut state = folder.open();
        assert!(state.before().unwrap_err().contains("nothing could be kept"));
        state.accept(&written("a"), 1).unwrap();
        assert!(state.before().unwrap_err().contains("no configuration before"));
        state.accept(&written("b"), 2).unwrap();
        state.accept(&written("b"), 3).unwrap();
        assert_eq!(text(&state.before().unwrap()), "a", "the same once more is none of its own");
        let kept = state.before().unwrap();
        assert_eq!(kept.written().hash(), written("a").hash());
        let again = folder.open();
        assert_eq!(text(&again.before().unwrap()), "a", "over a restart");
        let other = State::open(&folder.0, Path::new("/etc/other/evenkeel.toml"));
        assert!(other.before().is_err(), "each file has its own");
    }

    #[test]
    fn ten_are_kept_for_our_eyes_alone() {
        let folder = Folder::new();
        let mut state = folder.open();
        (0..25).for_each(|number| state.accept(&written(&number.to_string()), number).unwrap());
        assert_eq!(state.sequences(), (16..=25).collect::<Vec<_>>());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state.path(25)), mode(&state.folder)), (0o600, 0o700));
        assert!(!state.path(25).with_extension("new").exists());
    }

    #[test]
    fn a_rollback_holds_over_a_restart_until_the_file_changes() {
        let folder = Folder::new();
        let mut state = folder.open();
        ["a", "b", "c"].iter().for_each(|text| state.accept(&written(text), 1).unwrap());
        let to = state.before().unwrap();
        state.roll_back(to.sequence, written("c").hash()).unwrap();
        assert_eq!(text(&state.before().unwrap()), "a", "once more goes one further back");
        let mut again = folder.open();
        assert_eq!(text(&again.instead_of(&written("c")).unwrap()), "b");
        assert_eq!(text(&again.before().unwrap()), "a");
        assert!(folder.open().instead_of(&written("c")).is_some(), "it holds over the next one, too");
        again.accept(&written("b"), 1).unwrap();
        assert!(folder.open().instead_of(&written("c")).is_none(), "the file has changed in between");
    }

    #[test]
    fn what_was_passed_over_is_forgotten_with_the_next_file() {
        let folder = Folder::new();
        let mut state = folder.open();
        ["a", "b"].iter().for_each(|text| state.accept(&written(text), 1).unwrap());
        state.roll_back(1, written("b").hash()).unwrap();
        let mut again = folder.open();
        assert!(again.instead_of(&written("c")).is_none(), "the file has changed");
        again.accept(&written("c"), 1).unwrap();
        assert_eq!(text(&again.before().unwrap()), "a");
        assert!(folder.open().instead_of(&written("b")).is_none(), "that rollback is over");
    }

    #[test]
    fn what_cannot_be_kept_is_said_and_refuses() {
        let folder = Folder::new();
        fs::write(&folder.0, "a file where the folder should be").unwrap();
        let mut state = folder.open();
        state.obey(Keep::Accepted(written("a"), 1));
        state.obey(Keep::Accepted(written("b"), 2));
        let why = state.before().unwrap_err();
        assert!(state.failing && why.contains("the log says why"), "{why}");
        fs::remove_file(&folder.0).unwrap();
        state.obey(Keep::Accepted(written("b"), 2));
        assert!(!state.failing);
    }
}
