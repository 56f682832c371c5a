//! Adoption: what a hand-written Composition has made keeps its names, and restarts once, when its owner wants backups.

use crate::common::{KEY, World, composite, desired, names, ready, report, values};
use function_sdk_rust::proto::v1::Ready;
use serde_json::{Value, json};
use vcluster_proto::settings::Settings;

const PARTS: [&str; 3] = ["rancher", "s3", "vcluster"];
const SIDECARS: &str = "/controlPlane/statefulSet/sidecarContainers";
const VOLUMES: &str = "/controlPlane/statefulSet/persistence/addVolumes";

/// The adopted vcluster once its owner wants backups, before anything of that is there.
fn wanted() -> World {
    World::adopted().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(true))
}

/// And once it is.
fn backed_up() -> World {
    let mut world = wanted();
    world.settle();
    world.settle();
    world
}

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

/// An adopted vcluster of another chart: its values are another Composition's.
fn of(version: &str, there: Value) -> World {
    wanted().with(|w| {
        let provider = &mut w.find("vcluster")["spec"]["forProvider"];
        provider["chart"]["version"] = json!(version);
        provider["values"] = there;
    })
}

#[test]
fn nothing_changes_before_the_owner_wants_backups() {
    let mut world = World::adopted();
    assert_eq!(names(&world.answer()), PARTS);
    for part in PARTS {
        let (there, again) = (world.find(part).clone(), world.desired(part).expect("desired again"));
        assert_eq!(again["metadata"]["name"], there["metadata"]["name"], "{part}");
        let helm_name = &there["metadata"]["annotations"]["crossplane.io/external-name"];
        assert_eq!(again["metadata"]["annotations"]["crossplane.io/external-name"], *helm_name, "{part}");
        assert_eq!(
            again["metadata"]["labels"],
            json!({"example.org/team": "team-a"}),
            "{part}: theirs, not Crossplane's"
        );
        // What the API server and the provider write is theirs to keep: a copy of it would fight with them.
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "finalizers", "ownerReferences"] {
            assert!(again["metadata"].get(field).is_none(), "{part}: {field}");
        }
        let annotations = again["metadata"]["annotations"].as_object().expect("annotations");
        assert!(annotations.keys().all(|name| !name.contains("external-create")), "{part}: {annotations:?}");
        assert!(again.get("status").is_none(), "{part}");
        assert_eq!(again["spec"]["forProvider"], there["spec"]["forProvider"], "{part}: nothing for Helm to do");
    }
    // Never upgraded, which would lose the password; never uninstalled, which would lose the bucket.
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create"]));
    assert_eq!(composite(&world.answer())["status"]["vcluster"]["endpoint"], "https://shop.k8s.example.org");
    // Its kubeconfig reaches the claim from now on; that restarts nothing.
    let spec = &vcluster(&world)["spec"];
    assert_eq!(spec["connectionDetails"][0]["name"], "vc-shop");
    assert_eq!(spec["managementPolicies"], json!(["*"]));
    assert!(spec.get("rollbackLimit").is_none(), "a rollback of a failed first revision is an uninstall");
    let status = composite(&world.answer())["status"]["vcluster"].clone();
    assert_eq!(status["release"], "shop");
    assert_eq!(status["namespace"], "team-a-shop");
    assert_eq!(status["kubeconfigSecret"], "vc-shop");
    assert_eq!(status["endpoint"], "https://shop.k8s.example.org");
    assert_eq!(status["chartVersion"], "0.30.5");
}

#[test]
fn backups_are_the_one_change_of_values() {
    let (before, after) = (values(&vcluster(&World::adopted())).clone(), values(&vcluster(&wanted())).clone());
    let stateful_set = |values: &Value| values["controlPlane"]["statefulSet"].clone();
    assert_eq!(after.pointer(SIDECARS).expect("there").as_array().expect("a list").len(), 1, "the old one is replaced");
    assert_eq!(after.pointer(SIDECARS).expect("there")[0]["name"], "backup");
    assert_eq!(stateful_set(&after)["initContainers"][0]["name"], "backup-restore");
    let volumes = after.pointer(VOLUMES).expect("there").as_array().expect("a list");
    let credentials = volumes.iter().find(|volume| volume["name"] == "backup-s3").expect("mounted");
    assert_eq!(credentials["secret"]["secretName"], "shop-s3", "the Secret the old chart made");
    // Without all of that the values are what they were.
    let mut rest = (before, after);
    for values in [&mut rest.0, &mut rest.1] {
        let stateful_set = values["controlPlane"]["statefulSet"].as_object_mut().expect("an object");
        stateful_set.remove("sidecarContainers");
        stateful_set.remove("initContainers");
        stateful_set["persistence"].as_object_mut().expect("an object").remove("addVolumes");
    }
    assert_eq!(rest.0, rest.1);

    let answer = wanted().answer();
    assert_eq!(names(&answer), ["rancher", "s3", "s3-settings", "vcluster"]);
    let ours = desired(&answer, "s3-settings").expect("desired");
    assert_eq!(ours["metadata"]["name"], "shop-x7k2p-3baw4pir-s3");
    assert_eq!(ours["spec"]["forProvider"]["namespace"], "team-a-shop");
    let chart = values(&ours);
    assert_eq!((&chart["register"], &chart["bucket"]), (&json!("none"), &json!("team-a-shop")));
    assert_eq!((&chart["release"], &chart["clustername"]), (&json!("shop"), &json!("shop-x7k2p-3baw4pir")));
    assert_eq!(chart["s3"]["existingSecret"], "", "no Job needs the administrator");
    let settings = Settings::from_yaml(chart["settings"].as_str().expect("one string")).expect("readable");
    assert_eq!(settings.cluster.release.as_deref(), Some("shop"));
    assert_eq!(settings.cluster.namespace, "team-a-shop");
    assert_eq!(settings.store.url, "s3://team-a-shop");
    assert_eq!(settings.store.endpoint.as_deref(), Some("http://minio.minio:9000"));
    assert_eq!(settings.store.registration, None, "there is no Job to look at");
    let status = composite(&answer)["status"]["backup"].clone();
    assert_eq!((&status["bucket"], &status["endpoint"]), (&json!("team-a-shop"), &json!("http://minio.minio:9000")));
}

#[test]
fn afterwards_only_the_owner_restarts_it() {
    type Change = fn(&mut World);
    let world = backed_up();
    let before = vcluster(&world);
    assert_eq!(
        values(&before),
        values(world.observed.iter().find(|(name, _)| name == "vcluster").map(|(_, r)| r).expect("there"))
    );
    let nobody: [Change; 12] = [
        |w| w.input["charts"]["vcluster"]["version"] = json!("0.35.3"),
        |w| w.input["defaults"]["access"] = json!({"host": "{key}.example.org"}),
        |w| w.input["defaults"]["values"] = json!({"sync": {"toHost": {"pods": {"enabled": true}}}}),
        |w| w.input["charts"]["vcluster"]["upgrade"] = json!("Always"),
        |w| w.input["images"]["registry"] = json!("registry.example.org/mirror"),
        |w| w.input["sizes"]["small"] = json!({"requests": {"cpu": "2"}}),
        |w| w.input["defaults"] = json!({"size": "large", "deletionPolicy": "Delete", "backup": {"enabled": false}}),
        |w| w.input["store"]["endpoint"] = json!("https://other:9000"),
        |w| w.input["rancher"] = json!({"mode": "none"}),
        |w| w.xr["spec"]["backup"]["interval"] = json!("10m"),
        |w| w.xr["spec"]["restore"] = json!({"id": "one", "at": "latest"}),
        |w| w.report(&report()),
    ];
    for (at, change) in nobody.into_iter().enumerate() {
        let changed = vcluster(&world.clone().with(change));
        assert_eq!(changed["spec"]["forProvider"], before["spec"]["forProvider"], "change {at}");
    }
    // What he orders moves what he orders, and neither chart nor anything else beside it.
    let large = vcluster(&world.clone().with(|w| w.xr["spec"]["size"] = json!("large")));
    let mut expected = values(&before).clone();
    expected["controlPlane"]["statefulSet"]["resources"] =
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "8Gi"}});
    assert_eq!(values(&large), &expected);
    assert_eq!(large["spec"]["forProvider"]["chart"], before["spec"]["forProvider"]["chart"]);
    let newer = vcluster(&world.clone().with(|w| {
        w.input["charts"]["vcluster"]["allowed"] = json!(["0.32.3"]);
        w.xr["spec"]["chartVersion"] = json!("0.32.3");
    }));
    assert_eq!(newer["spec"]["forProvider"]["chart"]["version"], "0.32.3");
    assert_eq!(values(&newer), values(&before), "0.30 and 0.32 read the same keys");
    let k8s = vcluster(&world.clone().with(|w| w.xr["spec"]["distro"] = json!("k8s")));
    let mut expected = values(&before).clone();
    expected["controlPlane"]["distro"] = json!({"k8s": {"enabled": true}});
    assert_eq!(values(&k8s), &expected);
    // Off again: the old container does not come back.
    let off = vcluster(&world.with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false)));
    assert!(values(&off).pointer(SIDECARS).is_none() && values(&off).pointer(VOLUMES).is_none(), "{off}");
    assert_eq!(values(&off)["sync"], values(&before)["sync"]);
}

#[test]
fn a_container_of_others_keeps_its_place_beside_ours_in_every_family() {
    let proxy = json!({"name": "proxy", "image": "proxy:1"});
    let volume = json!({"name": "ca", "configMap": {"name": "ca"}});
    let containers = json!({"controlPlane": {"statefulSet": {
        "sidecarContainers": [proxy], "initContainers": [proxy], "persistence": {"addVolumes": [volume]},
    }}});
    for version in ["0.30.0", "0.32.3", "0.33.4", "0.36.1"] {
        let mut world = of(version, containers.clone());
        for life in ["first", "later"] {
            let vcluster = vcluster(&world);
            let stateful_set = &values(&vcluster)["controlPlane"]["statefulSet"];
            for (list, ours) in [("sidecarContainers", "backup"), ("initContainers", "backup-restore")] {
                let names: Vec<_> = stateful_set[list].as_array().expect("a list").iter().map(|c| &c["name"]).collect();
                assert_eq!(names, [ours, "proxy"], "{version} {life} {list}");
            }
            let volumes = stateful_set["persistence"]["addVolumes"].as_array().expect("a list");
            assert_eq!((volumes.len(), volumes.last()), (6, Some(&volume)), "{version} {life}");
            world.settle();
        }
    }
    let plugins = json!({
        "plugin": {"mine": {"image": "x"}}, "plugins": {"other": {"image": "y"}},
        "controlPlane": {"statefulSet": {"persistence": {"addVolumes": [volume]}}},
    });
    for version in ["0.20.6", "0.29.3"] {
        let vcluster = vcluster(&of(version, plugins.clone()));
        let keys = |map: &str| values(&vcluster)[map].as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (keys("plugin"), keys("plugins")),
            (vec!["backup".to_owned(), "mine".to_owned()], vec!["backup-restore".to_owned(), "other".to_owned()],),
            "{version}"
        );
    }
    let legacy = json!({"plugin": {"mine": {"image": "x"}}, "volumes": [volume], "storage": {"size": "20Gi"}});
    let release = vcluster(&of("0.19.10", legacy));
    let values = values(&release);
    assert_eq!(values["plugin"].as_object().expect("a map").len(), 3);
    assert_eq!(values["volumes"].as_array().expect("a list").len(), 6);
    let spool =
        values["volumes"].as_array().into_iter().flatten().find(|v| v["name"] == "backup-spool").expect("there");
    assert_eq!(spool["emptyDir"]["sizeLimit"], "20Gi", "as large as the volume, wherever its size stands");
    assert!(
        values.get("syncer").is_none() && values.get("telemetry").is_none(),
        "nothing of ours beside that: {values}"
    );
}

#[test]
fn a_new_vcluster_under_the_same_platform_is_made_by_our_names() {
    let new = wanted().with(|w| w.observed.clear());
    let without = new.clone().with(|w| _ = w.input.as_object_mut().expect("an object").remove("adopt"));
    assert_eq!(new.answer(), without.answer());
    let lived = new.lived();
    assert_eq!(names(&lived.answer()), PARTS, "and goes on with them");
    let without = lived.clone().with(|w| _ = w.input.as_object_mut().expect("an object").remove("adopt"));
    assert_eq!(lived.answer(), without.answer());
}

#[test]
fn a_resource_without_a_name_plays_no_part() {
    let nameless = |world: World| world.with(|w| w.observed.push((String::new(), json!({"kind": "Release"}))));
    for world in [World::ready(), World::adopted(), backed_up()] {
        assert_eq!(nameless(world.clone()).answer(), world.answer());
    }
}

#[test]
fn a_vcluster_without_an_old_bucket_gets_one_of_ours() {
    let world = wanted().with(|w| w.observed.retain(|(name, _)| name != "s3"));
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(values(&s3)["register"], "minio");
    assert_eq!(values(&s3)["bucket"], "vcluster-shop-x7k2p-3baw4pir");
    assert_eq!(s3["spec"]["forProvider"]["namespace"], "team-a-shop", "beside the vcluster");
    assert!(vcluster(&world).to_string().contains("\"shop-x7k2p-3baw4pir-s3\""), "its Secret is mounted");
}

#[test]
fn the_old_release_may_go_once_ours_stands_beside_it() {
    // Somebody deletes the Release object by hand: nothing is uninstalled, and nothing may be made anew.
    let world = backed_up();
    let gone = world.clone().with(|w| w.observed.retain(|(name, _)| name != "s3"));
    for name in ["vcluster", "s3-settings", "rancher"] {
        assert_eq!(gone.desired(name), world.desired(name), "{name}");
    }
    assert_eq!(gone.desired("s3"), None, "what it was made of is known to nobody");
    assert_eq!(composite(&gone.answer())["status"]["backup"]["bucket"], "team-a-shop");
}

#[test]
fn the_old_store_counts_wherever_the_platform_keeps_new_buckets() {
    let moved = backed_up().with(|w| {
        w.input["store"] = json!({"register": "none", "region": "eu-west-1", "pathStyle": false, "bucketPrefix": "b-"});
    });
    let settings = values(&moved.desired("s3-settings").expect("desired"))["settings"].clone();
    let settings = Settings::from_yaml(settings.as_str().expect("one string")).expect("readable");
    assert_eq!(settings.store.url, "s3://team-a-shop");
    assert_eq!(settings.store.endpoint.as_deref(), Some("http://minio.minio:9000"));
    assert_eq!((settings.store.region, settings.store.path_style), (None, Some(true)), "the old chart knew MinIO only");
}

#[test]
fn only_the_owner_s_word_removes_the_old_bucket() {
    let policies = |world: &World| world.desired("s3").expect("desired")["spec"]["managementPolicies"].clone();
    let retention = |world: &World| {
        values(&vcluster(world)).pointer("/controlPlane/statefulSet/persistence/volumeClaim/retentionPolicy").cloned()
    };
    let default = backed_up().with(|w| w.input["defaults"]["deletionPolicy"] = json!("Delete"));
    assert_eq!((policies(&default), retention(&default)), (json!(["Observe", "Create"]), None));
    let mut world = backed_up().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    assert_eq!(policies(&world), json!(["Observe", "Create", "Delete"]), "never Update");
    assert_eq!(retention(&world), Some(json!("Delete")));
    assert_eq!(values(&world.desired("s3-settings").expect("desired"))["deletionPolicy"], "Delete");
    world.settle();
    let mut back = world.with(|w| _ = w.xr["spec"].as_object_mut().expect("spec").remove("deletionPolicy"));
    for _ in 0..2 {
        assert_eq!((policies(&back), retention(&back)), (json!(["Observe", "Create"]), Some(json!("Retain"))));
        back.settle();
    }
}

#[test]
fn the_old_registration_goes_by_the_owner_s_word_alone() {
    let world = backed_up();
    let before = world.desired("rancher").expect("desired");
    let none = world.clone().with(|w| w.input["rancher"] = json!({"mode": "none"}));
    assert_eq!(none.desired("rancher"), Some(before), "its Release needs nothing of the Platform");
    let off = world.clone().with(|w| w.xr["spec"]["rancher"] = json!({"enabled": false}));
    assert_eq!(off.desired("rancher"), None);
    // One that never was registered is registered as every other, under our name.
    let never = world.with(|w| w.observed.retain(|(name, _)| name != "rancher"));
    let ours = never.desired("rancher").expect("desired");
    assert_eq!(ours["metadata"]["name"], "shop-x7k2p-3baw4pir-rancher");
    assert_eq!(values(&ours)["vclusterReleaseName"], "shop");
    assert_eq!(values(&ours)["targetnamespace"], "team-a-shop");
}

#[test]
fn the_owner_s_word_reaches_the_operator_by_one_annotation() {
    const PLACE: &str = "/controlPlane/service/annotations";
    let mut world = backed_up().with(|w| w.input["rancher"] = json!({"mode": "operator"}));
    world.observed.retain(|(name, _)| name != "rancher");
    let at = |world: &World| values(&vcluster(world)).pointer(PLACE).cloned();
    assert_eq!(at(&world), None, "a platform that turns to the operator restarts nothing");
    world.xr["spec"]["rancher"] = json!({"enabled": false});
    assert_eq!(at(&world), Some(json!({"loft.sh/vcluster-skip-import": "true"})));
    world.settle();
    world.xr["spec"]["rancher"] = json!({"enabled": true});
    assert_eq!(at(&world), Some(json!({})));
}

#[test]
fn health_and_restores_find_the_sidecar_beside_the_adopted_vcluster() {
    let mut world = backed_up().with(|w| w.input["readyWhen"] = json!("RecoveryPoint"));
    assert_eq!(ready(&world.answer(), "s3-settings"), Ready::False as i32, "the first backup is awaited");
    assert_eq!(ready(&world.answer(), "s3"), Ready::True as i32);
    world.report(&report());
    world.reports.as_mut().expect("reported")[0]["metadata"]["namespace"] = json!("team-a-shop");
    assert_eq!(ready(&world.answer(), "s3-settings"), Ready::True as i32);
    assert_eq!(composite(&world.answer())["status"]["backup"]["trustedKeys"], json!([KEY]));
    let requirements = world.answer().requirements.expect("asked for");
    assert_eq!(requirements.resources["backup-status"].namespace.as_deref(), Some("team-a-shop"));

    let restored = world.with(|w| {
        let keys = json!({"name": "backup-keys", "repository": "https://charts.example.org", "version": "0.1.0"});
        w.input["charts"]["backupKeys"] = keys;
        w.input["encryption"]["identitySecret"] = json!("{key}-identity");
        w.input["store"] =
            json!({"register": "none", "endpoint": "http://minio.minio:9000", "credentialsSecret": "{key}-store"});
        w.xr["spec"]["restore"] = json!({"id": "one", "at": "latest"});
    });
    let keys = restored.desired("keys").expect("desired");
    assert_eq!(values(&keys)["hostNamespace"], "team-a-shop");
    assert_eq!(values(&keys)["clustername"], "shop-x7k2p-3baw4pir");
    assert_eq!(values(&keys)["identity"]["secret"], "shop-x7k2p-3baw4pir-identity");
    assert!(values(&keys).get("credentials").is_none(), "the old Secret opens the old bucket");
}

#[test]
fn its_own_network_policy_is_opened_for_the_store() {
    let policy = |version: &str, there: Value| {
        let ours = of(version, there).desired("s3-settings").expect("desired");
        values(&ours)["networkPolicy"]["enabled"].clone()
    };
    let on = json!({"policies": {"networkPolicy": {"enabled": true}}});
    assert_eq!(policy("0.30.5", on), json!(true));
    assert_eq!(policy("0.30.5", json!({})), json!(false), "alone it would shut every other way");
    assert_eq!(
        policy("0.19.10", json!({"isolation": {"enabled": true}})),
        json!(true),
        "0.19 has it on by default then"
    );
    let off = json!({"isolation": {"enabled": true, "networkPolicy": {"enabled": false}}});
    assert_eq!(policy("0.19.10", off), json!(false));
}

#[test]
fn what_is_no_release_is_named_in_full_under_a_name_of_its_own_too() {
    let world = wanted().with(|w| {
        let (name, object) =
            w.observed.iter_mut().find(|(name, _)| name == "old-rancher" || name == "rancher").expect("observed");
        "registration".clone_into(name);
        object["kind"] = json!("Object");
        w.input["adopt"]["rancher"] = json!("registration");
    });
    let sentence = world.refusal();
    let start = "observed resource \"registration\" is helm.crossplane.io/v1beta1 Object, not a Release of ";
    assert!(sentence.starts_with(start), "{sentence}");
}

#[test]
fn doubt_stops_an_adoption_in_words_that_do_not_change() {
    type Change = fn(&mut World);
    let worlds: [(&str, Change); 31] = [
        ("taken back", |w| _ = w.input.as_object_mut().expect("an object").remove("adopt")),
        ("taken back under other names", |w| {
            for (name, _) in &mut w.observed {
                name.insert_str(0, "old-");
            }
            _ = w.input.as_object_mut().expect("an object").remove("adopt");
        }),
        ("the bucket's taken back", |w| _ = w.input["adopt"].as_object_mut().expect("an object").remove("s3")),
        ("the vcluster is lost", |w| w.observed.retain(|(name, _)| name != "vcluster")),
        ("of another generation", |w| w.find("vcluster")["apiVersion"] = json!("helm.m.crossplane.io/v1beta1")),
        ("no Release", |w| w.find("s3")["kind"] = json!("Object")),
        ("another cluster", |w| w.find("vcluster")["spec"]["providerConfigRef"]["name"] = json!("edge")),
        ("an earlier step desires it", |w| _ = w.desired.resources.entry("vcluster".into()).or_default()),
        ("hidden values", |w| provider(w, "vcluster")["valuesFrom"] = json!([{"configMapKeyRef": {"name": "x"}}])),
        ("set", |w| {
            let set = json!([{"name": "controlPlane.statefulSet.sidecarContainers[0].name", "value": "proxy"}]);
            provider(w, "vcluster")["set"] = set;
        }),
        ("a name of ours", |w| put(w, "plugin", json!({"backup": {"image": "x"}}))),
        ("an etcd", |w| put(w, "controlPlane", json!({"backingStore": {"etcd": {"deploy": {"enabled": true}}}}))),
        ("an external database", |w| {
            put(w, "controlPlane", json!({"backingStore": {"database": {"external": {"enabled": true}}}}));
        }),
        ("no volume", |w| {
            let off = json!({"persistence": {"volumeClaim": {"enabled": false}}});
            put(w, "controlPlane", json!({"statefulSet": off}));
        }),
        ("k0s", |w| put(w, "controlPlane", json!({"distro": {"k0s": {"enabled": true}}}))),
        ("another user", |w| {
            let security = json!({"containerSecurityContext": {"runAsUser": 12345, "runAsGroup": 12345}});
            put(w, "controlPlane", json!({"statefulSet": {"security": security}}));
        }),
        ("nobody who is root", |w| put(w, "securityContext", json!({"runAsNonRoot": true}))),
        ("a chart of another distro", |w| {
            provider(w, "vcluster")["chart"] = json!({"name": "vcluster-k8s", "version": "0.19.10"});
        }),
        ("a chart that is none", |w| provider(w, "s3")["chart"]["name"] = json!("nginx")),
        ("our own chart", |w| provider(w, "s3")["chart"]["version"] = json!("0.1.0")),
        ("a hidden bucket", |w| {
            provider(w, "s3")["set"] = json!([{"name": "clustername", "valueFrom": {"secretKeyRef": {"name": "x"}}}]);
        }),
        ("no bucket", |w| provider(w, "s3")["values"]["clustername"] = json!("a/b")),
        ("another volume", |w| w.xr["spec"]["storage"] = json!({"size": "20Gi"})),
        ("another host", |w| w.xr["spec"]["access"] = json!({"host": "shop.example.org"})),
        ("a version of Kubernetes", |w| w.xr["spec"]["kubernetesVersion"] = json!("1.33")),
        ("values", |w| w.xr["spec"]["values"] = json!({"sync": {"toHost": {"pods": {"enabled": true}}}})),
        ("from old values to new ones", |w| {
            provider(w, "vcluster")["chart"]["version"] = json!("0.19.10");
            provider(w, "vcluster")["values"] = json!({});
            w.xr["spec"]["chartVersion"] = json!("0.36.1");
        }),
        ("one name twice", |w| w.input["adopt"]["rancher"] = json!("s3")),
        ("a name of another part", |w| w.input["adopt"]["rancher"] = json!("keys")),
        ("a field of ours", |w| w.input["adopt"]["specFields"] = json!(["parameters", "size"])),
        ("no vcluster", |w| _ = w.input["adopt"].as_object_mut().expect("an object").remove("vcluster")),
    ];
    let sentences: Vec<String> = worlds
        .into_iter()
        .map(|(name, change)| {
            let world = wanted().with(change);
            let sentence = world.refusal();
            assert_eq!(world.refusal(), sentence, "the same words each time");
            format!("{name}: {sentence}")
        })
        .collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    taken back: observed resource "vcluster" belongs to key "shop", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    taken back under other names: observed resource "old-rancher" is a Release of chart "rancher-cluster" that no step desires: going on would uninstall it; let an earlier step desire it, or name it in input.adopt when another Composition has made it
    the bucket's taken back: observed resource "s3" belongs to key "shop-s3", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    the vcluster is lost: observed resource "s3" was made by another Composition or beside what it made (input.adopt), but its vcluster "vcluster" is not there: going on would make another one, with an empty disk; put its Release back under its old name, or let that Composition make it first
    of another generation: observed resource "vcluster" is helm.m.crossplane.io/v1beta1 Release, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    no Release: observed resource "s3" is helm.crossplane.io/v1beta1 Object, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    another cluster: input.providerConfig.name: "default" differs from "edge", with which "vcluster" was made; put it back, a Helm release never moves to another cluster
    an earlier step desires it: desired resource "vcluster" comes from an earlier step, but the name is this function's; rename or remove it there
    hidden values: input.adopt.vcluster: some of its values come from a ConfigMap or Secret, which is not read here, and the sidecar's could replace them; write them into its values first, where they change nothing, or write spec.backup.enabled: false
    set: input.adopt.vcluster: controlPlane.statefulSet.sidecarContainers[0].name stands in its forProvider.set, and sidecar and database must be seen in values; write it there first, where it changes nothing, or write spec.backup.enabled: false
    a name of ours: input.adopt.vcluster: its values hold a container "backup" that is not ours but bears its name; name it in input.adopt.sidecar to have it replaced, or write spec.backup.enabled: false
    an etcd: input.adopt.vcluster: it keeps its state in an etcd, so there is no database file that the sidecar could back up; take it out, or write spec.backup.enabled: false
    an external database: input.adopt.vcluster: it keeps its state in an external database, so there is no database file that the sidecar could back up; take it out, or write spec.backup.enabled: false
    no volume: input.adopt.vcluster: it has no volume, so there is no database file that the sidecar could back up; take it out, or write spec.backup.enabled: false
    k0s: input.adopt.vcluster: k0s keeps its state in an etcd, so there is no database file that the sidecar could back up; take it out, or write spec.backup.enabled: false
    another user: input.adopt.vcluster: controlPlane.statefulSet.security.containerSecurityContext gives its containers another user than root, as whom the sidecar runs: the pod would not start, or the sidecar not read the database; take it out, or write spec.backup.enabled: false
    nobody who is root: input.adopt.vcluster: securityContext gives its containers another user than root, as whom the sidecar runs: the pod would not start, or the sidecar not read the database; take it out, or write spec.backup.enabled: false
    a chart of another distro: input.adopt.vcluster: its chart is not that of k3s and keeps its state in an etcd, so there is no database file that the sidecar could back up; take it out, or write spec.backup.enabled: false
    a chart that is none: input.adopt.s3: "s3" is a Release of chart "nginx" 0.0.2, not of the upstream s3-register 0.0.x; name that one, or leave it out when there is none
    our own chart: input.adopt.s3: "s3" is a Release of chart "s3-register" 0.1.0, not of the upstream s3-register 0.0.x; name that one, or leave it out when there is none
    a hidden bucket: input.adopt.s3: clustername of "s3" comes from a ConfigMap or Secret, which is not read here; write it into its values first, where it changes nothing
    no bucket: input.adopt.s3: clustername of "s3" is not the name of a bucket; mend it there first
    another volume: spec.storage.size: "20Gi" differs from "10Gi", with which "vcluster" was made; put it back, the volume of a running vcluster keeps its size and class
    another host: spec.access.host: not for a vcluster that another Composition has made, whose values stay as they are; remove the field, and edit the values of its Release
    a version of Kubernetes: spec.kubernetesVersion: "1.33", but this platform offers no Kubernetes version for k3s; remove the field
    values: spec.values: not for a vcluster that another Composition has made, whose values stay as they are; remove the field, and edit the values of its Release
    from old values to new ones: spec.chartVersion: "0.36.1" reads other values than 0.19.10, with which another Composition has made this vcluster; stay on that side of 0.20, or order a new vcluster and restore a backup into it
    one name twice: input.adopt.s3: "s3" is the name of another part; write it as the old Composition does
    a name of another part: input.adopt.rancher: "keys" is the name of another part; write it as the old Composition does
    a field of ours: input.adopt.specFields[1]: "size" is a field of ours, too; rename it in the XRD first
    no vcluster: input.adopt.vcluster: missing; nothing of a vcluster is adopted without it
    "#);
}

#[test]
fn fields_of_the_old_xrd_are_passed_over_once_they_are_named() {
    let old = wanted().with(|w| w.xr["spec"]["parameters"] = json!({"version": "0.30.5"}));
    assert!(old.refusal().starts_with("spec.parameters: there is no field"), "{}", old.refusal());
    let named = old.with(|w| w.input["adopt"]["specFields"] = json!(["parameters"]));
    assert_eq!(named.answer().desired, wanted().answer().desired);
}

#[test]
fn what_cannot_be_backed_up_is_adopted_without() {
    for there in [
        json!({"controlPlane": {"backingStore": {"etcd": {"embedded": {"enabled": true}}}}}),
        json!({"plugin": {"backup": {"image": "x"}}}),
    ] {
        let world = of("0.30.5", there.clone()).with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
        assert_eq!(values(&vcluster(&world)), &there);
        assert_eq!(names(&world.answer()), PARTS);
    }
}

fn provider<'w>(world: &'w mut World, name: &str) -> &'w mut Value {
    &mut world.find(name)["spec"]["forProvider"]
}

fn put(world: &mut World, field: &str, value: Value) {
    provider(world, "vcluster")["values"][field] = value;
}
