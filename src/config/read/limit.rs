//! `[rate_limit.NAME]`, and what routes say of limits.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    super::{
        InFlightLimit, LimitAlgorithm, LimitKey, MOST_LIMITS, Rate, RateLimit, Tier, field, files, keys,
        keys::nearest,
        report::Wrong,
        section::{Document, Field, Section},
        units::{self, quoted},
        values,
    },
    Names,
    tables::{self, Tables},
};

const ALGORITHMS: &[(&str, LimitAlgorithm)] =
    &[("token_bucket", LimitAlgorithm::TokenBucket), ("leaky_bucket", LimitAlgorithm::LeakyBucket)];
const PEERS: &[(&str, &str)] = &[
    ("gcra", "token_bucket"),
    ("nodelay", "token_bucket"),
    ("sliding_window", "token_bucket"),
    ("fixed_window", "token_bucket"),
    ("token", "token_bucket"),
    ("delay", "leaky_bucket"),
    ("leaky", "leaky_bucket"),
    ("queue", "leaky_bucket"),
];
const KEYS: &str = "\"client_ip\", \"header:NAME\", \"cookie:NAME\", \"claim:NAME\", \"path\", \"route\" or \"global\"";
const RATE: &str = "requests in a time, such as \"100/s\", \"300/m\" or \"1000/h\"";
/// In one second.
const FASTEST: u64 = 1_000_000;
const MOST_TIERS: usize = 16;
const MAX_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A bucket that takes longer to fill is a slip, and no clock counts as far as some would take.
const LONGEST_FILL: u64 = 365 * 86_400 * 1_000_000_000;
const MAX_KEYS: usize = 1_000_000;

const HELP: &str = "write [rate_limit.NAME] with a name of your own, such as [rate_limit.per-ip]; routes name it: \
                    rate_limit = [\"per-ip\"]";
const TABLES: Tables =
    Tables { keys: &keys::RATE_LIMIT, wanted: "a table for each limit", help: HELP, one: "a limit", name_it: HELP };

/// A limit, and where in the files it stands.
pub(super) struct Entry<'a> {
    pub(super) limit: RateLimit,
    pub(super) field: Field<'a>,
}

/// All of them; `None` if one cannot be built.
pub(super) fn limits<'a>(document: &Document<'a>) -> Option<Vec<Entry<'a>>> {
    let tables = tables::named(document, "rate_limit", &TABLES)?;
    let limits: Vec<_> = tables.into_iter().map(|(name, field)| limit(name, field)).collect();
    limits.into_iter().collect()
}

fn limit<'a>(name: &str, field: Field<'a>) -> Option<Entry<'a>> {
    let section = field.section(&keys::RATE_LIMIT)?;
    let fine = |letter: char| letter == ' ' || letter.is_ascii_graphic() && !"\"\\".contains(letter);
    if !values::check_name(name) || !name.chars().all(fine) {
        let wrong =
            Wrong::new("wanted a name of 1 to 255 visible letters of ASCII without quotes: clients are told it");
        field.wrong_name(wrong);
    }
    let algorithm = section.read("algorithm", LimitAlgorithm::TokenBucket, values::choice(ALGORITHMS, &[], PEERS));
    let key = key(&section, "a rate limit");
    let rate = written_rate(&section);
    let max_delay = section.read("max_delay", MAX_DELAY, |field| match values::period(field)? {
        delay if delay > LONGEST_DELAY => {
            Err(values::wanted(field.value(), "a duration of at most 1m").help("a request that waits holds its client"))
        }
        delay => Ok(delay),
    });
    let burst = rate.map(|rate| burst(&section, rate));
    let tiers = tiers(&section, key.as_deref().unwrap_or_default());
    let max_keys = section.read("max_keys", MAX_KEYS, values::count(1_000..=10_000_000));
    let dry_run = section.read("dry_run", false, values::flag);
    useless(&section, algorithm);
    sparse(&section, algorithm, rate);
    let limit = RateLimit {
        name: name.to_owned(),
        key: key?,
        algorithm,
        rate: rate?,
        burst: burst?,
        max_delay,
        tiers,
        max_keys,
        dry_run,
    };
    Some(Entry { limit, field })
}

/// Reports what the algorithm has no use for.
fn useless(section: &Section<'_>, algorithm: LimitAlgorithm) {
    let (key, why, help) = match algorithm {
        LimitAlgorithm::TokenBucket => (
            "max_delay",
            "`max_delay` is of the leaky bucket alone",
            "take it out, or write algorithm = \"leaky_bucket\"",
        ),
        LimitAlgorithm::LeakyBucket => (
            "burst",
            "`burst` is of the token bucket alone",
            "take it out: `max_delay` says how many wait, which is that time's worth of `rate`",
        ),
    };
    let of_tiers = section.field("tiers").map(|field| field.list()).unwrap_or_default();
    let of_tiers = of_tiers.iter().flat_map(|tier| tier.entries()).filter(|(name, _)| *name == key);
    for field in section.field(key).into_iter().chain(of_tiers.map(|(_, field)| field)) {
        field.wrong(Wrong::new(why).help(help));
    }
}

/// `rate`, which must be written; `None` if it is not, or is wrong, which has been reported.
fn written_rate(section: &Section<'_>) -> Option<Rate> {
    let Some(field) = section.field("rate") else {
        section.missing(
            "rate",
            Wrong::new("nothing says how many requests pass").help("write rate = \"100/s\", for example"),
        );
        return None;
    };
    field.read(rate)
}

fn rate(field: &Field<'_>) -> Result<Rate, Wrong> {
    let wrong = || values::wanted(field.value(), RATE);
    let off = |text: &str| ["off", "0"].contains(&text);
    let text = match field.value() {
        DeValue::String(text) if off(text) => {
            return Err(
                wrong().help("to turn a limit off take it out of `rate_limit` of the routes, or write dry_run = true")
            );
        }
        DeValue::String(text) => text,
        DeValue::Integer(number) => return Err(wrong().help(format!("write \"{}/s\"", number.as_str()))),
        _ => return Err(wrong()),
    };
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => {
            let short = number.trim().trim_end_matches(['r', 'R']).trim();
            let meant = match unit.trim().to_ascii_lowercase().as_str() {
                "m" | "min" | "minute" | "mins" => "m",
                "h" | "hour" | "hr" => "h",
                "d" | "day" => return Err(wrong().help(by_day(short))),
                _ => "s",
            };
            return Err(match units::is_whole(short) {
                true => wrong().help(format!("write \"{short}/{meant}\"")),
                false => wrong(),
            });
        }
    };
    let short = number.trim_end_matches('r');
    if !units::is_whole(number) {
        return Err(match (units::is_whole(short), whole(number, unit)) {
            (true, _) => wrong().help(format!("write \"{short}/{unit}\"")),
            (false, Some(whole)) => wrong().help(format!("write {}", quoted(&whole))),
            (false, None) => wrong(),
        });
    }
    match number.parse() {
        Ok(0) => {
            Err(wrong().help("nothing would ever pass: to refuse all, write respond = { status = 403 } in the route"))
        }
        Ok(requests) if requests <= FASTEST * seconds => Ok(Rate { requests, seconds }),
        _ => Err(wrong().help("at most 1000000 in a second")),
    }
}

/// What to write instead of so many in a day.
fn by_day(number: &str) -> String {
    match number.parse() {
        Ok(number @ 24..=u64::MAX) if number % 24 == 0 => format!("write \"{}/h\"", number / 24),
        _ => "no rate is lower than \"1/h\", which is 24 in a day".to_owned(),
    }
}

/// The same rate as `number` in a `unit`, in whole requests of a longer time.
fn whole(number: &str, unit: &str) -> Option<String> {
    let (whole, tenths) = number.split_once('.')?;
    let fine = |digits: &str| units::is_whole(digits) && digits.len() <= 6;
    let digits = u32::try_from(tenths.len()).ok()?;
    if !fine(whole) || !fine(tenths) {
        return None;
    }
    let (parts, one) = (format!("{whole}{tenths}").parse::<u64>().ok()?, 10_u64.pow(digits));
    let longer: &[(u64, &str)] = if unit == "s" { &[(60, "m"), (3600, "h")] } else { &[(60, "h")] };
    let longer = longer.iter().filter(|_| unit != "h" && parts > 0).map(|(times, unit)| (parts * times, unit));
    longer.filter(|(parts, _)| parts % one == 0).map(|(parts, unit)| format!("{}/{unit}", parts / one)).next()
}

/// Warns of a bucket that lets through one at once where clients are told of more.
fn sparse(section: &Section<'_>, algorithm: LimitAlgorithm, rate: Option<Rate>) {
    let Some(rate) = rate.filter(|_| algorithm == LimitAlgorithm::TokenBucket && section.field("burst").is_none())
    else {
        return;
    };
    if rate.requests <= 1 || rate.requests >= rate.seconds {
        return;
    }
    if let Some(field) = section.field("rate") {
        let wrong = Wrong::new("without `burst` one request passes at a time, however long a key has been quiet");
        field.warn(wrong.help(format!("write burst = {} to let them come at once, or burst = 1", rate.requests)));
    }
}

/// `burst` beside that rate: one second's worth of it by default.
fn burst(section: &Section<'_>, rate: Rate) -> u64 {
    section.read("burst", rate.per_second(), |field| {
        if matches!(field.value(), DeValue::Integer(number) if number.as_str() == "0") {
            let wrong = values::wanted(field.value(), "at least 1");
            return Err(wrong.help("nothing would ever pass; what others call no burst is burst = 1"));
        }
        let burst = values::count(1..=1_000_000_000)(field)? as u64;
        match burst.checked_mul(rate.period()).filter(|fill| *fill <= LONGEST_FILL) {
            Some(_) => Ok(burst),
            None => Err(values::wanted(field.value(), "a burst that `rate` makes good within a year")),
        }
    })
}

/// What requests are counted by; `None` if that is not written, or is wrong, which has been reported.
fn key(section: &Section<'_>, what: &str) -> Option<Vec<LimitKey>> {
    let Some(field) = section.field("key") else {
        let wrong = Wrong::new(format!("nothing says what {what} counts by"));
        section.missing("key", wrong.help("write key = \"client_ip\", for example"));
        return None;
    };
    let mut parts: Vec<(LimitKey, Field<'_>)> = Vec::new();
    for field in field.list() {
        let part = field.read(part)?;
        if let Some((_, first)) = parts.iter().find(|(known, _)| *known == part) {
            field.clash(Wrong::new("this part of the key stands there twice").help("take it out"), first);
        }
        parts.push((part, field));
    }
    if parts.is_empty() {
        field.wrong(values::wanted(field.value(), KEYS).help("\"global\" counts all requests alike"));
        return None;
    }
    if let Some((_, field)) = parts.iter().find(|(part, _)| *part == LimitKey::Global).filter(|_| parts.len() > 1) {
        field.wrong(Wrong::new("`global` says nothing beside other parts of a key").help("take it out"));
    }
    Some(parts.into_iter().map(|(part, _)| part).collect())
}

fn part(field: &Field<'_>) -> Result<LimitKey, Wrong> {
    let text = values::text(field, KEYS)?;
    let wrong = || values::wanted(field.value(), KEYS);
    match text.split_once(':') {
        None if text == "client_ip" => Ok(LimitKey::ClientIp),
        None if text == "path" => Ok(LimitKey::Path),
        None if text == "route" => Ok(LimitKey::Route),
        None if text == "global" => Ok(LimitKey::Global),
        Some(("header", name)) => field::matchable(name).map(LimitKey::Header),
        Some(("cookie", name)) if field::is_token(name) => Ok(LimitKey::Cookie(name.to_owned())),
        Some(("claim", name)) if values::check_name(name) => Ok(LimitKey::Claim(name.to_owned())),
        _ => Err(match meant(text) {
            Some(ours) => wrong().help(format!("did you mean {}?", quoted(&ours))),
            None => wrong().help("requests that are equal in it are counted together"),
        }),
    }
}

/// What other proxies write for a key of ours.
fn meant(text: &str) -> Option<String> {
    let plain = text.trim_start_matches('$').to_ascii_lowercase().replace('-', "_");
    let inner = |open: &str| plain.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    let ours = match plain.as_str() {
        "binary_remote_addr" | "ip" | "ipstrategy" | "remote_address" | "remote_addr" | "remote_ip" | "source"
        | "source_ip" | "src" | "address" => "client_ip",
        "document_uri" | "request_uri" | "uri" | "url" => "path",
        "all" | "static" | "total" | "server_name" => "global",
        "router" | "location" => "route",
        _ => {
            let named = [("hdr(", "header"), ("req.hdr(", "header"), ("req.cook(", "cookie")];
            let of_haproxy = named.iter().find_map(|(open, kind)| Some((*kind, inner(open)?)));
            let of_nginx = || {
                let named = [("http_", "header"), ("cookie_", "cookie"), ("jwt_claim_", "claim")];
                named.iter().find_map(|(front, kind)| Some((*kind, plain.strip_prefix(front)?)))
            };
            let (kind, name) = of_haproxy.or_else(of_nginx)?;
            let name = if kind == "header" { name.replace('_', "-") } else { name.to_owned() };
            return Some(format!("{kind}:{name}"));
        }
    };
    Some(ours.to_owned())
}

/// `tiers` of a limit that counts by `key`.
fn tiers(limit: &Section<'_>, key: &[LimitKey]) -> Vec<Tier> {
    let Some(field) = limit.field("tiers") else { return Vec::new() };
    let list = field.list();
    let vain = key.iter().all(|part| matches!(part, LimitKey::Route | LimitKey::Global));
    if vain && !key.is_empty() && !list.is_empty() {
        let wrong = Wrong::new("no request has a key of a tier: `key` says nothing of who sent it");
        field.wrong(wrong.help("count by \"header:NAME\", \"cookie:NAME\", \"claim:NAME\" or \"client_ip\""));
    }
    if list.len() > MOST_TIERS {
        field.wrong(Wrong::new(format!("found {} tiers, wanted at most {MOST_TIERS}", list.len())));
    }
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    list.iter().filter_map(|field| tier(field, &mut seen)).collect()
}

fn tier<'a>(field: &Field<'a>, seen: &mut Vec<(String, Field<'a>)>) -> Option<Tier> {
    let section = field.section(&keys::TIER)?;
    let (rate, file) = (written_rate(&section), kept(&section));
    let Some(name) = section.field("name") else {
        section.missing("name", Wrong::new("a tier wants a `name`").help("write name = \"gold\", for example"));
        return None;
    };
    let text = name.read(values::name)?;
    if let Some((_, first)) = seen.iter().find(|(known, _)| *known == text) {
        name.clash(Wrong::new("another tier of this limit has that name").help("give each its own"), first);
    }
    seen.push((text.clone(), name));
    let (rate, (file, keys)) = (rate?, file?);
    Some(Tier { name: text, file, keys, rate, burst: burst(&section, rate) })
}

/// `keys` of a tier, and where they are kept.
fn kept(tier: &Section<'_>) -> Option<(std::path::PathBuf, Vec<super::super::Secret>)> {
    let Some(field) = tier.field("keys") else {
        let wrong = Wrong::new("nothing says which keys are of this tier");
        tier.missing("keys", wrong.help(format!("write {}", keys::TIER_KEYS.example)));
        return None;
    };
    if !field.value().is_table() {
        // Never shown: they may be keys.
        let wrong = Wrong::new("wanted the file in which the keys are kept");
        field.wrong(wrong.help(format!("write {}", keys::TIER_KEYS.example)));
        return None;
    }
    let section = field.section(&keys::TIER_KEYS)?;
    let Some(file) = section.field("file") else {
        section.missing("file", Wrong::new("nothing says where the keys are kept").help("write file = \"gold.keys\""));
        return None;
    };
    file.read(|file| {
        let path = files::path(file)?;
        let keys = files::tier_keys(&path).map_err(Wrong::new)?;
        Ok((path, keys))
    })
}

/// `rate_limit` of `route`: limits that there are.
pub(super) fn of_route(route: &Section<'_>, names: &Names) -> Vec<String> {
    let Some(field) = route.field("rate_limit") else { return Vec::new() };
    if field.value().is_table() {
        let wrong = values::wanted(field.value(), "names of limits");
        field.wrong(wrong.help("write [rate_limit.NAME] with its keys, and rate_limit = [\"NAME\"] here"));
        return Vec::new();
    }
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    for field in field.list() {
        let Some(name) = field.read(|field| named(field, names)) else { continue };
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            field.clash(Wrong::new("this limit stands there twice").help("take it out"), first);
        }
        seen.push((name, field));
    }
    if seen.len() > MOST_LIMITS {
        field.wrong(Wrong::new(format!("found {} limits, wanted at most {MOST_LIMITS}", seen.len())));
    }
    seen.into_iter().map(|(name, _)| name).collect()
}

/// The name of a limit that there is.
fn named(field: &Field<'_>, names: &Names) -> Result<String, Wrong> {
    let text = values::text(field, "the name of a limit")?;
    if names.limits.contains(text) {
        return Ok(text.to_owned());
    }
    let wrong = Wrong::new(format!("there is no limit {}", quoted(text))).missed();
    let short = text.strip_prefix("rate_limit.").unwrap_or(text);
    Err(match nearest(short, names.limits.iter().map(String::as_str)) {
        Some(meant) => wrong.help(format!("did you mean {}?", quoted(meant))),
        None if text.contains('/') => wrong.help("write [rate_limit.NAME] with `key` and `rate`, and NAME here"),
        None => wrong.help("write [rate_limit.NAME] with that name, `key` and `rate`"),
    })
}

/// `in_flight_limit` of `route`.
pub(super) fn in_flight(route: &Section<'_>) -> Option<InFlightLimit> {
    let field = route.field("in_flight_limit")?;
    match field.value() {
        DeValue::String(text) if text == "off" => return None,
        DeValue::Integer(number) if number.as_str() == "0" => return None,
        DeValue::Integer(number) => {
            let wrong = values::wanted(field.value(), "a table or \"off\"");
            let help = format!("write in_flight_limit = {{ key = \"client_ip\", max = {} }}", number.as_str());
            field.wrong(wrong.help(help));
            return None;
        }
        _ => {}
    }
    let section = field.section(&keys::IN_FLIGHT_LIMIT)?;
    let key = key(&section, "the limit");
    let Some(max) = section.field("max") else {
        section.missing("max", Wrong::new("nothing says how many at a time").help("write max = 50, for example"));
        return None;
    };
    let max = max.read(values::count(1..=1_000_000))?;
    Some(InFlightLimit { key: key?, max: u32::try_from(max).expect("at most a million") })
}
