//! From JSON to types, with the field path in every error.

mod wording;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Refusal;

/// Reads a typed value; `root` is what the path starts with.
pub(crate) fn typed<T: DeserializeOwned>(root: &str, value: &Value) -> Result<T, Refusal> {
    // Nearly always. Keeping the path takes longer than reading, so it is kept only where somebody will read it.
    if let Ok(read) = T::deserialize(value) {
        return Ok(read);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            inner if inner == "." => root.to_owned(),
            inner => format!("{root}.{}", inner.replace(char::is_control, " ")),
        };
        let problem = wording::plain(&error.into_inner().to_string().replace(char::is_control, " "));
        Refusal::field(path, problem)
    })
}

/// What is found on a way of names, as `/spec/forProvider`; of a list by its number. The ways are ours: no name among them
/// holds what a JSON pointer escapes, and looking for it would cost more than the way.
pub(crate) fn at<'v>(value: &'v Value, way: &str) -> Option<&'v Value> {
    let mut names =
        way.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(place, _)| place).chain([way.len()]);
    let mut from = names.next()? + 1;
    names.try_fold(value, |value, to| {
        let name = &way[from..to];
        from = to + 1;
        match value {
            Value::Object(fields) => fields.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

/// Checks the form of a value that is there.
pub(crate) fn check(path: &str, value: Option<&str>, form: impl Fn(&str) -> Result<(), String>) -> Result<(), Refusal> {
    value.map_or(Ok(()), form).map_err(|problem| Refusal::field(path, problem))
}

/// Checks the form of every value of a list.
pub(crate) fn check_all(
    path: &str,
    values: &[String],
    form: impl Fn(&str) -> Result<(), String>,
) -> Result<(), Refusal> {
    let mut numbered = values.iter().enumerate();
    numbered.try_for_each(|(index, value)| check(&format!("{path}[{index}]"), Some(value), &form))
}
