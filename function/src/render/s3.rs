//! The s3-register Release: bucket, user, and the whole of `settings.yaml`, which the chart copies unchanged.

use serde_json::{Value, json};
use vcluster_proto::settings::{Backup, Cluster, Settings, Store};

use super::chart;
use crate::{
    error::Refusal,
    forms,
    observed::{CREDENTIALS_ANNOTATION, Release, S3},
    order::Order,
    platform::{Platform, Register},
    restore::{self, Request},
    xr::{DeletionPolicy, Retention, Xr},
};

/// What an open request adds to the settings, and the chosen values to the chart's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// It.
    pub(super) request: Option<&'a Request<'a>>,
    /// Signing keys of the vcluster whose backups it reads.
    pub(super) trust: &'a [String],
    /// Whether a policy around the control plane shuts the store out, unless its port is opened.
    pub(super) shut: bool,
}

/// The whole Release.
pub(super) fn release(
    xr: &Xr,
    platform: &Platform,
    order: &Order,
    there: Option<Release<'_>>,
    asked: Asked<'_>,
) -> Result<Value, Refusal> {
    let names = &order.names;
    let chart = chart(&platform.charts.s3_register, order);
    let mut object = super::release(S3, &names.s3(), &names.host_namespace, order, platform, &chart);
    object["spec"]["forProvider"]["values"] = values(xr, platform, order, asked)?;
    if let Some(old) = &order.old_store {
        object["metadata"]["annotations"][CREDENTIALS_ANNOTATION] = json!(old.secret);
    }
    let spec = &mut object["spec"];
    match order.deletion_policy {
        // Nothing uninstalls it, but a rollback of a first install would.
        DeletionPolicy::Retain => {
            spec["managementPolicies"] = json!(["Observe", "Create", "Update"]);
            if there.is_none_or(is_harmless_to_uninstall) {
                spec["rollbackLimit"] = json!(3);
            }
        }
        // No rollback: of a failed first install it would be an uninstall, whose hook removes the bucket.
        DeletionPolicy::Delete => spec["managementPolicies"] = json!(["*"]),
    }
    Ok(object)
}

/// Helm uninstalls by the hooks that were installed last: what was made to be deleted keeps them until an upgrade has got
/// through, whatever is ordered since.
fn is_harmless_to_uninstall(there: Release<'_>) -> bool {
    let retains = there.value_text("/deletionPolicy") == Some(DeletionPolicy::Retain.as_str());
    there.rolls_back() || (retains && there.ready())
}

fn values(xr: &Xr, platform: &Platform, order: &Order, asked: Asked<'_>) -> Result<Value, Refusal> {
    let (names, store) = (&order.names, &platform.store);
    let Target { endpoint, region, registers, .. } = target(platform, order);
    let settings = settings(xr, platform, order, asked).to_yaml();
    let settings = settings.map_err(|error| Refusal::field("spec.backup", error.to_string()))?;
    let mut values = json!({
        "clustername": names.key.as_str(),
        "bucket": names.bucket,
        "platformNamespace": names.platform_namespace,
        "imagePullSecrets": [],
        "s3": {
            "url": endpoint.unwrap_or_default(),
            "region": region.unwrap_or_default(),
            "ca": store.ca.as_deref().unwrap_or_default(),
            "existingSecret": store.admin_secret.as_deref().filter(|_| order.old_store.is_none()).unwrap_or_default(),
            "adminUserKey": store.admin_user_key,
            "adminPasswordKey": store.admin_password_key,
        },
        "register": if registers { Register::Minio } else { Register::None }.as_str(),
        "allowDelete": store.allow_delete,
        "deletionPolicy": order.deletion_policy.as_str(),
        "settings": settings,
        // Rendered only beside the vcluster's own policy: alone it would shut every other way. No ports: the endpoint's.
        "networkPolicy": {
            "enabled": asked.shut,
            "ports": if asked.shut && endpoint.is_none() { json!([443]) } else { json!([]) },
        },
    });
    // The user may read the other bucket as long as the clone is being made, and no longer.
    let origin = asked.request.and_then(|request| request.origin.as_ref());
    if let Some(origin) = origin.filter(|_| registers) {
        values["readFrom"] = json!([origin.names.bucket]);
    }
    if let Some(quota) = store.quota.as_ref().filter(|_| registers) {
        values["quota"] = json!(quota);
    }
    if names.release != names.key.as_str() {
        values["release"] = json!(names.release);
    }
    if let Some(image) = &platform.images.registration {
        values["image"] = json!(image);
    }
    Ok(values)
}

/// Where the backups of one vcluster go, and whether a Job makes that place.
struct Target<'a> {
    url: String,
    endpoint: Option<&'a str>,
    region: Option<&'a str>,
    path_style: Option<bool>,
    registers: bool,
}

fn target<'a>(platform: &'a Platform, order: &'a Order) -> Target<'a> {
    let (names, store) = (&order.names, &platform.store);
    let Some(old) = &order.old_store else {
        return Target {
            url: store.url_of(&names.bucket, names.key.as_str()),
            endpoint: store.endpoint.as_deref(),
            region: store.region.as_deref(),
            path_style: (store.place() == forms::Place::S3).then_some(store.path_style),
            registers: store.register == Register::Minio,
        };
    };
    // The upstream chart knew MinIO alone. What the Platform says more of its store counts where the two are one.
    let same = old.is_of(platform);
    Target {
        url: old.url(),
        endpoint: Some(&old.endpoint),
        region: store.region.as_deref().filter(|_| same),
        path_style: Some(!same || store.path_style),
        registers: false,
    }
}

fn settings(xr: &Xr, platform: &Platform, order: &Order, asked: Asked<'_>) -> Settings {
    let (names, store) = (&order.names, &platform.store);
    let Target { url, endpoint, region, path_style, registers } = target(platform, order);
    Settings {
        cluster: Cluster {
            key: names.key.to_string(),
            release: (names.release != names.key.as_str()).then(|| names.release.clone()),
            uid: xr.uid.clone(),
            namespace: names.host_namespace.clone(),
        },
        store: Store {
            url,
            endpoint: endpoint.map(str::to_owned),
            region: region.map(str::to_owned),
            path_style,
            ca: store.ca.clone(),
            registration: registers.then(|| format!("{}/{}", names.platform_namespace, names.s3())),
        },
        backup: Backup {
            interval: order.interval,
            recipients: order.recipients.clone(),
            retention: order.retention.and_then(Retention::rules),
            // The sidecar's own default: daily.
            prove_every: None,
            trigger: order.trigger.clone(),
        },
        bootstrap: order.bootstrap,
        lived: xr.lived(),
        trusted_keys: restore::trusted(xr, platform, asked.trust),
        restore: asked.request.map(Request::settings),
    }
}
