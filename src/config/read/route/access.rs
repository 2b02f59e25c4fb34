//! Who may use a route: `allow`, `deny`, `cors`, `auth`.

use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::super::{
    super::{
        Cors, Origin, field, keys,
        keys::nearest,
        network,
        report::Wrong,
        section::{Field, Section},
        units::quoted,
        values,
    },
    Names,
};

/// What every page may use (Fetch standard, CORS-safelisted method).
const SAFE: [&str; 3] = ["GET", "HEAD", "POST"];
/// A day: browsers keep nothing for longer.
const LONGEST_AGE: Duration = Duration::from_secs(86_400);

/// The networks at `key`.
pub(super) fn networks(route: &Section<'_>, key: &str) -> Vec<IpNet> {
    route.list(key, |field| match field.value().as_str() {
        Some("all" | "any" | "*") => {
            let all = "[\"0.0.0.0/0\", \"::/0\"]";
            let wrong = values::wanted(field.value(), "a network or an IP address");
            Err(wrong.help(match key {
                "deny" => format!("write deny = {all}; or only `allow`: who is not in it is refused"),
                _ => "take it out: without `allow` everybody is".to_owned(),
            }))
        }
        _ => network::network(field),
    })
}

/// The name at `auth`.
pub(super) fn auth(route: &Section<'_>, names: &Names) -> Option<String> {
    route.field("auth")?.read(|field| {
        let help = match field.value() {
            DeValue::Array(_) => {
                "a route has one way in: write auth = \"NAME\", and give the others routes of their own"
            }
            DeValue::Table(_) => "write [auth.NAME] with what is in it, and auth = \"NAME\" here",
            DeValue::Boolean(_) => "without `auth` everybody may ask; else write auth = \"NAME\", and [auth.NAME]",
            _ => "write auth = \"NAME\", and [auth.NAME] with its `type`",
        };
        if field.value().as_str().is_none() {
            return Err(values::wanted(field.value(), "the name of an [auth.NAME]").help(help));
        }
        let text = values::text(field, "the name of an [auth.NAME]")?;
        if names.auths.contains(text) {
            return Ok(text.to_owned());
        }
        let wrong = Wrong::new(format!("there is no way in that is called {}", quoted(text))).missed();
        let short = text.strip_prefix("auth.").unwrap_or(text);
        let nearest = nearest(short, names.auths.iter().map(String::as_str)).filter(|_| short != "none");
        Err(match nearest {
            Some(meant) => wrong.help(format!("did you mean {}?", quoted(meant))),
            None if matches!(short, "off" | "none" | "no" | "false" | "disabled") => {
                wrong.help("take it out: without `auth` everybody may ask")
            }
            None => wrong.help("write [auth.NAME] with its `type`, and that name here"),
        })
    })
}

/// `cors`; `None` as well if it cannot be built, which has been reported.
pub(super) fn cors(route: &Section<'_>) -> Option<Cors> {
    let section = route.section("cors", &keys::CORS)?;
    let Some(field) = section.field("origins") else {
        let wrong = Wrong::new("nothing says whose pages may ask");
        section.missing("origins", wrong.help("write origins = [\"https://app.example.com\"], for example"));
        return None;
    };
    let cors = Cors {
        origins: section.list("origins", origin),
        methods: section.list("methods", method),
        headers: section.list("headers", header),
        credentials: section.read("credentials", false, values::flag),
        max_age: section.read("max_age", Duration::from_secs(600), max_age),
    };
    if field.list().is_empty() {
        field.wrong(Wrong::new("nobody's pages may ask").help("name their origins, or take `cors` out"));
    }
    if cors.credentials {
        starred(&section);
    }
    Some(Cors { methods: cors.methods.into_iter().filter(|method| !SAFE.contains(&method.as_str())).collect(), ..cors })
}

/// Reports what browsers do not take as "any" where cookies come along, and what would give everybody's pages the user's.
fn starred(section: &Section<'_>) {
    for key in ["origins", "methods", "headers"] {
        let fields = section.field(key).map(|field| field.list()).unwrap_or_default();
        for field in fields {
            let wrong = match (key, field.value().as_str()) {
                ("origins", Some("*")) => Wrong::new("any page could ask as the user who looks at it")
                    .help("name the origins, or take `credentials` out"),
                ("origins", Some("null")) => Wrong::new("every page can make itself the origin \"null\"")
                    .help("take it out, or take `credentials` out"),
                (_, Some("*")) => {
                    Wrong::new(format!("\"*\" in `{key}` means nothing to browsers where `credentials` are"))
                        .help(format!("name the {key}"))
                }
                _ => continue,
            };
            field.wrong(wrong);
        }
    }
}

fn origin(field: &Field<'_>) -> Result<Origin, Wrong> {
    const WHAT: &str = "an origin, such as \"https://app.example.com\"";
    let text = values::text(field, WHAT)?;
    Origin::parse(text).map_err(|why| values::wanted(field.value(), WHAT).help(why))
}

fn method(field: &Field<'_>) -> Result<String, Wrong> {
    if field.value().as_str() == Some("*") { Ok("*".to_owned()) } else { field::method(field) }
}

fn header(field: &Field<'_>) -> Result<String, Wrong> {
    field::name(values::text(field, "the name of a header")?)
}

fn max_age(field: &Field<'_>) -> Result<Duration, Wrong> {
    let time = values::delay(field)?;
    if time <= LONGEST_AGE {
        return Ok(time);
    }
    Err(values::wanted(field.value(), "a duration of at most 24h").help("browsers keep it for no longer"))
}
