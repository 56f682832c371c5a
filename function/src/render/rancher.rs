//! The registration with Rancher, in the platform namespace: the token lives there and never leaves.

use serde_json::{Value, json};

use super::chart;
use crate::{error::Refusal, observed::RANCHER, order::Order, platform::Platform};

/// The whole Release. Its values are those the upstream chart 0.1.4 knows; what must be a boolean there is one.
pub(super) fn release(platform: &Platform, order: &Order) -> Result<Value, Refusal> {
    let names = &order.names;
    // Both are checked with the mode; this is for the compiler.
    let (Some(rancher_cluster), Some(url)) = (&platform.charts.rancher_cluster, &platform.rancher.url) else {
        return Err(Refusal::RancherGone { mode: platform.rancher.mode.as_str() });
    };
    let chart = chart(rancher_cluster, order);
    let mut object = super::release(RANCHER, &names.rancher(), &names.platform_namespace, order, platform, &chart);
    let spec = &mut object["spec"];
    spec["forProvider"]["waitTimeout"] = json!("9m"); // its hooks outlast Helm's five minutes; the provider ends at ten
    spec["forProvider"]["values"] = json!({
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
    spec["managementPolicies"] = json!(["*"]);
    spec["rollbackLimit"] = json!(3);
    Ok(object)
}
