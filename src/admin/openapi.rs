//! `GET /api/v1/openapi.json`: what this API takes and gives, for machines (OpenAPI 3.1). Made of the types that are read
//! and written; `tests` holds it against the paths that there are. Called by `api`.

use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::chaos::ChaosChange;
use super::command::{
    BackendChange, BackendView, Diff, Explanation, PoolChange, PoolView, Pools, ReloadOrder, Reloaded, Removal, Rules,
    Status,
};
use super::explain::ExplainBody;

/// A backend as its table stands in the file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema alone is wanted: it is read as the file is")]
struct BackendTable {
    /// `10.0.1.10:8080`, `[2001:db8::10]:8080`, `app.internal:8080` or `unix:/run/app.sock`.
    #[schemars(extend("examples" = ["10.0.1.12:8080"]))]
    address: String,
    /// In logs and metrics; its address by default.
    #[schemars(extend("examples" = ["c"]))]
    name: Option<String>,
    /// Its share beside the others' weights.
    #[schemars(range(min = 0, max = 1000), extend("examples" = [3]))]
    weight: Option<u32>,
    /// Used only while no other backend can be.
    #[schemars(extend("examples" = [false]))]
    backup: Option<bool>,
    /// Attempts at it at a time: a number, `"auto"` or `"off"`.
    #[schemars(extend("examples" = [200]))]
    max_in_flight: Option<Value>,
}

/// A problem (RFC 9457).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its schema alone is wanted: `problem` writes it")]
struct Problem {
    /// `about:blank`.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// For people.
    detail: String,
}

/// What is sent or told.
type Body = (&'static str, fn(&mut SchemaGenerator) -> Schema);

/// One method of one path.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    summary: &'static str,
    /// What is sent, and whether it must be.
    sent: Option<(Body, bool)>,
    status: u16,
    told: Body,
    /// It changes something: `If-Match` is heeded.
    changes: bool,
    /// It wants the token, but on a unix socket.
    guarded: bool,
}

const JSON: &str = "application/json";
const TOML: &str = "application/toml";
const TEXT: &str = "text/plain";

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn json_of<T: JsonSchema>() -> Body {
    (JSON, of::<T>)
}

const fn get(path: &'static str, summary: &'static str, told: Body) -> Operation {
    Operation { path, method: "GET", summary, sent: None, status: 200, told, changes: false, guarded: false }
}

const fn change(
    (method, path): (&'static str, &'static str),
    summary: &'static str,
    sent: Option<(Body, bool)>,
    told: Body,
) -> Operation {
    Operation { path, method, summary, sent, status: 200, told, changes: true, guarded: true }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    get("/", "The dashboard", ("text/html", of::<String>)),
    get("/metrics", "Metrics, for Prometheus", (TEXT, of::<String>)),
    get("/healthz", "The process is alive", (TEXT, of::<String>)),
    get("/readyz", "The process takes requests; 503 while it drains", (TEXT, of::<String>)),
    get("/api/v1/status", "How the process is", json_of::<Status>()),
    get("/api/v1/events", "A snapshot each second, as server-sent events", ("text/event-stream", of::<String>)),
    get("/api/v1/pools", "How its pools are", json_of::<Pools>()),
    get("/api/v1/pools/{pool}", "How a pool is", json_of::<PoolView>()),
    change(
        ("PATCH", "/api/v1/pools/{pool}"),
        "Open the circuit of a pool, or leave it to its breaker",
        Some((json_of::<PoolChange>(), true)),
        json_of::<PoolView>(),
    ),
    Operation {
        status: 201,
        ..change(
            ("POST", "/api/v1/pools/{pool}/backends"),
            "Add a backend to a pool, until the file has it",
            Some((json_of::<BackendTable>(), true)),
            json_of::<BackendView>(),
        )
    },
    change(
        ("PATCH", "/api/v1/pools/{pool}/backends/{backend}"),
        "Drain a backend, put it into maintenance or back into service, weigh it",
        Some((json_of::<BackendChange>(), true)),
        json_of::<BackendView>(),
    ),
    change(
        ("DELETE", "/api/v1/pools/{pool}/backends/{backend}"),
        "Remove a backend, until the file changes it",
        Some((json_of::<Removal>(), false)),
        json_of::<BackendView>(),
    ),
    change(
        ("POST", "/api/v1/reload"),
        "Read the configuration anew",
        Some((json_of::<ReloadOrder>(), false)),
        json_of::<Reloaded>(),
    ),
    change(
        ("POST", "/api/v1/rollback"),
        "Put the configuration before in force again, until the file changes",
        None,
        json_of::<Reloaded>(),
    ),
    Operation {
        changes: false,
        ..change(
            ("POST", "/api/v1/diff"),
            "What a configuration would change, and what would end for it",
            Some(((TOML, of::<String>), true)),
            json_of::<Diff>(),
        )
    },
    Operation {
        changes: false,
        guarded: false,
        ..change(
            ("POST", "/api/v1/explain"),
            "What would become of a request",
            Some((json_of::<ExplainBody>(), true)),
            json_of::<Explanation>(),
        )
    },
    change(
        ("PUT", "/api/v1/chaos"),
        "Rehearse failures for a while; {} ends it",
        Some((json_of::<ChaosChange>(), true)),
        json_of::<Rules>(),
    ),
    get("/api/v1/openapi.json", "This document", json_of::<Value>()),
];

/// The whole document: anybody may ask for it, and it is always the same.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

fn document() -> Value {
    let place = |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaSettings::draft2020_12().with(place).into_generator();
    let problem = of::<Problem>(&mut generator);
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method.to_ascii_lowercase()] = operation.told(&problem, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "evenkeel: admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

impl Operation {
    fn told(&self, problem: &Schema, generator: &mut SchemaGenerator) -> Value {
        let content =
            |(kind, schema): Body, generator: &mut SchemaGenerator| json!({ kind: { "schema": schema(generator) } });
        let mut told = json!({
            "operationId": self.id(),
            "summary": self.summary,
            "parameters": self.parameters(),
            "security": if self.guarded { json!([{ "token": [] }]) } else { json!([]) },
            "responses": {
                self.status.to_string(): { "description": "Done", "content": content(self.told, generator) },
                "default": {
                    "description": "Not done, and why",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        });
        if let Some((body, required)) = self.sent {
            told["requestBody"] = json!({ "required": required, "content": content(body, generator) });
        }
        told
    }

    /// `get_pools_pool`.
    fn id(&self) -> String {
        let path = self.path.trim_start_matches("/api/v1").trim_end_matches(".json").replace(['{', '}'], "");
        format!("{}{}", self.method.to_ascii_lowercase(), path.replace('/', "_"))
    }

    fn parameters(&self) -> Vec<Value> {
        let of_path = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let text = json!({ "type": "string" });
        let named = of_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }));
        let description = "A generation, in quotes: 412 unless it is in use still";
        let if_match = json!({ "name": "If-Match", "in": "header", "description": description, "schema": text });
        named.chain(self.changes.then(|| if_match.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::path::{self, Resource};
    use super::*;
    use crate::config::Backend;

    /// The methods that the router has at a path, without HEAD, which comes with GET.
    fn routed(path: &str) -> BTreeSet<(String, String)> {
        let plain = path.replace(['{', '}'], "");
        let resource = Resource::find(&plain).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let methods = resource.methods().split(", ").filter(|method| *method != "HEAD");
        methods.map(|method| (path.to_owned(), method.to_owned())).collect()
    }

    #[test]
    fn the_document_and_the_router_know_the_same() {
        let documented: BTreeSet<_> =
            OPERATIONS.iter().map(|operation| (operation.path.to_owned(), operation.method.to_owned())).collect();
        assert_eq!(documented.len(), OPERATIONS.len(), "each once");
        let document = document();
        let written = document["paths"].as_object().unwrap();
        for operation in OPERATIONS {
            let told = &written[operation.path][operation.method.to_ascii_lowercase()];
            let fields = told["parameters"].as_array().unwrap();
            let if_match = fields.iter().any(|field| field["name"] == "If-Match");
            assert_eq!(if_match, operation.changes, "{} {}", operation.method, operation.path);
        }
        let routed: BTreeSet<_> = path::all().flat_map(routed).collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_id_is_its_own() {
        let document = document();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(schemas.contains_key("Status") && schemas.contains_key("Diff"), "{:?}", schemas.keys());
        for piece in text.split("\"$ref\":\"").skip(1) {
            let name = piece.split('"').next().unwrap().strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let ids: BTreeSet<_> = OPERATIONS.iter().map(Operation::id).collect();
        assert_eq!(ids.len(), OPERATIONS.len(), "{ids:?}");
        let guarded = |path: &str, method: &str| document["paths"][path][method]["security"] != json!([]);
        assert!(guarded("/api/v1/diff", "post") && !guarded("/api/v1/status", "get"));
    }

    /// The examples of its keys make a backend that is read.
    #[test]
    fn a_backends_table_is_the_files() {
        let document = document();
        let keys = document["components"]["schemas"]["BackendTable"]["properties"].as_object().unwrap();
        let table: Map<_, _> = keys.iter().map(|(key, schema)| (key.clone(), schema["examples"][0].clone())).collect();
        assert_eq!(table.len(), 5);
        Backend::of_json(table).unwrap_or_else(|problems| panic!("{problems}"));
    }
}
