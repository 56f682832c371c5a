//! Who may do what. Rights are no part of a package, so they are printed to be applied.

use serde_json::{Value, json};

use super::{Api, packages::PROVIDER, plural};

/// Rights of Crossplane, which joins them to its own by their label, and of tenants, which join Kubernetes' own
/// `admin`, `edit` and `view`.
///
/// Tenants get what they order and nothing below it: a Release may name any ProviderConfig of the cluster, so whoever
/// may write Releases may do what provider-helm may.
pub(super) fn rights(api: &Api) -> Vec<Value> {
    let ordered = plural(api.ordered());
    let name = |what: &str| format!("{ordered}.{}:{what}", api.group);
    let (all, read) =
        (json!(["create", "delete", "get", "list", "patch", "update", "watch"]), json!(["get", "list", "watch"]));
    let rule = |group: &str, resource: &str, verbs: &Value| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    let to = |role: &str| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), json!("true"));
    vec![
        role(
            &name("crossplane"),
            vec![("rbac.crossplane.io/aggregate-to-crossplane".to_owned(), json!("true"))],
            &json!([
                // Where provider-helm is no package, nobody else says this.
                rule(helm_group(api), "releases", &all),
                // The sidecars' reports.
                rule("", "configmaps", &read),
            ]),
        ),
        role(&name("edit"), vec![to("admin"), to("edit")], &json!([rule(&api.group, &ordered, &all)])),
        role(&name("view"), vec![to("view")], &json!([rule(&api.group, &ordered, &read)])),
    ]
}

fn helm_group(api: &Api) -> &'static str {
    if api.claims() { "helm.crossplane.io" } else { "helm.m.crossplane.io" }
}

fn role(name: &str, labels: Vec<(String, Value)>, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name, "labels": Value::Object(labels.into_iter().collect()) },
        "rules": rules,
    })
}

/// provider-helm under a service account of a known name, which can be given rights before it exists: it installs
/// charts that make roles, namespaces and workloads, and may do only what it may grant.
pub(super) fn provider(api: &Api) -> Vec<Value> {
    const NAME: &str = "provider-helm";
    const NAMESPACE: &str = "crossplane-system";
    let (version, kind) =
        if api.claims() { ("v0.21.0", "ProviderConfig") } else { ("v1.0.6", "ClusterProviderConfig") };
    vec![
        json!({
            "apiVersion": "pkg.crossplane.io/v1beta1",
            "kind": "DeploymentRuntimeConfig",
            "metadata": { "name": NAME },
            "spec": { "serviceAccountTemplate": { "metadata": { "name": NAME } } },
        }),
        json!({
            "apiVersion": "pkg.crossplane.io/v1",
            "kind": "Provider",
            "metadata": { "name": NAME },
            "spec": { "package": format!("{PROVIDER}:{version}"), "runtimeConfigRef": { "name": NAME } },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": NAME },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
        }),
        json!({
            "apiVersion": format!("{}/v1beta1", helm_group(api)),
            "kind": kind,
            "metadata": { "name": "default" },
            "spec": { "credentials": { "source": "InjectedIdentity" } },
        }),
    ]
}
