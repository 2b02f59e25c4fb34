//! What a route does with its requests and answers, beside sending them on. Pure: no I/O, no clock. Hot path.
//!
//! `plan` builds these from the configuration, once; `proxy` applies them, in PRODUCT.md's order. What needs memory takes
//! a buffer that the worker lends, so that an exchange allocates none.

mod answer;
mod auth;
mod chaos;
mod cors;
mod error_pages;
mod field;
mod fit;
mod forwarded;
mod headers;
mod key;
pub mod limit;
mod memory;
mod policies;
mod request;
mod rewrite;
mod shed;
mod split;
mod sticky;
#[cfg(test)]
mod testing;
mod values;
mod visit;

pub use crate::config::auth::KeySet;
pub use answer::{empty, https_location, redirect, redirect_to, respond};
pub use auth::{
    Auth, AuthGround, Auths, Forward, Job, Judged, Keys, MAX_ANSWER, News, Place, TokenFault, TokenRules, TokenSaid,
    Written, after_failures, fuzz as fuzz_token, good_for, is_alias, verify_token,
};
pub use chaos::{Blow, Chaos, Rule};
pub use cors::preflight;
pub use error_pages::ErrorPages;
pub use field::FieldName;
pub use fit::Fit;
pub use forwarded::is_proxys;
pub use headers::Headers;
pub use key::Key;
pub use memory::Memory;
pub use policies::{Ask, Asked, Policies, Stage, Verdict};
pub use request::{Parameter, cookies, host, parameters};
pub use rewrite::Rewrite;
pub use shed::{Level, Marks, Shed};
pub use split::Split;
pub use sticky::{By, Cookie, Read, Said, Sticky, Ticket, fuzz, hide, read_set_cookie};
#[cfg(test)]
pub(crate) use testing::{head as test_head, lines as test_lines};
pub use values::{Facts, Values, render};
pub use visit::{Claims, Fields, Visit};
