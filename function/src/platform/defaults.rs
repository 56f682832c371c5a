//! Defaults for every optional field of an order.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vcluster_proto::{interval, settings::Bootstrap};

use super::{Platform, RancherMode, unknown_size};
use crate::{
    error::Refusal,
    forms,
    order::missing_distro,
    overlay, read,
    render::family::{Distro, Family},
    xr::{Access, DeletionPolicy, Rancher, Retention, Storage, Values},
};

/// For every optional field of the XR.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// The Kubernetes version of new vclusters, one of kubernetesVersions; unset: the chart's own.
    pub kubernetes_version: Option<String>,
    /// The Kubernetes inside new vclusters; unset: k8s wherever the chart has it.
    pub distro: Option<Distro>,
    /// A preset.
    pub size: Option<String>,
    /// The volume.
    pub storage: Storage,
    /// The host of new vclusters, as {key}.k8s.example.org; {owner} stands for the namespace of the order.
    pub access: Access,
    /// Backups.
    pub backup: DefaultBackup,
    /// What becomes of the data.
    pub deletion_policy: Option<DeletionPolicy>,
    /// What an empty disk does when the bucket holds an earlier life.
    pub bootstrap: Option<Bootstrap>,
    /// The registration.
    pub rancher: Rancher,
    /// Values of the vcluster chart, under those of each tenant.
    pub values: Values,
}

/// Backups, unless the tenant says otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DefaultBackup {
    /// Whether the sidecar is there.
    pub enabled: Option<bool>,
    /// Time between two backups.
    #[serde(with = "interval::optional")]
    #[schemars(with = "Option<String>", regex(pattern = forms::pattern::INTERVAL))]
    pub interval: Option<Duration>,
    /// Which backups are kept.
    pub retention: Option<Retention>,
}

impl Defaults {
    pub(super) fn check(&self, platform: &Platform) -> Result<(), Refusal> {
        let version = &platform.charts.vcluster.version;
        if let Some(distro) = self.distro
            && !Family::of(version).is_ok_and(|family| family.has(distro))
        {
            return Err(Refusal::field("input.defaults.distro", missing_distro(version, distro)));
        }
        if let Some(size) = self.size.as_ref().filter(|size| !platform.sizes.contains_key(*size)) {
            return Err(Refusal::field("input.defaults.size", unknown_size(size, platform)));
        }
        if let Some(wanted) = &self.kubernetes_version
            && !platform.kubernetes_versions.contains_key(wanted)
        {
            let problem = format!("{wanted:?} is not in input.kubernetesVersions; add it there");
            return Err(Refusal::field("input.defaults.kubernetesVersion", problem));
        }
        let storage = |text: &str| forms::storage(text).map(|_| ());
        read::check("input.defaults.storage.className", self.storage.class_name.as_deref(), forms::class_name)?;
        read::check("input.defaults.storage.size", self.storage.size.as_deref(), storage)?;
        read::check("input.defaults.access.host", self.access.host.as_deref(), forms::host_template)?;
        read::check("input.defaults.rancher.owner", self.rancher.owner.as_deref(), forms::principal)?;
        if self.rancher.owner.is_some() && platform.rancher.mode == RancherMode::Operator {
            let problem =
                "has no effect with rancher.mode: operator, which makes owners of the project's members; remove it";
            return Err(Refusal::field("input.defaults.rancher.owner", problem));
        }
        overlay::check_defaults(&self.values, version)
    }
}
