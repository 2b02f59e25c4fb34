//! What routes do beside choosing a pool (PRODUCT.md sections 3, 6.6, 7 and 12): answers of our own, and what is changed on
//! the way.

mod bounds;
mod edits;
mod fallback;
mod pages;
mod redirects;
mod rewrites;
mod words;

use crate::support::{Backend, Evenkeel, Site};

/// The text of a route to the pool `web`, with further keys.
fn route(keys: &str) -> String {
    format!("[[route]]\nname = \"r\"\npool = \"web\"\n{keys}\n")
}

/// evenkeel with `text` in front of the pool `web`, which is `backend`.
fn site(text: &str, backend: &Backend) -> Evenkeel {
    Site::new(text).pool("web", backend.address()).start()
}

/// The keys of a pool whose backends are all down, and stay it.
const DOWN: &str = "health_check = { initial_state = \"down\", interval = \"1h\", interval_down = \"1h\" }";
