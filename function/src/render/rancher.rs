//! The registration with Rancher, in the platform namespace: the token lives there and never leaves.

use serde_json::{Value, json};

use super::chart;
use crate::{
    error::Refusal,
    forms::{self, Version},
    observed::RANCHER,
    order::{Build, Order},
    platform::Platform,
};

/// The first line of the vcluster chart whose own NetworkPolicy says who may come in.
const SHUTS_INGRESS: u64 = 31;

/// What the registration needs to know beside the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Whether the vcluster has a NetworkPolicy of its own chart's.
    pub shut: bool,
    /// The restore that was served last, as far as anybody knows.
    pub restored: Option<&'a str>,
}

/// The whole Release. Our chart knows the values of the upstream one, 0.1.4, and more; what must be a boolean there is one.
pub(super) fn release(platform: &Platform, order: &Order, build: &Build, asked: Asked<'_>) -> Result<Value, Refusal> {
    let names = &order.names;
    // Both are checked with the mode; this is for the compiler.
    let (Some(rancher_cluster), Some(url)) = (&platform.charts.rancher_cluster, &platform.rancher.url) else {
        return Err(Refusal::RancherGone { mode: platform.rancher.mode.as_str() });
    };
    let chart = chart(rancher_cluster, order);
    let mut object = super::release(RANCHER, &names.rancher(), &names.platform_namespace, order, platform, &chart);
    let spec = &mut object["spec"];
    let values = &mut spec["forProvider"]["values"];
    *values = json!({
        "clustername": names.key.as_str(),
        "vclusterReleaseName": names.release,
        "targetnamespace": names.host_namespace,
        "rancher": { "url": url },
        "insecure": platform.rancher.insecure,
        "createOwner": match &order.rancher_owner {
            Some(owner) => json!({ "enabled": true, "userPrincipalName": owner }),
            None => json!({ "enabled": false }),
        },
    });
    if let Some(proxy) = &platform.rancher.proxy {
        values["httpProxy"] = json!({ "enabled": true, "address": proxy });
    }
    if forms::is_upstream_rancher(&rancher_cluster.version) {
        spec["forProvider"]["waitTimeout"] = json!("9m"); // its hooks outlast Helm's five minutes; the provider ends at ten
    } else {
        let values = &mut spec["forProvider"]["values"];
        // Its Job runs in the host cluster, where a host of the kubeconfig may lead out and not in again.
        values["vclusterServer"] = json!(names.endpoint());
        let more = [
            ("/image", &platform.images.rancher),
            ("/rancher/existingSecret", &platform.rancher.token_secret),
            ("/rancher/ca", &platform.rancher.ca),
        ];
        for (place, value) in more {
            if let Some(value) = value {
                super::family::put(values, place, json!(value));
            }
        }
        // Below, the vcluster's own policy speaks of what goes out alone, and ours would shut out everybody else.
        if asked.shut && Version::parse(&build.chart_version).is_ok_and(|version| version.minor() >= SHUTS_INGRESS) {
            values["networkPolicy"] = json!({ "enabled": true });
        }
        // Rancher's agent is not in every backup: a value that changes has the vcluster registered anew.
        if let Some(id) = asked.restored {
            values["restored"] = json!(id);
        }
        // Its Job waits for Rancher without limit. provider-helm calls no Release ready that lacks a connection detail, so
        // this one is when the Job has written down that it is done.
        spec["connectionDetails"] = json!([{
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": names.rancher(),
            "namespace": names.platform_namespace,
            "fieldPath": "data.registered",
            "toConnectionSecretKey": "registered",
        }]);
    }
    spec["managementPolicies"] = json!(["*"]);
    spec["rollbackLimit"] = json!(3);
    Ok(object)
}
