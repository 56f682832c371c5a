//! The pipeline's input, `kind: Platform`: what the platform team decides for all its tenants. Pure.
//!
//! It never holds a secret: Secrets are named, and they are Secrets of the platform namespace.

mod charts;
mod check;
mod defaults;
pub mod environment;
mod limits;
mod rancher;
mod store;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vcluster_proto::API_VERSION;

pub use self::{
    charts::{Chart, Charts, Images, Upgrade, VclusterChart},
    defaults::{DefaultBackup, Defaults},
    limits::{KubernetesVersion, Limits, Size},
    rancher::{Rancher, RancherMode},
    store::{Encryption, Register, Store},
};
use crate::{error::Refusal, read};

/// The kind the input bears.
pub const KIND: &str = "Platform";

/// What the platform team decides.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Platform {
    #[serde(rename = "apiVersion", skip_serializing)]
    #[schemars(skip)]
    _api_version: String,
    #[serde(rename = "kind", skip_serializing)]
    #[schemars(skip)]
    _kind: String,
    #[serde(rename = "metadata", default, skip_serializing)]
    #[schemars(skip)]
    _metadata: serde::de::IgnoredAny,
    /// Tells two platforms apart that share a store.
    pub id: String,
    /// The platform namespace: admin Secrets and Jobs live there.
    pub namespace: String,
    /// Stands before the key in the name of every host namespace.
    pub host_namespace_prefix: String,
    /// The charts.
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
    /// The Kubernetes versions tenants may ask for, and the tag of the image each stands for.
    #[serde(default)]
    pub kubernetes_versions: BTreeMap<String, KubernetesVersion>,
    /// What tenants may not exceed.
    #[serde(default)]
    pub limits: Limits,
    /// Paths into the vcluster chart's values below which tenants may add their own, as sync.toHost.ingresses.
    #[serde(default)]
    pub value_paths: Vec<String>,
    /// provider-helm's configuration.
    #[serde(default)]
    pub provider_config: ProviderConfig,
    /// When an order is ready.
    #[serde(default)]
    pub ready_when: ReadyWhen,
    /// The API of the Usages that keep the order of deletion, rancher before vcluster before s3; unset: none are made.
    #[serde(default)]
    pub usages: Option<UsageApi>,
    /// Releases of a hand-written Composition to go on with.
    #[serde(default)]
    pub adopt: Adopt,
    /// For every optional field of the XR.
    #[serde(default)]
    pub defaults: Defaults,
}

/// provider-helm's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name.
    pub name: String,
    /// Its kind, for the Releases of namespaced XRs; those of claims know one kind only.
    #[serde(default)]
    pub kind: ProviderConfigKind,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { name: "default".to_owned(), kind: ProviderConfigKind::default() }
    }
}

/// The kinds of configuration of provider-helm's group helm.m.crossplane.io.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProviderConfigKind {
    /// One for the whole cluster.
    #[default]
    ClusterProviderConfig,
    /// One in the namespace of each XR.
    ProviderConfig,
}

impl ProviderConfigKind {
    /// As provider-helm spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterProviderConfig => "ClusterProviderConfig",
            Self::ProviderConfig => "ProviderConfig",
        }
    }
}

/// When an order is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadyWhen {
    /// When its Releases are.
    #[default]
    Release,
    /// When there is a backup, too. Crossplane before 1.15 hands no report over: there an order would never be ready.
    RecoveryPoint,
}

/// The API of the Usages that keep the order of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UsageApi {
    /// Crossplane 1.14 to 1.18, where the feature has to be switched on. A deletion may take a quarter of an hour longer.
    #[serde(rename = "apiextensions.crossplane.io/v1alpha1")]
    Alpha,
    /// Crossplane 1.19 and 1.20; 2.x still has it.
    #[serde(rename = "apiextensions.crossplane.io/v1beta1")]
    Beta,
    /// Crossplane from 2.0, and the only one for namespaced XRs.
    #[serde(rename = "protection.crossplane.io/v1beta1")]
    Protection,
}

impl UsageApi {
    /// As it stands in an object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "apiextensions.crossplane.io/v1alpha1",
            Self::Beta => "apiextensions.crossplane.io/v1beta1",
            Self::Protection => "protection.crossplane.io/v1beta1",
        }
    }
}

/// Releases of a hand-written Composition to go on with, by the names of their composed resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Adopt {
    /// The Release of chart s3-register; it is never upgraded again.
    pub s3: Option<String>,
    /// The Release of the vcluster.
    pub vcluster: Option<String>,
    /// The Release of the registration.
    pub rancher: Option<String>,
    /// The container that has backed up so far, or its id as a plugin: it goes with the change that brings ours.
    pub sidecar: Option<String>,
    /// Fields of the old XRD's spec that are passed over as long as they are there; else a field we do not know is refused.
    pub spec_fields: Vec<String>,
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
        let platform: Self = read::typed("input", input)?;
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
