//! The program's own log, on stderr: what it does, for people or as JSON. Started by `cli`; control changes the level
//! with a reload. `RUST_LOG` wins over the file, at both.

use std::fmt;
use std::io;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// The variable that wins over the configuration.
const VARIABLE: &str = "RUST_LOG";

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

/// Starts the log. `level` is one word or directives in the syntax of `RUST_LOG`; those that cannot be read are left out,
/// with a word on stderr. Where the program that embeds us has a log of its own, that one stays.
pub fn init(level: &str, format: Format, color: bool) -> Handle {
    let environment = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let (layer, handle) = layer(environment.as_deref(), level, format, color, io::stderr);
    let _ = tracing_subscriber::registry().with(layer).try_init();
    handle
}

/// Changes the log's level while it runs.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG` is in force.
    fixed: bool,
}

impl Handle {
    /// From now on, `level`; nothing changes while `RUST_LOG` is in force.
    ///
    /// # Errors
    /// `level` cannot be read; nothing has changed.
    pub fn set(&self, level: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::builder().parse(directives(level))?;
        if !self.fixed {
            // It fails only where another program's log has stayed.
            let _ = self.filter.reload(filter);
        }
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

/// What `level` means. The TLS library warns of what clients send, who could fill the log with it: what matters of that is
/// counted, and whoever wants it all names the library (`info,rustls=debug`).
fn directives(level: &str) -> String {
    format!("rustls=off,{level}")
}

/// What writes the lines that pass the filter to `writer`. `environment` wins over `level`, if it can be read.
fn layer<W>(
    environment: Option<&str>,
    level: &str,
    format: Format,
    color: bool,
    writer: W,
) -> (impl Layer<Registry> + use<W>, Handle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let environment = environment.and_then(|directives| EnvFilter::builder().parse(directives).ok());
    let fixed = environment.is_some();
    let (filter, reload) = reload::Layer::new(environment.unwrap_or_else(|| EnvFilter::new(directives(level))));
    // Where stderr is closed, saying so would panic: on stderr.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    let lines = match format {
        Format::Text => lines.with_ansi(color).boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).with_ansi(false).boxed()
        }
    };
    // The filter outermost: of a layer that wraps others, only its hint is heard.
    (lines.and_then(filter), Handle { filter: reload, fixed })
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::{super::testing::Lines, *};

    /// What was written while `log` ran.
    fn written(environment: Option<&str>, level: &str, format: Format, log: impl FnOnce(&Handle)) -> String {
        let lines = Lines::default();
        let (layer, handle) = layer(environment, level, format, false, lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || log(&handle));
        lines.text()
    }

    /// Else every disabled line of every library asks the filter.
    #[test]
    fn the_level_is_known_before_a_line_is_looked_at() {
        let (layer, _handle) = layer(None, "info", Format::Text, false, io::sink);
        let subscriber = tracing_subscriber::registry().with(layer);
        assert_eq!(tracing::Subscriber::max_level_hint(&subscriber), Some(LevelFilter::INFO));
    }

    fn messages(written: &str) -> Vec<&str> {
        written.lines().map(|line| line.split_whitespace().last().unwrap()).collect()
    }

    #[test]
    fn text_has_time_level_message_and_fields_without_a_target_or_colours() {
        let text = written(None, "info", Format::Text, |_| tracing::info!(listener = "web", "listening"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert_eq!(rest, " INFO listening listener=\"web\"\n");
    }

    #[test]
    fn clients_cannot_make_the_tls_library_talk_unless_it_is_named() {
        let log = |_: &Handle| {
            tracing::warn!(target: "rustls::common_state", "theirs");
            tracing::warn!("ours");
        };
        for (level, expected) in [("info", &["ours"][..]), ("info,rustls=warn", &["theirs", "ours"]), ("error", &[])] {
            assert_eq!(messages(&written(None, level, Format::Text, log)), expected, "{level}");
        }
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = written(None, "info", Format::Json, |_| tracing::warn!(lines = 3, "line\n\"lost\""));
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok(), "{time}");
        assert_eq!(line, serde_json::json!({ "level": "WARN", "message": "line\n\"lost\"", "lines": 3 }));
    }

    #[test]
    fn a_level_can_be_changed_and_one_that_cannot_be_read_changes_nothing() {
        let text = written(None, "warn", Format::Text, |handle| {
            tracing::info!("a");
            tracing::warn!("b");
            handle.set("info").unwrap();
            tracing::info!("c");
            assert!(handle.set("evenkeel=nonsense").is_err());
            tracing::info!("d");
            handle.set("error,evenkeel=debug").unwrap();
            tracing::debug!("e");
            handle.set("off").unwrap();
            tracing::error!("f");
        });
        assert_eq!(messages(&text), ["b", "c", "d", "e"]);
    }

    #[test]
    fn the_environment_wins_if_it_can_be_read() {
        let log = |handle: &Handle| {
            tracing::info!("a");
            handle.set("info").unwrap();
            tracing::info!("b");
            tracing::error!("c");
        };
        assert_eq!(messages(&written(Some("error"), "info", Format::Text, log)), ["c"]);
        assert_eq!(messages(&written(Some("evenkeel=nonsense"), "warn", Format::Text, log)), ["b", "c"]);
    }
}
