//! `algorithm`, `hash` and `slow_start` of a pool, and which of them go together.

use std::time::Duration;

use toml::de::DeValue;

use super::super::{
    Algorithm, Hash, HashKey, Pool, StickyBy, field, keys,
    report::Wrong,
    section::{Field, Section},
    units::{self, quoted},
    values,
};

const ALGORITHMS: &[(&str, Algorithm)] = &[
    (Algorithm::RoundRobin.name(), Algorithm::RoundRobin),
    ("weighted_round_robin", Algorithm::RoundRobin),
    (Algorithm::Random.name(), Algorithm::Random),
    (Algorithm::PowerOfTwoChoices.name(), Algorithm::PowerOfTwoChoices),
    (Algorithm::LeastConnections.name(), Algorithm::LeastConnections),
    ("weighted_least_connections", Algorithm::LeastConnections),
    (Algorithm::LeastResponseTime.name(), Algorithm::LeastResponseTime),
    (Algorithm::LeastBandwidth.name(), Algorithm::LeastBandwidth),
    (Algorithm::IpHash.name(), Algorithm::IpHash),
    (Algorithm::Hash.name(), Algorithm::Hash),
    (Algorithm::CustomLoad.name(), Algorithm::CustomLoad),
];
const PEERS_ALGORITHMS: &[(&str, &str)] = &[
    ("roundrobin", "round_robin"),
    ("rr", "round_robin"),
    ("static_rr", "round_robin"),
    ("smooth_weighted_round_robin", "weighted_round_robin"),
    ("wrr", "weighted_round_robin"),
    ("least_conn", "least_connections"),
    ("least_request", "least_connections"),
    ("least_requests", "least_connections"),
    ("leastconn", "least_connections"),
    ("lc", "least_connections"),
    ("wlc", "weighted_least_connections"),
    ("ewma", "least_response_time"),
    ("fastest", "least_response_time"),
    ("latency", "least_response_time"),
    ("least_latency", "least_response_time"),
    ("least_time", "least_response_time"),
    ("leasttime", "least_response_time"),
    ("peak_ewma", "least_response_time"),
    ("weighted_response_time", "least_response_time"),
    ("least_bytes", "least_bandwidth"),
    ("least_traffic", "least_bandwidth"),
    ("p2c", "power_of_two_choices"),
    ("power_of_two", "power_of_two_choices"),
    ("random_choose", "power_of_two_choices"),
    ("random_two", "power_of_two_choices"),
    ("random_two_least_conn", "power_of_two_choices"),
    ("client_ip", "ip_hash"),
    ("client_ip_hash", "ip_hash"),
    ("source", "ip_hash"),
    ("source_hash", "ip_hash"),
    ("source_ip", "ip_hash"),
    ("source_ip_hash", "ip_hash"),
    ("consistent", "hash"),
    ("consistent_hash", "hash"),
    ("consistent_hashing", "hash"),
    ("cookie", "hash"),
    ("hdr", "hash"),
    ("header", "hash"),
    ("hrw", "hash"),
    ("ketama", "hash"),
    ("maglev", "hash"),
    ("query", "hash"),
    ("ring_hash", "hash"),
    ("uri", "hash"),
    ("uri_hash", "hash"),
    ("url_hash", "hash"),
    ("url_param", "hash"),
    ("client_side_weighted_round_robin", "custom_load"),
    ("load", "custom_load"),
    ("orca", "custom_load"),
    ("resource_based", "custom_load"),
];
/// A longer ramp is a backend that is mostly idle.
const LONGEST_START: Duration = Duration::from_secs(3600);
const KEYS: &str = "\"client_ip\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"path\" or \"host\"";

/// `algorithm` of `pool`.
pub(super) fn algorithm(pool: &Section<'_>) -> Algorithm {
    pool.read("algorithm", Algorithm::RoundRobin, values::choice(ALGORITHMS, &[], PEERS_ALGORITHMS))
}

/// `slow_start` of `pool`.
pub(super) fn slow_start(pool: &Section<'_>) -> Option<Duration> {
    pool.read("slow_start", Some(Duration::from_secs(10)), |field| match values::timeout(field)? {
        Some(time) if time > LONGEST_START => {
            Err(values::wanted(field.value(), "a duration of at most 1h, or \"off\""))
        }
        time => Ok(time),
    })
}

/// `hash` of `pool`.
pub(super) fn hash(pool: &Section<'_>) -> Hash {
    let default = Hash::default();
    let Some(section) = pool.section("hash", &keys::HASH) else { return default };
    let prefix = section.read("ipv6_prefix", usize::from(default.ipv6_prefix), values::count(1..=128));
    Hash {
        key: section.read("key", default.key, key),
        bounded_load: section.read("bounded_load", default.bounded_load, bounded_load),
        ipv6_prefix: u8::try_from(prefix).expect("at most 128"),
    }
}

fn key(field: &Field<'_>) -> Result<HashKey, Wrong> {
    let text = values::text(field, KEYS)?;
    let wrong = || values::wanted(field.value(), KEYS);
    match text.split_once(':') {
        None if text == "client_ip" => Ok(HashKey::ClientIp),
        None if text == "path" => Ok(HashKey::Path),
        None if text == "host" => Ok(HashKey::Host),
        Some(("header", name)) if !name.eq_ignore_ascii_case("host") => field::matchable(name).map(HashKey::Header),
        Some(("cookie", name)) if field::is_token(name) => Ok(HashKey::Cookie(name.to_owned())),
        Some(("query", name)) if values::check_name(name) => Ok(HashKey::Query(name.to_owned())),
        _ => Err(match meant(text) {
            Some(ours) => wrong().help(format!("did you mean {}?", quoted(&ours))),
            None => wrong().help("what is equal in two requests sends them to the same backend"),
        }),
    }
}

/// What other proxies write for a key of ours.
fn meant(text: &str) -> Option<String> {
    let plain = text.trim_start_matches('$').to_ascii_lowercase().replace('-', "_");
    let inner = |open: &str| plain.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    let ours = match plain.as_str() {
        "binary_remote_addr" | "ip" | "remote_addr" | "remote_ip" | "source" | "source_ip" | "src" => "client_ip",
        "document_uri" | "request_uri" | "uri" | "url" => "path",
        "authority" | "header:host" | "hostname" | "http_host" => "host",
        _ => {
            let named = [("hdr(", "header"), ("req.hdr(", "header"), ("url_param(", "query"), ("req.cook(", "cookie")];
            let of_haproxy = named.iter().find_map(|(open, kind)| Some((*kind, inner(open)?)));
            let of_nginx = || {
                let named = [("http_", "header"), ("cookie_", "cookie"), ("arg_", "query")];
                named.iter().find_map(|(front, kind)| Some((*kind, plain.strip_prefix(front)?)))
            };
            let (kind, name) = of_haproxy.or_else(of_nginx)?;
            let name = if kind == "header" { name.replace('_', "-") } else { name.to_owned() };
            return Some(format!("{kind}:{name}"));
        }
    };
    Some(ours.to_owned())
}

/// In percent of the mean. At 100 % every backend but the last would be full, and no key would stay.
fn bounded_load(field: &Field<'_>) -> Result<u32, Wrong> {
    const WHAT: &str = "a whole share of the mean, above \"100%\" and up to \"1000%\"";
    const LEAST: u32 = 101;
    const MOST: u32 = 1000;
    let wrong = || values::wanted(field.value(), WHAT);
    let write = |percent: u32| wrong().help(format!("write \"{percent}%\""));
    let fine = |percent: &u32| (LEAST..=MOST).contains(percent);
    match field.value() {
        DeValue::String(text) if text == "off" => Err(wrong().help("write \"1000%\" for a bound that is hardly met")),
        DeValue::String(text) => {
            let number = text.strip_suffix('%').filter(|number| units::is_whole(number));
            let meant = || text.parse::<u32>().ok().filter(fine);
            match number.and_then(|number| number.parse().ok()).filter(fine) {
                Some(percent) => Ok(percent),
                None => Err(meant().map_or_else(wrong, write)),
            }
        }
        // HAProxy and Envoy write 125, others 1.25.
        value => {
            let factor = value.as_float().and_then(|number| number.as_str().parse::<f64>().ok());
            let factor = factor.filter(|factor| (1.0..=10.0).contains(factor)).map(|factor| (factor * 100.0).round());
            let whole = value.as_integer().and_then(|number| number.as_str().parse().ok());
            Err(whole.or(factor.map(|percent| percent as u32)).filter(fine).map_or_else(wrong, write))
        }
    }
}

/// Warns of what `algorithm`, `hash` and `sticky` say for nothing.
pub(super) fn doubt(pool: &Pool, section: &Section<'_>) {
    let by_key = matches!(pool.algorithm, Algorithm::Hash);
    let by_address = pool.algorithm == Algorithm::IpHash || by_key && pool.hash.key == HashKey::ClientIp;
    let hashes = by_key || by_address || pool.sticky.is_some();
    for (key, field) in section.field("hash").map(|field| field.entries()).unwrap_or_default() {
        let (used, needs) = match key {
            "key" => (by_key, "`key` is of algorithm = \"hash\" alone"),
            "bounded_load" => (hashes, "`bounded_load` is of the algorithms \"hash\" and \"ip_hash\", and of `sticky`"),
            "ipv6_prefix" => (
                by_address || pool.sticky.is_some(),
                "`ipv6_prefix` is of algorithm = \"ip_hash\", of hash.key = \"client_ip\", and of `sticky`",
            ),
            _ => continue,
        };
        if !used {
            field
                .warn(Wrong::new(format!("{needs}: it says nothing here")).help("take it out, or write what it is of"));
        }
    }
    // A table that could not be read has been reported, and may have meant anything.
    let (Some(field), Some(sticky)) = (section.field("algorithm"), &pool.sticky) else { return };
    let wrong = match (&sticky.by, pool.algorithm) {
        (StickyBy::SourceIp, _) => Wrong::new("`sticky` knows every client by its address: no algorithm is ever asked")
            .help("take `algorithm` out; or take `sticky` out, and write algorithm = \"ip_hash\" for the same without `fallback`"),
        (_, Algorithm::IpHash | Algorithm::Hash) => {
            Wrong::new("`sticky` goes first: this algorithm is asked for clients alone that have no place yet")
                .help("keep one of them; beside `sticky`, an algorithm that looks at load spreads new clients better")
        }
        _ => return,
    };
    field.warn(wrong);
}
