//! Words from the report on their way into a claim: one line, of bounded length, and nothing that looks like a key.
//!
//! Whoever can write into the host namespace can write the report, and the claim is shown to others.

use vcluster_proto::status::Point;

/// The longest sentence that is handed on.
const MAX_SENTENCE: usize = 512;
/// The longest word for programs.
const MAX_WORD: usize = 64;
/// The longest id of a backup.
const MAX_ID: usize = 128;

/// A sentence for people, unless there is nothing in it.
pub(super) fn sentence(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    if ["AGE-SECRET-KEY-", "PRIVATE KEY"].iter().any(|secret| upper.contains(secret)) {
        return Some("the sidecar's words look like a key and are not repeated; see its log".to_owned());
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let cut = match line.char_indices().nth(MAX_SENTENCE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    };
    (!cut.is_empty()).then_some(cut)
}

/// A word for programs, as Kubernetes wants the reason of a condition.
pub(super) fn word(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && text.len() <= MAX_WORD && text.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(text)
}

/// The id of a backup.
pub(super) fn id(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    (plain && (1..=MAX_ID).contains(&text.len())).then_some(text)
}

/// A backup that can be named.
pub(super) fn point(point: Option<&Point>) -> Option<&Point> {
    point.filter(|point| id(&point.id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_one_line_and_ends() {
        assert_eq!(sentence(" no\r\n\tbucket\u{2028}\u{7} \"b\" "), Some("no bucket \"b\"".to_owned()));
        assert_eq!(sentence(" \n "), None);
        let long = sentence(&"ü".repeat(9999)).expect("something");
        assert_eq!((long.chars().count(), long.ends_with("ü...")), (MAX_SENTENCE + 3, true));
        for secret in ["x age-secret-key-1qqq", "-----BEGIN PRIVATE KEY-----"] {
            assert!(!sentence(secret).expect("a word of ours").contains(secret), "{secret}");
        }
    }

    #[test]
    fn words_and_ids_are_plain() {
        assert_eq!(word("NoBucket"), Some("NoBucket"));
        for bad in ["", "1st", "No Bucket", "Nö", "a\n", &"a".repeat(65)] {
            assert_eq!(word(bad), None, "{bad:?}");
        }
        assert_eq!(id("20261123T060000Z-abc/00000001"), Some("20261123T060000Z-abc/00000001"));
        for bad in ["", "a b", "a\nb", "ü", &"a".repeat(129)] {
            assert_eq!(id(bad), None, "{bad:?}");
        }
    }
}
