//! The pipeline's input, `kind: Platform`: what the platform team decides for all its tenants. Pure.
//!
//! It never holds a secret: Secrets are named, and they are Secrets of the platform namespace.

mod check;

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use vcluster_proto::{
    API_VERSION, interval,
    settings::{Bootstrap, MIN_INTERVAL},
};

use crate::{
    error::Refusal,
    read,
    render::family::Distro,
    xr::{DeletionPolicy, Storage},
};

/// The kind the input bears.
pub const KIND: &str = "Platform";

/// What the platform team decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Platform {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata", default)]
    _metadata: serde::de::IgnoredAny,
    /// Tells two platforms apart that share a store.
    pub id: String,
    /// The platform namespace: admin Secrets and Jobs live there.
    pub namespace: String,
    /// Stands before the key in the name of every host namespace.
    pub host_namespace_prefix: String,
    /// The three charts.
    pub charts: Charts,
    /// Images that are not the charts' own.
    pub images: Images,
    /// The object store.
    pub store: Store,
    /// Who can open backups.
    #[serde(default)]
    pub encryption: Encryption,
    /// Signing keys to trust beside those the XR's status has pinned: for the day the whole host is lost.
    #[serde(default)]
    pub trust: Vec<String>,
    /// The Rancher server.
    #[serde(default)]
    pub rancher: Rancher,
    /// Presets by name.
    #[serde(default)]
    pub sizes: BTreeMap<String, Size>,
    /// What tenants may not exceed.
    #[serde(default)]
    pub limits: Limits,
    /// provider-helm's configuration.
    #[serde(default)]
    pub provider_config: ProviderConfig,
    /// When a claim is ready.
    #[serde(default)]
    pub ready_when: ReadyWhen,
    /// For every optional field of the XR.
    #[serde(default)]
    pub defaults: Defaults,
}

/// The three charts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Charts {
    /// The vcluster.
    pub vcluster: VclusterChart,
    /// Bucket, user and everything the sidecar reads.
    pub s3_register: Chart,
    /// The Rancher registration; needed with `rancher.mode: chart`.
    pub rancher_cluster: Option<Chart>,
}

/// A chart in a repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its repository.
    pub repository: String,
    /// Its version.
    pub version: String,
    /// A Secret of the platform namespace with `username` and `password`.
    pub pull_secret: Option<String>,
}

/// The vcluster chart, with the versions tenants may choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VclusterChart {
    /// Its name.
    pub name: String,
    /// Its repository.
    pub repository: String,
    /// The version of a new vcluster.
    pub version: String,
    /// Versions tenants may ask for, beside the default.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Whether a new default moves running vclusters.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// A Secret of the platform namespace with `username` and `password`.
    pub pull_secret: Option<String>,
}

/// Whether a new default moves running vclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Upgrade {
    /// With the owner's next edit that restarts the control plane anyway.
    #[default]
    OnEdit,
    /// At once.
    Always,
}

/// Images that are not the charts' own.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// `vcluster-backup`.
    pub sidecar: String,
    /// A shell and `mc`; unset: the chart's own default.
    pub registration: Option<String>,
    /// Where the vcluster's own images are mirrored; unset: where the chart finds them.
    pub registry: Option<String>,
}

/// The object store.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// `http(s)://host[:port]`.
    pub endpoint: String,
    /// Its region.
    pub region: Option<String>,
    /// PEM certificates to trust.
    pub ca: Option<String>,
    /// Bucket in the path rather than in the host name.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Who makes buckets and users.
    #[serde(default)]
    pub register: Register,
    /// The Secret of the platform namespace with the store's admin.
    pub admin_secret: String,
    /// The key of the user in it.
    #[serde(default = "root_user")]
    pub admin_user_key: String,
    /// The key of the password in it.
    #[serde(default = "root_password")]
    pub admin_password_key: String,
    /// Stands before the key in the name of every bucket.
    #[serde(default)]
    pub bucket_prefix: String,
    /// Whether a vcluster's own user may delete objects.
    #[serde(default)]
    pub allow_delete: bool,
}

/// Who makes buckets and users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// A Job with `mc`.
    #[default]
    Minio,
    /// Somebody else; joins in a later version.
    None,
}

/// Who can open backups.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Encryption {
    /// age recipients of the platform, joined with each claim's.
    pub recipients: Vec<String>,
}

/// The Rancher server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rancher {
    /// Whether there is one, and who registers.
    pub mode: RancherMode,
    /// `http(s)://host[:port]`.
    pub url: Option<String>,
    /// The Secret of the platform namespace with the token: `apitoken`, the only name the chart knows.
    pub token_secret: Option<String>,
    /// Whether its certificate is left unchecked.
    pub insecure: bool,
}

/// Who registers vclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RancherMode {
    /// Nobody.
    #[default]
    None,
    /// Chart rancher-cluster.
    Chart,
}

/// A preset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Size {
    /// Requests of the control plane.
    pub requests: BTreeMap<String, String>,
    /// Limits of the control plane.
    pub limits: BTreeMap<String, String>,
    /// The size of its volume.
    pub storage: Option<String>,
}

/// What tenants may not exceed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The shortest time between two backups.
    #[serde(deserialize_with = "interval::deserialize")]
    pub min_interval: Duration,
    /// The largest volume.
    pub max_storage: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_interval: MIN_INTERVAL, max_storage: None }
    }
}

/// provider-helm's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name.
    pub name: String,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { name: "default".to_owned() }
    }
}

/// When a claim is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ReadyWhen {
    /// When its Releases are.
    #[default]
    Release,
    /// When there is a backup, too. Crossplane before 1.15 hands no report over: there a claim would never be ready.
    RecoveryPoint,
}

/// For every optional field of the XR.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// The Kubernetes inside new vclusters; unset: k8s wherever the chart has it.
    pub distro: Option<Distro>,
    /// A preset.
    pub size: Option<String>,
    /// The volume.
    pub storage: Storage,
    /// Backups.
    pub backup: DefaultBackup,
    /// What becomes of the data.
    pub deletion_policy: Option<DeletionPolicy>,
    /// What an empty disk does when the bucket holds an earlier life.
    pub bootstrap: Option<Bootstrap>,
    /// The registration.
    pub rancher: DefaultRancher,
}

/// Backups, unless the tenant says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DefaultBackup {
    /// Whether the sidecar is there.
    pub enabled: Option<bool>,
    /// Time between two backups.
    #[serde(with = "interval::optional")]
    pub interval: Option<Duration>,
}

/// The registration, unless the tenant says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DefaultRancher {
    /// Whether new vclusters are registered.
    pub enabled: Option<bool>,
}

impl Platform {
    /// Reads the pipeline's input.
    ///
    /// # Errors
    /// No input, an input of another kind, a field that is unknown or unusable.
    pub fn parse(input: Option<&Value>) -> Result<Self, Refusal> {
        let hint = || format!("the Composition's step needs an input of apiVersion {API_VERSION} and kind {KIND}");
        let input = input.ok_or_else(|| Refusal::field("input", format!("missing; {}", hint())))?;
        for (field, want) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            let found = input.get(field).and_then(Value::as_str).unwrap_or_default();
            if found != want {
                return Err(Refusal::field(format!("input.{field}"), format!("{found:?}; {}", hint())));
            }
        }
        let platform: Self = read::typed("input", input.clone())?;
        platform.check()?;
        Ok(platform)
    }

    /// A version tenants may ask for.
    pub fn allows(&self, version: &str) -> bool {
        let chart = &self.charts.vcluster;
        chart.version == version || chart.allowed.iter().any(|allowed| allowed == version)
    }
}

/// A preset nobody defined.
pub(crate) fn unknown_size(size: &str, platform: &Platform) -> String {
    let known: Vec<&str> = platform.sizes.keys().map(String::as_str).collect();
    match known.is_empty() {
        true => format!("{size:?} is not a size: this platform defines none; remove the field"),
        false => format!("{size:?} is not a size of this platform; use one of {}", known.join(", ")),
    }
}

fn yes() -> bool {
    true
}

fn root_user() -> String {
    "rootUser".to_owned()
}

fn root_password() -> String {
    "rootPassword".to_owned()
}
