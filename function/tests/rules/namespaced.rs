//! A tenant's own XR in his namespace (Crossplane 2): the same vcluster by Releases of another group.

use crate::common::{World, bytes, composite, desired, names, ready, settings, ttl, values};
use function_sdk_rust::proto::v1::Ready;
use serde_json::{Value, json};

const ALL: [&str; 4] = ["keys", "rancher", "s3", "vcluster"];

/// A platform of which all four Releases are made, and whose charts are in closed repositories.
fn whole(world: World) -> World {
    world.with(|w| {
        w.input["charts"]["backupKeys"] =
            json!({"name": "backup-keys", "repository": "https://charts.example.org/vcluster", "version": "0.1.0"});
        w.input["encryption"] = json!({"passphraseSecret": "passphrase"});
        w.xr["spec"]["backup"]["recipients"] = json!([]);
        for chart in ["vcluster", "s3Register", "rancherCluster", "backupKeys"] {
            w.input["charts"][chart]["pullSecret"] = json!("pull");
        }
    })
}

fn settled(mut world: World) -> World {
    world.settle();
    world.settle();
    world
}

/// The dotted paths of an object, down to a depth.
fn paths(object: &Value, depth: usize) -> Vec<String> {
    let fields = object.as_object().filter(|_| depth > 0);
    let inner = |(name, value): (&String, &Value)| match paths(value, depth - 1) {
        below if below.is_empty() => vec![name.clone()],
        below => below.into_iter().map(|path| format!("{name}.{path}")).collect(),
    };
    fields.into_iter().flatten().flat_map(inner).collect()
}

#[test]
fn the_releases_are_those_of_the_namespaced_group_and_live_where_the_xr_does() {
    let world = settled(whole(World::new().namespaced()));
    let answer = world.answer();
    assert_eq!(names(&answer), ALL);
    for name in ALL {
        let release = desired(&answer, name).expect("named");
        assert_eq!(release["apiVersion"], "helm.m.crossplane.io/v1beta1", "{name}");
        assert_eq!(release["metadata"]["namespace"], "team-a", "{name}");
        assert_eq!(release["metadata"]["name"], format!("shop-lfbcuv45-{name}"));
        let spec = &release["spec"];
        assert_eq!(spec["providerConfigRef"], json!({"kind": "ClusterProviderConfig", "name": "default"}), "{name}");
        // A reference into another namespace is refused by the CRD.
        assert_eq!(spec["forProvider"]["chart"]["pullSecretRef"], json!({"name": "pull"}), "{name}");
        let home = match name {
            "vcluster" | "s3" => "tenant-shop-lfbcuv45",
            _ => "vcluster-platform",
        };
        assert_eq!(spec["forProvider"]["namespace"], home, "{name}");
    }
    let vcluster = desired(&answer, "vcluster").expect("named");
    assert_eq!(vcluster["spec"]["writeConnectionSecretToRef"], json!({"name": "shop-lfbcuv45-kubeconfig"}));
    assert_eq!(vcluster["spec"]["connectionDetails"][0]["namespace"], "tenant-shop-lfbcuv45");
}

/// provider-helm 1.0.2 is the first that knows the namespace; what is not in its CRD would fail the apply.
#[test]
fn only_fields_that_the_oldest_namespaced_provider_knows() {
    const KNOWN: [&str; 13] = [
        "connectionDetails",
        "forProvider.chart.name",
        "forProvider.chart.pullSecretRef",
        "forProvider.chart.repository",
        "forProvider.chart.version",
        "forProvider.namespace",
        "forProvider.values",
        "forProvider.waitTimeout",
        "managementPolicies",
        "providerConfigRef.kind",
        "providerConfigRef.name",
        "rollbackLimit",
        "writeConnectionSecretToRef.name",
    ];
    for policy in ["Retain", "Delete"] {
        let world = whole(World::new().namespaced()).with(|w| w.xr["spec"]["deletionPolicy"] = json!(policy));
        let answer = settled(world).answer();
        for name in ALL {
            let mut spec = desired(&answer, name).expect("named")["spec"].take();
            spec["forProvider"]["values"] = json!(null);
            spec["forProvider"]["chart"]["pullSecretRef"] = json!(null);
            for path in paths(&spec, 3) {
                assert!(KNOWN.contains(&path.as_str()), "{name}: {path}");
            }
        }
    }
}

#[test]
fn what_is_installed_is_the_same_for_a_claim_and_for_a_namespaced_xr() {
    let installed = |world: World| {
        let uid = world.xr["metadata"]["uid"].as_str().expect("a uid").to_owned();
        let (key, answer) = (world.key(), settled(whole(world)).answer());
        ALL.map(|name| {
            let mut provider = desired(&answer, name).expect("named")["spec"]["forProvider"].take();
            provider["chart"]["pullSecretRef"] = json!(null);
            provider.to_string().replace(key, "KEY").replace(&uid, "UID")
        })
    };
    assert_eq!(installed(World::new().namespaced()), installed(World::new()));
}

#[test]
fn the_owner_is_the_namespace_whatever_the_labels_say() {
    let key = |namespace: &str, id: &str| {
        let world = World::new().namespaced().with(|w| {
            w.xr["metadata"]["namespace"] = json!(namespace);
            w.xr["spec"]["id"] = json!(id);
        });
        let labelled = world.clone().with(|w| {
            w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!("team-b");
            w.xr["metadata"]["labels"]["crossplane.io/claim-name"] = json!("shop");
        });
        assert_eq!(bytes(&labelled.answer()), bytes(&world.answer()), "a tenant writes his labels himself");
        values(&world.desired("s3").expect("desired"))["clustername"].as_str().expect("a key").to_owned()
    };
    assert_eq!(key("team-a", "shop"), "shop-lfbcuv45");
    assert_ne!(key("team-b", "shop"), "shop-lfbcuv45", "the same name in two namespaces is two vclusters");
    let renamed = World::new().namespaced().with(|w| {
        w.xr["metadata"]["name"] = json!("other");
        w.xr["spec"]["id"] = json!("shop");
    });
    // The second of them cannot make its Releases: the API server has given their names away.
    let release = renamed.desired("s3").expect("desired");
    assert_eq!(release["metadata"]["name"], "shop-lfbcuv45-s3", "one id in one namespace is one vcluster");
}

#[test]
fn what_runs_stays_under_a_platform_that_goes_on() {
    let world = World::of("0.35.3", "k8s").namespaced().lived();
    let before = world.desired("vcluster");
    let moved = world.clone().with(|w| {
        w.input["charts"]["vcluster"]["version"] = json!("0.36.1");
        w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:0.2.0");
        w.input["sizes"]["small"] = json!({"requests": {"cpu": "2"}, "storage": "9Gi"});
        w.input["defaults"]["deletionPolicy"] = json!("Delete");
        w.input["defaults"]["storage"] = json!({"size": "7Gi", "className": "fast"});
    });
    assert_eq!(moved.desired("vcluster"), before);
    let edited = moved.with(|w| w.xr["spec"]["size"] = json!("large"));
    assert_eq!(edited.desired("vcluster").expect("desired")["spec"]["forProvider"]["chart"]["version"], "0.36.1");
    let mut there = world.observed.clone();
    there.iter_mut().for_each(|(_, release)| _ = release.as_object_mut().expect("an object").remove("status"));
    let answer = world.answer();
    for (name, release) in there {
        assert_eq!(desired(&answer, &name), Some(release), "{name} is desired as it is there");
    }
}

#[test]
fn doubt_about_what_is_there_is_a_refusal() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 4] = [
        ("another generation's Release", |w| w.find("s3")["apiVersion"] = json!("helm.crossplane.io/v1beta1")),
        ("another kind of configuration", |w| w.input["providerConfig"]["kind"] = json!("ProviderConfig")),
        ("another configuration", |w| w.input["providerConfig"]["name"] = json!("other")),
        ("another namespace", |w| w.xr["metadata"]["namespace"] = json!("team-b")),
    ];
    let sentences = changes.map(|(name, change)| {
        let world = World::new().namespaced().lived().with(change);
        format!("{name}: {}", world.refusal())
    });
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    another generation's Release: observed resource "s3" is helm.crossplane.io/v1beta1 Release, not a Release of helm.m.crossplane.io: going on would replace it; rename it in the step that made it
    another kind of configuration: input.providerConfig.kind: "ProviderConfig" differs from "ClusterProviderConfig", with which "vcluster" was made; put it back, a Helm release never moves to another cluster
    another configuration: input.providerConfig.name: "other" differs from "default", with which "vcluster" was made; put it back, a Helm release never moves to another cluster
    another namespace: observed resource "vcluster" belongs to key "shop-lfbcuv45", but this XR now derives key "shop-fdiytrce": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    "#);
    // The kind of a claim's configuration is nothing: that group has one.
    let claim = World::ready().with(|w| w.input["providerConfig"]["kind"] = json!("ProviderConfig"));
    assert_eq!(claim.desired("vcluster"), World::ready().desired("vcluster"));
}

#[test]
fn the_kubeconfig_stays_in_the_tenants_namespace() {
    let world = World::new().namespaced().lived().with(|w| w.kubeconfig = Some(b"secret".to_vec()));
    let answer = world.answer();
    let details = answer.desired.as_ref().and_then(|state| state.composite.as_ref()).expect("a composite");
    assert!(details.connection_details.is_empty(), "a namespaced XR has no connection Secret");
    let status = composite(&answer)["status"]["vcluster"].clone();
    assert_eq!(status["kubeconfigSecret"], "shop-lfbcuv45-kubeconfig");
    assert_eq!(status["namespace"], "tenant-shop-lfbcuv45");
}

#[test]
fn health_and_restores_are_those_of_a_claim() {
    let world = World::new().namespaced().lived().backed_up();
    let (ours, claims) = (world.answer(), World::healthy().answer());
    assert_eq!(ours.conditions, claims.conditions);
    assert_eq!(ttl(&ours), Some(60));
    for name in ["rancher", "s3", "vcluster"] {
        assert_eq!(ready(&ours, name), Ready::True as i32, "{name}");
    }
    assert!(settings(&world).contains("lived: true\n"), "{}", settings(&world));

    let restoring = world.with(|w| {
        w.input["charts"]["backupKeys"] =
            json!({"name": "backup-keys", "repository": "https://charts.example.org/vcluster", "version": "0.1.0"});
        w.input["encryption"]["identitySecret"] = json!("{key}-identity");
        w.xr["spec"]["restore"] = json!({"id": "a", "from": {"id": "other"}});
    });
    let keys = restoring.desired("keys").expect("an open request brings the identity");
    assert_eq!(keys["metadata"]["namespace"], "team-a");
    // Of the same owner: the key is derived with the XR's namespace.
    let other = World::new().namespaced().with(|w| w.xr["metadata"]["name"] = json!("other"));
    let other = values(&other.desired("s3").expect("desired"))["clustername"].as_str().expect("a key").to_owned();
    assert_eq!(values(&keys)["identity"]["secret"], format!("{other}-identity"));
    assert!(settings(&restoring).contains(&format!("key: {other}\n")), "{}", settings(&restoring));
}

/// Releases of the namespaced group that a hand-written Composition has made: they live with the XR, and say where their
/// Helm release lives only when it is elsewhere.
#[test]
fn what_another_composition_has_made_in_the_namespace_is_adopted_there() {
    let adopted = World::adopted().with(|w| {
        w.xr["metadata"]["namespace"] = json!("team-a");
        w.xr["spec"]["backup"]["enabled"] = json!(true);
        for (name, release) in &mut w.observed {
            release["apiVersion"] = json!("helm.m.crossplane.io/v1beta1");
            release["metadata"]["namespace"] = json!("team-a");
            let spec = release["spec"].as_object_mut().expect("a spec");
            spec.remove("deletionPolicy");
            spec.insert("providerConfigRef".to_owned(), json!({"kind": "ClusterProviderConfig", "name": "default"}));
            if name == "vcluster" {
                spec["forProvider"].as_object_mut().expect("an object").remove("namespace");
            }
        }
    });
    let answer = adopted.answer();
    assert_eq!(names(&answer), ["rancher", "s3", "s3-settings", "vcluster"]);
    for name in names(&answer) {
        let release = desired(&answer, &name).expect("desired");
        assert_eq!(release["metadata"]["namespace"], "team-a", "{name}");
        assert_eq!(release["apiVersion"], "helm.m.crossplane.io/v1beta1", "{name}");
        assert!(release["spec"].get("deletionPolicy").is_none(), "{name}: the group has none");
    }
    let ours = desired(&answer, "s3-settings").expect("desired");
    assert_eq!(ours["spec"]["forProvider"]["namespace"], "team-a", "beside the vcluster, which lives with its XR");
    let vcluster = desired(&answer, "vcluster").expect("desired");
    assert!(vcluster["spec"]["forProvider"].get("namespace").is_none(), "as it was");
    assert!(vcluster["spec"]["writeConnectionSecretToRef"].get("namespace").is_none(), "nor can it name another");
}
