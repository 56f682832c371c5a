//! Durations as people write them in a claim: `30s`, `1m`, `1h30m`. One spelling for XR, settings and status.

use std::time::Duration;

use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};
use serde::{Deserialize, Deserializer, Serializer};

/// Reads `30s`, `1m`, `1h30m`.
///
/// # Errors
/// A sentence that shows the forms that are understood.
pub fn parse(text: &str) -> Result<Duration, String> {
    SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; write it as 30s, 1m or 1h30m"))
}

/// Writes the same form back, without spaces.
#[must_use]
pub fn print(duration: Duration) -> String {
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&duration)
}

/// For `#[serde(with = "interval")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*duration))
}

/// For `#[serde(with = "interval")]`.
///
/// # Errors
/// Not a string, or not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// For `#[serde(with = "interval::optional")]`.
pub mod optional {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// For `#[serde(with = "interval::optional")]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// For `#[serde(with = "interval::optional")]`, beside `#[serde(default)]`.
    ///
    /// # Errors
    /// Neither null nor a string, or not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed() {
        for (text, seconds) in [("30s", 30), ("1m", 60), ("1m30s", 90), ("2h", 7200)] {
            let duration = parse(text).expect(text);
            assert_eq!(duration, Duration::from_secs(seconds));
            assert_eq!(print(duration), text);
        }
        assert_eq!(
            parse("often").expect_err("no duration"),
            r#""often" is not a duration; write it as 30s, 1m or 1h30m"#
        );
        assert!(parse("-1m").is_err(), "time does not run backwards");
    }
}
