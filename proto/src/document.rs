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
    let header: Header = serde_saphyr::from_str(yaml).map_err(|e| malformed(&e))?;
    if !header.api_version.starts_with(API_GROUP) || header.kind != kind {
        return Err(DocumentError::Foreign { kind, api_version: header.api_version, found: header.kind });
    }
    serde_saphyr::from_str(yaml).map_err(|e| malformed(&e))
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
