//! The Prometheus text of `/metrics`, as far as tests need it.

use std::net::SocketAddr;

use super::client::Client;

/// The text at `admin`.
pub(crate) fn scrape(admin: SocketAddr) -> String {
    let answer = Client::h1(admin).exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// The sum of the samples of `name` whose labels contain `labels`; `None` without one.
pub(crate) fn sum(admin: SocketAddr, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    sum_of(&scrape(admin), name, labels)
}

pub(crate) fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = text.lines().filter_map(sample).filter(|(sample, own, _)| {
        *sample == name && labels.iter().all(|(key, value)| own.contains(&format!("{key}=\"{value}\"")))
    });
    samples.map(|(_, _, value)| value).reduce(|one, other| one + other)
}

/// `name{a="1",b="2"} 3` in its three parts. No label in these tests contains a comma.
fn sample(line: &str) -> Option<(&str, Vec<String>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
    Some((name, labels, value.parse().ok()?))
}
