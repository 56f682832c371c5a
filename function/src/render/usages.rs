//! The order of deletion, where the platform asks for it: rancher before vcluster before s3. A Usage says that one
//! Release uses another, and Crossplane lets the other be deleted only once the first is gone.
//!
//! The registration must find the vcluster it takes out of Rancher, and the sidecar's last backup the bucket it goes to.
//! `keys` comes and goes while the rest stays, so nothing ever holds it.

use serde_json::{Value, json};

use crate::{
    error::Refusal,
    observed::{Observed, RANCHER, S3, S3_USAGE, VCLUSTER, VCLUSTER_USAGE},
    order::Order,
    platform::UsageApi,
    xr::Scope,
};

/// Who uses whom, by the name of the Usage.
const USAGES: [(&str, &str, &str); 2] = [(VCLUSTER_USAGE, VCLUSTER, RANCHER), (S3_USAGE, S3, VCLUSTER)];

/// What Crossplane notes on a Release that somebody has tried to delete while it was in use. It is never taken off.
const ATTEMPT: &str = "usage.crossplane.io/deletion-attempt-with-policy";

/// Whether Crossplane would delete what a Usage speaks of as soon as the Usage goes: somebody has tried that once, perhaps by
/// mistake and long ago.
pub(super) fn is_armed(observed: &Observed, usage: &str) -> bool {
    let spoken_of = USAGES.iter().find(|(name, ..)| *name == usage);
    spoken_of.is_some_and(|(name, of, _)| observed.replays(name) && was_attempted(observed, of))
}

/// Whether any is.
pub(super) fn are_armed(observed: &Observed) -> bool {
    USAGES.iter().any(|(usage, ..)| is_armed(observed, usage))
}

fn was_attempted(observed: &Observed, part: &'static str) -> bool {
    observed.release(part).is_some_and(|release| release.annotation(ATTEMPT).is_some())
}

/// Whether a composed resource is a Usage.
pub(super) fn is_one(resource: &str) -> bool {
    USAGES.iter().any(|(usage, ..)| *usage == resource)
}

/// The Usages between Releases that are there and desired, and those that must be disarmed before they may go.
///
/// Both ends must be this XR's own already. A second XR with the same key would otherwise tie down what is the first
/// one's, by its name; and a Usage whose user never came to be would hold what it speaks of for nothing.
///
/// # Errors
/// An API whose Usages cannot live where the XR does.
pub(super) fn usages(
    order: &Order,
    api: Option<UsageApi>,
    observed: &Observed,
    desired: &[&str],
) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let scope = &order.names.scope;
    if let Some(api) = api.filter(|api| scope.namespace().is_some() && *api != UsageApi::Protection) {
        let problem = format!(
            "{}: its Usages are cluster-scoped, and a namespaced XR can have none; write {}",
            api.as_str(),
            UsageApi::Protection.as_str()
        );
        return Err(Refusal::field("input.usages", problem));
    }
    let there = |resource: &'static str| observed.release(resource).is_some() && desired.contains(&resource);
    let wanted = |name: &str, of, by| (api.is_some() && there(of) && there(by)) || is_armed(observed, name);
    let wanted = USAGES.into_iter().filter(|(name, of, by)| wanted(name, of, by));
    // One that is armed is there, and stays of its API.
    let api = api.unwrap_or(UsageApi::Protection);
    Ok(wanted.map(|(name, of, by)| (name, usage(order, api, observed, name, of, by))).collect())
}

fn usage(
    order: &Order,
    api: UsageApi,
    observed: &Observed,
    name: &'static str,
    of: &'static str,
    by: &'static str,
) -> Value {
    let (names, scope) = (&order.names, &order.names.scope);
    // Both are there; one that another Composition has made bears another name than ours.
    let release = |part: &'static str| {
        let there = observed.release(part).map_or_else(|| names.object(part), |there| there.object_name().to_owned());
        json!({
            "apiVersion": format!("{}/v1beta1", scope.helm_group()),
            "kind": "Release",
            "resourceRef": { "name": there },
        })
    };
    // One that is there stays of its API: an object of another would be a second one, and the first nobody's.
    let (api_version, kind) = match observed.usage(name) {
        Some((api_version, kind)) => (api_version, kind),
        None => (
            api.as_str(),
            if api == UsageApi::Protection && *scope == Scope::Cluster { "ClusterUsage" } else { "Usage" },
        ),
    };
    let mut usage = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": names.object(name) },
        "spec": { "of": release(of), "by": release(by) },
    });
    if let Some(namespace) = scope.namespace() {
        usage["metadata"]["namespace"] = json!(namespace);
    }
    // Without it Kubernetes' garbage collector asks again after ever longer waits, up to a quarter of an hour. But where
    // somebody has been refused while the order lives, that would delete what nobody wants to lose, with the Usage.
    if api_version != UsageApi::Alpha.as_str() {
        usage["spec"]["replayDeletion"] = json!(!was_attempted(observed, of));
    }
    usage
}
