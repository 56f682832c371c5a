//! What no overlay reaches, whatever the platform allows. Pure.
//!
//! Two circles. Everybody is kept from what backups, names and volumes stand on: the platform's own values reach the
//! image of the control plane or the classes of the host, not the StatefulSet's containers. Tenants are kept from
//! whatever leads out of their vcluster besides: into the host's API, onto its nodes, to its Secrets, among its names.

use serde_json::Value;

use super::Version;

/// Charts with one shape of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Below 0.20.
    Legacy,
    /// From 0.20 on.
    Current,
}

impl Era {
    /// That of a chart version.
    pub(crate) fn of(chart: &str) -> Self {
        match Version::known_vcluster(chart) {
            Ok(version) if version.minor() < 20 => Self::Legacy,
            _ => Self::Current,
        }
    }
}

/// Whom a limit binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binds {
    /// Tenants and the platform's own defaults.
    Everybody,
    /// Tenants.
    Tenants,
}

/// A closed branch.
#[derive(Debug)]
pub(super) struct Limit {
    binds: Binds,
    /// Its path; `*` stands for any one word.
    path: &'static str,
    /// What is open below it.
    except: &'static [&'static str],
    /// Why.
    pub(super) why: &'static str,
}

const fn everybody(path: &'static str, except: &'static [&'static str], why: &'static str) -> Limit {
    Limit { binds: Binds::Everybody, path, except, why }
}

const fn tenants(path: &'static str, except: &'static [&'static str], why: &'static str) -> Limit {
    Limit { binds: Binds::Tenants, path, except, why }
}

const BACKUP: &str = "the backup sidecar stands there";
const DATABASE: &str = "it decides where the database is, which backups read";
const FUNCTION: &str = "other fields of order and platform decide it";
const SERVER: &str = "it decides how the API server is reached; use spec.access.host";
const POD: &str = "it reaches into the pod of the control plane, which holds the keys to the host";
const HOST: &str = "it leads into the host cluster";
const CLASSES: &str = "a class is of the whole host cluster: one of priority can push out the pods of others";
const NAMES: &str = "it decides over names that belong to others";

/// From 0.20 on.
const CURRENT: &[Limit] = &[
    everybody("plugin", &[], BACKUP),
    everybody("plugins", &[], BACKUP),
    everybody("exportKubeConfig", &[], SERVER),
    everybody("telemetry", &[], FUNCTION),
    everybody("controlPlane.backingStore", &[], DATABASE),
    everybody("controlPlane.standalone", &[], DATABASE),
    everybody("controlPlane.distro.*.enabled", &[], "spec.distro decides it"),
    everybody("controlPlane.distro.*.command", &[], DATABASE),
    everybody("controlPlane.distro.*.*.command", &[], DATABASE),
    everybody("controlPlane.distro.k3s.token", &[], "it opens the database, which backups bring back"),
    everybody("controlPlane.distro.k8s.version", &[], "spec.kubernetesVersion decides it"),
    everybody("controlPlane.proxy", &[], SERVER),
    everybody("controlPlane.ingress.enabled", &[], SERVER),
    everybody("controlPlane.ingress.host", &[], SERVER),
    everybody("controlPlane.ingress.spec.rules", &[], SERVER),
    everybody("controlPlane.ingress.spec.defaultBackend", &[], SERVER),
    everybody("controlPlane.service.enabled", &[], SERVER),
    everybody("controlPlane.advanced.defaultImageRegistry", &[], "input.images.registry decides it"),
    everybody("controlPlane.advanced.serviceAccount.enabled", &[], "the sidecar has its rights by this name"),
    everybody("controlPlane.advanced.serviceAccount.name", &[], "the sidecar has its rights by this name"),
    everybody(
        "controlPlane.statefulSet",
        &[
            "annotations",
            "dnsConfig",
            "dnsPolicy",
            "enableServiceLinks",
            "env",
            "hostAliases",
            "image",
            "imagePullPolicy",
            "labels",
            "pods",
            "probes",
            "resources",
            "runtimeClassName",
            "scheduling",
        ],
        "database and backup sidecar stand there",
    ),
    everybody(
        "controlPlane.statefulSet.scheduling.podManagementPolicy",
        &[],
        "a StatefulSet never changes the order of its pods",
    ),
    everybody("experimental", &["deploy", "genericSync", "syncSettings"], DATABASE),
    tenants("experimental", &[], HOST),
    tenants("controlPlane.statefulSet", &["resources", "scheduling"], POD),
    tenants("controlPlane.distro", &[], POD),
    tenants("controlPlane.hostPathMapper", &[], HOST),
    tenants("controlPlane.ingress", &[], SERVER),
    tenants("controlPlane.tlsRoute", &[], SERVER),
    tenants(
        "controlPlane.service",
        &["spec.externalTrafficPolicy", "spec.loadBalancerClass", "spec.loadBalancerSourceRanges", "spec.type"],
        NAMES,
    ),
    tenants("controlPlane.advanced", &["podDisruptionBudget", "virtualScheduler"], POD),
    tenants("rbac", &[], HOST),
    tenants("integrations", &[], HOST),
    tenants("privateNodes", &[], HOST),
    tenants("platform", &[], HOST),
    tenants("external", &[], HOST),
    tenants("deletion", &[], "the order decides how long it lives"),
    tenants("snapshots", &[], "they would leave the database in the clear beside its backups"),
    tenants("networking.replicateServices", &[], NAMES),
    tenants("sync.fromHost", &[], HOST),
    tenants("sync.*.*.patches", &[], "a patch can name what is not the tenant's, as the Secret with the store's keys"),
    tenants("sync.toHost.customResources", &[], HOST),
    tenants("sync.toHost.namespaces", &[], NAMES),
    tenants(
        "sync.*.*.*.patches",
        &[],
        "a patch can name what is not the tenant's, as the Secret with the store's keys",
    ),
    tenants("sync.toHost.persistentVolumes", &[], "a volume can be a folder of the node"),
    tenants("sync.toHost.priorityClasses", &[], CLASSES),
    tenants("sync.toHost.storageClasses", &[], CLASSES),
    tenants("sync.toHost.volumeSnapshotContents", &[], "it can name the snapshot of somebody else"),
];

/// Below 0.20.
const LEGACY: &[Limit] = &[
    everybody("plugin", &[], BACKUP),
    everybody(
        "syncer",
        &["env", "image", "imagePullPolicy", "livenessProbe", "readinessProbe", "resources", "serviceAnnotations"],
        "database and backup sidecar stand there",
    ),
    everybody("vcluster", &["env", "imagePullPolicy", "resources"], DATABASE),
    everybody("storage", &[], DATABASE),
    everybody("volumes", &[], BACKUP),
    everybody("embeddedEtcd", &[], DATABASE),
    everybody("enableHA", &[], DATABASE),
    everybody("headless", &[], DATABASE),
    everybody("noopSyncer", &[], DATABASE),
    everybody("multiNamespaceMode", &[], NAMES),
    everybody("autoDeletePersistentVolumeClaims", &[], "spec.deletionPolicy decides it"),
    everybody("defaultImageRegistry", &[], "input.images.registry decides it"),
    everybody("k3sToken", &[], "it opens the database, which backups bring back"),
    everybody("fsGroup", &[], POD),
    everybody("podSecurityContext", &[], POD),
    everybody("securityContext", &[], POD),
    everybody("serviceAccount.create", &[], "the sidecar has its rights by this name"),
    everybody("serviceAccount.name", &[], "the sidecar has its rights by this name"),
    everybody("ingress.enabled", &[], SERVER),
    everybody("ingress.host", &[], SERVER),
    everybody("telemetry", &[], FUNCTION),
    everybody("sync.toHost", &[], "charts below 0.20 know it as sync.<kind>"),
    everybody("sync.fromHost", &[], "charts below 0.20 know it as sync.<kind>"),
    tenants("syncer", &["resources"], POD),
    tenants("vcluster", &["resources"], POD),
    tenants("rbac", &[], HOST),
    tenants("init", &[], HOST),
    tenants("service", &["externalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges", "type"], NAMES),
    tenants("serviceAccount", &[], POD),
    tenants("workloadServiceAccount", &[], HOST),
    tenants("ingress", &[], SERVER),
    tenants("annotations", &[], POD),
    tenants("labels", &[], POD),
    tenants("podAnnotations", &[], POD),
    tenants("podLabels", &[], POD),
    tenants("globalAnnotations", &[], NAMES),
    tenants("centralAdmission", &[], HOST),
    tenants("hostpathMapper", &[], HOST),
    tenants("mapServices", &[], NAMES),
    tenants("openshift", &[], HOST),
    tenants("pro", &[], HOST),
    tenants("proLicenseSecret", &[], HOST),
    tenants("isolation.namespace", &[], NAMES),
    tenants("isolation.nodeProxyPermission", &[], HOST),
    tenants("sync.generic", &[], HOST),
    tenants("sync.nodes", &[], HOST),
    tenants("sync.persistentvolumes", &[], "a volume can be a folder of the node"),
    tenants("sync.priorityclasses", &[], CLASSES),
    tenants("sync.storageclasses", &[], CLASSES),
    tenants("sync.volumesnapshots", &[], "it can name the snapshot of somebody else"),
];

/// Flags of API servers and of k3s that take the database elsewhere.
const STORES: &[&str] =
    &["--cluster-init", "--data-dir", "--datastore", "--etcd", "--storage-backend", "--storage-media-type", "-d"];

fn table(era: Era) -> &'static [Limit] {
    match era {
        Era::Current => CURRENT,
        Era::Legacy => LEGACY,
    }
}

/// The limit that a leaf runs into: one it is below of, or one that it would replace together with its parent.
pub(super) fn closed(era: Era, whom: Binds, path: &[&str]) -> Option<&'static Limit> {
    table(era).iter().find(|limit| limit.binds(whom) && (limit.covers(path) || limit.is_below(path)))
}

/// The limit that closes a whole branch to tenants.
pub(super) fn whole(era: Era, path: &[&str]) -> Option<&'static Limit> {
    table(era).iter().find(|limit| limit.covers(path) && !limit.exceptions().any(|open| open.starts_with(path)))
}

/// The flag in a list of arguments that would take the database elsewhere.
pub(super) fn moves_the_database(path: &[&str], leaf: &Value) -> Option<&'static str> {
    let arguments = path.last().is_some_and(|word| word.eq_ignore_ascii_case("extraArgs"));
    let texts = leaf.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut texts = texts.filter(|_| arguments);
    texts.find_map(|text| STORES.iter().copied().find(|flag| text.trim_start().starts_with(flag)))
}

impl Limit {
    /// What binds everybody binds tenants, too.
    fn binds(&self, whom: Binds) -> bool {
        self.binds == Binds::Everybody || whom == Binds::Tenants
    }

    fn words(&self) -> Vec<&'static str> {
        self.path.split('.').collect()
    }

    fn exceptions(&self) -> impl Iterator<Item = Vec<&'static str>> {
        self.except.iter().map(|open| self.path.split('.').chain(open.split('.')).collect())
    }

    /// At or below the branch, and not below what is open in it.
    fn covers(&self, path: &[&str]) -> bool {
        starts_with(path, &self.words()) && !self.exceptions().any(|open| path.starts_with(&open))
    }

    /// The branch is below the path. One that may stand anywhere is nowhere by itself.
    fn is_below(&self, path: &[&str]) -> bool {
        !self.path.contains('*') && starts_with(&self.words(), path)
    }
}

/// Whether a path begins with another, `*` being any word on either side. Capitals do not count: what reads the values in
/// the end may not look at them.
fn starts_with(path: &[&str], start: &[&str]) -> bool {
    let same = |(one, other): (&&str, &&str)| *one == "*" || *other == "*" || one.eq_ignore_ascii_case(other);
    start.len() <= path.len() && path.iter().zip(start).all(same)
}
