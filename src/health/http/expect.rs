//! What an answer must be for an HTTP check to pass. Made once per pool, as expressions are compiled.

use crate::{
    config::{BodyMatch, HttpProbe},
    health::probe::Reason,
};
use memchr::memmem;
use regex::bytes::Regex;
use serde_json::{Number, Value};
use std::borrow::Cow;

/// A check by HTTP and what it expects.
#[derive(Debug)]
pub(in crate::health) struct Expected {
    pub probe: HttpProbe,
    /// That of `expect_body`. The configuration has compiled it before; one that does not compile matches nothing.
    regex: Option<Regex>,
}

impl Expected {
    pub(in crate::health) fn new(probe: &HttpProbe) -> Self {
        let regex = match &probe.expect_body {
            Some(BodyMatch::Regex(pattern)) => Regex::new(pattern).ok(),
            _ => None,
        };
        Self { probe: probe.clone(), regex }
    }

    /// The body matters.
    pub(super) fn wants_body(&self) -> bool {
        self.probe.expect_body.is_some() || !self.probe.expect_json.is_empty()
    }

    pub(super) fn status(&self, status: u16) -> Result<(), Reason> {
        let expected = self.probe.expect_status.iter().any(|&(first, last)| (first..=last).contains(&status));
        if expected { Ok(()) } else { Err(Cow::Owned(format!("status {status}"))) }
    }

    /// What was read of a body is as expected.
    pub(super) fn body(&self, body: &[u8]) -> Result<(), Reason> {
        let matches = match &self.probe.expect_body {
            None => true,
            Some(BodyMatch::Contains(text)) => memmem::find(body, text.as_bytes()).is_some(),
            Some(BodyMatch::Regex(_)) => self.regex.as_ref().is_some_and(|regex| regex.is_match(body)),
        };
        if matches { self.json(body) } else { Err("body does not match".into()) }
    }

    fn json(&self, body: &[u8]) -> Result<(), Reason> {
        if self.probe.expect_json.is_empty() {
            return Ok(());
        }
        let Ok(value) = serde_json::from_slice(body) else { return Err("body is not json".into()) };
        let mut expected = self.probe.expect_json.iter();
        match expected.find(|(path, expected)| !at(&value, path).is_some_and(|found| equal(found, expected))) {
            Some((path, _)) => Err(Cow::Owned(format!("json: {path}"))),
            None => Ok(()),
        }
    }
}

/// What stands at a dotted place; members of arrays go by number.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(members) => members.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn equal(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        // 1 and 1.0 are one number; whole ones are not compared as fractions, which cannot tell large ones apart.
        (Value::Number(found), Value::Number(expected)) if found.is_f64() != expected.is_f64() => {
            found.as_f64() == Number::as_f64(expected)
        }
        _ => found == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::testing::http_probe;
    use serde_json::json;

    fn expected(change: impl FnOnce(&mut HttpProbe)) -> Expected {
        let mut probe = http_probe();
        change(&mut probe);
        Expected::new(&probe)
    }

    fn words(found: Result<(), Reason>) -> String {
        found.map_or_else(Reason::into_owned, |()| "passed".into())
    }

    #[test]
    fn statuses_are_ranges_with_both_ends() {
        let expected = expected(|probe| probe.expect_status = vec![(200, 204), (301, 301)]);
        for (status, wanted) in [
            (199, "status 199"),
            (200, "passed"),
            (204, "passed"),
            (205, "status 205"),
            (301, "passed"),
            (503, "status 503"),
        ] {
            assert_eq!(words(expected.status(status)), wanted);
        }
    }

    #[test]
    fn a_body_contains_or_matches() {
        let contains = expected(|probe| probe.expect_body = Some(BodyMatch::Contains("ok".into())));
        assert!(contains.wants_body());
        assert_eq!(words(contains.body(b"\xff it is ok\n")), "passed");
        assert_eq!(words(contains.body(b"OK")), "body does not match");
        let regex = expected(|probe| probe.expect_body = Some(BodyMatch::Regex("^ok: [0-9]+$".into())));
        assert_eq!(words(regex.body(b"ok: 17")), "passed");
        assert_eq!(words(regex.body(b"ok: none")), "body does not match");
        let broken = expected(|probe| probe.expect_body = Some(BodyMatch::Regex("(".into())));
        assert_eq!(words(broken.body(b"(")), "body does not match");
        assert!(!expected(|_| {}).wants_body());
    }

    #[test]
    fn json_is_found_by_its_dotted_place_and_equal() {
        let body = br#"{"status": "healthy", "checks": {"database": "connected", "queue": 3, "ratio": 0.5,
            "all": true, "none": null}, "nodes": [{"up": true}, {"up": false}], "big": 9007199254740993, "2": "two"}"#;
        for (path, value, wanted) in [
            ("status", json!("healthy"), "passed"),
            ("status", json!("Healthy"), "json: status"),
            ("checks.database", json!("connected"), "passed"),
            ("checks.database", json!("lost"), "json: checks.database"),
            ("checks.cache", json!("connected"), "json: checks.cache"),
            ("checks.queue", json!(3), "passed"),
            ("checks.queue", json!(3.0), "passed"),
            ("checks.queue", json!("3"), "json: checks.queue"),
            ("checks.ratio", json!(0.5), "passed"),
            ("checks.all", json!(true), "passed"),
            ("checks.none", json!(false), "json: checks.none"),
            ("nodes.1.up", json!(false), "passed"),
            ("nodes.2.up", json!(false), "json: nodes.2.up"),
            ("nodes.x.up", json!(false), "json: nodes.x.up"),
            ("status.x", json!("healthy"), "json: status.x"),
            ("big", json!(9_007_199_254_740_992_u64), "json: big"),
            ("2", json!("two"), "passed"),
        ] {
            let expected = expected(|probe| probe.expect_json = vec![(path.into(), value.clone())]);
            assert_eq!(words(expected.body(body)), wanted, "{path} {value}");
        }
    }

    #[test]
    fn every_json_value_must_fit_and_the_first_that_does_not_is_named() {
        let expected = expected(|probe| {
            probe.expect_json = vec![("a".into(), json!(1)), ("b".into(), json!(2)), ("c".into(), json!(3))];
        });
        assert_eq!(words(expected.body(br#"{"a": 1, "b": 2, "c": 3}"#)), "passed");
        assert_eq!(words(expected.body(br#"{"a": 1, "b": 0, "c": 0}"#)), "json: b");
        assert_eq!(words(expected.body(br#"{"a": 1"#)), "body is not json");
        assert_eq!(words(expected.body(b"")), "body is not json");
    }
}
