//! `POST /api/v1/explain`: the body that asks. What is said in return is [`Explanation`](crate::plan::Explanation).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Sample, Who};

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// `GET` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// With scheme and host, or a path alone.
    pub url: String,
    /// Further fields, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Values>,
    /// Who connects: an IP address, or `unix`; somebody of nobody's network if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// One value, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// One.
    One(String),
    /// Several fields of that name.
    Several(Vec<String>),
}

impl ExplainBody {
    /// The request that is meant.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn sample(self) -> Result<Sample, String> {
        let values = |(name, values): (String, Values)| match values {
            Values::One(value) => vec![(name, value)],
            Values::Several(values) => values.into_iter().map(|value| (name.clone(), value)).collect(),
        };
        let headers = self.headers.into_iter().flat_map(values).collect();
        let from = self.from.as_deref().map(Who::parse).transpose().map_err(|what| format!("from: wanted {what}"))?;
        let method = self.method.as_deref().unwrap_or("GET");
        Sample::new(method, &self.url, headers, from.unwrap_or_default())
    }
}

impl From<&Sample> for ExplainBody {
    fn from(sample: &Sample) -> Self {
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in &sample.headers {
            headers.entry(name.clone()).or_default().push(value.clone());
        }
        let several = |(name, values)| (name, Values::Several(values));
        let host = sample.authority.as_deref().unwrap_or_default();
        let url = match sample.https {
            Some(true) => format!("https://{host}{}", sample.target),
            Some(false) => format!("http://{host}{}", sample.target),
            None => format!("{host}{}", sample.target),
        };
        Self {
            method: Some(sample.method.clone()),
            url,
            headers: headers.into_iter().map(several).collect(),
            from: Some(sample.from.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_was_asked() {
        let headers =
            [("x-a", "1"), ("x-b", "2"), ("x-a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (method, url) in [("GET", "https://a.example:81/x?y"), ("PUT", "/x"), ("CONNECT", "a:1"), ("OPTIONS", "*")]
        {
            let from = Who::parse("unix").unwrap();
            let mut sample = Sample::new(method, url, headers.to_vec(), from).unwrap();
            let json = serde_json::to_string(&ExplainBody::from(&sample)).unwrap();
            let body: ExplainBody = serde_json::from_str(&json).unwrap();
            sample.headers.sort();
            assert_eq!(body.sample().unwrap(), sample, "{json}");
        }
    }

    #[test]
    fn a_body_needs_its_url_alone() {
        let read = |json: &str| serde_json::from_str::<ExplainBody>(json).map_err(|error| error.to_string())?.sample();
        let sample = read(r#"{"url": "/x", "headers": {"accept": "a", "x-b": ["1", "2"]}}"#).unwrap();
        assert_eq!((sample.method.as_str(), sample.headers.len(), sample.from), ("GET", 3, Who::default()));
        for (json, named) in [
            ("{}", "url"),
            (r#"{"url": "x"}"#, "https://"),
            (r#"{"url": "/", "from": "me"}"#, "192.0.2.1"),
            (r#"{"url": "/", "method": "G T"}"#, "method"),
            (r#"{"url": "/", "hosts": "x"}"#, "hosts"),
        ] {
            assert!(read(json).unwrap_err().contains(named), "{json}: {:?}", read(json));
        }
    }
}
