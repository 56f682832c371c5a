//! What `function-vcluster manifests` prints is accepted by real API servers, old and new, and what a real core makes of
//! it refuses what would move a vcluster to another name, and accepts every example.

use e2e::cluster::Cluster;
use e2e::crossplane::{Crossplane, manifests};
use e2e::{examples, tools, yaml};
use serde_json::{Value, json};

/// Definition, Composition, Function and rights, then provider-helm with its configuration.
const TO_BE_APPLIED: &str = "definition,composition,function,rbac,provider";

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplane_1_14_accepts_what_is_printed_for_claims() {
    accepts("crossplane-1.14", &["claims"]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplane_1_20_accepts_what_is_printed_for_claims() {
    accepts("crossplane-1.20", &["claims"]);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn crossplane_2_3_accepts_what_is_printed_for_claims_and_namespaces() {
    accepts("crossplane-2.3", &["claims", "namespaced"]);
}

fn accepts(core: &str, tenancies: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&folder.path().join("host"), &folder.path().join("host-data"));
    cluster.apply_crds(&format!("{}{}", tools::crds(core), tools::crds("provider-helm-1.0")));
    for tenancy in tenancies {
        for group in ["vcluster.example.org", "caas.telekom.de"] {
            let printed = manifests(&[tenancy, "--group", group, "--only", TO_BE_APPLIED]);
            let said = cluster.accepts(&printed);
            assert_eq!(said.code, 0, "{core}, {tenancy}: {}", said.all());
            // Crossplane 2.3 would rather see claims gone.
            let surprise = said.err.lines().find(|line| line.contains("Warning") && !line.contains("v1 is deprecated"));
            assert_eq!(surprise, None, "{core}, {tenancy}");
        }
        // The server does look.
        let mut wrong = yaml::documents(&manifests(&[tenancy, "--only", "definition"]));
        wrong[0]["spec"]["noSuchField"] = json!(1);
        let said = cluster.accepts(&yaml::text(&wrong));
        assert!(said.code != 0 && said.err.contains("noSuchField"), "{core}: {said:?}");
    }
    // The input's schema is a CRD that nobody installs; its rules are a CRD's all the same.
    let said = cluster.accepts(&manifests(&["--only", "input"]));
    assert_eq!(said.code, 0, "{core}: {}", said.all());
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn what_a_real_core_makes_of_the_definitions_keeps_ids_and_accepts_every_example() {
    let folder = tempfile::tempdir().expect("a folder");
    let crossplane = Crossplane::start(folder.path());
    let cluster = &crossplane.cluster;
    for tenancy in ["claims", "namespaced"] {
        crossplane.define(&manifests(&[tenancy, "--only", "definition"]));
    }
    cluster.apply(&yaml::text(&[namespace("team-a")]));
    // Without a Composition nothing is composed: this story is about the API alone.
    for (api_version, kind) in [
        ("vcluster.example.org/v1alpha1", "VCluster"),
        ("vcluster.example.org/v1alpha1", "XVCluster"),
        ("vcluster.m.example.org/v1alpha1", "VCluster"),
    ] {
        ids_are_kept(cluster, api_version, kind);
    }
    the_columns_are_shown(cluster);
    for example in examples::all() {
        for file in ["claim.yaml", "xr.yaml"].iter().filter(|file| example.file(file).is_some()) {
            let mut order = yaml::documents(&example.text(file)).remove(0);
            if order["metadata"]["namespace"].is_string() {
                cluster.apply(&yaml::text(&[namespace(yaml::str_at(&order, "/metadata/namespace"))]));
            }
            // It is not there yet.
            order["metadata"].as_object_mut().expect("metadata").remove("uid");
            let said = cluster.accepts(&yaml::text(&[order]));
            assert_eq!(said.code, 0, "{}/{file}: {}", example.name, said.all());
        }
        let xr = example.rendered().remove(0);
        the_status_is_accepted(cluster, &example.name, &xr);
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn ids_are_kept(cluster: &Cluster, api_version: &str, kind: &str) {
    let order = |name: &str, spec: Value| {
        let mut order = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        if kind == "VCluster" {
            order["metadata"]["namespace"] = json!("team-a");
        }
        order.to_string()
    };
    let story = format!("{kind} of {api_version}");
    let refused = |order: String, why: &str| {
        let said = cluster.accepts(&order);
        assert!(said.code != 0 && said.err.contains(why), "{story}: {why:?} expected: {said:?}");
    };
    cluster.apply(&order("with-id", json!({"id": "shop", "size": "small"})));
    cluster.apply(&order("without", json!({"size": "small"})));
    refused(order("with-id", json!({"id": "other", "size": "small"})), "spec.id cannot change");
    refused(order("with-id", json!({"size": "small"})), "spec.id cannot change");
    refused(order("without", json!({"id": "shop", "size": "small"})), "spec.id cannot change");
    // Anything else may change: a rule must not lock anybody in.
    let changed = json!({"id": "shop", "size": "large", "storage": {"size": "9Gi"}});
    assert_eq!(cluster.accepts(&order("with-id", changed)).code, 0, "{story}");
    refused(order(&"n".repeat(64), json!({})), "63");
    assert_eq!(cluster.accepts(&order(&"n".repeat(63), json!({}))).code, 0, "{story}: a name that fits");
    refused(order("new", json!({"id": "i".repeat(64)})), "63");
    refused(order("new", json!({"backup": {"intervall": "1m"}})), "intervall");
    refused(order("new", json!({"backup": {"interval": "often"}})), "interval");
    refused(order("new", json!({"deletionPolicy": "Keep"})), "deletionPolicy");
    refused(order("new", json!({"restore": {"at": "latest"}})), "restore.id");
}

fn the_columns_are_shown(cluster: &Cluster) {
    for resource in
        ["vclusters.vcluster.example.org", "xvclusters.vcluster.example.org", "vclusters.vcluster.m.example.org"]
    {
        let table = cluster.kubectl(&["get", resource, "--all-namespaces"], "").ok();
        let header = table.lines().next().expect("a header");
        for column in ["VERSION", "BACKUP", "LAST-BACKUP", "READY"] {
            let found = header.split_whitespace().filter(|name| *name == column).count();
            assert_eq!(found, 1, "{resource}: {column} in {header}");
        }
    }
}

/// Crossplane writes it by server-side apply, which refuses what the schema does not know.
fn the_status_is_accepted(cluster: &Cluster, example: &str, xr: &Value) {
    let mut there = json!({"apiVersion": xr["apiVersion"], "kind": xr["kind"], "metadata": xr["metadata"], "spec": {}});
    there["metadata"]["name"] = json!(format!("status-{example}"));
    if let Some(name) = there["metadata"]["namespace"].as_str() {
        cluster.apply(&yaml::text(&[namespace(name)]));
    }
    cluster.apply(&there.to_string());
    let mut written = there.clone();
    written["status"] = xr["status"].clone();
    written.as_object_mut().expect("an object").remove("spec");
    // The core is there and writes its own.
    written["status"].as_object_mut().expect("an object").remove("conditions");
    let apply = ["apply", "--server-side", "--subresource=status", "--validate=strict", "--filename", "-"];
    let said = cluster.kubectl(&apply, &written.to_string());
    assert_eq!(said.code, 0, "{example}: {}", said.all());
    let namespace = there["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let kind = format!(
        "{}s.{}",
        yaml::str_at(xr, "/kind").to_lowercase(),
        yaml::str_at(xr, "/apiVersion").split('/').next().expect("a group")
    );
    let found = cluster.object(&kind, &namespace, yaml::str_at(&there, "/metadata/name")).expect("written");
    for (part, value) in written["status"].as_object().expect("an object") {
        assert_eq!(&found["status"][part], value, "{example}: nothing of status.{part} was dropped");
    }
}
