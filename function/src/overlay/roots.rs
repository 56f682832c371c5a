//! The words at the root of the chart's values, and the charts that have them. Pure.
//!
//! From 0.20 on the chart's schema refuses a word it does not know, and the upgrade fails; below, no schema looks and the
//! word has no effect. Both are worth a sentence beforehand.

use super::{Era, Version};

/// From 0.20 on: a word, and the first and the last chart line with it.
const CURRENT: &[(&str, u64, u64)] = &[
    ("controlPlane", 20, u64::MAX),
    ("deletion", 32, u64::MAX),
    ("deploy", 26, u64::MAX),
    ("experimental", 20, u64::MAX),
    ("exportKubeConfig", 20, u64::MAX),
    ("external", 20, 31),
    ("global", 20, u64::MAX),
    ("integrations", 20, u64::MAX),
    ("logging", 26, u64::MAX),
    ("networking", 20, u64::MAX),
    ("platform", 32, u64::MAX),
    ("plugin", 20, u64::MAX),
    ("plugins", 20, u64::MAX),
    ("policies", 20, u64::MAX),
    ("privateNodes", 26, u64::MAX),
    ("pro", 20, u64::MAX),
    ("rbac", 20, u64::MAX),
    ("serviceCIDR", 20, u64::MAX),
    ("sleep", 32, u64::MAX),
    ("sleepMode", 24, 31),
    ("snapshots", 32, u64::MAX),
    ("sync", 20, u64::MAX),
    ("telemetry", 20, u64::MAX),
];

/// What 0.32 has renamed: before, and since.
const RENAMED: [(&str, &str); 4] = [
    ("external", "platform, snapshots and deletion"),
    ("sleepMode", "sleep"),
    ("platform", "external.platform"),
    ("sleep", "sleepMode"),
];

/// Below 0.20, chart vcluster: that of k3s.
const LEGACY: &[&str] = &[
    "affinity",
    "annotations",
    "autoDeletePersistentVolumeClaims",
    "centralAdmission",
    "coredns",
    "defaultImageRegistry",
    "embeddedEtcd",
    "enableHA",
    "fallbackHostDns",
    "fsGroup",
    "globalAnnotations",
    "headless",
    "hostpathMapper",
    "ingress",
    "init",
    "isolation",
    "k3sToken",
    "labels",
    "mapServices",
    "monitoring",
    "multiNamespaceMode",
    "nodeSelector",
    "noopSyncer",
    "openshift",
    "plugin",
    "podAnnotations",
    "podLabels",
    "podSecurityContext",
    "priorityClassName",
    "pro",
    "proLicenseSecret",
    "proxy",
    "rbac",
    "securityContext",
    "service",
    "serviceAccount",
    "storage",
    "sync",
    "syncer",
    "telemetry",
    "tolerations",
    "vcluster",
    "volumes",
    "workloadServiceAccount",
];

/// Whether a word is one of an era.
pub(super) fn has(era: Era, root: &str) -> bool {
    match era {
        Era::Legacy => LEGACY.contains(&root),
        Era::Current => CURRENT.iter().any(|(word, ..)| *word == root),
    }
}

/// What the schema still lists and the templates of 0.36 and later refuse.
const GONE: &[&[&str]] = &[
    &["deploy", "volumeSnapshotController"],
    &["rbac", "enableVolumeSnapshotRules"],
    &["sync", "fromHost", "volumeSnapshotClasses"],
    &["sync", "toHost", "volumeSnapshotContents"],
    &["sync", "toHost", "volumeSnapshots"],
];

/// Why a chart cannot take what stands at a path; none: it can.
pub(super) fn problem(path: &[&str], chart: &str) -> Option<String> {
    let root = path.first().copied().unwrap_or_default();
    let line = Version::known_vcluster(chart).map_or(u64::MAX, |version| version.minor());
    let known = match Era::of(chart) {
        Era::Legacy => has(Era::Legacy, root),
        Era::Current => CURRENT.iter().any(|(word, first, last)| *word == root && (*first..=*last).contains(&line)),
    };
    if known && line >= 36 && GONE.iter().any(|gone| path.starts_with(gone)) {
        return Some(format!("vcluster chart {chart} has given up volume snapshots; remove it"));
    }
    if known {
        return None;
    }
    let renamed = RENAMED.iter().find(|(word, _)| *word == root && Era::of(chart) == Era::Current);
    let remedy = match renamed {
        Some((_, other)) if line >= 32 => format!("it has been called {other} since 0.32; rename it"),
        Some((_, other)) if root == "platform" || line >= 24 => format!("it is called {other} below 0.32; rename it"),
        _ => "mend the name, or remove it".to_owned(),
    };
    Some(format!("vcluster chart {chart} has no such values; {remedy}"))
}
