//! YAML documents as plain values, and the few questions the stories ask of a rendered manifest.

use serde_json::Value;

/// All documents of a YAML text, empty ones left out.
///
/// # Panics
/// When it is not YAML.
#[must_use]
pub fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .unwrap_or_else(|error| panic!("not YAML: {error}\n{}", text.lines().take(40).collect::<Vec<_>>().join("\n")));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The documents as one YAML text that every reader takes: JSON is YAML.
#[must_use]
pub fn text(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

/// The value at a JSON pointer as text.
///
/// # Panics
/// When there is none: the message names the pointer and the document.
#[must_use]
pub fn str_at<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} of {} {}", document["kind"], document["metadata"]["name"]))
}

/// The composed resource Crossplane knows as `name`.
///
/// # Panics
/// When it was not rendered.
#[must_use]
pub fn composed<'a>(documents: &'a [Value], name: &str) -> &'a Value {
    documents
        .iter()
        .find(|document| resource_name(document) == Some(name))
        .unwrap_or_else(|| panic!("no composed resource {name:?} was rendered"))
}

/// The name Crossplane knows a composed resource by; `None` for the XR.
#[must_use]
pub fn resource_name(document: &Value) -> Option<&str> {
    document["metadata"]["annotations"]["crossplane.io/composition-resource-name"].as_str()
}

/// The Helm release a `Release` stands for.
#[must_use]
pub fn helm_name(release: &Value) -> &str {
    release["metadata"]["annotations"]["crossplane.io/external-name"]
        .as_str()
        .unwrap_or_else(|| str_at(release, "/metadata/name"))
}
