//! Chart values that others add: the platform for all its vclusters, a tenant for his own, and what neither reaches.

use crate::common::{FAMILIES, World, pod, values};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

fn allowing(paths: &[&str]) -> World {
    World::new().with(|w| w.input["valuePaths"] = json!(paths))
}

fn ingresses(on: bool) -> Value {
    json!({"sync": {"toHost": {"ingresses": {"enabled": on}}}})
}

#[test]
fn a_tenants_values_lie_over_the_platforms() {
    let world = allowing(&["sync.toHost", "controlPlane.statefulSet.scheduling"]).with(|w| {
        w.input["defaults"]["values"] = json!({
            "sync": {"toHost": {"ingresses": {"enabled": false}, "networkPolicies": {"enabled": true}}},
            "controlPlane": {"statefulSet": {"scheduling": {"tolerations": [{"key": "a"}], "nodeSelector": {"pool": "x"}}}},
        });
        w.xr["spec"]["values"] = ingresses(true);
        w.xr["spec"]["values"]["controlPlane"] = json!({"statefulSet": {"scheduling": {"tolerations": [{"key": "b"}]}}});
    });
    let release = vcluster(&world);
    let given = values(&release);
    assert_eq!(given["sync"]["toHost"], json!({"ingresses": {"enabled": true}, "networkPolicies": {"enabled": true}}));
    let scheduling = json!({"tolerations": [{"key": "b"}], "nodeSelector": {"pool": "x"}});
    assert_eq!(given["controlPlane"]["statefulSet"]["scheduling"], scheduling, "a list is taken as a whole");
    // Without any, not a byte of the Release speaks of them.
    assert!(!vcluster(&World::new()).to_string().contains("fn.crossplane.io/values"));
}

#[test]
fn new_values_of_the_platform_wait_for_a_restart_that_comes_anyway() {
    for (chart, distro) in FAMILIES {
        let new = World::of(chart, distro).with(|w| {
            w.input["valuePaths"] = json!(["sync", "coredns"]);
            let legacy = chart.starts_with("0.19.");
            w.input["defaults"]["values"] = match legacy {
                true => json!({"nodeSelector": {"pool": "x"}}),
                false => json!({"controlPlane": {"statefulSet": {"scheduling": {"nodeSelector": {"pool": "x"}}}}}),
            };
        });
        let world = new.lived();
        let before = vcluster(&world);
        assert!(before.to_string().contains("\"pool\":\"x\""), "{chart}");
        for values in [json!({}), json!({"rbac": {"role": {"extraRules": []}}})] {
            let mut moved = world.clone().with(|w| w.input["defaults"]["values"] = values.clone());
            assert_eq!(vcluster(&moved), before, "{chart}");
            moved.xr["spec"]["size"] = json!("large");
            let after = vcluster(&moved);
            assert!(!after.to_string().contains("\"pool\":\"x\""), "{chart}: {after}");
            assert_eq!(after.to_string().contains("extraRules"), values != json!({}), "{chart}");
        }
    }
}

#[test]
fn the_owners_edit_of_values_restarts_and_takes_what_waits_along() {
    let world = allowing(&["sync.toHost"]).with(|w| {
        w.xr["spec"]["values"] = ingresses(true);
        w.xr["spec"]["values"]["sync"]["toHost"]["networkPolicies"] = json!({"enabled": true});
    });
    let world =
        world.lived().with(|w| w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0"));
    let before = vcluster(&world);
    assert!(!before.to_string().contains(":0.2.0"));
    for edited in [json!({}), ingresses(true), ingresses(false)] {
        let mut edited = world.clone().with(|w| w.xr["spec"]["values"] = edited);
        let after = vcluster(&edited);
        assert!(after.to_string().contains(":0.2.0"), "one that only takes values away, too");
        edited.settle();
        assert_eq!(vcluster(&edited), after, "and then it rests");
    }
}

/// The memory of a Release is an annotation, and anybody who may edit the Release can take it away.
#[test]
fn a_memory_that_is_lost_by_hand_restarts_nothing() {
    let world = allowing(&["sync.toHost"]).with(|w| {
        w.input["defaults"]["values"] =
            json!({"controlPlane": {"statefulSet": {"scheduling": {"nodeSelector": {"a": "b"}}}}});
        w.input["kubernetesVersions"] = json!({"1.33": {"k8s": "v1.33.4"}});
        w.input["defaults"]["kubernetesVersion"] = json!("1.33");
        w.xr["spec"]["values"] = ingresses(true);
    });
    let world = world.lived();
    let before = vcluster(&world);
    for annotation in ["default-values", "values", "kubernetes-version"] {
        let lost = world.clone().with(|w| {
            let annotations = w.find("vcluster")["metadata"]["annotations"].as_object_mut().expect("annotations");
            assert!(annotations.remove(&format!("vcluster.fn.crossplane.io/{annotation}")).is_some(), "{annotation}");
        });
        assert_eq!(vcluster(&lost), before, "{annotation} is written again, and nothing else");
    }
}

#[test]
fn what_runs_outlives_a_platform_that_allows_less() {
    let world = allowing(&["sync.toHost"]).with(|w| w.xr["spec"]["values"] = ingresses(true)).lived();
    let before = vcluster(&world);
    let less = world.with(|w| w.input["valuePaths"] = json!([]));
    assert_eq!(vcluster(&less), before);
    let edited = less.with(|w| w.xr["spec"]["values"] = ingresses(false));
    assert!(edited.refusal().contains("this platform lets tenants write no values"), "{}", edited.refusal());
}

#[test]
fn a_size_and_values_do_not_both_say_the_resources() {
    let resources = json!({"controlPlane": {"statefulSet": {"resources": {"limits": {"memory": "3Gi"}}}}});
    let world = allowing(&["controlPlane.statefulSet.resources"]).with(|w| w.xr["spec"]["values"] = resources);
    assert_eq!(
        world.refusal(),
        "spec.values.controlPlane.statefulSet.resources.limits.memory: requests and limits are those of the size; remove \
         it, or take another spec.size"
    );
    let without = world.with(|w| {
        w.xr["spec"].as_object_mut().expect("spec").remove("size");
        w.input["defaults"].as_object_mut().expect("there").remove("size");
    });
    let mut without = without.lived();
    let release = vcluster(&without);
    let given = &values(&release)["controlPlane"]["statefulSet"]["resources"];
    assert_eq!(given, &json!({"limits": {"memory": "3Gi"}}));
    without.xr["spec"].as_object_mut().expect("spec").remove("values");
    let release = vcluster(&without);
    assert!(values(&release)["controlPlane"]["statefulSet"].get("resources").is_none(), "taken back, it is gone");
}

#[test]
fn values_that_a_newer_chart_has_renamed_are_said() {
    let world = World::of("0.31.3", "k8s").with(|w| {
        w.input["charts"]["vcluster"]["allowed"] = json!(["0.31.3", "0.36.1"]);
        w.input["valuePaths"] = json!(["sleep", "sleepMode"]);
        w.xr["spec"]["values"] = json!({"sleepMode": {"enabled": true}});
    });
    let world = world.lived();
    let renamed = "spec.values.sleepMode.enabled: vcluster chart 0.36.1 has no such values; it has been called sleep since \
                   0.32; rename it";
    assert_eq!(world.clone().with(|w| w.xr["spec"]["chartVersion"] = json!("0.36.1")).refusal(), renamed);
    // A default that has gone on is no reason to refuse what runs, until a restart would take it there.
    let default = world.clone().with(|w| w.input["charts"]["vcluster"]["version"] = json!("0.36.1"));
    assert_eq!(vcluster(&default), vcluster(&world));
    assert_eq!(default.with(|w| w.xr["spec"]["size"] = json!("large")).refusal(), renamed);
}

#[test]
fn a_policy_around_the_control_plane_opens_the_stores_port_beside() {
    let shut = json!({"policies": {"networkPolicy": {"enabled": true}}});
    let policy = |world: &World| {
        let s3 = world.desired("s3").expect("desired");
        values(&s3)["networkPolicy"].clone()
    };
    let world = World::new();
    assert_eq!(policy(&world), json!({"enabled": false, "ports": []}));
    let platforms = world.with(|w| w.input["defaults"]["values"] = shut.clone());
    assert_eq!(policy(&platforms), json!({"enabled": true, "ports": []}));
    assert_eq!(values(&vcluster(&platforms))["policies"], shut["policies"]);
    let tenants = allowing(&["policies"]).with(|w| w.xr["spec"]["values"] = shut.clone());
    assert_eq!(policy(&tenants), json!({"enabled": true, "ports": []}));
    let cloud = platforms.with(|w| {
        let store = w.input["store"].as_object_mut().expect("a store");
        store.retain(|field, _| ["bucketPrefix"].contains(&field.as_str()));
        w.input["store"]["register"] = json!("none");
    });
    assert_eq!(policy(&cloud), json!({"enabled": true, "ports": [443]}), "a cloud's own endpoint");
    let legacy = |values: Value| World::of("0.19.10", "k3s").with(|w| w.input["defaults"]["values"] = values);
    let on = json!({"isolation": {"enabled": true, "networkPolicy": {"enabled": true}}});
    assert_eq!(policy(&legacy(on)), json!({"enabled": true, "ports": []}));
    assert_eq!(policy(&legacy(json!({"isolation": {"enabled": true}}))), json!({"enabled": false, "ports": []}));
}

/// Paths of the chart that matter here, cut anywhere, with a few that do not.
fn path() -> impl Strategy<Value = Vec<String>> {
    let paths = [
        "controlPlane.statefulSet.sidecarContainers",
        "controlPlane.statefulSet.initContainers",
        "controlPlane.statefulSet.persistence.addVolumes",
        "controlPlane.statefulSet.persistence.volumeClaim.enabled",
        "controlPlane.statefulSet.security.containerSecurityContext.privileged",
        "controlPlane.statefulSet.resources.limits.memory",
        "controlPlane.statefulSet.scheduling.tolerations",
        "controlPlane.statefulSet.image.repository",
        "controlPlane.backingStore.etcd.deploy.enabled",
        "controlPlane.distro.k8s.image.repository",
        "controlPlane.ingress.host",
        "controlPlane.proxy.extraSANs",
        "controlPlane.coredns.enabled",
        "controlPlane.service.spec.type",
        "exportKubeConfig.server",
        "experimental.deploy.host.manifests",
        "plugin.backup.image",
        "plugins.backup-restore.image",
        "policies.networkPolicy.enabled",
        "rbac.clusterRole.extraRules",
        "sync.fromHost.secrets.enabled",
        "sync.toHost.namespaces.enabled",
        "sync.toHost.ingresses.enabled",
        "syncer.extraArgs",
        "syncer.resources.limits",
        "storage.persistence",
        "volumes",
        "vcluster.image",
        "init.manifests",
        "isolation.enabled",
    ];
    (prop::sample::select(paths.to_vec()), 1..6usize, any::<bool>()).prop_map(|(path, words, shout)| {
        let words = path.split('.').take(words).map(|word| if shout { word.to_uppercase() } else { word.to_owned() });
        words.collect()
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!({}),
        json!([]),
        json!(true),
        json!(false),
        json!(0),
        json!("evil"),
        json!([{"name": "evil", "image": "evil", "hostPath": {"path": "/"}}]),
        json!({"evil": {"enabled": true}}),
        json!([null]),
    ])
}

fn overlay() -> impl Strategy<Value = Value> {
    prop::collection::vec((path(), leaf()), 1..4).prop_map(|leaves| {
        let mut overlay = json!({});
        for (path, leaf) in leaves {
            let mut at = &mut overlay;
            for word in path {
                if !at.is_object() {
                    *at = json!({});
                }
                at = &mut at[word];
            }
            *at = leaf;
        }
        overlay
    })
}

/// Where nothing of a tenant's may ever be.
const CLOSED: [&str; 21] = [
    "/rbac",
    "/plugin",
    "/plugins",
    "/experimental",
    "/exportKubeConfig",
    "/sync/fromHost",
    "/sync/toHost/namespaces",
    "/controlPlane/backingStore",
    "/controlPlane/distro",
    "/controlPlane/ingress",
    "/controlPlane/proxy",
    "/controlPlane/statefulSet/sidecarContainers",
    "/controlPlane/statefulSet/initContainers",
    "/controlPlane/statefulSet/persistence",
    "/controlPlane/statefulSet/security",
    "/controlPlane/statefulSet/image",
    "/volumes",
    "/storage",
    "/init",
    "/syncer/extraArgs",
    "/vcluster/image",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// A platform that allows every root there is: whatever a tenant writes is refused, or changes nothing that counts.
    #[test]
    fn no_overlay_reaches_what_is_closed(overlay in overlay(), family in 0..FAMILIES.len(), running in any::<bool>()) {
        let (chart, distro) = FAMILIES[family];
        let mut world = World::of(chart, distro).with(|w| {
            w.input["valuePaths"] = json!([
                "controlPlane", "sync", "policies", "syncer", "vcluster", "isolation", "service", "networking",
            ]);
        });
        if running {
            world = world.lived();
        }
        let before = vcluster(&world);
        world.xr["spec"]["values"] = overlay;
        let answer = world.answer();
        let Some(after) = crate::common::desired(&answer, "vcluster").filter(|_| answer.results.is_empty()) else {
            prop_assert!(world.refusal().starts_with("spec.values."), "{}", world.refusal());
            return Ok(());
        };
        for place in CLOSED {
            prop_assert_eq!(values(&after).pointer(place), values(&before).pointer(place), "{}", place);
        }
        let roots = values(&after).as_object().expect("values").keys();
        prop_assert!(roots.clone().all(|root| root.chars().any(char::is_lowercase)), "{:?}", roots);
        let (old, new) = (pod(&before), pod(&after));
        prop_assert_eq!((old.sidecar, old.restore, old.volumes), (new.sidecar, new.restore, new.volumes));
        prop_assert_eq!(old.server, new.server);
    }
}
