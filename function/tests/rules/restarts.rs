//! A change of the vcluster's values restarts the tenant's API server: only the owner's word may cause one.

use crate::common::{FAMILIES, KEY, World, settings, values};
use serde_json::{Value, json};

#[test]
fn backup_settings_change_without_a_byte_of_the_vcluster_release() {
    type Change = fn(&mut World);
    const OTHER: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let starts = FAMILIES.map(|(version, distro)| World::of(version, distro));
    let starts = starts.into_iter().flat_map(|start| [start.clone(), start.lived()]);
    for start in [World::new(), World::ready()].into_iter().chain(starts) {
        let (before, old) = (start.desired("vcluster").expect("desired").to_string(), settings(&start));
        let changes: [(&str, Change); 7] = [
            ("interval", |w| w.xr["spec"]["backup"]["interval"] = json!("10m")),
            ("recipients", |w| w.xr["spec"]["backup"]["recipients"] = json!([OTHER])),
            ("bootstrap", |w| w.xr["spec"]["bootstrap"] = json!("Latest")),
            ("endpoint", |w| w.input["store"]["endpoint"] = json!("https://other:9000")),
            ("trust", |w| w.input["trust"] = json!([KEY])),
            ("status", |w| w.xr["status"] = json!({"backup": {"newest": {"id": "g/1"}}})),
            ("uid", |w| w.xr["metadata"]["uid"] = json!("another")),
        ];
        for (name, change) in changes {
            let world = start.clone().with(change);
            assert_eq!(world.desired("vcluster").expect("desired").to_string(), before, "{name}");
            assert_ne!(settings(&world), old, "{name} reaches the sidecar");
        }
    }
}

#[test]
fn a_new_default_does_not_move_under_a_running_vcluster() {
    let world = World::ready();
    let before = world.desired("vcluster").expect("desired");
    let moved = world.clone().with(|w| {
        w.input["charts"]["vcluster"]["version"] = json!("0.36.2");
        w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0");
        w.input["sizes"]["small"] = json!({"requests": {"cpu": "2"}, "storage": "9Gi"});
        w.input["defaults"]["size"] = json!("large");
        w.input["defaults"]["deletionPolicy"] = json!("Delete");
        w.input["defaults"]["backup"]["enabled"] = json!(false);
        w.input["defaults"]["storage"] = json!({"size": "7Gi", "className": "fast"});
        w.input["limits"]["maxStorage"] = json!("1Gi");
    });
    assert_eq!(moved.desired("vcluster"), Some(before.clone()));
    let s3 = moved.desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]), "nor over what is stored");

    // The owner's next edit that restarts anyway takes them along.
    let edited = moved.clone().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    let after = edited.desired("vcluster").expect("desired");
    assert_eq!(after["spec"]["forProvider"]["chart"]["version"], "0.36.2");
    let stateful_set = &values(&after)["controlPlane"]["statefulSet"];
    assert_eq!(stateful_set["sidecarContainers"][0]["image"], "registry.example.org/vcluster-backup:0.2.0");
    assert_eq!(stateful_set["resources"], json!({"requests": {"cpu": "2"}}));
    let volume = &stateful_set["persistence"]["volumeClaim"];
    assert_eq!((&volume["size"], &volume["storageClass"]), (&json!("5Gi"), &json!("")), "the volume cannot move");

    // And then it rests again.
    let mut edited = edited;
    edited.settle();
    assert_eq!(edited.desired("vcluster"), Some(after));

    let always = moved.with(|w| w.input["charts"]["vcluster"]["upgrade"] = json!("Always"));
    assert_ne!(always.desired("vcluster"), Some(before));
}

#[test]
fn the_owner_moves_what_is_his() {
    let world = World::ready();
    let version =
        |world: &World| world.desired("vcluster").expect("desired")["spec"]["forProvider"]["chart"]["version"].clone();
    assert_eq!(version(&world.clone().with(|w| w.xr["spec"]["chartVersion"] = json!("0.35.3"))), "0.35.3");
    // A version the platform has withdrawn goes on running.
    let mut old = World::new().with(|w| w.xr["spec"]["chartVersion"] = json!("0.35.3"));
    old.settle();
    let old = old.with(|w| w.input["charts"]["vcluster"]["allowed"] = json!([]));
    assert_eq!(version(&old), "0.35.3");
    // So does a preset that is gone, with the owner's word for it or without.
    let before = world.desired("vcluster");
    let gone = world.clone().with(|w| {
        w.input["sizes"].as_object_mut().expect("sizes").remove("small");
        w.input["defaults"]["size"] = json!("large");
    });
    assert_eq!(gone.desired("vcluster"), before);
    let large = world.with(|w| w.xr["spec"]["size"] = json!("large"));
    let large = large.desired("vcluster").expect("desired");
    assert_eq!(values(&large)["controlPlane"]["statefulSet"]["resources"]["requests"]["cpu"], "1");
    assert_eq!(large["metadata"]["annotations"]["vcluster.fn.crossplane.io/size"], "large");
}

#[test]
fn a_default_that_appears_later_is_for_new_vclusters() {
    let mut world = World::new().with(|w| {
        w.xr["spec"].as_object_mut().expect("spec").remove("size");
        w.input["defaults"].as_object_mut().expect("defaults").remove("size");
    });
    world.settle();
    let before = world.desired("vcluster");
    let world = world.with(|w| w.input["defaults"]["size"] = json!("large"));
    assert_eq!(world.desired("vcluster"), before);
}

#[test]
fn a_word_taken_back_leaves_the_default() {
    // Else a vcluster once ordered with Delete would lose its data though nobody asks for it any more.
    let default = World::ready().desired("vcluster").expect("desired");
    let words = [
        ("/spec/deletionPolicy", json!("Delete")),
        ("/spec/backup/enabled", json!(false)),
        ("/spec/size", json!("large")),
    ];
    for (pointer, word) in words {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let mut world = World::new().with(|w| {
            w.xr["spec"].as_object_mut().expect("spec").remove("size");
            w.xr.pointer_mut(parent).expect("there")[field] = word;
            w.xr["spec"]["storage"] = json!({"size": "5Gi"});
        });
        world.settle();
        assert_ne!(values(&world.desired("vcluster").expect("desired")), values(&default), "{pointer} counts");
        world.xr.pointer_mut(parent).and_then(Value::as_object_mut).expect("there").remove(field);
        let back = world.desired("vcluster").expect("desired");
        assert_eq!(values(&back), values(&default), "{pointer} taken back");
    }
}

#[test]
fn a_default_never_goes_back_to_an_older_chart() {
    let mut world = World::new().with(|w| w.xr["spec"]["chartVersion"] = json!("0.36.1"));
    world.settle();
    let world = world.with(|w| {
        w.xr["spec"].as_object_mut().expect("spec").remove("chartVersion");
        w.input["charts"]["vcluster"]["version"] = json!("0.35.3");
        w.xr["spec"]["deletionPolicy"] = json!("Delete"); // an edit that restarts
    });
    let release = world.desired("vcluster").expect("desired");
    assert_eq!(release["spec"]["forProvider"]["chart"]["version"], "0.36.1");
}
