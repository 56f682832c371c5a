//! The `keys` Release: Secrets of the platform namespace, copied beside the vcluster. It is the one Release that goes.
//!
//! A tenant's syncer can read the Secrets of its host namespace, so an identity is there only while a restore needs it. A
//! passphrase, and credentials nobody draws, are needed by every backup and stay as long as there are backups.

use serde_json::{Value, json};
use vcluster_proto::status::{State, Status, WAITING_FOR_IDENTITY};

use super::chart;
use crate::{
    forms::Place,
    health::Report,
    observed::{KEYS, Observed},
    order::Order,
    platform::{Encryption, Platform, Register, Store},
    restore::Request,
};

/// Everything that decides whether Secrets are copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need<'a> {
    pub(super) order: &'a Order,
    pub(super) platform: &'a Platform,
    pub(super) request: Option<&'a Request<'a>>,
    pub(super) report: &'a Report,
    pub(super) observed: &'a Observed,
}

/// The whole Release, when it is needed.
pub(super) fn release(need: Need<'_>) -> Option<Value> {
    let Need { order, platform, .. } = need;
    // Both or none: the Platform is checked for it.
    let (values, backup_keys) = (values(need)?, platform.charts.backup_keys.as_ref()?);
    let names = &order.names;
    let chart = chart(backup_keys, order);
    let mut object = super::release(KEYS, &names.keys(), &names.platform_namespace, order, platform, &chart);
    let spec = &mut object["spec"];
    spec["forProvider"]["values"] = values;
    spec["managementPolicies"] = json!(["*"]);
    spec["rollbackLimit"] = json!(3);
    Some(object)
}

/// What to do for the identity that a restore waits for; none: it is on its way, or none is needed.
pub(super) fn advice(order: &Order, platform: &Platform) -> Option<String> {
    let Encryption { identity_secret, passphrase_secret, .. } = &platform.encryption;
    if identity_secret.is_some() || passphrase_secret.is_some() {
        return None;
    }
    let (name, namespace) = (order.names.identity(), &order.names.host_namespace);
    Some(format!(
        "the platform holds no identity: make Secret {name} in namespace {namespace} with the age identity under key \
         identity, and delete it after the restore"
    ))
}

fn values(need: Need<'_>) -> Option<Value> {
    let Need { order, platform, request, .. } = need;
    if !order.backup {
        return None;
    }
    let (names, encryption) = (&order.names, &platform.encryption);
    let key = names.key.as_str();
    let mut values = json!({ "clustername": key, "hostNamespace": names.host_namespace });
    if let Some(secret) = encryption.identity_secret.as_ref().filter(|_| opens(need)) {
        // A clone is opened by the identity of the vcluster whose backups it reads.
        let origin = request.and_then(|request| request.origin.as_ref());
        let key = origin.map_or(key, |origin| origin.names.key.as_str());
        values["identity"] = source(&secret.replace("{key}", key), encryption.identity_revision.as_deref());
    }
    if let Some(secret) = &encryption.passphrase_secret {
        values["passphrase"] = source(secret, encryption.passphrase_revision.as_deref());
    }
    // An adopted vcluster has its own.
    if let Some(secret) = credentials(&platform.store).filter(|_| order.old_store.is_none()) {
        values["credentials"] = source(&secret.replace("{key}", key), platform.store.credentials_revision.as_deref());
        values["credentials"]["keys"] = match platform.store.place() {
            Place::S3 => json!(["s3accesskey", "s3secretkey"]),
            _ => json!([]), // each cloud has its own: all of them
        };
    }
    let anything = ["identity", "passphrase", "credentials"].iter().any(|what| values.get(what).is_some());
    values["statusUid"] = json!(status_uid(need));
    anything.then_some(values)
}

/// Whether a restore needs the identity. What cannot be read takes nothing away.
fn opens(need: Need<'_>) -> bool {
    if let Some(request) = need.request {
        return !request.starts_empty();
    }
    let there = need.observed.release(KEYS).is_some_and(|keys| keys.value("/identity").is_some());
    let auto_restore = need.platform.encryption.auto_restore;
    match need.report {
        Report::Known(status) => {
            auto_restore && (waits_for_identity(status) || (there && status.state == State::Waiting))
        }
        _ => auto_restore && there,
    }
}

fn waits_for_identity(status: &Status) -> bool {
    status.state == State::Waiting && status.reason == WAITING_FOR_IDENTITY
}

/// Credentials that no registration draws.
fn credentials(store: &Store) -> Option<&String> {
    store.credentials_secret.as_ref().filter(|_| store.register == Register::None)
}

fn source(secret: &str, revision: Option<&str>) -> Value {
    json!({ "secret": secret, "revision": revision.unwrap_or_default() })
}

/// Another namespace has another ConfigMap, and needs its copies anew; while none can be seen, nothing is known to have
/// changed.
fn status_uid(need: Need<'_>) -> String {
    let kept = || need.observed.release(KEYS).and_then(|keys| keys.value_text("/statusUid")).map(str::to_owned);
    let source = crate::health::Source::of(&need.order.names);
    source.uid(need.observed.reports.as_deref()).map(str::to_owned).or_else(kept).unwrap_or_default()
}
