//! `[trace]`: whose spans are recorded, and where they go.

use super::super::{
    Server, Trace, Url, keys,
    report::Wrong,
    section::{Document, Field},
    values,
};
use super::auth;

const EXAMPLE: &str = "write otlp = \"http://127.0.0.1:4318\", for example";
/// Where a collector takes spans, below its address (OTLP over HTTP).
const PATH: &str = "/v1/traces";
/// Where collectors take OTLP over gRPC.
const GRPC: u16 = 4317;

/// `[trace]`, if it is there; `None` as well if it cannot be read, which has been reported.
pub(super) fn trace(document: &Document<'_>, server: &Server) -> Option<Trace> {
    let section = document.once("trace", &keys::TRACE)?;
    let sample = section.read("sample", 0.01, values::share);
    let Some(field) = section.field("otlp") else {
        section.missing("otlp", Wrong::new("nothing says where spans go").help(EXAMPLE));
        return None;
    };
    let otlp = field.read(collector)?;
    if otlp.authority.ends_with(&format!(":{GRPC}")) {
        let wrong = Wrong::new("4317 is where collectors take OTLP over gRPC, and this is OTLP over HTTP");
        field.warn(wrong.help("write port 4318, unless yours is set up otherwise"));
    }
    let nobody = server.trusted_proxies.nets.is_empty() && !server.trusted_proxies.unix;
    if let (true, true, Some(field)) = (sample == 0.0, nobody, section.field("sample")) {
        let wrong = Wrong::new("no span is ever recorded: nobody's word that a request is sampled is believed");
        field.warn(
            wrong.help("write \"1%\", for example, or name the proxies in front in `trusted_proxies` of [server]"),
        );
    }
    Some(Trace { otlp, sample })
}

/// The address of a collector, with or without the path.
fn collector(field: &Field<'_>) -> Result<Url, Wrong> {
    let mut url = auth::url(field, EXAMPLE)?;
    if url.path.contains('?') {
        let wrong = Wrong::new("found a query in the URL, wanted none");
        return Err(wrong.help("what stands here is shown in messages, and OTLP has no query"));
    }
    if !url.path.ends_with(PATH) {
        url.path.truncate(url.path.trim_end_matches('/').len());
        url.path.push_str(PATH);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Config;

    fn read(trace: &str) -> (Option<(String, f64)>, Option<String>) {
        let text = format!("[[listener]]\naddress = \"127.0.0.1:1\"\n[pool.web]\nbackends = \"10.0.0.1:80\"\n{trace}");
        let config = Config::parse(&text, Path::new("evenkeel.toml")).unwrap_or_else(|problems| panic!("{problems}"));
        let warnings = config.warnings.map(|warnings| warnings.to_string());
        (config.trace.map(|trace| (trace.otlp.to_string(), trace.sample)), warnings)
    }

    #[test]
    fn a_collector_is_named_with_or_without_its_path() {
        for (written, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example/in/eu", "https://otel.example/in/eu/v1/traces"),
            ("https://otel.example/in/eu//", "https://otel.example/in/eu/v1/traces"),
        ] {
            assert_eq!(
                read(&format!("[trace]\notlp = {written:?}\n")),
                (Some((meant.into(), 0.01)), None),
                "{written}"
            );
        }
    }

    #[test]
    fn without_the_table_nothing_is_recorded() {
        assert_eq!(read(""), (None, None));
    }

    #[test]
    fn a_share_of_none_is_for_those_who_have_callers_that_they_believe() {
        let none = "[trace]\notlp = \"http://a.example\"\nsample = \"0%\"\n";
        assert!(read(none).1.is_some_and(|warned| warned.contains("no span is ever recorded")));
        for trusted in ["\"10.0.0.0/8\"", "\"unix\""] {
            let (trace, warned) = read(&format!("{none}[server]\ntrusted_proxies = {trusted}\n"));
            assert_eq!((trace.map(|(_, sample)| sample), warned), (Some(0.0), None));
        }
    }
}
