//! For tests of commands that ask a running process.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::remote::{Failure, Remote};
use crate::admin::testing::Admin;

/// A file that goes with its test.
pub(super) struct File(pub(super) PathBuf);

/// One that holds `text`.
pub(super) fn file(text: &str) -> File {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("evenkeel-cli-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
    let path = env::temp_dir().join(name);
    fs::write(&path, text).unwrap();
    File(path)
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// `admin`, called with the token in that file.
pub(super) fn remote(admin: &Admin, token: Option<&File>) -> Remote {
    let config = PathBuf::from("/nowhere");
    Remote { config, admin: Some(admin.address.clone()), token_file: token.map(|file| file.0.clone()) }
}

/// What `command` writes to stdout, or why it has failed.
pub(super) fn said(command: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>) -> Result<String, String> {
    let mut out = Vec::new();
    command(&mut out).map_err(|failure| failure.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}
