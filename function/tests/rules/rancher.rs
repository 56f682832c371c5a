//! Who registers a vcluster with Rancher: nobody, a Release, or an operator that finds its Service.

use crate::common::{FAMILIES, World, composite, names, values};
use serde_json::{Value, json};

const NAME: &str = "platform.vcluster.com/custom-name";
const SKIP: &str = "loft.sh/vcluster-skip-import";

fn operator(world: World) -> World {
    world.with(|w| w.input["rancher"] = json!({"mode": "operator"}))
}

fn enabled(world: &World, word: Option<bool>) -> World {
    world.clone().with(|w| w.xr["spec"]["rancher"] = word.map_or(json!({}), |word| json!({ "enabled": word })))
}

/// What the Service says, in the keys of each chart.
fn said(world: &World) -> Value {
    let release = world.desired("vcluster").expect("desired");
    let given = values(&release);
    match crate::common::line(&release) {
        ..20 => given["syncer"]["serviceAnnotations"].clone(),
        20.. => given["controlPlane"]["service"]["annotations"].clone(),
    }
}

fn condition(world: &World) -> (String, String) {
    let answer = world.answer();
    let condition = answer.conditions.iter().find(|c| c.r#type == "RancherRegistered").expect("always there");
    (condition.reason.clone(), condition.message.clone().unwrap_or_default())
}

#[test]
fn the_operator_finds_a_service_with_the_key_as_its_name() {
    for (chart, distro) in FAMILIES {
        let world = operator(World::of(chart, distro));
        assert_eq!(said(&world), json!({ NAME: "shop-x7k2p-3baw4pir" }), "{chart}");
        assert_eq!(said(&enabled(&world, Some(false))), json!({ SKIP: "true" }), "{chart}");
        let ready = World { observed: Vec::new(), ..world.clone() };
        let mut ready = ready;
        ready.settle();
        ready.settle();
        assert_eq!(names(&ready.answer()), ["s3", "vcluster"], "{chart}: there is no third Release");
        assert_eq!(said(&ready), said(&world), "{chart}");
    }
    assert_eq!(condition(&operator(World::new())).0, "ByOperator");
    assert_eq!(condition(&enabled(&operator(World::new()), Some(false))).0, "Disabled");
    assert!(composite(&operator(World::new()).answer())["status"].is_object());
}

#[test]
fn a_platform_that_turns_to_the_operator_restarts_nothing() {
    for word in [None, Some(true), Some(false)] {
        let none = enabled(&World::new().with(|w| w.input["rancher"] = json!({})), word);
        if word == Some(true) {
            assert!(none.refusal().starts_with("spec.rancher.enabled: true"), "there is none");
            continue;
        }
        let mut world = none;
        world.settle();
        world.settle();
        let before = world.desired("vcluster").expect("desired");
        let turned = operator(world);
        assert_eq!(turned.desired("vcluster").expect("desired"), before, "{word:?}");
        let restarted = turned.with(|w| w.xr["spec"]["size"] = json!("large"));
        let want = if word == Some(false) { json!({ SKIP: "true" }) } else { json!({ NAME: "shop-x7k2p-3baw4pir" }) };
        assert_eq!(said(&restarted), want, "{word:?}: with the next restart");
    }
}

#[test]
fn the_owners_word_counts_at_once() {
    let mut world = operator(World::new());
    for (word, want) in [
        (Some(false), json!({ SKIP: "true" })),
        (Some(true), json!({ NAME: "shop-x7k2p-3baw4pir" })),
        (Some(false), json!({ SKIP: "true" })),
        (None, json!({ NAME: "shop-x7k2p-3baw4pir" })),
        (None, json!({ NAME: "shop-x7k2p-3baw4pir" })),
    ] {
        world = enabled(&world, word);
        assert_eq!(said(&world), want, "{word:?}");
        world.settle();
        assert_eq!(said(&world), want, "{word:?}: and stays");
    }
    // A vcluster from before there was an operator, whose owner now says no.
    let mut before = World::new().with(|w| w.input["rancher"] = json!({}));
    before.settle();
    assert_eq!(said(&enabled(&operator(before), Some(false))), json!({ SKIP: "true" }));
}

#[test]
fn what_has_no_effect_or_would_remove_a_registration_is_refused() {
    let owner = operator(World::new()).with(|w| w.xr["spec"]["rancher"] = json!({"owner": "local://u-abc12"}));
    assert!(owner.refusal().starts_with("spec.rancher.owner: has no effect"), "{}", owner.refusal());
    let default = operator(World::new()).with(|w| w.input["defaults"]["rancher"] = json!({"owner": "local://u-abc12"}));
    assert!(default.refusal().starts_with("input.defaults.rancher.owner: has no effect"), "{}", default.refusal());
    for (mode, rancher) in [("operator", json!({"mode": "operator"})), ("none", json!({}))] {
        let gone = World::ready().with(|w| w.input["rancher"] = rancher.clone());
        assert!(gone.refusal().starts_with(&format!("input.rancher.mode: {mode}, but resource \"rancher\"")), "{mode}");
    }
}

#[test]
fn the_upstream_chart_registers_k3s_only() {
    let upstream = |w: &mut World| w.input["charts"]["rancherCluster"]["version"] = json!("0.1.4");
    for (chart, distro) in FAMILIES {
        let world = World::of(chart, distro).with(upstream);
        if distro == "k3s" {
            assert!(world.answer().results.is_empty(), "{chart}");
            continue;
        }
        assert_eq!(
            world.refusal(),
            format!(
                "input.charts.rancherCluster.version: \"0.1.4\" is the upstream chart, which registers vclusters on k3s \
                 only, and this one runs k8s on chart {chart}; use the chart of this project, or rancher.mode: operator"
            )
        );
        let off = enabled(&world, Some(false));
        assert!(off.answer().results.is_empty(), "{chart}: nothing is registered");
    }
    // What is registered is not registered again.
    assert!(World::ready().with(upstream).answer().results.is_empty());
}

#[test]
fn what_the_platform_says_of_the_server_reaches_the_chart() {
    let certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    let world = World::ready().with(|w| {
        w.input["images"]["rancher"] = json!("registry.example.org/rancher-client:1.0");
        let rancher = &mut w.input["rancher"];
        rancher["tokenSecret"] = json!("rancher-token");
        rancher["ca"] = json!(certificate);
        rancher["proxy"] = json!("http://proxy.example.org:3128");
    });
    let given = values(&world.desired("rancher").expect("desired")).clone();
    assert_eq!(given["image"], "registry.example.org/rancher-client:1.0");
    assert_eq!(given["rancher"]["existingSecret"], "rancher-token");
    assert_eq!(given["rancher"]["ca"], certificate);
    assert_eq!(given["httpProxy"], json!({"enabled": true, "address": "http://proxy.example.org:3128"}));
    let host = world.with(|w| {
        w.input["limits"]["hostSuffixes"] = json!([".k8s.example.org"]);
        w.xr["spec"]["access"] = json!({"host": "shop.k8s.example.org"});
    });
    let given = values(&host.desired("rancher").expect("desired")).clone();
    let place = format!(
        "{}.{}",
        given["vclusterReleaseName"].as_str().expect("text"),
        given["targetnamespace"].as_str().expect("text")
    );
    assert_eq!(given["vclusterServer"], format!("https://{place}:443"), "from inside of the host cluster");
    // The upstream chart is given what it knows.
    let upstream = World::ready().with(|w| {
        w.input["charts"]["rancherCluster"]["version"] = json!("0.1.4");
        w.input["images"]["rancher"] = json!("registry.example.org/rancher-client:1.0");
    });
    let given = values(&upstream.desired("rancher").expect("desired")).clone();
    let known = ["clustername", "createOwner", "insecure", "rancher", "targetnamespace", "vclusterReleaseName"];
    assert_eq!(given.as_object().expect("values").keys().collect::<Vec<_>>(), known);
}

#[test]
fn the_job_gets_in_where_the_vclusters_own_policy_shuts_it_out() {
    for (chart, distro, opens) in [("0.30.5", "k8s", false), ("0.32.3", "k8s", true), ("0.36.1", "k8s", true)] {
        let mut world = World::of(chart, distro);
        world.settle();
        let policy = |world: &World| values(&world.desired("rancher").expect("desired"))["networkPolicy"].clone();
        assert_eq!(policy(&world), Value::Null, "{chart}: alone it would shut out everybody else");
        let shut = world.with(|w| {
            w.input["defaults"]["values"] = json!({"policies": {"networkPolicy": {"enabled": true}}});
            w.input["charts"]["vcluster"]["upgrade"] = json!("Always");
        });
        let wanted = if opens { json!({"enabled": true}) } else { Value::Null };
        assert_eq!(policy(&shut), wanted, "{chart}");
    }
}

/// Its Job waits for Rancher as long as it takes; readiness comes from what it writes down.
#[test]
fn the_release_is_ready_when_the_job_has_written_down_that_it_is_done() {
    for world in [World::ready(), World::new().namespaced().lived()] {
        let release = world.desired("rancher").expect("desired");
        let (provider, name) = (&release["spec"]["forProvider"], &release["metadata"]["annotations"]);
        assert_eq!(provider["waitTimeout"], Value::Null, "Helm waits for no hook of Rancher's");
        let detail = &release["spec"]["connectionDetails"][0];
        assert_eq!((&detail["kind"], &detail["fieldPath"]), (&json!("ConfigMap"), &json!("data.registered")));
        assert_eq!(detail["name"], name["crossplane.io/external-name"], "as the chart names it: by its release");
        assert_eq!(detail["namespace"], provider["namespace"]);
    }
    let mut world = World::ready();
    world.settle();
    assert_eq!(condition(&world).0, "Registered");
    world.unready("rancher");
    assert_eq!(condition(&world).0, "Registering");
    // The upstream chart's Job is a hook, and it writes nothing down.
    let upstream = World::ready().with(|w| w.input["charts"]["rancherCluster"]["version"] = json!("0.1.4"));
    let release = upstream.desired("rancher").expect("desired");
    assert_eq!(release["spec"]["connectionDetails"], Value::Null);
    assert_eq!(release["spec"]["forProvider"]["waitTimeout"], "9m");
}
