//! From an order to everything that is desired. Pure: the same arguments give the same bytes, and the time, which is one
//! of them, changes nothing until it makes a report stale.
//!
//! Decisions live here, the rooms below only write: [`vcluster`] what the control plane needs to know of its sidecar,
//! in the keys of its chart's [`family`], [`s3`] everything else the sidecar reads, `keys` what a restore is opened with,
//! [`rancher`] the registration, `usages` in which order they go. What another Composition has made is `adopted`.

mod adopted;
pub mod family;
mod keys;
pub mod rancher;
pub mod s3;
mod usages;
pub mod vcluster;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vcluster_proto::status::SUCCEEDED;

use crate::{
    error::Refusal,
    health::{Case, Health, Report, Source},
    observed::{EXTERNAL_NAME, KEYS, OLD_S3, Observed, RANCHER, Release, S3, VCLUSTER, VCLUSTER_USAGE},
    order::{Build, Import, Order, check_resources},
    overlay,
    platform::{Chart, Platform, ReadyWhen, Register},
    read,
    restore::{self, Origin, Request},
    xr::{DeletionPolicy, Scope, Xr},
};

/// While something is awaited, Crossplane asks again this soon.
const AWAITING: Duration = Duration::from_secs(10);
/// While backups are on, the status must not grow old.
const WATCHING: Duration = Duration::from_secs(60);

/// What a tenant who wrote Delete would not expect.
const STAYS: &str = "the bucket and all backups stay: the store was given to this vcluster, so nothing here may empty it; \
                     remove them there when they are no longer needed";

/// Everything that is desired.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Composed resources by their pipeline name.
    pub resources: BTreeMap<String, Composed>,
    /// What goes below the XR's `status`.
    pub status: Map<String, Value>,
    /// The four conditions, always all of them.
    pub conditions: [Condition; 4],
    /// The kubeconfig for the claim's connection Secret.
    pub kubeconfig: Option<Vec<u8>>,
    /// Where the sidecar's report is, when it is to be read.
    pub report: Option<Source>,
    /// Where the report of the vcluster is whose backups a clone reads.
    pub origin: Option<Source>,
    /// When to be asked again.
    pub ttl: Option<Duration>,
}

/// A composed resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// The object.
    pub object: Value,
    /// Whether what is observed of it is ready.
    pub ready: bool,
}

/// A condition of XR and claim. Its words do not change while its status does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: &'static str,
    /// Unset: nobody can say.
    pub status: Option<bool>,
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Renders an XR for a platform over what is there.
///
/// # Errors
/// Whatever makes it impossible or dangerous: nothing may be applied then.
pub fn render(xr: &Xr, platform: &Platform, observed: &Observed, now: Timestamp) -> Result<Rendered, Refusal> {
    let order = Order::join(xr, platform, observed)?;
    let running = observed.release(VCLUSTER);
    let source = Source::of(&order.names);
    let report = Report::read(observed.reports.as_deref(), &source, &xr.uid);
    let advice = keys::advice(&order, platform);
    let health = Health::judge(Case { xr, order: &order, observed, report: &report, advice: advice.as_deref() }, now);
    let request = Request::open(xr, platform, &order.names, report.known()).filter(|_| order.backup);
    let request = request.as_ref();
    let origin = request.and_then(|request| request.origin.as_ref()).map(Origin::source);
    // Of the s3 resource: every core adds up its resources, few listen to what is said of the XR.
    let holds_back = platform.ready_when == ReadyWhen::RecoveryPoint && order.backup && !health.recovery_point;
    let ready = |resource: &'static str| {
        observed.release(resource).is_some_and(Release::ready) && !(resource == S3 && holds_back)
    };

    let (build, vcluster) = vcluster_release(&order, platform, observed)?;
    let shut = order.network_policy || build.family.is_shut(&vcluster["spec"]["forProvider"]["values"]);
    let mut objects = BTreeMap::from([(VCLUSTER, vcluster)]);
    // Desired again for ever: dropping it once would uninstall it.
    if order.backup || observed.release(S3).is_some() {
        let trust = origin.as_ref().map(|origin| restore::keys_of(origin, observed.origin.as_deref()));
        let asked = s3::Asked { request, trust: &trust.unwrap_or_default(), shut };
        objects.insert(S3, s3::release(xr, platform, &order, observed.release(S3), asked)?);
    }
    let need = keys::Need { order: &order, platform, request, report: &report, observed };
    if let Some(keys) = keys::release(need) {
        objects.insert(KEYS, keys);
    }
    let registers = order.rancher && (ready(VCLUSTER) || observed.release(RANCHER).is_some());
    // Its Usage goes with it, so that one is disarmed first.
    let lingers = !registers && usages::is_armed(observed, VCLUSTER_USAGE) && observed.release(RANCHER).is_some();
    if registers || lingers {
        let there = observed.release(RANCHER);
        let release = match there.filter(|_| lingers || observed.parts.is_adopted(RANCHER)) {
            Some(old) => adopted::again(old),
            None => {
                rancher::release(platform, &order, build, rancher::Asked { shut, restored: restored(&health, there) })?
            }
        };
        objects.insert(RANCHER, release);
    }
    if let Some(old) = observed.release(OLD_S3) {
        objects.insert(OLD_S3, adopted::old_s3(old, order.deletion_policy));
    }
    let desired: Vec<&str> = objects.keys().copied().collect();
    objects.extend(usages::usages(&order, platform.usages, observed, &desired)?);

    let stored = objects.contains_key(S3);
    let composed = |(part, object)| {
        // Nobody waits for a Usage: where Crossplane's are switched off, none ever says that it is ready. Nor for the old
        // s3-register, to which nothing will be done again: whether its bucket serves, the sidecar tells.
        let ready = usages::is_one(part) || part == OLD_S3 || ready(part);
        (observed.parts.name(part).to_owned(), Composed { object, ready })
    };
    let resources: BTreeMap<_, _> = objects.into_iter().map(composed).collect();
    let awaiting = health.awaiting
        || request.is_some()
        || usages::are_armed(observed)
        || order.rancher != registers
        || resources.values().any(|resource| !resource.ready);
    Ok(Rendered {
        status: status(xr, platform, &order, build, stored.then_some(observed), &health),
        conditions: conditions(health, registration(&order, build, observed.release(RANCHER).map(Release::ready))),
        kubeconfig: kubeconfig(&order, running, observed),
        report: order.backup.then_some(source),
        origin,
        ttl: if awaiting { Some(AWAITING) } else { order.backup.then_some(WATCHING) },
        resources,
    })
}

/// A default moves only when the control plane restarts anyway: when what is kept does not hold any more.
fn vcluster_release<'o>(
    order: &'o Order,
    platform: &Platform,
    observed: &Observed,
) -> Result<(&'o Build, Value), Refusal> {
    let running = observed.release(VCLUSTER);
    let adopted = running.filter(|_| observed.parts.is_adopted(VCLUSTER));
    let kept = vcluster::release(platform, order, &order.kept, adopted);
    let holds = running.is_some_and(|r| holds(r.values(), &kept["spec"]["forProvider"]["values"]));
    let rests = holds && !order.moves;
    let (build, release) = match rests {
        true => (&order.kept, kept),
        false => (&order.fresh, vcluster::release(platform, order, &order.fresh, adopted)),
    };
    let overlay = overlay::Tenants {
        values: &order.values,
        // What runs goes on when the platform allows less.
        allowed: (!order.values_run).then_some(platform.value_paths.as_slice()),
        chart: &build.chart_version,
        preset: build.resources.is_some().then_some(build.family.places().resources),
    };
    overlay.check()?;
    // What rests has been accepted once.
    if !rests {
        let resources = read::at(&release["spec"]["forProvider"]["values"], build.family.places().resources);
        check_resources(resources, &build.chart_version, build.size.as_deref())?;
    }
    Ok((build, release))
}

/// Whether everything that is wanted is there; what others have added does not count.
pub(crate) fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| there.get(name).is_some_and(|there| holds(there, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| holds(there, wanted))
        }
        (Value::Number(there), Value::Number(wanted)) => there.as_f64() == wanted.as_f64(),
        (there, wanted) => there == wanted,
    }
}

/// For a claim's Secret. A namespaced XR has none: provider-helm writes into its namespace, where its tenant looks.
fn kubeconfig(order: &Order, running: Option<Release<'_>>, observed: &Observed) -> Option<Vec<u8>> {
    let found = running.and_then(Release::kubeconfig).or(observed.kubeconfig.as_deref());
    found.filter(|_| order.names.scope == Scope::Cluster).map(<[u8]>::to_vec)
}

/// What all Releases share. Only fields that provider-helm 0.21 and 1.4 both know, or 1.0.2 and 1.4 in the namespaced
/// group: others fail the apply.
fn release(
    resource: &str,
    helm_name: &str,
    namespace: &str,
    order: &Order,
    platform: &Platform,
    chart: &Value,
) -> Value {
    let scope = &order.names.scope;
    let mut release = json!({
        "apiVersion": format!("{}/v1beta1", scope.helm_group()),
        "kind": "Release",
        "metadata": {
            "name": order.names.object(resource),
            "annotations": { EXTERNAL_NAME: helm_name },
        },
        "spec": {
            "providerConfigRef": { "name": platform.provider_config.name },
            "forProvider": { "namespace": namespace, "chart": chart },
        },
    });
    if let Some(namespace) = scope.namespace() {
        // Crossplane would say it as well; written out, no renderer has to know.
        release["metadata"]["namespace"] = json!(namespace);
        release["spec"]["providerConfigRef"]["kind"] = json!(platform.provider_config.kind.as_str());
    }
    release
}

/// A Secret a Release refers to. Those of the namespaced group reach no namespace but their own.
fn secret_ref(name: &str, order: &Order) -> Value {
    match order.names.scope {
        Scope::Cluster => json!({ "name": name, "namespace": order.names.platform_namespace }),
        Scope::Namespace(_) => json!({ "name": name }),
    }
}

fn chart(chart: &Chart, order: &Order) -> Value {
    chart_of(&chart.name, &chart.repository, &chart.version, chart.pull_secret.as_deref(), order)
}

fn chart_of(name: &str, repository: &str, version: &str, pull_secret: Option<&str>, order: &Order) -> Value {
    let mut chart = json!({ "name": name, "repository": repository, "version": version });
    if let Some(secret) = pull_secret {
        chart["pullSecretRef"] = secret_ref(secret, order);
    }
    chart
}

/// Facts known now, and what must never be forgotten.
fn status(
    xr: &Xr,
    platform: &Platform,
    order: &Order,
    build: &Build,
    stored: Option<&Observed>,
    health: &Health,
) -> Map<String, Value> {
    let names = &order.names;
    let vcluster = json!({
        "key": names.key.as_str(),
        "namespace": names.host_namespace,
        "release": names.release,
        "chartVersion": build.chart_version,
        "kubeconfigSecret": match names.scope {
            Scope::Cluster => names.kubeconfig(),
            Scope::Namespace(_) => names.connection(),
        },
        "endpoint": order.server(),
    });
    let mut backup = xr.remembered.clone();
    backup.extend(health.backup.clone());
    if let Some(observed) = stored {
        let old = order.old_store.as_ref();
        let url = platform.store.url_of(&names.bucket, names.key.as_str());
        let bucket = platform.store.bucket_of(&names.bucket, names.key.as_str());
        if let Some(bucket) = old.map(|old| old.bucket.clone()).or(bucket) {
            backup.insert("bucket".to_owned(), json!(bucket));
        }
        // What more there is to say than a bucket's name.
        if old.is_none() && platform.store.url.is_some() {
            backup.insert("store".to_owned(), json!(url));
        }
        if let Some(endpoint) = old.map(|old| &old.endpoint).or(platform.store.endpoint.as_ref()) {
            backup.insert("endpoint".to_owned(), json!(endpoint));
        }
        match order.deletion_policy == DeletionPolicy::Delete && !removes_bucket(platform, order, observed) {
            true => backup.insert("onDeletion".to_owned(), json!(STAYS)),
            false => backup.remove("onDeletion"),
        };
    }
    let mut status = Map::from_iter([("vcluster".to_owned(), vcluster), ("backup".to_owned(), Value::Object(backup))]);
    if !health.restore.is_empty() {
        status.insert("restore".to_owned(), Value::Object(health.restore.clone()));
    }
    status
}

/// Whether anything of what is deleted with the order takes the bucket with it.
fn removes_bucket(platform: &Platform, order: &Order, observed: &Observed) -> bool {
    match order.old_store {
        None => platform.store.register == Register::Minio,
        // That of the upstream chart, as long as nobody has taken its Release away.
        Some(_) => observed.release(OLD_S3).is_some(),
    }
}

/// The restore that was served last; while another is open or has failed, the one that the registration knows.
fn restored<'a>(health: &'a Health, registration: Option<Release<'a>>) -> Option<&'a str> {
    let text = |name: &str| health.restore.get(name).and_then(Value::as_str);
    match text("phase") {
        Some(SUCCEEDED) => text("id"),
        _ => read::at(registration?.values(), "/restored").and_then(Value::as_str),
    }
}

fn conditions(health: Health, registration: Condition) -> [Condition; 4] {
    let [backup, recoverable, restored] = health.conditions;
    [backup, recoverable, restored, registration]
}

fn registration(order: &Order, build: &Build, release: Option<bool>) -> Condition {
    let operator = "the vcluster-rancher-operator registers it and says nothing here; look in Rancher";
    let unready = "the registration's Release is not ready yet; the log of its Job says what it waits for";
    let (status, reason, message) = match (order.rancher, release) {
        (false, _) if order.by_operator && build.import != Import::Skipped => (None, "ByOperator", operator),
        (false, _) => (None, "Disabled", "neither claim nor platform asks for a registration"),
        (true, Some(true)) => (Some(true), "Registered", "the registration's Release is ready"),
        (true, Some(false)) => (Some(false), "Registering", unready),
        (true, None) => (Some(false), "Registering", "the registration follows once the vcluster was ready"),
    };
    Condition { kind: "RancherRegistered", status, reason: reason.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_add_does_not_count_as_a_change() {
        let there = json!({"a": {"b": 1.0, "added": true}, "list": [{"x": 1, "y": 2}]});
        assert!(holds(&there, &json!({"a": {"b": 1}, "list": [{"x": 1}]})));
        assert!(!holds(&there, &json!({"a": {"b": 2}})));
        assert!(!holds(&there, &json!({"c": null})));
        assert!(!holds(&there, &json!({"list": []})), "a list is taken as a whole");
    }
}
