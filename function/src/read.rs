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
            inner => format!("{root}.{}", inner.replace(char::is_control, " ")),
        };
        let problem = discreet(&error.into_inner().to_string());
        let remedy = match &problem {
            unknown if unknown.starts_with("unknown field") => "; remove it or mend its name",
            missing if missing.starts_with("missing field") => "; it has no default, write it",
            _ => "",
        };
        Refusal::field(path, format!("{problem}{remedy}"))
    })
}

/// A long text in the wrong place may be a secret, and what a refusal says goes into the claim's status.
fn discreet(problem: &str) -> String {
    let said = [("invalid type: string \"", "\", expected"), ("unknown variant `", "`, expected")];
    let said = said.iter().find_map(|(open, close)| {
        let (text, expected) = problem.strip_prefix(open)?.rsplit_once(close)?;
        let what = open.trim_end_matches([' ', '"', '`']);
        (text.len() > MAX_ECHO).then(|| format!("{what}, expected{expected}"))
    });
    said.unwrap_or_else(|| problem.to_owned()).replace(char::is_control, " ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_not_repeated() {
        for (problem, want) in [
            ("invalid type: string \"yes\", expected a boolean", "invalid type: string \"yes\", expected a boolean"),
            (
                "invalid type: string \"AGE-SECRET-KEY-1\"q\", expected a sequence",
                "invalid type: string, expected a sequence",
            ),
            (
                "unknown variant `Keep`, expected `Retain` or `Delete`",
                "unknown variant `Keep`, expected `Retain` or `Delete`",
            ),
            (
                "unknown variant `AGE-SECRET-KEY-1QQQ`, expected one of `a`, `b`",
                "unknown variant, expected one of `a`, `b`",
            ),
            ("missing\nfield", "missing field"),
        ] {
            assert_eq!(discreet(problem), want);
        }
    }
}
