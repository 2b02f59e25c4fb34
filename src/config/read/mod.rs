//! From the TOML tree to [`Config`]: one file a table, each with the defaults and bounds of PRODUCT.md.
//!
//! Called by `Config::parse`. Every part reads all that it has before it gives up, so that no problem hides another.

mod listener;
mod pool;
mod process;

use toml::{Spanned, de::DeTable};

use super::{Address, Config, Route, keys, report::Report, section::Field, section::Section};

/// The whole file; `None` if a part is missing, which has then been reported.
pub(super) fn document<'a>(table: &'a Spanned<DeTable<'a>>, report: &'a Report) -> Option<Config> {
    let document = Section::open(report, String::new(), table.get_ref(), table.span(), &keys::DOCUMENT);
    let server = process::server(&document);
    let (admin, admin_field) = process::admin(&document);
    let log = process::log(&document);
    let listeners = listener::listeners(&document, &admin, admin_field.as_ref());
    let pools = pool::pools(&document);
    let metrics = process::metrics(&document);
    let (listeners, pools) = (listeners?, pools?);
    let routes = pools.first().map(|pool| Route::all_to(&pool.name)).into_iter().collect();
    Some(Config { server, admin, log, metrics, listeners, routes, pools, error_pages: Vec::new() })
}

/// An address, its text, and the field that it stands in.
struct Written<'a> {
    address: Address,
    text: String,
    field: Field<'a>,
}

impl<'a> Written<'a> {
    /// `field` as it stands in the file, and what `address` it means.
    fn new(address: Address, field: Field<'a>) -> Self {
        Self { address, text: field.value().as_str().unwrap_or_default().to_owned(), field }
    }
}
