//! The s3-register Release: bucket, user, and the whole of `settings.yaml`, which the chart copies unchanged.

use serde_json::{Value, json};
use vcluster_proto::settings::{Backup, Cluster, Settings, Store};

use super::chart;
use crate::{
    error::Refusal,
    observed::S3,
    order::Order,
    platform::Platform,
    xr::{DeletionPolicy, Retention, Xr},
};

/// The whole Release.
pub(super) fn release(xr: &Xr, platform: &Platform, order: &Order) -> Result<Value, Refusal> {
    let names = &order.names;
    let chart = chart(&platform.charts.s3_register, order);
    let mut object = super::release(S3, &names.s3(), &names.host_namespace, order, platform, &chart);
    let spec = &mut object["spec"];
    spec["forProvider"]["values"] = values(xr, platform, order)?;
    match order.deletion_policy {
        // An uninstall destroys nothing, and nothing uninstalls it.
        DeletionPolicy::Retain => {
            spec["managementPolicies"] = json!(["Observe", "Create", "Update"]);
            spec["rollbackLimit"] = json!(3);
        }
        // No rollback: of a failed first install it would be an uninstall, whose hook removes the bucket.
        DeletionPolicy::Delete => spec["managementPolicies"] = json!(["*"]),
    }
    Ok(object)
}

fn values(xr: &Xr, platform: &Platform, order: &Order) -> Result<Value, Refusal> {
    let (names, store) = (&order.names, &platform.store);
    let settings = settings(xr, platform, order).to_yaml();
    let settings = settings.map_err(|error| Refusal::field("spec.backup", error.to_string()))?;
    let mut values = json!({
        "clustername": names.key.as_str(),
        "bucket": names.bucket,
        "platformNamespace": names.platform_namespace,
        "imagePullSecrets": [],
        "s3": {
            "url": store.endpoint.as_deref().unwrap_or_default(),
            "region": store.region.as_deref().unwrap_or_default(),
            "ca": store.ca.as_deref().unwrap_or_default(),
            "existingSecret": store.admin_secret.as_deref().unwrap_or_default(),
            "adminUserKey": store.admin_user_key,
            "adminPasswordKey": store.admin_password_key,
        },
        "register": "minio",
        "allowDelete": store.allow_delete,
        "deletionPolicy": order.deletion_policy.as_str(),
        "settings": settings,
        // Rendered only beside the vcluster's own policy, which is off: alone it would shut every other way.
        "networkPolicy": { "enabled": false, "ports": [] },
    });
    if let Some(image) = &platform.images.registration {
        values["image"] = json!(image);
    }
    Ok(values)
}

fn settings(xr: &Xr, platform: &Platform, order: &Order) -> Settings {
    let (names, store) = (&order.names, &platform.store);
    let mut trusted_keys: Vec<String> = Vec::new();
    for key in xr.trusted_keys().chain(platform.trust.iter().map(String::as_str)) {
        if !trusted_keys.iter().any(|known| known == key) {
            trusted_keys.push(key.to_owned());
        }
    }
    Settings {
        cluster: Cluster { key: names.key.to_string(), uid: xr.uid.clone(), namespace: names.host_namespace.clone() },
        store: Store {
            url: store.url_of(&names.bucket, names.key.as_str()),
            endpoint: store.endpoint.clone(),
            region: store.region.clone(),
            path_style: Some(store.path_style),
            ca: store.ca.clone(),
            registration: Some(format!("{}/{}", names.platform_namespace, names.s3())),
        },
        backup: Backup {
            interval: order.interval,
            recipients: order.recipients.clone(),
            retention: order.retention.and_then(Retention::rules),
            trigger: order.trigger.clone(),
        },
        bootstrap: order.bootstrap,
        lived: xr.lived(),
        trusted_keys,
        restore: None,
    }
}
