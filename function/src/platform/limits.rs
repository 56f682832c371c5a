//! What there is to choose from, and what tenants may not exceed.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vcluster_proto::{interval, settings::MIN_INTERVAL};

use crate::{error::Refusal, forms, read, render::family::Distro};

/// A preset.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Size {
    /// Requests of the control plane.
    pub requests: BTreeMap<String, String>,
    /// Limits of the control plane.
    pub limits: BTreeMap<String, String>,
    /// The size of its volume.
    pub storage: Option<String>,
}

/// The images behind a Kubernetes version; a distro without one does not have the version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesVersion {
    /// The tag of the image for k8s, as v1.33.4.
    pub k8s: Option<String>,
    /// The tag of the image for k3s, as v1.32.6-k3s1.
    pub k3s: Option<String>,
}

/// What tenants may not exceed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The shortest time between two backups.
    #[serde(with = "interval")]
    #[schemars(with = "String", regex(pattern = forms::pattern::INTERVAL))]
    pub min_interval: Duration,
    /// The largest volume.
    pub max_storage: Option<String>,
    /// What spec.access.host has to end with, as .{owner}.k8s.example.org; {owner} stands for the namespace of the order,
    /// so that no tenant can take another's host. None: no tenant may choose a host.
    pub host_suffixes: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_interval: MIN_INTERVAL, max_storage: None, host_suffixes: Vec::new() }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let storage = |text: &str| forms::storage(text).map(|_| ());
        read::check("input.limits.maxStorage", self.max_storage.as_deref(), storage)?;
        read::check_all("input.limits.hostSuffixes", &self.host_suffixes, forms::host_suffix)?;
        if self.min_interval.is_zero() {
            return Err(Refusal::field(
                "input.limits.minInterval",
                "0s is no time at all; write it as 30s, 1m or 1h30m",
            ));
        }
        Ok(())
    }
}

impl Size {
    pub(super) fn check(&self, name: &str) -> Result<(), Refusal> {
        let quantity = |text: &str| forms::quantity(text).map(|_| ());
        let storage = |text: &str| forms::storage(text).map(|_| ());
        for (kind, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            for (resource, amount) in amounts {
                read::check(&format!("input.sizes.{name}.{kind}.{resource}"), Some(amount), quantity)?;
            }
        }
        read::check(&format!("input.sizes.{name}.storage"), self.storage.as_deref(), storage)
    }
}

impl KubernetesVersion {
    /// The tag for a distro.
    pub(crate) fn tag(&self, distro: Distro) -> Option<&str> {
        match distro {
            Distro::K8s => self.k8s.as_deref(),
            Distro::K3s => self.k3s.as_deref(),
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), Refusal> {
        let path = format!("input.kubernetesVersions.{name}");
        read::check(&path, Some(name), forms::kubernetes_version)?;
        read::check(&format!("{path}.k8s"), self.k8s.as_deref(), forms::tag)?;
        read::check(&format!("{path}.k3s"), self.k3s.as_deref(), forms::tag)
    }
}
