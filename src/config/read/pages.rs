//! `[error_pages]`: a file or two for each status, read when the configuration is.

use super::super::{
    ErrorPage, files, keys,
    report::Wrong,
    section::{Document, Field},
    units::quoted,
    values,
};

const EXAMPLE: &str = "write 503 = { html = \"pages/503.html\" }";

/// `[error_pages]`, in the order of the file.
pub(super) fn error_pages(document: &Document<'_>) -> Vec<ErrorPage> {
    let Some(field) = document.only("error_pages") else { return Vec::new() };
    if !field.value().is_table() {
        field.wrong(values::wanted(field.value(), "a table of statuses").help(EXAMPLE));
    }
    field.entries().iter().filter_map(|(status, field)| page(status, field)).collect()
}

fn page(name: &str, field: &Field<'_>) -> Option<ErrorPage> {
    let status = name.parse::<u16>().ok().filter(|status| (400..=599).contains(status) && name.len() == 3);
    if status.is_none() {
        let wrong = Wrong::new(format!("found {}, wanted the status of an error, 400 to 599", quoted(name)));
        field.wrong_name(wrong.help(match name.to_ascii_lowercase().as_str() {
            "4xx" | "5xx" | "default" | "*" => "write each status on a line of its own",
            _ => EXAMPLE,
        }));
    }
    let section = field.section(&keys::ERROR_PAGE)?;
    let html = section.field("html").map(|field| field.read(files::page));
    let json = section.field("json").map(|field| field.read(json));
    if html.is_none() && json.is_none() && !section.meant(keys::ERROR_PAGE.known) {
        field.wrong(Wrong::new("found no file for this status").help(EXAMPLE));
    }
    Some(ErrorPage { status: status?, html: html.flatten(), json: json.flatten() })
}

/// Whoever asked for JSON parses it.
fn json(field: &Field<'_>) -> Result<Vec<u8>, Wrong> {
    let bytes = files::page(field)?;
    match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            Err(values::wanted(field.value(), "a file that holds JSON").help(format!("it does not: {error}")))
        }
    }
}
