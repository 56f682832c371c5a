//! Parts that nobody runs in the stories with Crossplane: what provider-helm and the sidecar would write down.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::examples::Example;
use crate::yaml;

/// As provider-helm says when a chart is installed; `releases` is the resource of its Releases.
pub fn installed(cluster: &Cluster, releases: &str, namespace: &str, name: &str) {
    let condition = |kind: &str, reason: &str| {
        let at = "2026-11-23T06:02:00Z";
        json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": at})
    };
    let status = json!({"status": {
        "atProvider": { "state": "deployed", "revision": 1, "releaseDescription": "Install complete" },
        "conditions": [condition("Ready", "Available"), condition("Synced", "ReconcileSuccess")],
    }});
    let namespace = format!("--namespace={namespace}");
    let patch = ["--subresource=status", "--type=merge", "--patch", &status.to_string()];
    let _ = cluster.kubectl(&[&["patch", releases, name, &namespace], &patch[..]].concat(), "").ok();
}

/// As the sidecar reports after its first backup.
pub fn reported(cluster: &Cluster, xr: &Value) {
    let vcluster = &xr["status"]["vcluster"];
    let key = yaml::str_at(vcluster, "/key");
    let report = Example::named("claim-v1-healthy").text("required.yaml");
    let mut map = yaml::documents(&report).remove(0);
    let document = yaml::str_at(&map, "/data/status.yaml").to_owned();
    let lines = document.lines().map(|line| match line.split_once(": ") {
        Some(("key", _)) => format!("key: {key}\n"),
        Some(("uid", _)) => format!("uid: {}\n", yaml::str_at(xr, "/metadata/uid")),
        Some(("observedAt", _)) => format!("observedAt: {}\n", jiff::Timestamp::now()),
        // A story may take longer than three of one minute.
        Some(("interval", _)) => "interval: 1h\n".to_owned(),
        _ => format!("{line}\n"),
    });
    map["data"]["status.yaml"] = Value::from(lines.collect::<String>());
    map["metadata"] = json!({
        "name": format!("{key}-backup-status"),
        "namespace": vcluster["namespace"],
        "labels": { "vcluster.fn.crossplane.io/key": key },
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": vcluster["namespace"]}});
    cluster.apply(&yaml::text(&[namespace, map]));
}
