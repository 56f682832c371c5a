//! What a running vcluster was made with, whatever the keys of its chart's family. Pure.

use serde_json::Value;

use crate::{
    error::Refusal,
    observed::{DEFAULTS_ANNOTATION, KUBERNETES_ANNOTATION, Release, VALUES_ANNOTATION},
    order::{Import, Source},
    platform::Platform,
    render::{
        self,
        family::{
            Distro, Family, IMPORT_NAME, IN_ORDER, LEGACY_IMAGE, POD_MANAGEMENT, SKIP_IMPORT, is_ours, kubernetes_place,
        },
    },
    xr::{DeletionPolicy, Values},
};

/// A running vcluster's Release, and how to read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made<'a> {
    /// The Release.
    pub(super) release: Release<'a>,
    /// Its chart's version.
    pub(super) version: &'a str,
    /// Whether another Composition has made it.
    pub(super) adopted: bool,
    family: Family,
}

impl<'a> Made<'a> {
    /// # Errors
    /// What runs may have been made by a newer function; its family is not ours to read, nor to replace.
    pub(super) fn of(release: Release<'a>, adopted: bool, platform: &'a Platform) -> Result<Self, Refusal> {
        // One without a version gets what is newest in its repository: nothing better is known of it than the default.
        let version = release.chart_version().unwrap_or(&platform.charts.vcluster.version);
        let family = Family::of(version).map_err(|problem| Refusal::field("spec.chartVersion", problem))?;
        Ok(Self { release, version, adopted, family })
    }

    /// Whether another version of the chart understands the values, which are not ours to translate.
    ///
    /// # Errors
    /// One beyond the border that 0.20 is.
    pub(super) fn reads_the_same(self, version: &str) -> Result<(), Refusal> {
        let legacy = |family: Family| family == Family::Legacy;
        if Family::of(version).is_ok_and(|family| legacy(family) != legacy(self.family)) {
            let problem = format!(
                "{version:?} reads other values than {}, with which another Composition has made this vcluster; stay on \
                 that side of 0.20, or order a new vcluster and restore a backup into it",
                self.version
            );
            return Err(Refusal::field("spec.chartVersion", problem));
        }
        Ok(())
    }

    /// Where its chart came from. The Secret of a repository that is still the platform's may change: it restarts nothing.
    pub(super) fn source(self, platform: &Source) -> Option<Source> {
        let repository = self.release.chart("/repository")?.to_owned();
        let pull_secret = match repository == platform.repository {
            true => platform.pull_secret.clone(),
            false => self.release.chart("/pullSecretRef/name").map(str::to_owned),
        };
        Some(Source { name: self.release.chart("/name")?.to_owned(), repository, pull_secret })
    }

    /// The distro.
    pub(super) fn distro(self) -> Distro {
        let k3s = self.release.value("/controlPlane/distro/k3s/enabled") == Some(&Value::Bool(true));
        if self.family == Family::Legacy || k3s { Distro::K3s } else { Distro::K8s }
    }

    /// The sidecar.
    fn sidecar(self) -> Option<&'a Value> {
        self.release.value(self.family.places().sidecar).filter(|container| is_ours(container))
    }

    /// Whether the sidecar is there.
    pub(super) fn has_sidecar(self) -> bool {
        self.sidecar().is_some()
    }

    /// Its image, in full.
    pub(super) fn sidecar_image(self) -> Option<String> {
        let image = self.sidecar()?.get("image")?.as_str()?;
        let registry = self.registry().filter(|_| self.family.mirrors_sidecar());
        Some(registry.map_or_else(|| image.to_owned(), |registry| format!("{registry}/{image}")))
    }

    /// Where the chart's images come from.
    pub(super) fn registry(self) -> Option<&'a str> {
        let registry = self.release.value_text(self.family.places().registry)?.trim_end_matches('/');
        (!registry.is_empty()).then_some(registry)
    }

    /// The host under which it is reached from outside.
    pub(super) fn host(self) -> Option<&'a str> {
        let (enabled, host) = self.family.ingress();
        let exposed = self.release.value(enabled) == Some(&Value::Bool(true));
        self.release.value_text(host).filter(|_| exposed)
    }

    /// The Kubernetes version it was ordered with, and the tag that was behind it. Where an edit by hand has lost the
    /// version, the platform's table knows it by its tag.
    pub(super) fn kubernetes(self, platform: &'a Platform) -> Option<(&'a str, &'a str)> {
        let distro = self.distro();
        let image = self.release.value_text(kubernetes_place(self.version, distro))?;
        let tag = image.strip_prefix(LEGACY_IMAGE).unwrap_or(image);
        let mut table = platform.kubernetes_versions.iter();
        let known = || table.find(|(_, images)| images.tag(distro) == Some(tag)).map(|(version, _)| version.as_str());
        Some((self.release.annotation(KUBERNETES_ANNOTATION).or_else(known)?, tag))
    }

    /// The platform's own chart values of the day it was made. Where an edit by hand has lost the memory of them, today's
    /// count, if they are there.
    pub(super) fn defaults(self, today: &Values) -> Values {
        let text = self.release.annotation(DEFAULTS_ANNOTATION);
        let remembered = text.and_then(|text| serde_json::from_str(text).ok());
        remembered.unwrap_or_else(|| if self.holds(today) { today.clone() } else { Values::new() })
    }

    /// Whether it was made with the owner's chart values, as it remembers.
    pub(super) fn remembers(self, fingerprint: Option<&str>) -> bool {
        self.release.annotation(VALUES_ANNOTATION) == fingerprint
    }

    /// Whether it has the owner's chart values, and only the memory of them is gone.
    pub(super) fn has_lost(self, values: &Values) -> bool {
        !values.is_empty() && self.remembers(None) && self.holds(values)
    }

    fn holds(self, values: &Values) -> bool {
        render::holds(self.release.values(), &Value::Object(values.clone()))
    }

    /// What its Service tells the vcluster-rancher-operator.
    pub(super) fn import(self) -> Import {
        let annotations = self.release.value(self.family.service_annotations());
        match annotations {
            Some(Value::Object(said)) if said.contains_key(SKIP_IMPORT) => Import::Skipped,
            Some(Value::Object(said)) if said.contains_key(IMPORT_NAME) => Import::Named,
            _ => Import::Unsaid,
        }
    }

    /// Requests and limits of the control plane.
    pub(super) fn resources(self) -> Option<&'a Value> {
        self.release.value(self.family.places().resources)
    }

    /// The volume's size.
    pub(super) fn storage_size(self) -> Option<&'a str> {
        // Below 0.20 a second place goes over the first; nothing of ours ever stands there.
        let over = self.release.value_text("/storage/size").filter(|_| self.family == Family::Legacy);
        over.or_else(|| self.release.value_text(self.family.places().storage_size))
    }

    /// The server of its kubeconfig, as far as it is said.
    pub(super) fn server(self) -> Option<&'a str> {
        let argument = |text: &'a Value| text.as_str()?.strip_prefix("--out-kube-config-server=");
        match self.family {
            Family::Legacy => self.release.value("/syncer/extraArgs")?.as_array()?.iter().find_map(argument),
            _ => self.release.value_text("/exportKubeConfig/server"),
        }
    }

    /// Whether its own NetworkPolicy is on.
    pub(super) fn has_network_policy(self) -> bool {
        let is = |pointer: &str, want: bool| self.release.value(pointer) == Some(&Value::Bool(want));
        match self.family {
            Family::Legacy => is("/isolation/enabled", true) && !is("/isolation/networkPolicy/enabled", false),
            _ => is("/policies/networkPolicy/enabled", true),
        }
    }

    /// The volume's class.
    pub(super) fn storage_class(self) -> Option<&'a str> {
        self.release.value_text(self.family.places().storage_class)
    }

    /// What becomes of the volume.
    pub(super) fn deletion_policy(self) -> DeletionPolicy {
        match self.release.value(self.family.places().retention) {
            Some(Value::Bool(true)) => DeletionPolicy::Delete,
            Some(Value::String(policy)) if policy == DeletionPolicy::Delete.as_str() => DeletionPolicy::Delete,
            _ => DeletionPolicy::Retain,
        }
    }

    /// Whether its StatefulSet was made with pods in order, which no upgrade can change.
    pub(super) fn pods_in_order(self) -> bool {
        self.family == Family::Legacy || self.release.value_text(POD_MANAGEMENT) == Some(IN_ORDER)
    }
}
