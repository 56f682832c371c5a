//! From a Rust type to a structural OpenAPI schema, the only form a CRD takes: nothing referenced, one type a field, no
//! `additionalProperties: false`, an enum as a list of its values.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// What Kubernetes keeps although no schema names it.
pub(super) const FREE: &str = "x-kubernetes-preserve-unknown-fields";

/// Keywords that mean nothing to a CRD, or nothing we want said: a field that is null is an unset one.
const DROPPED: [&str; 4] = ["$schema", "title", "nullable", "examples"];
/// Formats an API server knows.
const FORMATS: [&str; 3] = ["date-time", "int32", "int64"];

/// The structural schema of a type, defaults included.
pub(super) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    structural(settings.into_generator().into_root_schema_for::<T>().to_value())
}

/// The same without defaults: those of an XR are the platform's, and one the API server had filled in would look as if
/// the tenant had written it.
pub(super) fn without_defaults(mut schema: Value) -> Value {
    fn strip(schema: &mut Value) {
        let Value::Object(keywords) = schema else { return };
        keywords.remove("default");
        children(keywords).for_each(strip);
    }
    strip(&mut schema);
    schema
}

/// The schemas directly below one.
fn children(keywords: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    keywords.iter_mut().flat_map(|(keyword, value)| -> Vec<&mut Value> {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(fields)) => fields.values_mut().collect(),
            ("items" | "additionalProperties", schema) => vec![schema],
            _ => Vec::new(),
        }
    })
}

fn structural(schema: Value) -> Value {
    let Value::Object(mut keywords) = schema else { return json!({ FREE: true }) };
    for keyword in DROPPED {
        keywords.remove(keyword);
    }
    join(&mut keywords);
    one_type(&mut keywords);
    if keywords.get("default").is_some_and(says_nothing) {
        keywords.remove("default");
    }
    if keywords.get("format").is_some_and(|format| !FORMATS.iter().any(|known| format == known)) {
        keywords.remove("format");
    }
    if let Some(Value::String(text)) = keywords.get_mut("description") {
        *text = paragraphs(text);
    }
    match keywords.get("additionalProperties") {
        Some(Value::Bool(false)) => _ = keywords.remove("additionalProperties"),
        Some(Value::Bool(true)) => {
            keywords.remove("additionalProperties");
            keywords.insert(FREE.to_owned(), json!(true));
        }
        _ => {}
    }
    // A field that may hold anything.
    if !keywords.contains_key("type") {
        keywords.insert(FREE.to_owned(), json!(true));
    }
    children(&mut keywords).for_each(|schema| *schema = structural(schema.take()));
    Value::Object(keywords)
}

/// An unset default is none, and the fields of an object say their own.
fn says_nothing(default: &Value) -> bool {
    default.is_null() || default.is_object() || default.as_array().is_some_and(Vec::is_empty)
}

/// Alternatives become one schema: an optional value is that value, and an enum a list of words, each explained.
fn join(keywords: &mut Map<String, Value>) {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let Some(Value::Array(mut members)) = keywords.remove(keyword) else { continue };
        members.retain(|member| !is_null(member));
        if let [Value::Object(_)] = &members[..] {
            if let Some(Value::Object(only)) = members.pop() {
                replace(keywords, only);
            }
            continue;
        }
        let mut words = Vec::new();
        let mut meanings = Vec::new();
        for member in &members {
            let found = member["enum"].as_array().cloned().unwrap_or_else(|| vec![member["const"].clone()]);
            if let Some(meaning) = member["description"].as_str() {
                meanings.extend(found.iter().map(|word| format!("`{}`: {}", bare(word), paragraphs(meaning))));
            }
            words.extend(found);
        }
        keywords.insert("type".to_owned(), json!("string"));
        keywords.insert("enum".to_owned(), Value::Array(words));
        let about = keywords.get("description").and_then(Value::as_str).map(str::to_owned);
        let said: Vec<String> = about.into_iter().chain(meanings).collect();
        if !said.is_empty() {
            keywords.insert("description".to_owned(), json!(said.join("\n\n")));
        }
    }
    if let Some(word) = keywords.remove("const") {
        keywords.insert("enum".to_owned(), json!([word]));
    }
}

/// What is said of the field goes before what is said of its type; what each word of an enum means stays.
fn replace(keywords: &mut Map<String, Value>, mut only: Map<String, Value>) {
    let about = keywords.remove("description");
    if about.is_some() {
        only.remove("description");
    }
    join(&mut only);
    let said = [about.as_ref(), only.get("description")].into_iter().flatten().filter_map(Value::as_str);
    let said = said.collect::<Vec<_>>().join("\n\n");
    only.append(keywords);
    if !said.is_empty() {
        only.insert("description".to_owned(), json!(said));
    }
    *keywords = only;
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null"
        || schema["const"].is_null() && schema.get("const").is_some()
        || schema["enum"] == json!([null])
}

fn bare(word: &Value) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

/// `[string, null]` is an optional string.
fn one_type(keywords: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|name| name != "null");
        if types.len() == 1 {
            let only = types.remove(0);
            keywords.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = keywords.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// Lines of a doc comment end where the source is wide; paragraphs end where the writer meant it.
fn paragraphs(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}
