//! Who may come in: `allow`, `deny`, `auth`, `cors` of a route (PRODUCT.md section 3).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use base64::{Engine, prelude::BASE64_STANDARD};

mod access;
mod basic;
mod cors;
mod forged;
mod keys;
mod order;

/// Files that configurations of tests name; they go with their value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gate-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Puts `text` in the place of the file `name`, at once, and gives its path as TOML wants it.
    fn put(&self, name: &str, text: &str) -> String {
        let (path, next) = (self.0.join(name), self.0.join("next"));
        fs::write(&next, text).unwrap();
        fs::rename(&next, &path).unwrap();
        format!("{path:?}")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line of htpasswd; `2^cost` rounds.
fn user(name: &str, password: &str, cost: u32) -> String {
    let hash = bcrypt::hash_with_salt(password, cost, [7; 16]).unwrap();
    format!("{name}:{}\n", hash.format_for_version(bcrypt::Version::TwoY))
}

/// The field that shows them.
fn shown(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// A line for an API key.
fn key(name: &str, key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}:{digits}\n")
}

/// `[auth.NAME]` of type basic.
fn basic_auth(name: &str, file: &str) -> String {
    format!("[auth.{name}]\ntype = \"basic\"\nusers = {{ file = {file} }}\nrealm = \"a place\"\n")
}

/// `[auth.NAME]` of type api_key.
fn key_auth(name: &str, file: &str) -> String {
    format!("[auth.{name}]\ntype = \"api_key\"\nkeys = {{ file = {file} }}\n")
}
