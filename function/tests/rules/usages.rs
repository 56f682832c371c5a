//! The order of deletion, where the platform asks for it.

use crate::common::{World, bytes, composite, desired, names, ready, ttl};
use function_sdk_rust::proto::v1::Ready;
use serde_json::{Value, json};

const PROTECTION: &str = "protection.crossplane.io/v1beta1";
const BETA: &str = "apiextensions.crossplane.io/v1beta1";
const ALPHA: &str = "apiextensions.crossplane.io/v1alpha1";

fn with(world: World, api: &str) -> World {
    world.with(|w| w.input["usages"] = json!(api))
}

#[test]
fn none_unless_the_platform_asks() {
    assert_eq!(names(&World::healthy().answer()), ["rancher", "s3", "vcluster"]);
}

#[test]
fn who_is_used_is_kept_until_its_user_is_gone() {
    let generations: [(World, &str, &str, &str); 4] = [
        (World::healthy(), ALPHA, "Usage", "helm.crossplane.io/v1beta1"),
        (World::healthy(), BETA, "Usage", "helm.crossplane.io/v1beta1"),
        (World::healthy(), PROTECTION, "ClusterUsage", "helm.crossplane.io/v1beta1"),
        (World::new().namespaced().lived().backed_up(), PROTECTION, "Usage", "helm.m.crossplane.io/v1beta1"),
    ];
    for (world, api, kind, releases) in generations {
        let (key, namespace) = (world.key(), world.xr["metadata"]["namespace"].clone());
        let answer = with(world, api).answer();
        assert_eq!(names(&answer), ["rancher", "s3", "usage-s3", "usage-vcluster", "vcluster"], "{api}");
        for (name, of, by) in [("usage-s3", "s3", "vcluster"), ("usage-vcluster", "vcluster", "rancher")] {
            let release = |resource: &str| json!({"apiVersion": releases, "kind": "Release", "resourceRef": {"name": format!("{key}-{resource}")}});
            let mut want = json!({
                "apiVersion": api,
                "kind": kind,
                "metadata": {"name": format!("{key}-{name}")},
                "spec": {"of": release(of), "by": release(by)},
            });
            if !namespace.is_null() {
                want["metadata"]["namespace"] = namespace.clone();
            }
            if api != ALPHA {
                want["spec"]["replayDeletion"] = json!(true); // 1.14 does not know it
            }
            assert_eq!(desired(&answer, name), Some(want));
            assert_eq!(ready(&answer, name), Ready::True as i32, "where Usages are switched off, none is ever ready");
        }
        assert_eq!(ttl(&answer), Some(60), "nothing is awaited");
    }
}

#[test]
fn only_what_is_this_xrs_own_is_tied() {
    // A second XR with the same key desires Releases of the same names, and never sees them.
    let new = with(World::new(), BETA);
    assert_eq!(names(&new.answer()), ["s3", "vcluster"]);
    let mut one = new;
    one.settle();
    assert_eq!(names(&one.answer()), ["rancher", "s3", "usage-s3", "vcluster"], "the registration is not there yet");
    one.settle();
    assert_eq!(names(&one.answer()), ["rancher", "s3", "usage-s3", "usage-vcluster", "vcluster"]);
    // What the platform makes of its Releases is the same with and without.
    let (without, with) = (World::healthy().answer(), with(World::healthy(), BETA).answer());
    for name in ["rancher", "s3", "vcluster"] {
        assert_eq!(desired(&with, name), desired(&without, name));
    }
    assert_eq!(composite(&with), composite(&without));
}

#[test]
fn a_usage_goes_with_its_user_and_never_ties_what_comes_and_goes() {
    let mut world = with(World::healthy(), BETA);
    world.settle();
    let off = world.clone().with(|w| w.xr["spec"]["rancher"] = json!({"enabled": false}));
    assert_eq!(names(&off.answer()), ["s3", "usage-s3", "vcluster"]);
    let none = world.clone().with(|w| w.input["usages"] = Value::Null);
    assert_eq!(names(&none.answer()), ["rancher", "s3", "vcluster"], "the platform's own word");
    let restoring = world.with(|w| {
        w.input["charts"]["backupKeys"] =
            json!({"name": "backup-keys", "repository": "https://charts.example.org/vcluster", "version": "0.1.0"});
        w.input["encryption"]["identitySecret"] = json!("{key}-identity");
        w.xr["spec"]["restore"] = json!({"id": "a"});
    });
    let mut restoring = restoring;
    restoring.settle();
    let answer = restoring.answer();
    assert!(names(&answer).contains(&"keys".to_owned()));
    for name in names(&answer).iter().filter(|name| name.starts_with("usage-")) {
        assert!(!desired(&answer, name).expect("named")["spec"].to_string().contains("-keys"), "{name}");
    }
}

/// Crossplane notes a refused deletion on the Release for ever, and does it again when the Usage goes.
#[test]
fn a_deletion_that_was_refused_once_is_not_done_again_with_the_usage() {
    let attempted = |world: &mut World, name: &str| {
        let annotations = &mut world.find(name)["metadata"]["annotations"];
        annotations["usage.crossplane.io/deletion-attempt-with-policy"] = json!("Background");
    };
    let replays = |world: &World, name: &str| world.desired(name).map(|usage| usage["spec"]["replayDeletion"].clone());
    for (used, usage, other) in [("vcluster", "usage-vcluster", "usage-s3"), ("s3", "usage-s3", "usage-vcluster")] {
        for api in [BETA, PROTECTION] {
            let mut world = with(World::healthy(), api);
            world.settle();
            attempted(&mut world, used);
            assert_eq!((replays(&world, usage), replays(&world, other)), (Some(json!(false)), Some(json!(true))));
            assert_eq!(ttl(&world.answer()), Some(10), "until it is so");
            // Whatever takes the Usage away at the same moment waits for that.
            let ways: [fn(&mut World); 2] =
                [|w| w.input["usages"] = Value::Null, |w| w.xr["spec"]["rancher"] = json!({"enabled": false})];
            for way in ways {
                let mut going = world.clone().with(way);
                if usage == "usage-s3" && !going.input["usages"].is_null() {
                    continue; // the registration is no user of s3
                }
                assert_eq!(replays(&going, usage), Some(json!(false)), "{usage} by {api}");
                let rancher = going.desired("rancher").expect("its Usage would go with it");
                assert_eq!(rancher["spec"], going.find("rancher")["spec"], "as it is");
                going.settle();
                attempted(&mut going, used);
                assert_eq!(replays(&going, usage), None, "{usage} by {api}");
            }
            world.settle();
            attempted(&mut world, used);
            assert_eq!(ttl(&world.answer()), Some(60), "it rests");
        }
    }
}

#[test]
fn a_usage_that_is_there_stays_of_its_api() {
    // Another API would make a second object, and the first would be nobody's to remove.
    for (before, after) in [(ALPHA, BETA), (BETA, PROTECTION), (PROTECTION, BETA)] {
        let mut world = with(World::healthy(), before);
        world.settle();
        let there = world.answer();
        let moved = with(world, after);
        assert_eq!(bytes(&moved.answer()), bytes(&there), "{before} to {after}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let legacy = with(World::new().namespaced(), BETA);
    assert_eq!(
        legacy.refusal(),
        "input.usages: apiextensions.crossplane.io/v1beta1: its Usages are cluster-scoped, and a namespaced XR can have \
         none; write protection.crossplane.io/v1beta1"
    );
    let unknown = with(World::new(), "protection.crossplane.io/v9");
    assert!(unknown.refusal().starts_with("input.usages: not one of its values"), "{}", unknown.refusal());
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let foreign = World::healthy().with(|w| w.observed.push(("usage-s3".to_owned(), foreign)));
    assert_eq!(
        foreign.refusal(),
        "observed resource \"usage-s3\" is v1 ConfigMap, not a Usage: going on would replace it; rename it in the step \
         that made it"
    );
}

#[test]
fn a_usage_speaks_of_adopted_releases_by_their_own_names() {
    let mut world = World::adopted().with(|w| {
        w.input["usages"] = json!("apiextensions.crossplane.io/v1beta1");
        w.xr["spec"]["backup"]["enabled"] = json!(true);
    });
    world.settle();
    let usage = world.desired("usage-vcluster").expect("desired");
    assert_eq!(usage["spec"]["of"]["resourceRef"]["name"], "shop-x7k2p-c7v5n");
    assert_eq!(usage["spec"]["by"]["resourceRef"]["name"], "shop-x7k2p-m4q8z");
    let usage = world.desired("usage-s3").expect("desired");
    assert_eq!(usage["spec"]["of"]["resourceRef"]["name"], "shop-x7k2p-3baw4pir-s3", "ours, beside the old one");
}
