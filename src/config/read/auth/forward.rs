//! `type = "forward"`: which service decides. And URLs of those whom we ask.

use std::time::Duration;

use super::super::super::{
    Address, ForwardAuth, Url, address, field,
    report::Wrong,
    section::{Field, Section},
    values,
};

pub(super) const EXAMPLE: &str = "write url = \"http://127.0.0.1:9000/verify\", for example";

pub(super) fn forward(section: &Section<'_>) -> Option<ForwardAuth> {
    let timeout = section.read("timeout", Some(Duration::from_secs(2)), values::bounded_timeout);
    let name = |field: &Field<'_>| field::editable(values::text(field, "the name of a header")?);
    let mut copy_headers = section.list("copy_headers", name);
    copy_headers.sort_unstable();
    copy_headers.dedup();
    let Some(field) = section.field("url") else {
        section.missing("url", Wrong::new("nothing says which service decides").help(EXAMPLE));
        return None;
    };
    let url = field.read(|field| url(field, EXAMPLE))?;
    Some(ForwardAuth { url, timeout: timeout.unwrap_or(Duration::from_secs(2)), copy_headers })
}

/// An `http` or `https` URL. `example`: what to write, for who has written something else.
pub(in super::super) fn url(field: &Field<'_>, example: &str) -> Result<Url, Wrong> {
    const WHAT: &str = "an http:// or https:// URL";
    let text = values::text(field, WHAT)?;
    let wrong = || values::wanted(field.value(), WHAT);
    let uri: http::Uri = text.parse().map_err(|_| wrong().help(example))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong().help(example)),
    };
    let authority = uri.authority().ok_or_else(|| wrong().help(example))?;
    if authority.as_str().contains('@') {
        return Err(Wrong::new("found a user in the URL, wanted none").help("what stands here is shown in messages"));
    }
    if text.contains('#') {
        return Err(wrong().help("what stands behind `#` is never sent: take it out"));
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let address = address::of(authority.host(), port).ok_or_else(|| wrong().help(example))?;
    Ok(Url { tls, address, authority: authority.as_str().to_owned(), path })
}

/// What is sent there stays on this machine.
pub(super) fn is_near(url: &Url) -> bool {
    match &url.address {
        Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Address::Named(name, _) => name == "localhost" || name.ends_with(".localhost"),
        Address::Unix(_) => true,
    }
}
