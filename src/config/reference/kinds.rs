//! The kinds of values, as JSON Schema tells them to editors: what `values`, `units`, `address` and their like read.
//!
//! A schema may take what the reader refuses, and never refuses what it takes. Used by the types of the reference.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// Kinds without parameters.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:tt;)*) => {$(
        $(#[doc = $doc])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

kinds! {
    /// A time that cannot be turned off.
    Duration = { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h|d)$" };
    /// A time, or "off".
    Timeout = {
        "type": ["string", "integer"],
        "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d)|off)$",
        "minimum": 0, "maximum": 0
    };
    /// Bytes.
    Size = {
        "type": ["string", "integer"],
        "pattern": r"^[0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB|TiB)?$",
        "minimum": 0
    };
    /// Bytes, or "off".
    SizeOrOff = {
        "type": ["string", "integer"],
        "pattern": r"^([0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB|TiB)?|off)$",
        "minimum": 0
    };
    /// Bytes, a share of those that there are, or "off".
    Memory = {
        "type": ["string", "integer"],
        "pattern": r"^([0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB|TiB|%)?|off)$",
        "minimum": 0
    };
    /// Bytes in a second, or "off".
    ByteRate = {
        "type": ["string", "integer"],
        "pattern": r"^([0-9]+(\.[0-9]+)?(B|KB|MB|GB|KiB|MiB|GiB|TiB)/s|off)$",
        "minimum": 0, "maximum": 0
    };
    /// Events in a second, or "off".
    Rate = { "type": ["string", "integer"], "pattern": "^([0-9]+/s|off)$", "minimum": 0, "maximum": 0 };
    /// Requests in a second, a minute or an hour.
    RequestRate = { "type": "string", "pattern": "^[0-9]+/[smh]$" };
    /// A part of all; "off" is none of it.
    Share = {
        "type": ["string", "integer"],
        "pattern": r"^([0-9]+(\.[0-9]+)?%|off)$",
        "minimum": 0, "maximum": 0
    };
    /// A whole share that may be more than all.
    Percent = { "type": "string", "pattern": "^[0-9]+%$" };
    /// So many times.
    Factor = { "type": "string", "pattern": "^[0-9.]+x$" };
    /// A number, or "off".
    Limit = { "type": ["integer", "string"], "minimum": 0, "maximum": 1_000_000_000, "pattern": "^off$" };
    /// A number, "auto" or "off".
    AutoLimit = { "type": ["integer", "string"], "minimum": 0, "maximum": 1_000_000_000, "pattern": "^(auto|off)$" };
    /// What something is called.
    Name = { "type": "string", "minLength": 1, "maxLength": 255 };
    /// Where to listen.
    Listen = { "type": "string", "pattern": r"^(unix:.+|\[[0-9A-Fa-f:.%]+\]:[0-9]+|[0-9.]+:[0-9]+)$" };
    /// Where to listen, or "off".
    ListenOrOff = { "type": "string", "pattern": r"^(unix:.+|\[[0-9A-Fa-f:.%]+\]:[0-9]+|[0-9.]+:[0-9]+|off)$" };
    /// What is called.
    Call = { "type": "string", "pattern": r"^(unix:.+|\[[0-9A-Fa-f:.%]+\]:[0-9]+|[0-9A-Za-z._-]+:[0-9]+)$" };
    /// A network or an address.
    Network = { "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]+)?$" };
    /// A network, an address or "unix".
    NetworkOrUnix = { "type": "string", "pattern": "^([0-9A-Fa-f:.]+(/[0-9]+)?|unix)$" };
    /// A DNS server.
    Resolver = { "type": "string", "pattern": r"^(\[[0-9A-Fa-f:.%]+\]:[0-9]+|[0-9A-Fa-f:.]+)$" };
    /// An address of this host.
    Ip = { "type": "string", "pattern": "^[0-9A-Fa-f:.]+$" };
    /// A method, in capitals.
    Method = { "type": "string", "pattern": "^[^a-z ,]+$" };
    /// A path, or the beginning of one.
    PathText = { "type": "string", "pattern": "^/" };
    /// A host of a route.
    Host = { "type": "string", "pattern": r"^((\*\.)?[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])$" };
    /// Of a service that is asked.
    Url = { "type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://" };
    /// What requests that go to one backend have in common.
    HashKey = { "type": "string", "pattern": "^(client_ip|path|host|(header|cookie|query):.+)$" };
    /// What requests are counted by.
    LimitKey = { "type": "string", "pattern": "^(client_ip|path|route|global|(header|cookie|claim):.+)$" };
    /// What keeps a user on one side.
    SplitKey = { "type": "string", "pattern": "^(client_ip|(header|cookie):.+)$" };
    /// Where a key or a token is shown.
    ShownIn = { "type": "string", "pattern": "^(header|cookie|query):.+$" };
    /// A field of the access log.
    AccessField = { "type": "string", "pattern": "^(query|(request|response):.+)$" };
    /// A status, or a range of them.
    Statuses = {
        "type": ["integer", "string"],
        "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$",
        "minimum": 100, "maximum": 599
    };
    /// What a retry is for.
    RetryOn = {
        "type": ["string", "integer"],
        "pattern": "^(connect|reset|timeout|[45]xx|[0-9]+|grpc:[a-z_]+)$",
        "minimum": 400, "maximum": 599
    };
    /// What a circuit breaker counts.
    BreakerOn = {
        "type": ["string", "integer"],
        "pattern": "^(connect|reset|timeout|5[xX][xX]|[45][0-9][0-9])$",
        "minimum": 400, "maximum": 599
    };
    /// An upgrade that passes.
    Upgrade = { "type": "string", "enum": ["websocket"] };
    /// What TLS offers.
    Alpn = { "type": "string", "enum": ["h2", "http/1.1"] };
    /// What tokens are signed by.
    JwtAlgorithm = {
        "type": "string",
        "enum": [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512"
        ]
    };
    /// Of a redirect.
    RedirectStatus = { "type": "integer", "enum": [301, 302, 303, 307, 308] };
    /// "off" alone.
    Off = { "type": "string", "pattern": "^off$" };
    /// "off", or 0.
    OffOrZero = { "type": ["string", "integer"], "pattern": "^off$", "minimum": 0, "maximum": 0 };
    /// Numbers by names, which may have dots, or stand in tables.
    Metrics = { "type": "object", "additionalProperties": { "type": ["number", "object"] } };
    /// What a claim must be.
    Claim = { "type": ["string", "boolean", "integer"] };
    /// The status of an error, as a key.
    ErrorStatus = { "type": "string", "pattern": "^[45][0-9][0-9]$" };
    /// `true`: the other way round has a word of its own.
    True = { "type": "boolean", "enum": [true] };
}

/// A number that cannot be turned off.
pub(super) struct Count<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> JsonSchema for Count<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Count_{LEAST}_{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

/// A number or a word: "auto", or "off" for none.
pub(super) struct CountOr<const LEAST: u64, const MOST: u64, W>(PhantomData<W>);

/// "auto"
pub(super) struct Auto;

/// What may stand for a number.
pub(super) trait Word {
    const WORD: &'static str;
}

impl Word for Auto {
    const WORD: &'static str = "auto";
}

impl Word for Off {
    const WORD: &'static str = "off";
}

impl<const LEAST: u64, const MOST: u64, W: Word> JsonSchema for CountOr<LEAST, MOST, W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Count_{LEAST}_{MOST}_or_{}", W::WORD).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let word = format!("^{}$", W::WORD);
        json_schema!({ "type": ["integer", "string"], "minimum": LEAST, "maximum": MOST, "pattern": word })
    }
}

/// A list; one of one may be written as its one element.
pub(super) struct Many<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Many_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let element = generator.subschema_for::<T>();
        either(&element, &json_schema!({ "type": "array", "items": element }))
    }
}

/// One of two kinds.
pub(super) struct Or<A, B>(PhantomData<(A, B)>);

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Or<A, B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", A::schema_name(), B::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, other) = (generator.subschema_for::<A>(), generator.subschema_for::<B>());
        either(&one, &other)
    }
}

/// What is one or the other. As both are of different types, and a keyword says something of one type alone, it is mostly one
/// schema with the keywords of both: what is wrong with a value can be told then, and not only that it is neither.
fn either(one: &Schema, other: &Schema) -> Schema {
    merged(one, other).unwrap_or_else(|| json_schema!({ "anyOf": [one, other] }))
}

/// `None`: one has a keyword that the other has too, or that is about all types.
fn merged(one: &Schema, other: &Schema) -> Option<Schema> {
    let (mut merged, other) = (typed(one)?, typed(other)?);
    let types = [types(&merged), types(&other)].concat();
    for (key, value) in other.into_iter().filter(|(key, _)| key != "type") {
        if merged.insert(key, value).is_some() {
            return None;
        }
    }
    merged.insert("type".to_owned(), types.into());
    Some(merged.into())
}

/// `schema` with the type of a table, if it names one.
fn typed(schema: &Schema) -> Option<Map<String, Value>> {
    let schema = schema.as_object()?.clone();
    if schema.contains_key("$ref") {
        return json_schema!({ "type": "object", "allOf": [schema] }).as_object().cloned();
    }
    (schema.contains_key("type") && !schema.contains_key("enum")).then_some(schema)
}

fn types(schema: &Map<String, Value>) -> Vec<Value> {
    match schema.get("type") {
        Some(Value::Array(types)) => types.clone(),
        one => one.cloned().into_iter().collect(),
    }
}
