//! Nothing that holds data is ever dropped, and nothing the status has pinned forgotten.

use crate::common::{World, composite, names, now, settings, ttl, values};
use serde_json::json;

#[test]
fn trap_03_what_is_there_is_desired_again_in_every_state() {
    // Left out once, s3-register would be uninstalled, and with it could go every backup.
    let ready = World::ready();
    for name in ["vcluster", "s3", "rancher"] {
        let mut world = ready.clone();
        world.unready(name);
        assert_eq!(names(&world.answer()), ["rancher", "s3", "vcluster"], "{name} is not ready");
        world.find(name).as_object_mut().expect("an object").remove("status");
        assert_eq!(names(&world.answer()), ["rancher", "s3", "vcluster"], "{name} has no status");
    }
    let off = ready.clone().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    let vcluster = off.desired("vcluster").expect("desired");
    let stateful_set = &values(&vcluster)["controlPlane"]["statefulSet"];
    for gone in ["sidecarContainers", "initContainers"] {
        assert!(stateful_set.get(gone).is_none(), "{gone}");
    }
    assert!(stateful_set["persistence"].get("addVolumes").is_none());
    assert_eq!(names(&off.answer()), ["rancher", "s3", "vcluster"], "the bucket stays");
    // Never ordered, never made.
    let never = World::new().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert_eq!(names(&never.answer()), ["vcluster"]);
    assert_eq!(composite(&never.answer())["status"]["backup"], json!({"state": "Disabled"}), "no bucket is claimed");
}

#[test]
fn trap_03_policies_keep_the_backups_unless_the_claim_says_otherwise() {
    let s3 = World::new().desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]), "no Delete");
    assert_eq!(s3["spec"]["rollbackLimit"], 3);
    let world = World::new().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["*"]));
    assert!(s3["spec"].get("rollbackLimit").is_none(), "a rollback of a first install would be an uninstall");
    let vcluster = world.desired("vcluster").expect("desired");
    let volume = &values(&vcluster)["controlPlane"]["statefulSet"]["persistence"]["volumeClaim"];
    assert_eq!(volume["retentionPolicy"], "Delete");
}

#[test]
fn rancher_waits_for_a_ready_vcluster_once_and_leaves_only_on_the_claims_word() {
    let mut world = World::new();
    assert_eq!(names(&world.answer()), ["s3", "vcluster"]);
    world.settle();
    world.unready("vcluster");
    assert_eq!(names(&world.answer()), ["s3", "vcluster"], "not ready yet");
    assert_eq!(ttl(&world.answer()), Some(10));

    let ready = World::ready().with(|w| w.unready("vcluster"));
    assert_eq!(names(&ready.answer()), ["rancher", "s3", "vcluster"], "registered once");
    let default = ready.clone().with(|w| w.input["defaults"]["rancher"] = json!({"enabled": false}));
    assert_eq!(names(&default.answer()), ["rancher", "s3", "vcluster"], "a default removes nothing");
    let no = ready.clone().with(|w| w.xr["spec"]["rancher"] = json!({"enabled": false}));
    assert_eq!(names(&no.answer()), ["s3", "vcluster"]);
    let gone = ready.with(|w| w.input["rancher"] = json!({"mode": "none"}));
    assert!(gone.refusal().starts_with("input.rancher.mode: none, but resource \"rancher\" is registered"));
}

#[test]
fn trap_10_only_fields_that_the_oldest_provider_knows() {
    // Server-side apply refuses an undeclared field: a single one would stop the whole XR.
    const KNOWN: [&str; 17] = [
        "connectionDetails",
        "deletionPolicy",
        "forProvider.chart.name",
        "forProvider.chart.pullSecretRef",
        "forProvider.chart.repository",
        "forProvider.chart.version",
        "forProvider.namespace",
        "forProvider.patchesFrom",
        "forProvider.set",
        "forProvider.values",
        "forProvider.valuesFrom",
        "forProvider.wait",
        "forProvider.waitTimeout",
        "managementPolicies",
        "providerConfigRef",
        "rollbackLimit",
        "writeConnectionSecretToRef",
    ];
    let world = World::ready().with(|w| {
        for chart in ["vcluster", "s3Register", "rancherCluster"] {
            w.input["charts"][chart]["pullSecret"] = json!("pull");
        }
    });
    for name in ["vcluster", "s3", "rancher"] {
        let release = world.desired(name).expect("desired");
        let spec = release["spec"].as_object().expect("spec");
        let provider = spec["forProvider"].as_object().expect("forProvider");
        let chart = provider["chart"].as_object().expect("chart");
        let paths = spec.keys().filter(|k| *k != "forProvider").cloned();
        let paths = paths.chain(provider.keys().filter(|k| *k != "chart").map(|k| format!("forProvider.{k}")));
        for path in paths.chain(chart.keys().map(|k| format!("forProvider.chart.{k}"))) {
            assert!(KNOWN.contains(&path.as_str()), "{name}: {path}");
        }
        assert_eq!(chart["pullSecretRef"], json!({"name": "pull", "namespace": "vcluster-platform"}));
    }
}

#[test]
fn what_the_status_has_pinned_is_never_forgotten() {
    let keys = json!(["ed25519:one", "ed25519:two"]);
    let world = World::new().with(|w| {
        w.xr["status"] = json!({"backup": {"trustedKeys": keys, "newest": {"id": "g/7"}, "state": "Healthy", "x": 1}});
    });
    let backup = composite(&world.answer())["status"]["backup"].clone();
    assert_eq!(backup["trustedKeys"], keys);
    assert_eq!(backup["newest"], json!({"id": "g/7"}));
    assert_eq!(backup["state"], "Unknown", "an old word is not repeated as a fact");
    assert!(backup.get("x").is_none());
    let settings = settings(&world);
    assert!(settings.contains("lived: true"), "{settings}");
    assert!(settings.contains("- ed25519:one\n- ed25519:two\n"), "{settings}");
    assert!(!settings.contains("g/7"), "the newest digest would be a Helm upgrade a minute");
}

#[test]
fn the_kubeconfig_is_handed_on_and_survives_a_gap() {
    let details = |world: &World| {
        let composite = world.answer().desired.and_then(|state| state.composite).expect("a composite");
        composite.connection_details.get("kubeconfig").cloned()
    };
    let mut world = World::ready();
    assert_eq!(details(&world), None);
    world.kubeconfig = Some(b"new".to_vec());
    assert_eq!(details(&world), Some(b"new".to_vec()));
    // provider-helm could not read it this time; the claim's Secret keeps what it has.
    world.kubeconfig = None;
    let mut request = world.request();
    let composite = request.observed.as_mut().and_then(|state| state.composite.as_mut()).expect("a composite");
    composite.connection_details.insert("kubeconfig".to_owned(), b"old".to_vec());
    let answer = function_vcluster::wire::answer(&request, now());
    let composite = answer.desired.and_then(|state| state.composite).expect("a composite");
    assert_eq!(composite.connection_details["kubeconfig"], b"old");
}
