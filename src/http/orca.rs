//! What backends say of themselves: the text and JSON forms of an ORCA load report (`OrcaLoadReport` of xDS, as gRPC and
//! Envoy have it). Called by `proxy` for fields of responses, and by polls for JSON. Hot path: text takes no memory.
//!
//! `TEXT cpu_utilization=0.3, named_metrics.queue=12`, with `:` for `=` if you like, or `JSON {"cpu_utilization": 0.3,
//! "named_metrics": {"queue": 12}}`; either without its first word. What is no number from 0 up is passed over and the rest
//! counts: one odd metric must not silence a backend. The binary form (`BIN`, `endpoint-load-metrics-bin`) is not read.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A longer field is not read.
const LONGEST: usize = 4096;
/// Fields of a report as ProtoJSON spells them, and as everybody else does.
const OF_PROTO_JSON: [(&str, &str); 6] = [
    ("cpuUtilization", "cpu_utilization"),
    ("memUtilization", "mem_utilization"),
    ("applicationUtilization", "application_utilization"),
    ("rpsFractional", "rps_fractional"),
    ("namedMetrics", "named_metrics"),
    ("requestCost", "request_cost"),
];

/// Hears of each metric: its dotted name, and a finite number from 0 up. Of one that is said twice, the last counts.
pub type Say<'a> = dyn FnMut(&str, f64) + 'a;

/// Reads the value of a field `endpoint-load-metrics`.
pub fn read(value: &[u8], say: &mut Say<'_>) {
    if value.len() > LONGEST {
        return;
    }
    let Ok(text) = std::str::from_utf8(value) else { return };
    let text = text.trim();
    let (form, rest) = text.split_once(' ').unwrap_or(("", text));
    match form {
        "TEXT" => pairs(rest, say),
        "JSON" => report(rest, say),
        "BIN" => {}
        _ if text.starts_with('{') => report(text, say),
        _ => pairs(text, say),
    }
}

fn pairs(text: &str, say: &mut Say<'_>) {
    for pair in text.split(',') {
        if let Some((name, number)) = pair.split_once(['=', ':'])
            && let Ok(number) = number.trim().parse()
        {
            tell(name.trim(), number, say);
        }
    }
}

fn report(text: &str, say: &mut Say<'_>) {
    // What is no JSON says nothing.
    let _ = json(text.as_bytes(), &mut |name, number| {
        // The dot is a part of the rest: a member without a name is not its object.
        let (first, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
        match OF_PROTO_JSON.iter().find(|(theirs, _)| *theirs == first) {
            Some((_, ours)) if rest.is_empty() => say(ours, number),
            Some((_, ours)) => say(&format!("{ours}{rest}"), number),
            None => say(name, number),
        }
    });
}

fn tell(name: &str, number: f64, say: &mut Say<'_>) {
    // -0.0 is 0, too.
    if number.is_finite() && number >= 0.0 && !name.is_empty() {
        say(name, number.abs());
    }
}

/// Reads a JSON object whose numbers are metrics: those of objects in it have dotted names. Lists and the rest are passed
/// over.
///
/// # Errors
/// It is no JSON, or no object.
pub fn json(text: &[u8], say: &mut Say<'_>) -> Result<(), serde_json::Error> {
    let mut path = String::new();
    // Whole, or not at all. Not by `IgnoredAny`, which takes numbers and texts that the walk stumbles over.
    let mut reader = serde_json::Deserializer::from_slice(text);
    (&mut reader).deserialize_map(Walk { path: &mut path, say: &mut |_, _| {} })?;
    reader.end()?;
    path.clear();
    serde_json::Deserializer::from_slice(text).deserialize_map(Walk { path: &mut path, say })
}

/// Walks through a value.
struct Walk<'w, 's> {
    /// The dotted name of the value.
    path: &'w mut String,
    say: &'w mut Say<'s>,
}

impl Walk<'_, '_> {
    fn number<E>(self, number: f64) -> Result<(), E> {
        tell(self.path, number, self.say);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of metrics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { path, say } = self;
        let length = path.len();
        while map.next_key_seed(Name(path))?.is_some() {
            map.next_value_seed(Walk { path: &mut *path, say: &mut *say })?;
            path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Walk { path, .. } = self;
        while list.next_element_seed(Walk { path: &mut *path, say: &mut |_, _| {} })?.is_some() {}
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number as f64)
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number as f64)
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(number)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Appends the name of a member to the path.
struct Name<'p>(&'p mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<(), D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn said(value: &[u8]) -> Vec<(String, f64)> {
        let mut said = Vec::new();
        read(value, &mut |name, number| said.push((name.to_owned(), number)));
        said
    }

    #[track_caller]
    fn assert_said(value: &str, wanted: &[(&str, f64)]) {
        let wanted: Vec<_> = wanted.iter().map(|&(name, number)| (name.to_owned(), number)).collect();
        assert_eq!(said(value.as_bytes()), wanted, "{value}");
    }

    #[test]
    fn text_is_read_as_envoy_and_grpc_have_it() {
        let wanted = [("cpu_utilization", 0.7), ("eps", 2.0), ("named_metrics.foo", 123.0), ("utilization.t", 0.5)];
        for text in [
            "TEXT cpu_utilization=0.7,eps=2,named_metrics.foo=123,utilization.t=0.5",
            "TEXT cpu_utilization:0.7,eps:2,named_metrics.foo:123,utilization.t:0.5",
            " cpu_utilization = 0.7 , eps=2 ,, named_metrics.foo= 1.23e2,\tutilization.t=+.5, ",
        ] {
            assert_said(text, &wanted);
        }
        assert_said("eps=1", &[("eps", 1.0)]);
        assert_said("TEXT a=1,a=2", &[("a", 1.0), ("a", 2.0)]);
    }

    #[test]
    fn json_is_read_in_both_spellings() {
        let wanted = [("cpu_utilization", 0.3), ("rps_fractional", 17.0), ("named_metrics.a.b", 1.0), ("eps", 0.0)];
        for text in [
            r#"JSON {"cpu_utilization": 0.3, "rps_fractional": 17, "named_metrics": {"a.b": 1}, "eps": 0}"#,
            r#"JSON {"cpuUtilization": 0.3, "rpsFractional": 17, "namedMetrics": {"a.b": 1}, "eps": 0}"#,
            r#"{"cpu_utilization":0.3,"rpsFractional":17.0,"named_metrics":{"a":{"b":1}},"eps":-0.0}"#,
        ] {
            assert_said(text, &wanted);
        }
        assert_said(r#"{"cpuUtilization": {"": 1, "a": 2}}"#, &[("cpu_utilization.", 1.0), ("cpu_utilization.a", 2.0)]);
        assert_said(r#"{"a": [1, {"b": 2}], "c": "3", "d": null, "e": true, "f": {}, "g": -1, "h": 4}"#, &[("h", 4.0)]);
    }

    #[test]
    fn what_is_no_number_from_0_up_is_passed_over() {
        assert_said("TEXT a=-1,b=nan,c=inf,d=1e999,e=,f,=7,g=\"1\",h=0x1,i=-0,j=2", &[("i", 0.0), ("j", 2.0)]);
        for text in
            ["", "TEXT", "TEXT ", "BIN CZqZmZmZmdk/", "JSON", "JSON 17", "JSON [1]", "JSON {\"a\":1", "{\"a\":1} x"]
        {
            assert_said(text, &[]);
        }
        assert!(said(b"TEXT a=1,\xff=2").is_empty());
        for text in
            [&b"{\"a\":1,\"b\":1e999}"[..], b"{\"a\":1,\"\xff\":2}", b"{\"a\":1,\"b\":[\"\xff\"]}", b"{\"a\":1}}"]
        {
            let mut heard = 0;
            assert!(json(text, &mut |_, _| heard += 1).is_err() && heard == 0, "{}", text.escape_ascii());
        }
        assert!(said(b"a=1")[0].1.is_sign_positive() && said(b"a=-0")[0].1.is_sign_positive());
    }

    #[test]
    fn a_long_field_is_not_read() {
        let text = |length: usize| format!("a=1,{}", "x".repeat(length - 4));
        assert_eq!((said(text(4096).as_bytes()).len(), said(text(4097).as_bytes()).len()), (1, 0));
        let deep = format!("JSON {}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        assert_said(&deep, &[]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(value in vec(any::<u8>(), 0..200)) {
            prop_assert!(said(&value).iter().all(|(name, number)| !name.is_empty() && *number >= 0.0 && number.is_finite()));
        }

        #[test]
        fn nearly_a_report_is_no_surprise(value in "(TEXT |JSON |BIN |)[{}\\[\\]\",:=. a-c0-9e+-]{0,60}") {
            prop_assert!(said(value.as_bytes()).iter().all(|(_, number)| *number >= 0.0 && number.is_finite()));
        }

        #[test]
        fn what_is_said_is_heard(metrics in vec(("[a-z_.]{1,20}", (0..1_000_000u32).prop_map(|number| f64::from(number) / 64.0)), 0..20), as_json: bool) {
            let join = |equal: &str, quote: &str| {
                let pairs = metrics.iter().map(|(name, number)| format!("{quote}{name}{quote}{equal}{number:?}"));
                pairs.collect::<Vec<_>>().join(",")
            };
            let value = if as_json { format!("JSON {{{}}}", join(":", "\"")) } else { format!("TEXT {}", join("=", "")) };
            prop_assert_eq!(said(value.as_bytes()), metrics);
        }
    }
}
