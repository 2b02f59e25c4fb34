//! `[log]` and `[metrics]`: what is written about our own doings and about requests.

use std::{path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;

use super::super::{
    AccessField, AccessFormat, AccessLog, Log, LogFormat, Metrics, Overflow, field, keys,
    keys::nearest,
    report::Wrong,
    section::{Document, Field},
    units::quoted,
    values,
};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const ACCESS_FORMATS: &[(&str, AccessFormat)] = &[("json", AccessFormat::Json), ("combined", AccessFormat::Combined)];
const OVERFLOWS: &[(&str, Overflow)] = &[("drop", Overflow::Drop), ("wait", Overflow::Wait)];
const HISTOGRAMS: &[(&str, Option<bool>)] = &[("auto", None), ("on", Some(true)), ("off", Some(false))];
/// In milliseconds.
const BUCKETS: [u64; 13] = [1, 5, 10, 25, 50, 100, 200, 300, 500, 1000, 2500, 5000, 10_000];
/// Each is a series for each route and backend.
const MAX_BUCKETS: usize = 50;
/// PRODUCT.md section 10: these never appear. In lower case.
const UNLOGGED: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// `[log]`, or its defaults.
pub(super) fn log(document: &Document<'_>) -> Log {
    let mut log = Log {
        level: "info".into(),
        format: LogFormat::Text,
        access: AccessLog::Stdout,
        access_format: AccessFormat::Json,
        access_sample: 1.0,
        access_overflow: Overflow::Drop,
        access_fields: Vec::new(),
    };
    let Some(section) = document.once("log", &keys::LOG) else { return log };
    let combined = &[("clf", "combined"), ("common", "combined"), ("main", "combined"), ("text", "combined")];
    log.level = section.read("level", log.level, level);
    log.format =
        section.read("format", log.format, values::choice(FORMATS, &[], &[("plain", "text"), ("pretty", "text")]));
    log.access = section.read("access", log.access, access);
    log.access_format = section.read("access_format", log.access_format, values::choice(ACCESS_FORMATS, &[], combined));
    log.access_sample = section.read("access_sample", log.access_sample, values::share);
    let peers = &[("block", "wait"), ("discard", "drop")];
    log.access_overflow = section.read("access_overflow", log.access_overflow, values::choice(OVERFLOWS, &[], peers));
    log.access_fields = section.list("access_fields", access_field);
    log
}

/// `[metrics]`, or its defaults.
pub(super) fn metrics(document: &Document<'_>) -> Metrics {
    let mut metrics = Metrics { buckets: BUCKETS.map(Duration::from_millis).to_vec(), backend_histograms: None };
    let Some(section) = document.once("metrics", &keys::METRICS) else { return metrics };
    let peers = &[("true", "on"), ("false", "off"), ("yes", "on"), ("no", "off")];
    let histograms = section.read("backend_histograms", None, values::choice(HISTOGRAMS, &[], peers));
    metrics.backend_histograms = histograms;
    if let Some(field) = section.field("buckets") {
        metrics.buckets = buckets(&field).unwrap_or(metrics.buckets);
    }
    metrics
}

/// Ascending, at least one; `None` if one is wrong.
fn buckets(field: &Field<'_>) -> Option<Vec<Duration>> {
    let fields = field.list();
    if fields.is_empty() || fields.len() > MAX_BUCKETS {
        let wrong = Wrong::new(format!("found {} buckets, wanted 1 to {MAX_BUCKETS}", fields.len()));
        field.wrong(wrong.help("write [\"10ms\", \"100ms\", \"1s\"], for example"));
        return None;
    }
    let read: Option<Vec<_>> = fields.iter().map(|field| field.read(values::period)).collect();
    let read = read?;
    let Some(at) = read.windows(2).position(|pair| pair[0] >= pair[1]) else { return Some(read) };
    let wrong = values::wanted(fields[at + 1].value(), "a duration that is longer than the one before");
    fields[at + 1].clash(wrong.help("write the buckets from the shortest to the longest, each once"), &fields[at]);
    None
}

/// A level, or directives for `EnvFilter`: a lone word must be a level, since `EnvFilter` takes any word for a target.
fn level(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a level: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    let text = values::text(field, WHAT)?;
    if LEVELS.contains(&text) {
        return Ok(text.to_owned());
    }
    if text.contains('=') {
        return match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(values::wanted(field.value(), "a level or directives as in RUST_LOG")
                .help("write \"info\" or \"info,evenkeel::dial=debug\", for example")),
        };
    }
    let plain = text.trim().to_ascii_lowercase();
    let meant = match plain.as_str() {
        "warning" => Some("warn"),
        "notice" => Some("info"),
        "err" | "crit" | "critical" | "alert" | "emerg" | "fatal" => Some("error"),
        "none" => Some("off"),
        plain => nearest(plain, LEVELS.into_iter()),
    };
    let wrong = values::wanted(field.value(), WHAT);
    Err(match meant {
        Some(ours) => wrong.help(format!("did you mean \"{ours}\"?")),
        None => wrong,
    })
}

/// A word, or else a path: one without `/` or `.` is probably a slip in a word.
fn access(field: &Field<'_>) -> Result<AccessLog, Wrong> {
    const WHAT: &str = "\"off\", \"stdout\", \"stderr\" or the path of a file";
    let wrong = || values::wanted(field.value(), WHAT);
    let Some(text) = field.value().as_str() else {
        return Err(wrong().help("write \"off\", or \"stdout\" for one line a request"));
    };
    match text {
        "off" => return Ok(AccessLog::Off),
        "stdout" | "/dev/stdout" => return Ok(AccessLog::Stdout),
        "stderr" | "/dev/stderr" => return Ok(AccessLog::Stderr),
        _ if text.contains('\0') || text.ends_with('/') => return Err(wrong()),
        _ if !text.contains('/') && (text.contains("syslog") || text.contains("journal")) => {
            return Err(wrong().help("write \"stdout\": systemd takes it to the journal"));
        }
        _ if text.contains('/') || text.trim_matches('.').contains('.') => {
            return Ok(AccessLog::File(file(field, text)));
        }
        _ => {}
    }
    let plain = text.trim().to_ascii_lowercase();
    let meant = match plain.as_str() {
        "on" | "true" | "yes" | "console" | "" => Some("stdout"),
        "false" | "no" | "none" | "null" => Some("off"),
        plain => nearest(plain, ["off", "stdout", "stderr"].into_iter()),
    };
    Err(wrong().help(match meant {
        Some(ours) => format!("did you mean \"{ours}\"?"),
        None => format!("a file beside the configuration is written {}", quoted(&format!("./{text}"))),
    }))
}

fn file(field: &Field<'_>, text: &str) -> PathBuf {
    field.folder().join(text)
}

fn access_field(value: &Field<'_>) -> Result<AccessField, Wrong> {
    const WHAT: &str = "\"request:NAME\", \"response:NAME\" or \"query\"";
    let text = values::text(value, WHAT)?;
    let (name, make): (_, fn(String) -> AccessField) = match text.split_once(':') {
        Some(("request", name)) => (name, AccessField::Request),
        Some(("response", name)) => (name, AccessField::Response),
        None if text == "query" => return Ok(AccessField::Query),
        _ => {
            let wrong = values::wanted(value.value(), WHAT);
            return Err(match text.to_ascii_lowercase().strip_prefix("header:") {
                Some(name) => wrong.help(format!("write \"request:{name}\" for a header of the request")),
                None if field::is_token(text) => {
                    wrong.help(format!("write \"request:{text}\" for a header of the request"))
                }
                None => wrong,
            });
        }
    };
    if UNLOGGED.contains(&field::name(name)?.as_str()) {
        return Err(
            Wrong::new(format!("`{name}` is never logged")).help("whoever reads the log could act for the user")
        );
    }
    Ok(make(name.to_owned()))
}
