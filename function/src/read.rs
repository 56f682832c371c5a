//! From JSON to types, with the field path in every error.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Refusal;

/// The longest text that is repeated in a sentence about its type.
const MAX_ECHO: usize = 16;

/// Reads a typed value; `root` is what the path starts with.
pub(crate) fn typed<T: DeserializeOwned>(root: &str, value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            inner if inner == "." => root.to_owned(),
            inner => format!("{root}.{inner}"),
        };
        let problem = discreet(error.into_inner().to_string());
        let remedy = match &problem {
            unknown if unknown.starts_with("unknown field") => "; remove it or mend its name",
            missing if missing.starts_with("missing field") => "; it has no default, write it",
            _ => "",
        };
        Refusal::field(path, format!("{problem}{remedy}"))
    })
}

/// A long text in the wrong place may be a secret, and what a refusal says goes into the claim's status.
fn discreet(problem: String) -> String {
    let quoted =
        problem.split_once(" string \"").and_then(|(before, rest)| Some((before, rest.rsplit_once("\", expected")?)));
    match quoted {
        Some((before, (text, expected))) if text.len() > MAX_ECHO => format!("{before} a string, expected{expected}"),
        _ => problem,
    }
}

/// Checks the form of a value that is there.
pub(crate) fn check(path: &str, value: Option<&str>, form: impl Fn(&str) -> Result<(), String>) -> Result<(), Refusal> {
    value.map_or(Ok(()), form).map_err(|problem| Refusal::field(path, problem))
}
