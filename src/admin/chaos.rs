//! `PUT /api/v1/chaos`: failures that are rehearsed for a while, as they are asked for and shown (PRODUCT.md section 11).
//!
//! Read by `api`, shown by `status` of the API and of `cli`. A body asks for one thing, for one route or for all of them;
//! `{}` ends whatever there is. How much and how long must be said: what is left out would hit everybody.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::said;
use crate::policy::Blow;

/// No rehearsal is longer.
const MAX_TIME: Duration = Duration::from_secs(24 * 3_600);
/// No request waits longer.
const MAX_DELAY: Duration = Duration::from_secs(3_600);
/// Fewer bytes a second would meet the time-outs of our own: it is slow enough.
const MIN_RATE: u64 = 10;

/// A body, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChaosChange {
    /// The route's name; none = every route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of its requests: `"10%"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// How long: `"5m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    /// They wait before they go on: `"200ms"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// They are answered with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<u16>,
    /// Their clients are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<bool>,
    /// The bodies of their answers are slow: `"1KiB/s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_body: Option<String>,
}

/// What a body asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ChaosRule {
    /// The route's name; `None` = every route.
    pub route: Option<String>,
    /// Of its requests, 0 to 1.
    pub share: f64,
    /// How long it holds.
    pub time: Duration,
    /// What happens to those that are hit.
    pub blow: Blow,
}

impl ChaosChange {
    /// What it asks for; `None`: an end.
    ///
    /// # Errors
    /// What is wrong, in words for whoever asked.
    pub fn rule(&self) -> Result<Option<ChaosRule>, String> {
        if *self == Self::default() {
            return Ok(None);
        }
        let Some(blow) = self.blow()? else {
            return Err("nothing to rehearse: wanted delay, abort, reset or slow_body; {} ends all".into());
        };
        let wanted = |key: &str, example: &str| format!("{key}: must be said, such as {example:?}");
        let share = self.share.as_deref().ok_or_else(|| wanted("share", "10%"))?;
        let share = said::share(share).map_err(|why| format!("share: {why}"))?;
        let time = self.r#for.as_deref().ok_or_else(|| wanted("for", "5m"))?;
        let time = said::duration(time).map_err(|why| format!("for: {why}"))?;
        if time.is_zero() || time > MAX_TIME {
            return Err("for: wanted a duration above 0 and of at most 24h".into());
        }
        Ok(Some(ChaosRule { route: self.route.clone(), share, time, blow }))
    }

    /// The one thing that it names.
    fn blow(&self) -> Result<Option<Blow>, String> {
        let delay = self.delay.as_deref().map(delay).transpose()?;
        let abort = self.abort.map(abort).transpose()?;
        let reset = self.reset.map(reset).transpose()?;
        let slow = self.slow_body.as_deref().map(slow_body).transpose()?;
        let mut named = [delay, abort, reset, slow].into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err("one thing at a time: keep one of delay, abort, reset and slow_body".into()),
            (blow, _) => Ok(blow),
        }
    }
}

fn delay(text: &str) -> Result<Blow, String> {
    let time = said::duration(text).map_err(|why| format!("delay: {why}"))?;
    let fine = !time.is_zero() && time <= MAX_DELAY;
    fine.then_some(Blow::Delay(time)).ok_or_else(|| "delay: wanted a duration above 0 and of at most 1h".into())
}

fn abort(status: u16) -> Result<Blow, String> {
    let fine = (400..=599).contains(&status);
    fine.then_some(Blow::Abort(status)).ok_or_else(|| format!("abort: found {status}, wanted 400 to 599"))
}

fn reset(yes: bool) -> Result<Blow, String> {
    yes.then_some(Blow::Reset).ok_or_else(|| "reset: wanted true, or nothing".into())
}

fn slow_body(text: &str) -> Result<Blow, String> {
    let rate = said::byte_rate(text).map_err(|why| format!("slow_body: {why}"))?;
    let fine = rate >= MIN_RATE;
    fine.then_some(Blow::SlowBody(rate)).ok_or_else(|| format!("slow_body: wanted at least \"{MIN_RATE}B/s\""))
}

/// A rule that holds, in the words of its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChaosView {
    /// The route's name; none = every route that has no rule of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of its requests.
    pub share: String,
    /// They wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// They are answered with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<u16>,
    /// Their clients are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<bool>,
    /// The bodies of their answers are slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_body: Option<String>,
    /// When it ends by itself, RFC 3339.
    pub ends: String,
    /// Requests that it has hit.
    pub hits: u64,
}

impl ChaosView {
    /// A rule for `route` that ends at `ends`.
    pub fn new(route: Option<&str>, share: f64, blow: Blow, ends: impl Into<String>, hits: u64) -> Self {
        // What was read from a percentage is told as one.
        let share = format!("{}%", (share * 1e8).round() / 1e6);
        let (delay, abort, reset, slow_body) = Default::default();
        let mut view =
            Self { route: route.map(str::to_owned), share, delay, abort, reset, slow_body, ends: ends.into(), hits };
        match blow {
            Blow::Delay(time) => view.delay = Some(humantime::format_duration(time).to_string()),
            Blow::Abort(status) => view.abort = Some(status),
            Blow::Reset => view.reset = Some(true),
            Blow::SlowBody(rate) => view.slow_body = Some(format!("{rate}B/s")),
        }
        view
    }

    /// What happens, in a few words.
    pub fn what(&self) -> String {
        let of = |key: &str, value: Option<String>| value.map(|value| format!("{key} {value}"));
        of("delay", self.delay.clone())
            .or_else(|| of("abort", self.abort.map(|status| status.to_string())))
            .or_else(|| of("slow_body", self.slow_body.clone()))
            .unwrap_or_else(|| "reset".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<ChaosRule>, String> {
        serde_json::from_str::<ChaosChange>(json).map_err(|error| error.to_string())?.rule()
    }

    #[test]
    fn a_body_asks_for_one_thing_and_an_empty_one_for_an_end() {
        assert_eq!(read("{}"), Ok(None));
        for (text, blow) in [
            (r#""delay": "200ms""#, Blow::Delay(Duration::from_millis(200))),
            (r#""abort": 503"#, Blow::Abort(503)),
            (r#""reset": true"#, Blow::Reset),
            (r#""slow_body": "1KiB/s""#, Blow::SlowBody(1024)),
        ] {
            let rule = read(&format!(r#"{{"route": "api", "share": "12.5%", "for": "5m", {text}}}"#)).unwrap().unwrap();
            let time = Duration::from_secs(300);
            assert_eq!(rule, ChaosRule { route: Some("api".into()), share: 0.125, time, blow });
            let view = ChaosView::new(rule.route.as_deref(), rule.share, rule.blow, "then", 3);
            let shown = serde_json::to_value(&view).unwrap();
            let asked: serde_json::Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
            let (key, value) = asked.as_object().unwrap().iter().next().unwrap();
            assert_eq!(shown["share"], "12.5%");
            assert!(shown[key] == *value || shown[key] == "1024B/s", "{shown}");
            assert!(view.what().starts_with(blow.word()));
        }
        assert_eq!(read(r#"{"share": "1%", "for": "24h", "reset": true}"#).unwrap().unwrap().route, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, named) in [
            (r#"{"route": "api"}"#, "nothing to rehearse"),
            (r#"{"share": "1%", "for": "1m"}"#, "nothing to rehearse"),
            (r#"{"for": "1m", "reset": true}"#, "share: must be said"),
            (r#"{"share": "1%", "reset": true}"#, "for: must be said"),
            (r#"{"share": "10", "for": "1m", "reset": true}"#, "10%"),
            (r#"{"share": "101%", "for": "1m", "reset": true}"#, "share"),
            (r#"{"share": "1%", "for": "25h", "reset": true}"#, "24h"),
            (r#"{"share": "1%", "for": "0s", "reset": true}"#, "for"),
            (r#"{"share": "1%", "for": "5", "reset": true}"#, "for"),
            (r#"{"share": "1%", "for": "1m", "reset": false}"#, "reset"),
            (r#"{"share": "1%", "for": "1m", "abort": 200}"#, "400 to 599"),
            (r#"{"share": "1%", "for": "1m", "abort": 600}"#, "400 to 599"),
            (r#"{"share": "1%", "for": "1m", "delay": "2h"}"#, "1h"),
            (r#"{"share": "1%", "for": "1m", "delay": "0s"}"#, "delay"),
            (r#"{"share": "1%", "for": "1m", "slow_body": "1B/s"}"#, "10B/s"),
            (r#"{"share": "1%", "for": "1m", "slow_body": "1KiB"}"#, "slow_body"),
            (r#"{"share": "1%", "for": "1m", "delay": "1s", "reset": true}"#, "one thing"),
            (r#"{"rout": "api"}"#, "`rout`"),
        ] {
            assert!(read(json).unwrap_err().contains(named), "{json}: {:?}", read(json));
        }
    }
}
