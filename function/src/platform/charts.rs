//! Charts and images: where everything comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::Refusal, forms, read};

/// The charts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Charts {
    /// The vcluster.
    pub vcluster: VclusterChart,
    /// Bucket, user and everything the sidecar reads.
    pub s3_register: Chart,
    /// The Rancher registration; needed with `rancher.mode: chart`.
    pub rancher_cluster: Option<Chart>,
    /// Copies of Secrets for a restore, or of the store's credentials; needed where such Secrets are named.
    pub backup_keys: Option<Chart>,
}

/// A chart in a repository.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its repository.
    pub repository: String,
    /// Its version.
    pub version: String,
    /// A Secret of the platform namespace with `username` and `password`; with namespaced XRs, of each tenant's namespace.
    pub pull_secret: Option<String>,
}

/// The vcluster chart, with the versions tenants may choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// A Secret of the platform namespace with `username` and `password`; with namespaced XRs, of each tenant's namespace.
    pub pull_secret: Option<String>,
}

/// Whether a new default moves running vclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Upgrade {
    /// With the owner's next edit that restarts the control plane anyway.
    #[default]
    OnEdit,
    /// At once.
    Always,
}

/// Images that are not the charts' own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// `vcluster-backup`.
    pub sidecar: String,
    /// A shell and `mc`; unset: the chart's own default.
    pub registration: Option<String>,
    /// A shell, `curl`, `jq` and `kubectl`, for chart rancher-cluster; unset: the chart's own default.
    pub rancher: Option<String>,
    /// Where the vcluster's own images are mirrored; unset: where the chart finds them.
    pub registry: Option<String>,
}

impl Charts {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let known = |version: &str| forms::Version::known_vcluster(version).map(|_| ());
        let version = |version: &str| forms::Version::parse(version).map(|_| ());
        read::check("input.charts.vcluster.version", Some(&self.vcluster.version), known)?;
        read::check_all("input.charts.vcluster.allowed", &self.vcluster.allowed, known)?;
        let charts = [
            ("vcluster", Some((&self.vcluster.name, &self.vcluster.repository, &self.vcluster.pull_secret))),
            ("s3Register", Some(parts(&self.s3_register))),
            ("rancherCluster", self.rancher_cluster.as_ref().map(parts)),
            ("backupKeys", self.backup_keys.as_ref().map(parts)),
        ];
        for (field, chart) in charts {
            let Some((name, repository, pull_secret)) = chart else { continue };
            read::check(&format!("input.charts.{field}.name"), Some(name), forms::dns_label)?;
            read::check(&format!("input.charts.{field}.repository"), Some(repository), forms::repository)?;
            read::check(&format!("input.charts.{field}.pullSecret"), pull_secret.as_deref(), forms::secret_name)?;
        }
        read::check("input.charts.s3Register.version", Some(&self.s3_register.version), forms::s3_register)?;
        let optional = |chart: &Option<Chart>| chart.as_ref().map(|chart| chart.version.clone());
        read::check("input.charts.rancherCluster.version", optional(&self.rancher_cluster).as_deref(), version)?;
        read::check("input.charts.backupKeys.version", optional(&self.backup_keys).as_deref(), version)
    }
}

impl Images {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        read::check("input.images.sidecar", Some(&self.sidecar), forms::image)?;
        read::check("input.images.rancher", self.rancher.as_deref(), forms::image)?;
        read::check("input.images.registry", self.registry.as_deref(), forms::registry)?;
        read::check("input.images.registration", self.registration.as_deref(), forms::image)
    }
}

fn parts(chart: &Chart) -> (&String, &String, &Option<String>) {
    (&chart.name, &chart.repository, &chart.pull_secret)
}
