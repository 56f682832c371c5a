//! The status document: the sidecar and the restore init container write it, the function and people read it.
//!
//! In a cluster it is `data["status.yaml"]` of ConfigMap `<key>-backup-status`; outside it is a file.
//! It holds no secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::DocumentError;

/// The kind this document bears.
pub const KIND: &str = "BackupStatus";

/// The key of the ConfigMap, and so the name of the mounted file.
pub const FILE_NAME: &str = "status.yaml";

/// A restore that waits for something: its message says for what.
pub const PENDING: &str = "Pending";

/// A restore that is done.
pub const SUCCEEDED: &str = "Succeeded";

/// A restore that will not be tried again under its id.
pub const FAILED: &str = "Failed";

/// The reason of a `Waiting` state that ends when somebody brings the key.
pub const WAITING_FOR_IDENTITY: &str = "WaitingForIdentity";

/// What the sidecar knows of its backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The vcluster's one name.
    pub key: String,
    /// The uid of the XR this speaks of; a document of another uid is not believed.
    pub uid: String,
    /// In one word.
    pub state: State,
    /// A word for programs: `BackedUp`, `NoKey`, `StoreUnavailable`, ...
    pub reason: String,
    /// A sentence for people; names the thing and the remedy.
    pub message: String,
    /// When this document was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// When the last try began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Timestamp>,
    /// The interval in force, as `1m`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// The store's URL, without credentials.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// The newest backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Point>,
    /// The oldest backup that can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Point>,
    /// The generation the sidecar writes to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generation: String,
    /// Everything this cluster keeps in the store, in bytes; unset: not counted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Why old backups stay although no rule keeps them, and what to do; empty: they do not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retention: String,
    /// When a backup was last proven by a restore into scratch space, or by its digests where no key is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<Timestamp>,
    /// The last `backup.trigger` that was served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_trigger: String,
    /// Public signing keys of this vcluster, in the order they joined; only ever grows.
    pub trusted_keys: Vec<String>,
    /// The restore that is asked for or was served last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

/// The state of the backups in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The init container waits; `reason` says for what.
    Waiting,
    /// The last try succeeded.
    Healthy,
    /// The last try failed; `message` says why and what to do.
    Failing,
    /// The sidecar was told to stop.
    Stopped,
    /// Nothing has been tried yet, or a later version's word.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One backup that can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Point {
    /// `<generation>/<sequence>`; what `restore --at` takes.
    pub id: String,
    /// When its read transaction began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// `full`, `diff` or `delta`.
    pub kind: String,
    /// Ciphertext size.
    pub size_bytes: u64,
    /// The highest kine revision it holds.
    pub revision: i64,
    /// SHA-256 of its manifest, in hex: pins the newest against a rollback of the store.
    pub manifest: String,
}

/// How a restore went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restore {
    /// The request's id; empty when an empty disk was restored at start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// [`PENDING`] while it is open, then [`SUCCEEDED`] or [`FAILED`]; a later version's word counts as open.
    pub phase: String,
    /// The backup that was restored.
    pub from: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// A sentence for people.
    pub message: String,
}

impl Status {
    /// Reads a status document, ignoring fields of later versions.
    ///
    /// # Errors
    /// Not YAML, a field of the wrong type, or a document of another kind.
    pub fn from_yaml(yaml: &str) -> Result<Self, DocumentError> {
        crate::document::read(KIND, yaml)
    }

    /// Writes the whole document.
    ///
    /// # Errors
    /// Only if a value cannot be expressed in YAML.
    pub fn to_yaml(&self) -> Result<String, DocumentError> {
        crate::document::write(KIND, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let status = Status {
            key: "team-a-abcdefgh".into(),
            state: State::Healthy,
            newest: Some(Point { id: "g/1".into(), time: Some(Timestamp::UNIX_EPOCH), ..Point::default() }),
            trusted_keys: vec!["ed25519:AAAA".into()],
            ..Status::default()
        };
        let yaml = status.to_yaml().expect("writable");
        assert!(yaml.starts_with("apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: BackupStatus\n"), "{yaml}");
        assert_eq!(Status::from_yaml(&yaml).expect("readable"), status);
    }

    #[test]
    fn a_state_of_a_later_version_is_unknown_not_an_error() {
        let yaml = "apiVersion: vcluster.fn.crossplane.io/v9\nkind: BackupStatus\nstate: Levitating\nnewest: {id: a, mood: good}\n";
        let status = Status::from_yaml(yaml).expect("readable");
        assert_eq!(status.state, State::Unknown);
        assert_eq!(status.newest.expect("kept").id, "a");
    }
}
