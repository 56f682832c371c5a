use serde_json::json;

use super::*;

fn overlay(value: Value) -> Values {
    let Value::Object(values) = value else { panic!("a map") };
    values
}

fn tenants(values: Value, allowed: &[&str], chart: &str) -> Result<(), String> {
    let allowed: Vec<String> = allowed.iter().map(|path| (*path).to_owned()).collect();
    let tenants = Tenants { values: &overlay(values), allowed: Some(&allowed), chart, preset: None };
    tenants.check().map_err(|refusal| refusal.to_string())
}

/// Everything that opens a door when nobody looks, under a platform that allows each root.
#[test]
fn what_is_closed_is_closed_whatever_the_platform_allows() {
    let current = [
        "rbac",
        "plugin",
        "plugins",
        "experimental",
        "exportKubeConfig",
        "integrations",
        "controlPlane",
        "sync",
        "networking",
        "policies",
        "telemetry",
        "snapshots",
        "platform",
        "privateNodes",
        "deletion",
    ];
    for values in [
        json!({"rbac": {"clusterRole": {"extraRules": [{"apiGroups": ["*"]}]}}}),
        json!({"rbac": {}}),
        json!({"rbac": []}),
        json!({"plugin": {"x": {"image": "x"}}}),
        json!({"plugins": {"backup-restore": {"image": "x"}}}),
        json!({"experimental": {"deploy": {"host": {"manifests": "kind: Pod"}}}}),
        json!({"exportKubeConfig": {"additionalSecrets": [{"namespace": "kube-system"}]}}),
        json!({"integrations": {"externalSecrets": {"enabled": true}}}),
        json!({"telemetry": {"enabled": true}}),
        json!({"snapshots": {"auto": {"schedule": "* * * * *"}}}),
        json!({"platform": {"apiKey": {"namespace": "other"}}}),
        json!({"privateNodes": {"enabled": true}}),
        json!({"deletion": {"prevent": true}}),
        json!({"sync": {"fromHost": {"secrets": {"enabled": true}}}}),
        json!({"sync": {"FROMHOST": {"secrets": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"namespaces": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"persistentVolumes": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"customResources": {"releases.helm.crossplane.io": {"enabled": true}}}}}),
        json!({"sync": {"toHost": {"priorityClasses": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"storageClasses": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"pods": {"patches": [{"path": "spec.volumes"}]}}}}),
        json!({"sync": {"toHost": {"gatewayApi": {"gateways": {"patches": []}}}}}),
        // A leaf where a branch is would take everything below it along.
        json!({"sync": []}),
        json!({"sync": "x"}),
        json!({"sync": {}}),
        json!({"sync": {"toHost": 1}}),
        json!({"controlPlane": false}),
        json!({"controlPlane": {"statefulSet": {}}}),
        json!({"controlPlane": {"statefulSet": []}}),
        json!({"controlPlane": {"statefulSet": {"sidecarContainers": []}}}),
        json!({"controlPlane": {"statefulSet": {"initContainers": [{"securityContext": {"privileged": true}}]}}}),
        json!({"controlPlane": {"statefulSet": {"persistence": {"volumeClaim": {"enabled": false}}}}}),
        json!({"controlPlane": {"statefulSet": {"persistence": {"addVolumes": [{"hostPath": {"path": "/"}}]}}}}),
        json!({"controlPlane": {"statefulSet": {"security": {"containerSecurityContext": {"privileged": true}}}}}),
        json!({"controlPlane": {"statefulSet": {"image": {"repository": "evil"}}}}),
        json!({"controlPlane": {"statefulSet": {"env": []}}}),
        json!({"controlPlane": {"statefulSet": {"pods": {"labels": {"app": "other"}}}}}),
        json!({"controlPlane": {"statefulSet": {"highAvailability": {"replicas": 3}}}}),
        json!({"controlPlane": {"statefulSet": {"scheduling": {"podManagementPolicy": "OrderedReady"}}}}),
        json!({"controlPlane": {"statefulSet": {"scheduling": []}}}),
        json!({"controlPlane": {"statefulset": {"env": []}}}),
        json!({"controlPlane": {"backingStore": {"etcd": {"deploy": {"enabled": true}}}}}),
        json!({"controlPlane": {"backingStore": {"database": {"external": {"enabled": true}}}}}),
        json!({"controlPlane": {"distro": {"k3s": {"enabled": true}}}}),
        json!({"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": ["--etcd-servers=http://x"]}}}}}),
        json!({"controlPlane": {"standalone": {"enabled": true}}}),
        json!({"controlPlane": {"hostPathMapper": {"enabled": true}}}),
        json!({"controlPlane": {"ingress": {"host": "other.example.org"}}}),
        json!({"controlPlane": {"ingress": {"annotations": {"nginx.ingress.kubernetes.io/server-alias": "x"}}}}),
        json!({"controlPlane": {"tlsRoute": {"host": "other.example.org"}}}),
        json!({"controlPlane": {"proxy": {"extraSANs": ["other.example.org"]}}}),
        json!({"controlPlane": {"service": {"annotations": {"platform.vcluster.com/custom-name": "other"}}}}),
        json!({"controlPlane": {"service": {"spec": {"externalIPs": ["10.0.0.1"]}}}}),
        json!({"controlPlane": {"advanced": {"serviceAccount": {"name": "admin"}}}}),
        json!({"controlPlane": {"advanced": {"defaultImageRegistry": "evil"}}}),
        json!({"networking": {"replicateServices": {"fromHost": [{"from": "other/db", "to": "a/db"}]}}}),
    ] {
        let refusal = tenants(values.clone(), &current, "0.36.1").expect_err(&values.to_string());
        assert!(refusal.starts_with("spec.values.") && refusal.contains("closed to tenants"), "{refusal}");
    }
    let legacy = [
        "syncer",
        "vcluster",
        "storage",
        "volumes",
        "init",
        "rbac",
        "plugin",
        "embeddedEtcd",
        "headless",
        "mapServices",
        "securityContext",
        "podSecurityContext",
        "ingress",
        "service",
        "serviceAccount",
        "autoDeletePersistentVolumeClaims",
        "multiNamespaceMode",
        "sync",
        "isolation",
        "hostpathMapper",
        "k3sToken",
        "defaultImageRegistry",
        "enableHA",
    ];
    for values in [
        json!({"syncer": {"extraArgs": ["--x"]}}),
        json!({"syncer": {"storage": {"persistence": false}}}),
        json!({"syncer": {"volumeMounts": []}}),
        json!({"syncer": []}),
        json!({"vcluster": {"image": "x"}}),
        json!({"vcluster": {"extraArgs": ["--datastore-endpoint=x"]}}),
        json!({"storage": {"persistence": false}}),
        json!({"volumes": [{"hostPath": {"path": "/"}}]}),
        json!({"init": {"manifests": "kind: Pod"}}),
        json!({"rbac": {"clusterRole": {"create": true}}}),
        json!({"plugin": {"backup": {"optional": false}}}),
        json!({"embeddedEtcd": {"enabled": true}}),
        json!({"headless": true}),
        json!({"enableHA": true}),
        json!({"mapServices": {"fromHost": [{"from": "other/db"}]}}),
        json!({"securityContext": {"privileged": true}}),
        json!({"podSecurityContext": {"runAsUser": 1}}),
        json!({"ingress": {"host": "other.example.org"}}),
        json!({"service": {"externalIPs": ["10.0.0.1"]}}),
        json!({"serviceAccount": {"name": "admin"}}),
        json!({"autoDeletePersistentVolumeClaims": true}),
        json!({"multiNamespaceMode": {"enabled": true}}),
        json!({"sync": {"generic": {"config": "x"}}}),
        json!({"sync": {"persistentvolumes": {"enabled": true}}}),
        json!({"sync": {"toHost": {"ingresses": {"enabled": true}}}}),
        json!({"isolation": {"namespace": "kube-system"}}),
        json!({"hostpathMapper": {"enabled": true}}),
        json!({"k3sToken": "x"}),
        json!({"defaultImageRegistry": "evil/"}),
    ] {
        let refusal = tenants(values.clone(), &legacy, "0.19.10").expect_err(&values.to_string());
        assert!(refusal.starts_with("spec.values.") && refusal.contains("closed to tenants"), "{refusal}");
    }
}

#[test]
fn what_is_allowed_is_had_and_nothing_beside_it() {
    let allowed = ["sync.toHost.ingresses", "controlPlane.statefulSet", "policies"];
    for values in [
        json!({}),
        json!({"sync": {"toHost": {"ingresses": {"enabled": true}}}}),
        json!({"controlPlane": {"statefulSet": {"resources": {"limits": {"memory": "1Gi"}}}}}),
        json!({"controlPlane": {"statefulSet": {"scheduling": {"tolerations": [{"key": "a.b/c"}]}}}}),
        json!({"policies": {"networkPolicy": {"enabled": true}}}),
    ] {
        assert_eq!(tenants(values.clone(), &allowed, "0.36.1"), Ok(()), "{values}");
    }
    let refused = [
        json!({"sync": {"toHost": {"ingress": {"enabled": true}}}}),
        json!({"sync": {"toHost": {"pods": {"enabled": false}}}}),
        json!({"sync.toHost.ingresses": {"enabled": true}}),
        json!({"sync": {"toHost.ingresses": {"enabled": true}}}),
        json!({"sync": {"toHost": {"ingresses": {"enabled": null}}}}),
        json!({"controlPlane": {"statefulSet": {"scheduling": {"tolerations": [null]}}}}),
        json!({"controlPlane": {"coredns": {"enabled": false}}}),
        json!({"sleepMode": {"enabled": true}}),
        json!({"platform\n": {}}),
        json!({"syncer": {"resources": {}}}),
    ];
    let sentences: Vec<String> =
        refused.into_iter().map(|values| tenants(values, &allowed, "0.36.1").expect_err("refused")).collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    spec.values.sync.toHost.ingress.enabled: not among the values that this platform lets tenants write; use those below sync.toHost.ingresses, controlPlane.statefulSet, policies
    spec.values.sync.toHost.pods.enabled: not among the values that this platform lets tenants write; use those below sync.toHost.ingresses, controlPlane.statefulSet, policies
    spec.values.sync.toHost.ingresses.enabled: vcluster chart 0.36.1 has no such values; mend the name, or remove it
    spec.values.sync.toHost.ingresses.enabled: not among the values that this platform lets tenants write; use those below sync.toHost.ingresses, controlPlane.statefulSet, policies
    spec.values.sync.toHost.ingresses.enabled: null would delete what the chart has; write the value itself, or remove it
    spec.values.controlPlane.statefulSet.scheduling.tolerations: null would delete what the chart has; write the value itself, or remove it
    spec.values.controlPlane.coredns.enabled: not among the values that this platform lets tenants write; use those below sync.toHost.ingresses, controlPlane.statefulSet, policies
    spec.values.sleepMode.enabled: vcluster chart 0.36.1 has no such values; it has been called sleep since 0.32; rename it
    spec.values.platform : vcluster chart 0.36.1 has no such values; mend the name, or remove it
    spec.values.syncer.resources: vcluster chart 0.36.1 has no such values; mend the name, or remove it
    "#);
    assert_eq!(
        tenants(json!({"sleep": {"auto": {}}}), &["sleep"], "0.31.3").expect_err("not yet"),
        "spec.values.sleep.auto: vcluster chart 0.31.3 has no such values; it is called sleepMode below 0.32; rename it"
    );
    assert_eq!(tenants(json!({"sleepMode": {"enabled": true}}), &["sleepMode"], "0.31.3"), Ok(()));
    assert_eq!(tenants(json!({"syncer": {"resources": {"a": 1}}}), &["syncer"], "0.19.10"), Ok(()));
    let snapshots = json!({"sync": {"toHost": {"volumeSnapshots": {"enabled": true}}}});
    assert_eq!(tenants(snapshots.clone(), &["sync"], "0.35.3"), Ok(()));
    assert_eq!(
        tenants(snapshots, &["sync"], "0.36.1").expect_err("the chart would fail"),
        "spec.values.sync.toHost.volumeSnapshots.enabled: vcluster chart 0.36.1 has given up volume snapshots; remove it"
    );
    let none = tenants(json!({"sync": {"toHost": {"ingresses": {"enabled": true}}}}), &[], "0.36.1");
    assert_eq!(
        none.expect_err("nothing is allowed"),
        "spec.values.sync.toHost.ingresses.enabled: this platform lets tenants write no values; remove it"
    );
}

#[test]
fn a_path_for_tenants_is_one_that_can_be_open() {
    for path in
        ["sync", "sync.toHost.ingresses", "controlPlane", "controlPlane.statefulSet", "syncer", "isolation", "policies"]
    {
        assert_eq!(check_path(path), Ok(()), "{path}");
    }
    for path in ["rbac", "sync.fromHost", "controlPlane.statefulSet.env", "plugin.backup", "sync.toHost.pods.patches"] {
        assert!(check_path(path).expect_err(path).starts_with("closed to tenants on every platform: "), "{path}");
    }
    assert!(check_path("synk.toHost").expect_err("a typing error").contains("mend the name"));
}

#[test]
fn the_platforms_own_values_reach_further_but_never_the_backups() {
    let check = |values: Value| check_defaults(&overlay(values), "0.36.1").map_err(|refusal| refusal.to_string());
    for values in [
        json!({"sync": {"fromHost": {"ingressClasses": {"enabled": true}}}}),
        json!({"controlPlane": {"statefulSet": {"image": {"repository": "loft-sh/vcluster-oss"}}}}),
        json!({"controlPlane": {"ingress": {"spec": {"ingressClassName": "nginx"}}}}),
        json!({"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": ["--oidc-issuer-url=https://id"]}}}}}),
        json!({"experimental": {"deploy": {"vcluster": {"manifests": "kind: Namespace"}}}}),
        json!({"rbac": {"clusterRole": {"enabled": true}}}),
    ] {
        assert_eq!(check(values.clone()), Ok(()), "{values}");
    }
    let long = json!({"experimental": {"deploy": {"vcluster": {"manifests": "x".repeat(128 << 10)}}}});
    assert_eq!(check(long), Err("input.defaults.values: more than 128 KiB; write less".to_owned()));
    let refused = [
        json!({"controlPlane": {"statefulSet": {"sidecarContainers": []}}}),
        json!({"controlPlane": {"statefulSet": {"highAvailability": {"replicas": 2}}}}),
        json!({"controlPlane": {"backingStore": {"etcd": {"embedded": {"enabled": true}}}}}),
        json!({"controlPlane": {"distro": {"k8s": {"apiServer": {"extraArgs": ["--etcd-servers=http://x"]}}}}}),
        json!({"controlPlane": {"ingress": {"host": "one-for-all.example.org"}}}),
        json!({"experimental": {"isolatedControlPlane": {"enabled": true}}}),
        json!({"plugins": {"x": {}}}),
        json!({"sleepMode": {"enabled": true}}),
        json!({"sync": null}),
    ];
    let sentences: Vec<String> = refused.into_iter().map(|values| check(values).expect_err("refused")).collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    input.defaults.values.controlPlane.statefulSet.sidecarContainers: closed to every overlay: database and backup sidecar stand there
    input.defaults.values.controlPlane.statefulSet.highAvailability.replicas: closed to every overlay: database and backup sidecar stand there
    input.defaults.values.controlPlane.backingStore.etcd.embedded.enabled: closed to every overlay: it decides where the database is, which backups read
    input.defaults.values.controlPlane.distro.k8s.apiServer.extraArgs: --etcd would take the database from where backups look for it; remove it
    input.defaults.values.controlPlane.ingress.host: closed to every overlay: it decides how the API server is reached; use spec.access.host
    input.defaults.values.experimental.isolatedControlPlane.enabled: closed to every overlay: it decides where the database is, which backups read
    input.defaults.values.plugins.x: closed to every overlay: the backup sidecar stands there
    input.defaults.values.sleepMode.enabled: vcluster chart 0.36.1 has no such values; it has been called sleep since 0.32; rename it
    input.defaults.values.sync: null would delete what the chart has; write the value itself, or remove it
    "#);
}

#[test]
fn a_default_is_for_the_charts_that_have_it() {
    let values = overlay(json!({"sleep": {"auto": {}}, "sync": {"toHost": {}}}));
    assert_eq!(defaults(&values, "0.36.1", "0.36.1"), values);
    assert_eq!(defaults(&values, "0.36.1", "0.29.3"), overlay(json!({"sync": {"toHost": {}}})));
    assert_eq!(defaults(&values, "0.36.1", "0.19.10"), Values::new());
}

#[test]
fn maps_join_and_everything_else_is_replaced() {
    let mut under = json!({"a": {"b": 1, "c": [1, 2]}, "d": "text", "e": {"f": 1}});
    lay_over(&mut under, json!({"a": {"c": [3], "g": true}, "d": {"h": 1}, "e": 2}));
    assert_eq!(under, json!({"a": {"b": 1, "c": [3], "g": true}, "d": {"h": 1}, "e": 2}));
}

#[test]
fn overlays_are_told_apart() {
    let print = |value: Value| fingerprint(&overlay(value));
    assert_eq!(print(json!({"a": 1, "b": 2})), print(json!({"b": 2, "a": 1})));
    assert_ne!(print(json!({"a": 1})), print(json!({"a": "1"})));
    assert_eq!(print(json!({"a": 1})).len(), 16);
}
