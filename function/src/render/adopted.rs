//! Releases that another Composition has made, desired again. Pure.
//!
//! With every field it gave them: what Crossplane has applied once and is left out now, it removes. Without those the API
//! server, Crossplane and the provider add by themselves. Whatever is observed is a field of the CRD that is installed.

use serde_json::{Map, Value, json};

use super::{
    family::{IMPORT_NAME, SKIP_IMPORT, put},
    vcluster,
};
use crate::{
    adopt,
    observed::{EXTERNAL_NAME, OWN_PREFIX, Release},
    order::{Build, Import, Order},
    platform::Platform,
    read,
    render::family::Distro,
    xr::DeletionPolicy,
};

/// Labels and annotations that Crossplane and the provider put there, and keep up to date.
const MACHINERY: &str = "crossplane.io/";
/// What `kubectl apply` remembers of an edit by hand.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The Release as it is.
pub(super) fn again(release: Release<'_>) -> Value {
    let object = release.object();
    let mut metadata = Map::from_iter([("name".to_owned(), json!(release.object_name()))]);
    let kept = |field: &str| -> Map<String, Value> {
        let there = object["metadata"][field].as_object().into_iter().flatten();
        let ours = |name: &str| [MACHINERY, OWN_PREFIX].iter().any(|prefix| name.starts_with(prefix));
        let stays = |(name, _): &(&String, &Value)| !ours(name) && *name != LAST_APPLIED;
        there.filter(stays).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    if let Some(namespace) = object["metadata"]["namespace"].as_str() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let labels = kept("labels");
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    let mut annotations = kept("annotations");
    annotations.insert(EXTERNAL_NAME.to_owned(), json!(release.helm_name()));
    metadata.insert("annotations".to_owned(), Value::Object(annotations));
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": metadata,
        "spec": object["spec"],
    })
}

/// The upstream s3-register: never upgraded, which would draw a password the store does not know; never removed, which
/// would remove the bucket, unless the owner orders just that.
pub(super) fn old_s3(release: Release<'_>, policy: DeletionPolicy) -> Value {
    let mut object = again(release);
    object["spec"]["managementPolicies"] = match policy {
        DeletionPolicy::Retain => json!(["Observe", "Create"]),
        DeletionPolicy::Delete => json!(["Observe", "Create", "Delete"]),
    };
    object
}

/// The vcluster: as it is but for what its owner has ordered, the sidecar first of all.
pub(super) fn vcluster(release: Release<'_>, platform: &Platform, order: &Order, build: &Build) -> Value {
    let mut object = again(release);
    let there = release.values();
    let values = values(there, platform, order, build);
    let provider = &mut object["spec"]["forProvider"];
    if values != *there && !(there.is_null() && values == json!({})) {
        provider["values"] = values;
    }
    if release.chart_version().is_some() {
        provider["chart"]["version"] = json!(build.chart_version);
    }
    object
}

fn values(there: &Value, platform: &Platform, order: &Order, build: &Build) -> Value {
    let mut values = if there.is_object() { there.clone() } else { json!({}) };
    let places = build.family.places();
    adopt::values::take_out(&mut values, platform.adopt.sidecar.as_deref().filter(|_| order.backup));
    if order.steps && build.distro == Distro::K8s {
        adopt::values::remove(&mut values, "/controlPlane/distro/k3s");
        put(&mut values, "/controlPlane/distro/k8s/enabled", json!(true));
    }
    if let Some(resources) = &build.resources {
        put(&mut values, places.resources, resources.clone());
    }
    tell_operator(&mut values, build);
    if let Some(policy) = order.volume_policy {
        build.family.retain(&mut values, policy.as_str());
    }
    if order.backup {
        vcluster::add_sidecar(&mut values, order, build);
    }
    values
}

/// The owner's word against a registration, or for it after all; a name of ours is never given to what has one.
fn tell_operator(values: &mut Value, build: &Build) {
    let place = build.family.service_annotations();
    let skipped = read::at(values, place).is_some_and(|said| said.get(SKIP_IMPORT).is_some());
    let named = read::at(values, place).is_some_and(|said| said.get(IMPORT_NAME).is_some());
    match build.import {
        Import::Skipped if !skipped => {
            let mut said = read::at(values, place).cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
            said[SKIP_IMPORT] = json!("true");
            put(values, place, said);
        }
        Import::Named | Import::Unsaid if skipped && !named => {
            if let Some(Value::Object(said)) = values.pointer_mut(place) {
                said.remove(SKIP_IMPORT);
            }
        }
        _ => (),
    }
}
