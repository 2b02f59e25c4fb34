//! Counters of stick tables and of proxies, as conditions ask for them. Called by `acl`. Pure.

/// A counter of a stick table, and its bound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    /// `http_req_rate`, `conn_cur`, or one of which there is no limit.
    pub(super) counter: String,
    /// The number of `track-sc`; `None`: of the source.
    pub(super) track: Option<u8>,
    /// A table that is named.
    pub(super) table: Option<String>,
    pub(super) most: u64,
}

/// What is counted of somebody, in a table: how much they do, and not who they are.
const COUNTERS: [&str; 20] = [
    "bytes_in_rate",
    "bytes_out_rate",
    "conn_cnt",
    "conn_cur",
    "conn_rate",
    "get_gpc",
    "get_gpc0",
    "get_gpc1",
    "gpc_rate",
    "gpc0_rate",
    "gpc1_rate",
    "http_err_cnt",
    "http_err_rate",
    "http_fail_cnt",
    "http_fail_rate",
    "http_req_cnt",
    "http_req_rate",
    "kbytes_in",
    "sess_cnt",
    "sess_rate",
];
/// What is counted of a proxy.
const LOAD: [&str; 7] = ["be_conn", "be_sess_rate", "fe_conn", "fe_req_rate", "fe_sess_rate", "queue", "avg_queue"];

/// A counter that is above a number.
pub(super) fn counter(name: &str, argument: &str, patterns: &[String]) -> Option<Rate> {
    let (operator, most) = match patterns {
        [operator, most] => (operator.as_str(), most.parse::<u64>().ok()?),
        _ => return None,
    };
    let most = match operator {
        "gt" => most,
        "ge" => most.checked_sub(1)?,
        _ => return None,
    };
    let mut arguments = argument.split(',').map(str::trim);
    let (track, counter, table) = match name.strip_prefix("sc") {
        _ if LOAD.contains(&name) => (None, name, None),
        Some(rest) => match rest.strip_prefix('_') {
            Some(counter) => (Some(arguments.next()?.parse().ok()?), counter, arguments.next()),
            None => {
                let (number, counter) = rest.split_once('_')?;
                (Some(number.parse().ok()?), counter, arguments.next())
            }
        },
        None => (None, name.strip_prefix("src_")?, arguments.next()),
    };
    let table = table.filter(|table| !table.is_empty()).map(str::to_owned);
    let known = LOAD.contains(&name) || COUNTERS.contains(&counter);
    known.then(|| Rate { counter: counter.to_owned(), track, table, most })
}
