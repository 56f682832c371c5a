//! What the deserializer finds wrong, in the words of whoever has written the YAML. Pure.

/// The longest text that is repeated: one in the wrong place may be a secret, and a sentence goes into the claim's status.
const MAX_ECHO: usize = 16;

/// The deserializer's sentence in plain words; one it does not know stays as it is.
pub(super) fn plain(problem: &str) -> String {
    let said = wrong_type(problem)
        .or_else(|| unknown_value(problem))
        .or_else(|| unknown_field(problem))
        .or_else(|| missing_field(problem))
        .or_else(|| out_of_range(problem));
    said.unwrap_or_else(|| problem.to_owned())
}

/// `invalid type: integer `60`, expected a string`.
fn wrong_type(problem: &str) -> Option<String> {
    let (found, expected) = problem.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    let remedy = match expected {
        "a string" if found.starts_with(['i', 'f', 'b']) => "a text, in quotes",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a map",
        named if named.starts_with("struct ") => "a map",
        word if word.starts_with("string or map") || word.starts_with("enum ") => "one word",
        number if is_whole(number) => "a whole number",
        other => other,
    };
    Some(format!("{}; write {remedy}", found_of(found)))
}

/// What stands there: a number or a short text is repeated.
fn found_of(found: &str) -> String {
    let echo = |open: &str, close: &str| found.strip_prefix(open)?.strip_suffix(close);
    if let Some(text) = echo("string \"", "\"") {
        return if text.len() > MAX_ECHO { "a text".to_owned() } else { format!("\"{text}\" is a text") };
    }
    for kind in ["integer `", "floating point `"] {
        if let Some(number) = echo(kind, "`") {
            return format!("{number} is a number");
        }
    }
    match found {
        "map" => "a map".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" => "nothing".to_owned(),
        other => echo("boolean `", "`").map_or_else(|| other.to_owned(), |value| format!("{value} is no text")),
    }
}

/// `unknown variant `Keep`, expected `Retain` or `Delete``.
fn unknown_value(problem: &str) -> Option<String> {
    let (text, expected) = problem.strip_prefix("unknown variant `")?.rsplit_once("`, expected ")?;
    let known = expected.replace('`', "");
    Some(match text.len() > MAX_ECHO {
        true => format!("not one of its values; write {known}"),
        false => format!("\"{text}\" is not one of its values; write {known}"),
    })
}

/// `unknown field `sise`, expected one of `id`, `size``.
fn unknown_field(problem: &str) -> Option<String> {
    let (name, expected) = problem.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
    Some(format!("there is no field {name:?}; remove it or mend its name: {}", listed(expected)))
}

/// `missing field `id``.
fn missing_field(problem: &str) -> Option<String> {
    let name = problem.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some(format!("field {name:?} is missing; it has no default, write it"))
}

/// `invalid value: integer `-1`, expected u32`.
fn out_of_range(problem: &str) -> Option<String> {
    let (found, expected) = problem.strip_prefix("invalid value: ")?.rsplit_once(", expected ")?;
    let number = found.strip_prefix("integer `")?.strip_suffix('`')?;
    is_whole(expected).then(|| format!("{number} is out of range; write a whole number from 0 to {}", u32::MAX))
}

fn is_whole(expected: &str) -> bool {
    ["u8", "u16", "u32", "u64", "usize"].contains(&expected)
}

/// `one of `a`, `b`` as `a, b`.
fn listed(expected: &str) -> String {
    expected.trim_start_matches("one of ").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deserializers_words_become_those_of_the_writer() {
        for (problem, want) in [
            ("invalid type: integer `60`, expected a string", "60 is a number; write a text, in quotes"),
            ("invalid type: floating point `1.5`, expected a string", "1.5 is a number; write a text, in quotes"),
            ("invalid type: boolean `true`, expected a string", "true is no text; write a text, in quotes"),
            ("invalid type: string \"yes\", expected a boolean", "\"yes\" is a text; write true or false"),
            ("invalid type: map, expected a string", "a map; write a text"),
            ("invalid type: string \"5Gi\", expected struct Storage", "\"5Gi\" is a text; write a map"),
            ("invalid type: null, expected a sequence", "nothing; write a list"),
            ("invalid type: sequence, expected u32", "a list; write a whole number"),
            (
                "invalid value: integer `-1`, expected u32",
                "-1 is out of range; write a whole number from 0 to 4294967295",
            ),
            (
                "unknown variant `Keep`, expected `Retain` or `Delete`",
                "\"Keep\" is not one of its values; write Retain or Delete",
            ),
            (
                "unknown field `x`, expected one of `a`, `b`",
                "there is no field \"x\"; remove it or mend its name: a, b",
            ),
            ("missing field `id`", "field \"id\" is missing; it has no default, write it"),
            ("something new", "something new"),
        ] {
            assert_eq!(plain(problem), want);
        }
    }

    #[test]
    fn what_could_be_a_secret_is_not_repeated() {
        for (problem, want) in [
            ("invalid type: string \"AGE-SECRET-KEY-1\"q\", expected a sequence", "a text; write a list"),
            (
                "unknown variant `AGE-SECRET-KEY-1QQQ`, expected one of `a`, `b`",
                "not one of its values; write one of a, b",
            ),
        ] {
            assert_eq!(plain(problem), want);
        }
    }
}
