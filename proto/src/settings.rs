//! `settings.yaml`: the function writes the whole file as one string into `values.settings` of chart s3-register, the
//! chart copies it unchanged into ConfigMap `<key>-backup`, the sidecar reads it from its mount and follows its changes.
//!
//! It holds no secret: credentials and identities are Secrets of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::DocumentError;

/// The kind this document bears.
pub const KIND: &str = "BackupSettings";

/// The key of the ConfigMap, and so the name of the mounted file.
pub const FILE_NAME: &str = "settings.yaml";

/// The default time between two backups.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest time between two backups: below it one would not be over before the next begins on a slow store.
pub const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// The longest: beyond it nobody could tell a quiet sidecar from a dead one within two days.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What the function asks of the sidecar of one vcluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Whose database this is.
    pub cluster: Cluster,
    /// Where backups go.
    pub store: Store,
    /// When and for whom.
    pub backup: Backup,
    /// What an empty disk does when the store holds an earlier life; unset: wait and ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// The XR's status has had a newest backup: an empty bucket is then a loss, not a beginning.
    pub lived: bool,
    /// Public signing keys (`ed25519:` and base64) whose manifests may be restored.
    pub trusted_keys: Vec<String>,
    /// What is to be restored, until the status document holds an outcome for its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

/// The vcluster a document speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// The one name everything is derived from; at most 40 characters.
    pub key: String,
    /// The vcluster's Helm release, whose name its Service and Secrets bear; unset: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The XR's uid: an earlier life under the same name bears another. Empty outside Crossplane.
    pub uid: String,
    /// The host namespace.
    pub namespace: String,
}

/// An object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Store {
    /// `s3://bucket[/prefix]` or `file:///folder`.
    pub url: String,
    /// The S3 endpoint, as an `http(s)://host[:port]` URL; unset: the cloud's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The S3 region; unset: `us-east-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Bucket in the path rather than in the host name; what MinIO and most look-alikes want.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// PEM certificates to trust beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// `namespace/name` prefix of the Job that makes bucket and user, named when the store refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
}

/// When backups are made and who can open them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backup {
    /// Time between two backups, as `30s`, `1m`, `2h`.
    #[serde(with = "crate::interval")]
    pub interval: Duration,
    /// age recipients (`age1...`); each of them alone can open a backup.
    pub recipients: Vec<String>,
    /// What is kept; unset: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// How often the newest chain is read back and its digests compared, as `24h`; `0s`: never; unset: daily.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::interval::optional")]
    pub prove_every: Option<Duration>,
    /// Any text; a new one asks for a backup at once. The status document says which was served last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
}

impl Default for Backup {
    fn default() -> Self {
        Self { interval: DEFAULT_INTERVAL, recipients: Vec::new(), retention: None, prove_every: None, trigger: None }
    }
}

/// Which backups are kept: a backup stays when any rule keeps it. The rules are restic's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// The newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// The newest of each of the newest so many hours that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<u32>,
    /// The same for days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<u32>,
    /// The same for weeks, which begin on Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<u32>,
    /// The same for months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<u32>,
    /// The same for years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<u32>,
    /// All that are younger than this, as `48h`.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::interval::optional")]
    pub keep_within: Option<Duration>,
}

/// A restore somebody asks for. It is served once: its outcome is remembered by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restore {
    /// Tells requests apart.
    pub id: String,
    /// `latest`, `empty`, an RFC 3339 time or a backup's id.
    pub at: String,
    /// Another cluster of the same owner whose backups are read; unset: this one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Source>,
}

/// Another cluster's backups, in the same store and read with the same credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// That cluster's key.
    pub key: String,
    /// Where its backups are, in the form of `store.url`.
    pub url: String,
}

/// What an empty disk does when only backups of an earlier life are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Bootstrap {
    /// Restore the newest of them.
    Latest,
    /// Start with an empty database.
    Empty,
}

impl Settings {
    /// Reads `settings.yaml`, ignoring fields of later versions.
    ///
    /// # Errors
    /// Not YAML, a field of the wrong type, or a document of another kind.
    pub fn from_yaml(yaml: &str) -> Result<Self, DocumentError> {
        crate::document::read(KIND, yaml)
    }

    /// Writes the whole file. The same settings give the same bytes.
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

    fn example() -> Settings {
        Settings {
            cluster: Cluster {
                key: "team-a-abcdefgh".into(),
                release: Some("shop".into()),
                uid: "1b4f".into(),
                namespace: "vc-team-a-abcdefgh".into(),
            },
            store: Store {
                url: "s3://team-a-abcdefgh".into(),
                endpoint: Some("http://minio.minio:9000".into()),
                path_style: Some(true),
                ca: Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into()),
                ..Store::default()
            },
            backup: Backup {
                interval: Duration::from_secs(90),
                recipients: vec!["age1xyz".into()],
                retention: Some(Retention {
                    keep_last: Some(10),
                    keep_within: Some(Duration::from_secs(48 * 3600)),
                    ..Retention::default()
                }),
                prove_every: Some(Duration::from_secs(12 * 3600)),
                trigger: Some("now".into()),
            },
            lived: true,
            restore: Some(Restore {
                id: "2026-11-22a".into(),
                at: "latest".into(),
                from: Some(Source { key: "team-b-abcdefgh".into(), url: "s3://team-b-abcdefgh".into() }),
            }),
            ..Settings::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let yaml = example().to_yaml().expect("writable");
        assert!(yaml.starts_with("apiVersion: vcluster.fn.crossplane.io/v1alpha1\nkind: BackupSettings\n"), "{yaml}");
        assert!(yaml.contains("interval: 1m30s"), "{yaml}");
        assert_eq!(Settings::from_yaml(&yaml).expect("readable"), example());
    }

    #[test]
    fn a_reader_ignores_the_future_and_fills_in_the_past() {
        // A newer function sends fields this sidecar does not know; an older one leaves out fields it does.
        let yaml = "apiVersion: vcluster.fn.crossplane.io/v2\nkind: BackupSettings\nshiny: {new: 1}\nstore: {url: 'file:///x', tier: cold}\n";
        let settings = Settings::from_yaml(yaml).expect("readable");
        assert_eq!(settings.store.url, "file:///x");
        assert_eq!(settings.backup.interval, DEFAULT_INTERVAL);
    }

    #[test]
    fn another_document_is_refused_by_name() {
        let error = Settings::from_yaml("apiVersion: v1\nkind: ConfigMap\n").expect_err("foreign");
        assert_eq!(
            error.to_string(),
            r#"cannot read BackupSettings: the document says apiVersion "v1" and kind "ConfigMap""#
        );
        assert!(Settings::from_yaml("interval: [").is_err());
    }
}
