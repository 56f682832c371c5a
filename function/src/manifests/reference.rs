//! The reference pages: every field with its type, its default and its meaning, in the words of the doc comments.

use std::fmt::Write;

use serde_json::Value;
use vcluster_proto::API_VERSION;

use super::{
    definition,
    schema::{self, FREE},
};
use crate::platform::{self, Platform};

/// Nobody edits what would be printed anew.
const GENERATED: &str = "<!-- Printed from the doc comments of the types; \
    `EXPECTORATE=overwrite cargo test -p function-vcluster --test manifests` writes it anew. -->";

/// Of the pipeline's input.
pub(super) fn platform() -> String {
    let kind = platform::KIND;
    let (part, environment) = (platform::environment::PART, platform::environment::ENVIRONMENT);
    let mut page = format!(
        "# {kind} reference\n\n{GENERATED}\n\n\
         The input of the Composition's step: `apiVersion: {API_VERSION}`, `kind: {kind}`. What the platform team decides \
         for all its tenants. A field that is not listed here is refused, never ignored.\n\n\
         Parts of it may come from EnvironmentConfigs: key `{part}` of the pipeline's context `{environment}` lies under \
         the input. Maps join, what both say the input says, and nothing else of the environment is looked at.\n"
    );
    section(&mut page, "", &schema::of::<Platform>(), Defaults::Shown);
    page
}

/// Of what tenants write and read.
pub(super) fn xr() -> String {
    let schema = definition::schema();
    let mut page = format!(
        "# VCluster reference\n\n{GENERATED}\n\n\
         What a tenant orders in `spec` and what is known of it in `status`; the same fields for a claim and for an XR of \
         a namespace. What is left out of `spec` is the platform's to decide.\n"
    );
    for part in ["spec", "status"] {
        section(&mut page, part, &schema["properties"][part], Defaults::ThePlatforms);
    }
    page
}

#[derive(Clone, Copy, PartialEq)]
enum Defaults {
    Shown,
    ThePlatforms,
}

/// A table of the fields of one object, then a section for each object among them.
fn section(page: &mut String, path: &str, schema: &Value, defaults: Defaults) {
    let Some(fields) = schema["properties"].as_object() else { return };
    if !path.is_empty() {
        _ = write!(page, "\n{} `{path}`\n", "#".repeat((path.split('.').count() + 1).min(4)));
        if let Some(about) = schema["description"].as_str() {
            _ = write!(page, "\n{about}\n");
        }
    }
    let shown = defaults == Defaults::Shown;
    page.push_str(if shown {
        "\n| Field | Type | Default | Meaning |\n|---|---|---|---|\n"
    } else {
        "\n| Field | Type | Meaning |\n|---|---|---|\n"
    });
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let mut below = Vec::new();
    for (name, field) in fields {
        let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (kind, inner) = kind(&place, field);
        let about = cell(field["description"].as_str().unwrap_or_default());
        let kind = if required(name) { format!("{kind}, required") } else { kind };
        let default = field.get("default").map(|default| format!("`{}`", text(default)));
        _ = match shown {
            true => writeln!(page, "| `{name}` | {kind} | {} | {about} |", default.unwrap_or_default()),
            false => writeln!(page, "| `{name}` | {kind} | {about} |"),
        };
        below.extend(inner);
    }
    for (place, schema) in below {
        section(page, &place, schema, defaults);
    }
}

/// A type in words, and the object that needs a section of its own.
fn kind<'a>(place: &str, schema: &'a Value) -> (String, Option<(String, &'a Value)>) {
    if let Some(words) = schema["enum"].as_array() {
        return (words.iter().map(|word| format!("`{}`", text(word))).collect::<Vec<_>>().join(" or "), None);
    }
    match schema["type"].as_str() {
        Some("object") if schema["properties"].is_object() => {
            (format!("[object](#{})", anchor(place)), Some((place.to_owned(), schema)))
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            let (each, inner) = kind(&format!("{place}.<name>"), &schema["additionalProperties"]);
            (format!("map of {each}"), inner)
        }
        Some("array") => {
            let (each, inner) = kind(&format!("{place}[]"), &schema["items"]);
            (format!("list of {each}"), inner)
        }
        Some("object") => ("free object".to_owned(), None),
        Some(name) if schema["format"] == "date-time" => (format!("{name}, a time"), None),
        Some(name) => (name.to_owned(), None),
        None if schema[FREE] == true => ("anything".to_owned(), None),
        None => (String::new(), None),
    }
}

/// As the page's readers make an anchor of a heading.
fn anchor(heading: &str) -> String {
    heading.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>().to_ascii_lowercase()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
