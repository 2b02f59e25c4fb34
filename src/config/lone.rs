//! A backend by itself, as the admin API is given it: read as a backend of the file is, with the same keys and the same
//! words for what is wrong.

use std::{path::Path, sync::Arc};

use toml::{Table, Value, de::DeTable};

use super::{
    Address, Backend, Pool,
    problem::{Problems, Source},
    read,
    report::{Findings, Report},
    section::Field,
};

impl Backend {
    /// The backend that a JSON object tells, by the keys of its table in the file. Keys that are `null` are not written.
    ///
    /// # Errors
    /// Every problem that it has, shown in the TOML that it would be.
    pub fn of_json(mut object: serde_json::Map<String, serde_json::Value>) -> Result<Self, Problems> {
        object.retain(|_, value| !value.is_null());
        let unfit = |error: &dyn std::fmt::Display| {
            let source = Arc::new(Source::new(Path::new("the body"), 0, ""));
            Problems::new(&source.file, vec![source.problem(None, "", error.to_string())]).expect("there is one")
        };
        let written = Value::try_from(object).map_err(|error| unfit(&error))?;
        let table: Table = [("backend".to_owned(), written)].into_iter().collect();
        let text = toml::to_string(&table).map_err(|error| unfit(&error))?;
        let source = Arc::new(Source::new(Path::new("the body"), 0, &text));
        let findings = Findings::default();
        let (document, _) = DeTable::parse_recoverable(&source.text);
        let field = Field::of(document.get_ref(), "backend", Report::new(&source, &findings));
        let backend = field.and_then(|field| read::backend(&field));
        match (backend, findings.finish(&source.file)) {
            (Some(backend), None) => Ok(backend),
            (_, Some(problems)) => Err(problems),
            (None, None) => unreachable!("what cannot be read has reported why"),
        }
    }
}

impl Pool {
    /// Whether `new` may stand beside the backends that there are.
    ///
    /// # Errors
    /// What the file would be told.
    pub fn takes(&self, new: &Backend) -> Result<(), String> {
        let of = |what: &str| format!("pool {}: {what}", self.name);
        if self.backends.iter().any(|backend| backend.address == new.address) {
            return Err(of(&format!("{} is a backend of this pool already", new.address)));
        }
        if self.backends.iter().any(|backend| backend.name == new.name) {
            return Err(of(&format!(
                "another backend is called {:?} already: give this one a `name` of its own",
                new.name
            )));
        }
        if self.tls.is_some() && matches!(new.address, Address::Unix(_)) {
            return Err(of(&format!("TLS to a unix socket is not supported, and {} is one", new.address)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Backend, String> {
        Backend::of_json(serde_json::from_str(json).unwrap()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn it_is_read_as_in_the_file() {
        let backend =
            read(r#"{"address": "10.0.0.1:80", "name": "a", "weight": 3, "max_in_flight": 9, "backup": null}"#);
        let backend = backend.unwrap();
        assert_eq!((backend.name.as_str(), backend.weight, backend.backup), ("a", 3, false));
        assert_eq!(read(r#"{"address": "App.internal:80"}"#).unwrap().name, "App.internal:80");
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_file() {
        for (json, word) in [
            (r#"{}"#, "a backend wants an address"),
            (r#"{"address": "10.0.0.1:80", "wieght": 3}"#, "did you mean `weight`?"),
            (r#"{"address": "10.0.0.1:80", "weight": 1001}"#, "1000"),
            (r#"{"address": "10.0.0.1:0"}"#, "port 0"),
            (r#"{"address": 80}"#, "backend.address"),
            (r#"{"address": "10.0.0.1:80", "more": {"x": 1}}"#, "unknown key"),
            (r#"{"address": "10.0.0.1:80", "name": ["x", null]}"#, "the body"),
            (r#"{"address": "10.0.0.1:80", "weight": 99999999999999999999}"#, "the body"),
        ] {
            let why = read(json).unwrap_err();
            assert!(why.contains(word), "{json}: {why}");
        }
    }
}
