//! The families of the vcluster chart: the same vcluster under four sets of keys. Pure.
//!
//! | Charts | Distro | Sidecar | Restore init container | Volumes |
//! |---|---|---|---|---|
//! | below 0.20 | k3s | `plugin.<id>`, optional | `plugin.<id>`, version v2 | `volumes` |
//! | 0.20 to 0.29 | k8s, k3s | `plugin.<id>`, version v1, not optional | `plugins.<id>` | `addVolumes` |
//! | 0.30 to 0.32 | k8s, k3s | `sidecarContainers` | `initContainers` | `addVolumes` |
//! | from 0.33 | k8s | `sidecarContainers` | `initContainers` | `addVolumes` |
//!
//! Below 0.20 no schema looks at the values, unknown keys are ignored; from 0.20 each family refuses the keys of the
//! others. What is written here is read back by `order/made.rs`: both go by the same [`Places`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{adopt::values::put_before, forms::Version, read};

/// The sidecar's name, and below 0.30 the id of its plugin.
pub const SIDECAR: &str = "backup";
/// Its volumes, beside the chart's own.
pub(crate) const VOLUMES: [&str; 5] = ["backup-settings", "backup-s3", "backup-key", "backup-status", "backup-spool"];
/// The name of the init container that restores, and below 0.30 the id of its plugin.
pub const RESTORE: &str = "backup-restore";

/// The Kubernetes inside a vcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distro {
    /// Upstream Kubernetes.
    K8s,
    /// k3s, where the chart still has it.
    K3s,
}

impl Distro {
    /// As the charts spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::K8s => "k8s",
            Self::K3s => "k3s",
        }
    }
}

/// Charts that take the same values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Below 0.20: one chart per distro, this one's is k3s.
    Legacy,
    /// 0.20 to 0.29: containers are added as plugins.
    Plugins,
    /// 0.30 to 0.32: containers are added as such.
    Containers,
    /// From 0.33: the same without k3s.
    K8sOnly,
}

/// Where a family keeps what is written by one and read back by another: pointers into the values.
#[derive(Debug)]
pub struct Places {
    /// Whether there is a volume.
    pub persistence: &'static str,
    /// Its size.
    pub storage_size: &'static str,
    /// Its class.
    pub storage_class: &'static str,
    /// What becomes of it in the end.
    pub retention: &'static str,
    /// Requests and limits of the control plane.
    pub resources: &'static str,
    /// Volumes beside the chart's own.
    pub volumes: &'static str,
    /// The sidecar.
    pub sidecar: &'static str,
    /// What the chart puts before the names of its images.
    pub registry: &'static str,
}

/// Below 0.20.
const LEGACY: Places = Places {
    persistence: "/syncer/storage/persistence",
    storage_size: "/syncer/storage/size",
    storage_class: "/syncer/storage/className",
    retention: "/autoDeletePersistentVolumeClaims",
    resources: "/syncer/resources",
    volumes: "/volumes",
    sidecar: "/plugin/backup",
    registry: "/defaultImageRegistry",
};

/// From 0.30.
const CURRENT: Places = Places {
    persistence: "/controlPlane/statefulSet/persistence/volumeClaim/enabled",
    storage_size: "/controlPlane/statefulSet/persistence/volumeClaim/size",
    storage_class: "/controlPlane/statefulSet/persistence/volumeClaim/storageClass",
    retention: "/controlPlane/statefulSet/persistence/volumeClaim/retentionPolicy",
    resources: "/controlPlane/statefulSet/resources",
    volumes: "/controlPlane/statefulSet/persistence/addVolumes",
    sidecar: "/controlPlane/statefulSet/sidecarContainers/0",
    registry: "/controlPlane/advanced/defaultImageRegistry",
};

/// 0.20 to 0.29.
const PLUGINS: Places = Places { sidecar: "/plugin/backup", ..CURRENT };

/// The order in which a StatefulSet starts its pods. It cannot change: below 0.20 the chart leaves it to Kubernetes,
/// later ones say Parallel unless told otherwise.
pub const POD_MANAGEMENT: &str = "/controlPlane/statefulSet/scheduling/podManagementPolicy";
/// What Kubernetes takes when nothing is said.
pub const IN_ORDER: &str = "OrderedReady";

/// The annotation by which the vcluster-rancher-operator names a cluster.
pub const IMPORT_NAME: &str = "platform.vcluster.com/custom-name";
/// The annotation by which it passes one by.
pub const SKIP_IMPORT: &str = "loft.sh/vcluster-skip-import";

/// What stands before the tag of the legacy chart's image.
pub const LEGACY_IMAGE: &str = "rancher/k3s:";

/// Where a chart takes the version of its Kubernetes: below 0.20 a whole image, below 0.25 one word for the images of
/// several programs, then the tag of one image.
pub fn kubernetes_place(chart: &str, distro: Distro) -> &'static str {
    match (Version::known_vcluster(chart).map_or(u64::MAX, |chart| chart.minor()), distro) {
        (..20, _) => "/vcluster/image",
        (_, Distro::K3s) => "/controlPlane/distro/k3s/image/tag",
        (20..25, Distro::K8s) => "/controlPlane/distro/k8s/version",
        (25.., Distro::K8s) => "/controlPlane/distro/k8s/image/tag",
    }
}

impl Family {
    /// The family of a chart version.
    ///
    /// # Errors
    /// A sentence, when the version is none, or of no family this function knows.
    pub fn of(version: &str) -> Result<Self, String> {
        Ok(match Version::known_vcluster(version)?.minor() {
            ..20 => Self::Legacy,
            20..30 => Self::Plugins,
            30..33 => Self::Containers,
            33.. => Self::K8sOnly,
        })
    }

    /// Whether its charts bring a distro.
    pub const fn has(self, distro: Distro) -> bool {
        match distro {
            Distro::K8s => !matches!(self, Self::Legacy),
            Distro::K3s => !matches!(self, Self::K8sOnly),
        }
    }

    /// The distro of a vcluster nobody gave one: k8s wherever it is, because k3s ends with 0.33.
    pub const fn usual_distro(self) -> Distro {
        if self.has(Distro::K8s) { Distro::K8s } else { Distro::K3s }
    }

    /// Where things are.
    pub const fn places(self) -> &'static Places {
        match self {
            Self::Legacy => &LEGACY,
            Self::Plugins => &PLUGINS,
            Self::Containers | Self::K8sOnly => &CURRENT,
        }
    }

    /// What is there unless chart values say otherwise: no policy around the control plane.
    pub(super) fn open(self) -> Value {
        let mut values = json!({});
        put(&mut values, self.policy(), json!(false));
        values
    }

    /// Where the policy around the control plane is switched on.
    const fn policy(self) -> &'static str {
        match self {
            Self::Legacy => "/isolation/networkPolicy/enabled",
            _ => "/policies/networkPolicy/enabled",
        }
    }

    /// Whether values put a policy around the control plane, which shuts all ports but 443, 8443 and 6443.
    pub(super) fn is_shut(self, values: &Value) -> bool {
        let on = |pointer: &str| match read::at(values, pointer) {
            // As a template takes it.
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        };
        on(self.policy()) && (self != Self::Legacy || on("/isolation/enabled"))
    }

    /// What is there in every vcluster: a distro with its database in a file of the volume, the server of the exported
    /// kubeconfig, no telemetry.
    pub(super) fn base(self, distro: Distro, server: &str) -> Value {
        if self == Self::Legacy {
            return json!({
                // The names of Service and ingress are in the certificate anyway.
                "syncer": { "extraArgs": [format!("--out-kube-config-server={server}")] },
                "telemetry": { "disabled": true },
            });
        }
        json!({
            "controlPlane": {
                "distro": { distro.as_str(): { "enabled": true } },
                "backingStore": { "database": { "embedded": { "enabled": true } } },
            },
            "exportKubeConfig": { "server": server },
            "telemetry": { "enabled": false },
        })
    }

    /// Where the ingress is switched on, and where its host stands.
    pub const fn ingress(self) -> (&'static str, &'static str) {
        match self {
            Self::Legacy => ("/ingress/enabled", "/ingress/host"),
            _ => ("/controlPlane/ingress/enabled", "/controlPlane/ingress/host"),
        }
    }

    /// An ingress, and its host in the certificate.
    pub(super) fn expose(self, values: &mut Value, host: &str) {
        let (enabled, place) = self.ingress();
        put(values, enabled, json!(true));
        put(values, place, json!(host));
        if self != Self::Legacy {
            put(values, "/controlPlane/proxy/extraSANs", json!([host]));
        }
    }

    /// Where the annotations of the vcluster's Service stand.
    pub const fn service_annotations(self) -> &'static str {
        match self {
            Self::Legacy => "/syncer/serviceAnnotations",
            _ => "/controlPlane/service/annotations",
        }
    }

    /// The Kubernetes version of a chart.
    pub(super) fn kubernetes(self, values: &mut Value, chart: &str, distro: Distro, tag: &str) {
        let image = if self == Self::Legacy { LEGACY_IMAGE } else { "" };
        put(values, kubernetes_place(chart, distro), json!(format!("{image}{tag}")));
    }

    /// The volume, as a StatefulSet claims it.
    pub(super) fn claim(self, values: &mut Value, size: &str, class: &str, retention: &str) {
        let places = self.places();
        put(values, places.persistence, json!(true));
        put(values, places.storage_size, json!(size));
        put(values, places.storage_class, json!(class));
        self.retain(values, retention);
        if self == Self::Legacy {
            return; // always ReadWriteOnce
        }
        put(values, "/controlPlane/statefulSet/persistence/volumeClaim/accessModes", json!(["ReadWriteOnce"]));
    }

    /// What becomes of the volume in the end.
    pub(super) fn retain(self, values: &mut Value, retention: &str) {
        let policy = if self == Self::Legacy { json!(retention == "Delete") } else { json!(retention) };
        put(values, self.places().retention, policy);
    }

    /// Where the chart's images come from. Below 0.20 it is put before them as it stands, later with a slash between.
    pub(super) fn mirror(self, values: &mut Value, registry: &str) {
        let slash = if self == Self::Legacy { "/" } else { "" };
        put(values, self.places().registry, json!(format!("{registry}{slash}")));
    }

    /// Whether the chart puts its registry before our image as well: it does before a plugin's.
    pub const fn mirrors_sidecar(self) -> bool {
        matches!(self, Self::Legacy | Self::Plugins)
    }

    /// Adds sidecar and init container, both as Kubernetes spells a container.
    ///
    /// A plugin that is not said to be the other way round holds the start up until it has registered, and a sidecar
    /// never does: below 0.20 an optional one is not waited for, from 0.20 on exactly those without a version and the
    /// optional ones are.
    pub(super) fn add(self, values: &mut Value, sidecar: Value, restore: Value) {
        let place = self.places().sidecar;
        match self {
            Self::Legacy => {
                put(values, place, plugin(sidecar, json!({ "optional": true })));
                put(values, "/plugin/backup-restore", plugin(restore, json!({ "version": "v2" })));
            }
            Self::Plugins => {
                put(values, place, plugin(sidecar, json!({ "version": "v1", "optional": false })));
                put(values, "/plugins/backup-restore", plugin(restore, json!({})));
            }
            Self::Containers | Self::K8sOnly => {
                put_before(values, "/controlPlane/statefulSet/sidecarContainers", vec![sidecar]);
                put_before(values, "/controlPlane/statefulSet/initContainers", vec![restore]);
            }
        }
    }
}

/// Whether a container is one of ours, whatever its name: it is told by what it is told to do.
pub(crate) fn is_ours(container: &Value) -> bool {
    let args = container.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let says = |arg: &Value, word: &str| arg.as_str() == Some(word);
    args.first().is_some_and(|arg| says(arg, "run") || says(arg, "restore"))
        && args.iter().any(|arg| says(arg, "--config-dir"))
}

/// A container as a plugin: its id is its name.
fn plugin(container: Value, more: Value) -> Value {
    let mut plugin = container;
    if let (Value::Object(plugin), Value::Object(more)) = (&mut plugin, more) {
        plugin.remove("name");
        plugin.extend(more);
    }
    plugin
}

/// Writes a value to a pointer, with every object on the way.
pub(crate) fn put(values: &mut Value, pointer: &str, value: Value) {
    let mut at = values;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[name];
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_family() {
        use Distro::{K3s, K8s};
        let table: [(&str, Family, &[Distro], &str); 10] = [
            ("0.19.0", Family::Legacy, &[K3s], "/plugin/backup"),
            ("0.19.10", Family::Legacy, &[K3s], "/plugin/backup"),
            ("0.20.0", Family::Plugins, &[K8s, K3s], "/plugin/backup"),
            ("0.29.3", Family::Plugins, &[K8s, K3s], "/plugin/backup"),
            ("0.30.0-rc.1", Family::Containers, &[K8s, K3s], "/controlPlane/statefulSet/sidecarContainers/0"),
            ("0.30.0", Family::Containers, &[K8s, K3s], "/controlPlane/statefulSet/sidecarContainers/0"),
            ("0.32.3", Family::Containers, &[K8s, K3s], "/controlPlane/statefulSet/sidecarContainers/0"),
            ("0.33.0", Family::K8sOnly, &[K8s], "/controlPlane/statefulSet/sidecarContainers/0"),
            ("0.36.1", Family::K8sOnly, &[K8s], "/controlPlane/statefulSet/sidecarContainers/0"),
            ("0.36.99", Family::K8sOnly, &[K8s], "/controlPlane/statefulSet/sidecarContainers/0"),
        ];
        for (version, family, distros, sidecar) in table {
            assert_eq!(Family::of(version), Ok(family), "{version}");
            assert_eq!(
                [K8s, K3s].map(|distro| family.has(distro)),
                [K8s, K3s].map(|d| distros.contains(&d)),
                "{version}"
            );
            assert_eq!(family.usual_distro(), distros[0], "{version}");
            assert_eq!(family.places().sidecar, sidecar, "{version}");
        }
        for version in ["0.18.9", "0.37.0", "1.0.0", "0.36", "latest"] {
            assert!(Family::of(version).is_err(), "{version}");
        }
    }

    #[test]
    fn what_is_written_to_a_place_is_found_there() {
        for family in [Family::Legacy, Family::Plugins, Family::Containers, Family::K8sOnly] {
            let (places, container) = (family.places(), json!({"name": SIDECAR, "image": "x"}));
            let mut values = family.base(family.usual_distro(), "https://a:443");
            family.claim(&mut values, "5Gi", "fast", "Delete");
            family.add(&mut values, container.clone(), container);
            let at = |pointer: &str| values.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(
                (at(places.storage_size), at(places.storage_class)),
                (json!("5Gi"), json!("fast")),
                "{family:?}"
            );
            assert_eq!(at(places.persistence), true, "{family:?}");
            assert!([json!("Delete"), json!(true)].contains(&at(places.retention)), "{family:?}");
            assert_eq!(at(places.sidecar)["image"], "x", "{family:?}");
            assert!(values.to_string().contains("https://a:443"), "{family:?}");
        }
    }

    #[test]
    fn every_object_on_the_way_is_made() {
        let mut values = json!({"a": {"b": 1}, "c": "text"});
        put(&mut values, "/a/d/e", json!(2));
        put(&mut values, "/c/f", json!(3));
        assert_eq!(values, json!({"a": {"b": 1, "d": {"e": 2}}, "c": {"f": 3}}));
    }
}
