//! The JSON Schema (draft 2020-12) of the file, from the same types and comments as the reference: editors complete and
//! check by it while somebody writes.
//!
//! Called by `evenkeel schema`. It refuses nothing that `check` takes; what only the whole file shows (names that there
//! are not, keys that exclude each other, files that cannot be read), `check` alone sees.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::process::Document;

/// Schemas in a schema, by name, that are no list of them.
const NAMED: [&str; 3] = ["properties", "patternProperties", "$defs"];
/// What our types say for the reference and for [`finish`] alone.
const OURS: [&str; 2] = ["x-required", "x-shown"];

/// The JSON Schema of a configuration: editors find it by a line `#:schema ./evenkeel.schema.json` on top of the file.
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    let tables = schema.get("$defs").cloned().unwrap_or_default();
    finish(&mut schema, &tables);
    schema["title"] = "The configuration of evenkeel".into();
    schema["type"] = "object".into();
    let text = serde_json::to_string_pretty(&schema).expect("a schema is made of what JSON has");
    text + "\n"
}

/// Makes of what the types say what an editor needs: a table has no other keys, what must be written is required, and a
/// key whose value is a table is described as `tables` describe that.
fn finish(schema: &mut Value, tables: &Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    // Older validators see nothing beside a `$ref`.
    if let Some(name) = schema.remove("$ref") {
        schema.insert("type".to_owned(), "object".into());
        schema.insert("allOf".to_owned(), json!([{ "$ref": name }]));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let required = required(properties);
        properties.values_mut().for_each(|property| describe(property, tables));
        schema.insert("additionalProperties".to_owned(), false.into());
        // Whoever names a table says that it is one, or what else may stand there.
        schema.remove("type");
        schema.remove("required");
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
    }
    for key in OURS {
        schema.remove(key);
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = unwrapped(text);
    }
    for (key, inner) in schema {
        match inner {
            Value::Object(schemas) if NAMED.contains(&key.as_str()) => {
                schemas.values_mut().for_each(|schema| finish(schema, tables));
            }
            Value::Array(schemas) if key == "anyOf" => schemas.iter_mut().for_each(|schema| finish(schema, tables)),
            Value::Object(_) if matches!(key.as_str(), "items" | "additionalProperties") => finish(inner, tables),
            _ => {}
        }
    }
}

/// The keys that must be written.
fn required(properties: &Map<String, Value>) -> Vec<Value> {
    let must = |(_, property): &(&String, &Value)| property.get("x-required").is_some();
    properties.iter().filter(must).map(|(key, _)| Value::from(key.as_str())).collect()
}

/// Says of a table without a sentence what the table itself says.
fn describe(property: &mut Value, tables: &Value) {
    let Some(name) = table(property) else { return };
    let said = tables.get(name).and_then(|table| table.get("description")).cloned();
    if let (Some(said), Some(property)) = (said, property.as_object_mut()) {
        property.entry("description").or_insert(said);
    }
}

/// The first table that `schema` is, or holds.
fn table(schema: &Value) -> Option<&str> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return name.strip_prefix("#/$defs/");
    }
    let any = ["allOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let patterns = schema.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    any.chain(patterns).chain(schema.get("additionalProperties")).chain(schema.get("items")).find_map(table)
}

/// A line for each paragraph, as the comment in the source has several.
fn unwrapped(text: &str) -> String {
    let paragraph = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests;
