//! Reading and writing one YAML document that bears our API version and its kind.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The API version both documents carry.
pub const API_VERSION: &str = "vcluster.fn.crossplane.io/v1alpha1";

/// The API group: a reader accepts any version of it, since later versions only add fields.
const API_GROUP: &str = "vcluster.fn.crossplane.io/";

/// Why a settings or status document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not YAML, or a field holds a value of the wrong type.
    #[error("cannot read {kind}: {detail}")]
    Malformed {
        /// The kind that was expected.
        kind: &'static str,
        /// Field and reason, in one line.
        detail: String,
    },
    /// The document is of another kind or group.
    #[error("cannot read {kind}: the document says apiVersion {api_version:?} and kind {found:?}")]
    Foreign {
        /// The kind that was expected.
        kind: &'static str,
        /// What it says of its API version.
        api_version: String,
        /// What it says of its kind.
        found: String,
    },
    /// The document cannot be written as YAML.
    #[error("cannot write {kind}: {detail}")]
    Unwritable {
        /// The kind that was to be written.
        kind: &'static str,
        /// The serializer's words.
        detail: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Enveloped<'a, T> {
    api_version: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// Reads one document of `kind`; unknown fields are ignored.
pub(crate) fn read<T: DeserializeOwned>(kind: &'static str, yaml: &str) -> Result<T, DocumentError> {
    let malformed = |e: &dyn std::fmt::Display| DocumentError::Malformed { kind, detail: first_line(&e.to_string()) };
    if !begins_as_written(kind, yaml) {
        let header: Header = from_yaml(yaml).map_err(|e| malformed(&e))?;
        if !header.api_version.starts_with(API_GROUP) || header.kind != kind {
            return Err(DocumentError::Foreign { kind, api_version: header.api_version, found: header.kind });
        }
    }
    from_yaml(yaml).map_err(|e| malformed(&e))
}

/// Without an extract of the place of an error, of which one line is kept. Fields that come twice are refused by our types,
/// so the parser need not remember every key as well.
fn from_yaml<T: DeserializeOwned>(yaml: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    serde_saphyr::from_str_with_options(yaml, options)
}

/// Whether the first two lines are those [`write`] puts there. The function reads a report with each request, and reading
/// it once more for its header would cost more than the rest of an answer.
fn begins_as_written(kind: &str, yaml: &str) -> bool {
    let mut lines = yaml.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("apiVersion: "));
    version.is_some_and(|version| version.starts_with(API_GROUP))
        && lines.next().and_then(|line| line.strip_prefix("kind: ")) == Some(kind)
}

/// Writes one document of `kind`, its API version first.
pub(crate) fn write<T: Serialize>(kind: &'static str, body: &T) -> Result<String, DocumentError> {
    serde_saphyr::to_string(&Enveloped { api_version: API_VERSION, kind, body })
        .map_err(|e| DocumentError::Unwritable { kind, detail: e.to_string() })
}

/// A parser's message may quote the document over several lines; one is enough for a log.
fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unreadable").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Body {
        name: String,
    }

    fn read_kind(yaml: &str) -> Result<String, String> {
        read::<Body>("Thing", yaml).map(|body| body.name).map_err(|error| error.to_string())
    }

    #[test]
    fn the_header_counts_wherever_it_stands() {
        let ours = "apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: Thing\nname: a\n";
        assert!(begins_as_written("Thing", ours));
        assert_eq!(read_kind(ours), Ok("a".to_owned()));
        for elsewhere in [
            "name: a\nkind: Thing\napiVersion: vcluster.fn.crossplane.io/v2\n",
            "# a comment\napiVersion: \"vcluster.fn.crossplane.io/v1alpha1\"\nkind: 'Thing'\nname: a\n",
            "{apiVersion: vcluster.fn.crossplane.io/v1alpha1, kind: Thing, name: a}",
        ] {
            assert!(!begins_as_written("Thing", elsewhere), "{elsewhere}");
            assert_eq!(read_kind(elsewhere), Ok("a".to_owned()), "{elsewhere}");
        }
    }

    #[test]
    fn a_field_that_comes_twice_is_refused() {
        let twice = "apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: Thing\nname: a\nname: b\n";
        let sentence = read_kind(twice).expect_err("two names");
        assert_eq!(sentence, "cannot read Thing: duplicate field `name`");
    }

    #[test]
    fn another_kind_or_group_is_foreign() {
        for foreign in [
            "apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: Things\nname: a\n",
            "apiVersion: vcluster.fn.crossplane.io.example.org/v1\nkind: Thing\nname: a\n",
            "apiVersion: v1\nkind: Thing\nname: a\n",
            "name: a\n",
        ] {
            let sentence = read_kind(foreign).expect_err(foreign);
            assert!(sentence.starts_with("cannot read Thing: the document says apiVersion"), "{sentence}");
        }
        let sentence = read_kind("apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: Thing\nname: [a\n");
        assert!(sentence.expect_err("no YAML").starts_with("cannot read Thing: "));
    }
}
