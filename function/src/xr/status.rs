//! What the status of an XR holds, as types: the XRD and the reference page are made of them.
//!
//! Nothing is read or written through them: what is remembered stays as it was found, whatever a later version had
//! written there. A test holds what is written against them.

use schemars::JsonSchema;

/// What is known of a vcluster. It holds no secret.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where it is.
    pub vcluster: Option<Vcluster>,
    /// Its backups. What is known of them stays here for the day the claim is deleted.
    pub backup: Option<Backup>,
    /// The restore that was asked for or served last.
    pub restore: Option<Restore>,
}

/// Where a vcluster is.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vcluster {
    /// The one name every other name is made from.
    pub key: Option<String>,
    /// The host namespace, which is the vcluster's own.
    pub namespace: Option<String>,
    /// The Helm release.
    pub release: Option<String>,
    /// The version of the chart.
    pub chart_version: Option<String>,
    /// The Secret with the kubeconfig: of the host namespace for a claim, which gets a copy, and of its own for a namespaced
    /// XR.
    pub kubeconfig_secret: Option<String>,
    /// The URL of the API server.
    pub endpoint: Option<String>,
}

/// The backups of a vcluster.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// How the backups are, in one word, such as `Healthy`, `Failing`, `Stale`, `Disabled` or `Unknown`.
    pub state: Option<String>,
    /// What the state means, and what to do.
    pub message: Option<String>,
    /// The bucket.
    pub bucket: Option<String>,
    /// The place of its backups as a URL, where that is more than a bucket of its own.
    pub store: Option<String>,
    /// The store's endpoint.
    pub endpoint: Option<String>,
    /// What `deletionPolicy: Delete` leaves in the store, and why; unset: nothing, or it is not ordered.
    pub on_deletion: Option<String>,
    /// The newest backup.
    pub newest: Option<Point>,
    /// The oldest backup that can be restored.
    pub oldest: Option<Point>,
    /// When a backup was last proven.
    #[schemars(extend("format" = "date-time"))]
    pub last_verified: Option<String>,
    /// What all backups take in the store; until they are counted, the newest alone.
    pub size_bytes: Option<i64>,
    /// The generation the sidecar writes to.
    pub generation: Option<String>,
    /// The last `spec.backup.trigger` that was served.
    pub last_trigger: Option<String>,
    /// Public keys whose backups a restore believes, in the order they joined; only ever grows.
    pub trusted_keys: Option<Vec<String>>,
}

/// A backup that can be restored.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// What `spec.restore.at` takes.
    pub id: Option<String>,
    /// The moment it shows.
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
}

/// A restore.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// The `spec.restore.id` it serves; empty when an empty disk was restored at start.
    pub id: Option<String>,
    /// `Succeeded` or `Failed`; anything else is still open.
    pub phase: Option<String>,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub at: Option<String>,
    /// The backup that was restored.
    pub from: Option<String>,
    /// What happened, and what to do.
    pub message: Option<String>,
}
