//! The vcluster Release: it knows *that* there is a sidecar, and nothing of what the sidecar is told.
//!
//! Any change of these values restarts the tenant's API server, so interval, recipients, endpoint and keys travel in
//! `settings.yaml` instead. Under which keys things go is the business of [`Family`].

use serde_json::{Value, json};

use super::{
    adopted, chart_of,
    family::{Family, IMPORT_NAME, IN_ORDER, POD_MANAGEMENT, RESTORE, SIDECAR, SKIP_IMPORT, VOLUMES, put},
    secret_ref,
};
use crate::{
    adopt::values::put_before,
    key::Names,
    observed::{
        BACKUP_ANNOTATION, DEFAULTS_ANNOTATION, KUBECONFIG, KUBERNETES_ANNOTATION, ORDERED_ANNOTATION, Release,
        SIZE_ANNOTATION, VALUES_ANNOTATION, VCLUSTER,
    },
    order::{Build, Import, Order},
    overlay::lay_over,
    platform::Platform,
};

const CONFIG_DIR: &str = "/etc/vcluster-backup";
const DATA_DIR: &str = "/data";
const SPOOL_DIR: &str = "/var/spool/vcluster-backup";

/// The whole Release. An adopted one is what it is already, with a sidecar.
pub(super) fn release(platform: &Platform, order: &Order, build: &Build, adopted: Option<Release<'_>>) -> Value {
    let mut object = match adopted {
        Some(there) => adopted::vcluster(there, platform, order, build),
        None => made(platform, order, build),
    };
    if let Some(size) = &build.size {
        object["metadata"]["annotations"][SIZE_ANNOTATION] = json!(size);
    }
    if let Some(kubernetes) = &build.kubernetes {
        object["metadata"]["annotations"][KUBERNETES_ANNOTATION] = json!(kubernetes.version);
    }
    if !build.defaults.is_empty() {
        object["metadata"]["annotations"][DEFAULTS_ANNOTATION] = json!(json!(build.defaults).to_string());
    }
    if let Some(fingerprint) = &order.fingerprint {
        object["metadata"]["annotations"][VALUES_ANNOTATION] = json!(fingerprint);
    }
    if !order.backup {
        object["metadata"]["annotations"][BACKUP_ANNOTATION] = json!("false");
    }
    if !order.ordered.is_empty() {
        object["metadata"]["annotations"][ORDERED_ANNOTATION] = json!(order.ordered.join(","));
    }
    connect(&mut object["spec"], order);
    object
}

fn made(platform: &Platform, order: &Order, build: &Build) -> Value {
    let (names, source) = (&order.names, &build.source);
    let pull_secret = source.pull_secret.as_deref();
    let chart = chart_of(&source.name, &source.repository, &build.chart_version, pull_secret, order);
    let mut object = super::release(VCLUSTER, &names.release, &names.host_namespace, order, platform, &chart);
    let spec = &mut object["spec"];
    spec["forProvider"]["values"] = values(order, build);
    spec["managementPolicies"] = json!(["*"]);
    spec["rollbackLimit"] = json!(3);
    object
}

/// Brings the kubeconfig to the claim. Ready then means that it exists: provider-helm sets Available after it has read it.
/// What another Composition has said of it stays.
fn connect(spec: &mut Value, order: &Order) {
    let names = &order.names;
    let mut details = match spec.get("connectionDetails") {
        Some(Value::Array(details)) => details.clone(),
        _ => Vec::new(),
    };
    if !details.iter().any(|detail| detail.get("toConnectionSecretKey").and_then(Value::as_str) == Some(KUBECONFIG)) {
        details.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "name": names.kubeconfig(),
            "namespace": names.host_namespace,
            "fieldPath": "data.config",
            "toConnectionSecretKey": KUBECONFIG,
            "skipPartOfReleaseCheck": true, // the vcluster wrote it, not Helm
        }));
    }
    spec["connectionDetails"] = Value::Array(details);
    if spec.get("writeConnectionSecretToRef").is_none() {
        // The platform namespace is there before the host namespace is.
        spec["writeConnectionSecretToRef"] = secret_ref(&names.connection(), order);
    }
}

/// What others add lies under what the function writes, a tenant's over the platform's.
fn values(order: &Order, build: &Build) -> Value {
    let mut values = build.family.open();
    for overlay in [&build.defaults, &order.values] {
        lay_over(&mut values, Value::Object(overlay.clone()));
    }
    lay_over(&mut values, own(order, build));
    values
}

/// What nobody else decides.
fn own(order: &Order, build: &Build) -> Value {
    let family = build.family;
    let mut values = family.base(build.distro, &order.server());
    family.claim(&mut values, &order.storage_size, &order.storage_class, order.deletion_policy.as_str());
    if let Some(host) = &order.host {
        family.expose(&mut values, host);
    }
    if let Some(kubernetes) = &build.kubernetes {
        family.kubernetes(&mut values, &build.chart_version, build.distro, &kubernetes.tag);
    }
    let annotations = family.service_annotations();
    match build.import {
        Import::Unsaid => {}
        Import::Named => put(&mut values, annotations, json!({ IMPORT_NAME: order.names.key.as_str() })),
        Import::Skipped => put(&mut values, annotations, json!({ SKIP_IMPORT: "true" })),
    }
    if let Some(resources) = &build.resources {
        put(&mut values, family.places().resources, resources.clone());
    }
    if let Some(registry) = &build.registry {
        family.mirror(&mut values, registry);
    }
    if order.pods_in_order && family != Family::Legacy {
        put(&mut values, POD_MANAGEMENT, json!(IN_ORDER));
    }
    if order.backup {
        add_sidecar(&mut values, order, build);
    }
    values
}

/// Sidecar, init container and their volumes, before what is there.
pub(super) fn add_sidecar(values: &mut Value, order: &Order, build: &Build) {
    let family = build.family;
    put_before(values, family.places().volumes, volumes(&order.names, &order.storage_size));
    let restore = container(RESTORE, &["restore", "--init"], build);
    family.add(values, container(SIDECAR, &["run"], build), restore);
}

/// All optional: the control plane starts without them and the sidecar waits for them.
fn volumes(names: &Names, storage_size: &str) -> Vec<Value> {
    let [settings, s3, key, status, spool] = VOLUMES;
    vec![
        json!({ "name": settings, "configMap": { "name": names.settings(), "optional": true } }),
        json!({ "name": s3, "secret": { "secretName": names.credentials, "optional": true } }),
        json!({ "name": key, "secret": { "secretName": names.identity(), "optional": true } }),
        json!({ "name": status, "configMap": { "name": names.status(), "optional": true } }),
        // Ciphertext on its way. No backup is larger than the volume it comes from, and a smaller limit would have the
        // kubelet evict the API server.
        json!({ "name": spool, "emptyDir": { "sizeLimit": storage_size } }),
    ]
}

/// Our image as the chart wants to read it: without what it puts before it.
fn image(build: &Build) -> &str {
    let registry = build.registry.as_deref().filter(|_| build.family.mirrors_sidecar());
    let rest = registry.and_then(|registry| build.sidecar_image.strip_prefix(registry)?.strip_prefix('/'));
    rest.unwrap_or(&build.sidecar_image)
}

/// Sidecar and init container differ in what they are told to do. No environment: the configuration is files, which can
/// change without a new pod.
fn container(name: &str, command: &[&str], build: &Build) -> Value {
    let folders = ["--config-dir", CONFIG_DIR, "--data-dir", DATA_DIR, "--spool-dir", SPOOL_DIR];
    let args: Vec<&str> = command.iter().copied().chain(folders).collect();
    let read_only = |volume: &str, folder: &str| json!({ "name": format!("backup-{volume}"), "mountPath": format!("{CONFIG_DIR}/{folder}"), "readOnly": true });
    json!({
        "name": name,
        "image": image(build),
        "args": args,
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi" },
            // Its read transaction is the longest any writer waits: throttling it would stall the API server.
            "limits": { "cpu": "1", "memory": "256Mi" },
        },
        // The syncer's user, who owns the database, and nothing beyond it.
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            read_only("settings", "settings"),
            read_only("s3", "s3"),
            read_only("key", "key"),
            read_only("status", "status"),
            { "name": "backup-spool", "mountPath": SPOOL_DIR },
            { "name": "data", "mountPath": DATA_DIR }, // the chart's own volume
        ],
    })
}
