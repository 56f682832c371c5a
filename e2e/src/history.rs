//! What clients of an API server have seen, and what they must see after a restore.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{cluster::Cluster, yaml};

/// Creates `count` objects by one request each; all are acknowledged when this returns.
///
/// # Panics
/// When one is not.
pub fn create(tenant: &Cluster, batch: &str, count: usize) {
    let objects: Vec<Value> = (0..count)
        .map(|n| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{batch}-{n}")},
                "data": {"value": format!("{batch} {n} ").repeat(20)}})
        })
        .collect();
    let said = tenant.kubectl(&["create", "--namespace", "default", "--filename", "-"], &yaml::text(&objects));
    assert_eq!(said.ok().lines().count(), count, "every object is acknowledged");
}

/// All that was created, whole: name, uid, revision, content.
#[must_use]
pub fn inventory(tenant: &Cluster) -> BTreeMap<String, Value> {
    let objects = tenant.objects("configmap", "default");
    objects.into_iter().map(|object| (yaml::str_at(&object, "/metadata/name").to_owned(), object)).collect()
}

/// The highest revision of these objects.
///
/// # Panics
/// When one has a revision that is no number.
#[must_use]
pub fn highest_revision(inventory: &BTreeMap<String, Value>) -> i64 {
    let revisions = inventory.values().map(|object| {
        let text = yaml::str_at(object, "/metadata/resourceVersion");
        text.parse::<i64>().expect("a revision of kine is a number")
    });
    revisions.max().unwrap_or_default()
}

/// After a restore: everything acknowledged before the last backup is there, what came later is not, whoever watched
/// the life that is gone is told so, and the API takes writes at revisions nobody has seen.
///
/// # Panics
/// When any of that is not so.
pub fn restored(tenant: &Cluster, before: &BTreeMap<String, Value>, lost: &str, watched: i64) {
    let after = inventory(tenant);
    assert!(!after.keys().any(|name| name.starts_with(lost)), "{lost} came after the last backup");
    assert_eq!(&after, before);
    let watch = format!("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=10&resourceVersion={watched}");
    let told = tenant.kubectl(&["get", "--raw", &watch], "").all();
    assert!(told.contains("Expired") && (told.contains("410") || told.contains("too old")), "told: {told}");
    create(tenant, &format!("after-{lost}"), 3);
    assert!(highest_revision(&inventory(tenant)) > watched, "revisions go on beyond everything that was handed out");
}
