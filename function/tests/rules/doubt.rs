//! Doubt is a fatal result, in words that do not change.

use crate::common::{World, names, now, settings, values};
use function_sdk_rust::proto::v1::{State, Status};
use serde_json::{Value, json};

#[test]
fn doubt_stops_everything_in_words_that_do_not_change() {
    type Change = fn(&mut World);
    let worlds: [(&str, Change); 16] = [
        ("another id", |w| w.xr["spec"]["id"] = json!("other")),
        ("another owner", |w| w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!("team-b")),
        ("another platform", |w| w.input["id"] = json!("eu-2")),
        ("a foreign helm name", |w| {
            w.find("s3")["metadata"]["annotations"]["crossplane.io/external-name"] = json!("x");
        }),
        ("a foreign object name", |w| w.find("s3")["metadata"]["name"] = json!("bucket-x1")),
        ("another host namespace", |w| w.input["hostNamespacePrefix"] = json!("v-")),
        ("another platform namespace", |w| w.input["namespace"] = json!("other")),
        ("another platform namespace, nothing but a kubeconfig there", |w| {
            w.input["namespace"] = json!("other");
            w.observed.retain(|(name, _)| name == "vcluster");
        }),
        ("another bucket", |w| w.input["store"]["bucketPrefix"] = json!("b-")),
        ("not a Release", |w| w.find("vcluster")["kind"] = json!("Object")),
        ("another generation's Release", |w| w.find("s3")["apiVersion"] = json!("helm.m.crossplane.io/v1beta1")),
        ("another volume", |w| w.xr["spec"]["storage"] = json!({"size": "6Gi"})),
        ("another class", |w| w.xr["spec"]["storage"] = json!({"className": "fast"})),
        ("an orphan", |w| {
            let mut orphan = w.find("s3").clone();
            orphan["metadata"]["name"] = json!("bucket");
            w.observed.push(("bucket".to_owned(), orphan));
        }),
        ("no recipients", |w| {
            w.input["encryption"] = json!({});
            w.xr["spec"]["backup"]["recipients"] = json!([]);
        }),
        ("a chart from the future", |w| {
            w.find("vcluster")["spec"]["forProvider"]["chart"]["version"] = json!("0.40.0");
        }),
    ];
    let sentences: Vec<String> = worlds
        .into_iter()
        .map(|(name, change)| {
            let world = World::ready().with(change);
            let sentence = world.refusal();
            assert_eq!(world.refusal(), sentence, "the same words each time");
            let said: Vec<_> = world.answer().conditions.into_iter().map(|c| (c.r#type, c.status, c.reason)).collect();
            let unknown = |kind: &str| (kind.to_owned(), Status::ConditionUnknown as i32, "Refused".to_owned());
            assert_eq!(said, ["BackupReady", "Recoverable"].map(unknown), "no claim is healthy while nobody looks");
            format!("{name}: {sentence}")
        })
        .collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    another id: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "other-duqk7teo": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    another owner: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "shop-x7k2p-3hmdtiav": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    another platform: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "shop-x7k2p-uooizuye": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    a foreign helm name: observed resource "s3" belongs to key "x", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    a foreign object name: observed resource "s3" belongs to key "bucket-x1", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another Composition has made goes on under its names by input.adopt)
    another host namespace: input.hostNamespacePrefix: "v-shop-x7k2p-3baw4pir" differs from "tenant-shop-x7k2p-3baw4pir", with which "vcluster" was made; put it back, a Helm release never changes its namespace
    another platform namespace: input.namespace: "other" differs from "vcluster-platform", with which "rancher" was made; put it back, a Helm release never changes its namespace
    another platform namespace, nothing but a kubeconfig there: input.namespace: "other" differs from "vcluster-platform", with which "vcluster" was made; put it back, its kubeconfig is handed over there
    another bucket: input.store.bucketPrefix: "b-shop-x7k2p-3baw4pir" differs from "vcluster-shop-x7k2p-3baw4pir", with which "s3" was made; put it back, a vcluster's backups stay in one bucket
    not a Release: observed resource "vcluster" is helm.crossplane.io/v1beta1 Object, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    another generation's Release: observed resource "s3" is helm.m.crossplane.io/v1beta1 Release, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    another volume: spec.storage.size: "6Gi" differs from "5Gi", with which "vcluster" was made; put it back, the volume of a running vcluster keeps its size and class
    another class: spec.storage.className: "fast" differs from "", with which "vcluster" was made; put it back, the volume of a running vcluster keeps its size and class
    an orphan: observed resource "bucket" is a Release of chart "s3-register" that no step desires: going on would uninstall it; let an earlier step desire it, or name it in input.adopt when another Composition has made it
    no recipients: spec.backup.recipients: empty, and so is input.encryption.recipients: nobody could open a backup; make a key pair with `vcluster-backup keygen` and put its recipient (age1...) into one of the two
    a chart from the future: spec.chartVersion: vcluster chart 0.40.0 is not one this version of the function renders; use 0.19 to 0.36
    "#);
}

#[test]
fn a_volume_may_be_ordered_in_other_words() {
    let world = World::ready().with(|w| w.xr["spec"]["storage"] = json!({"size": "5120Mi", "className": ""}));
    assert_eq!(world.desired("vcluster"), World::ready().desired("vcluster"));
}

#[test]
fn a_platform_that_cannot_be_used_is_refused_with_path_value_and_remedy() {
    type Change = fn(&mut Value);
    let changes: [Change; 45] = [
        |i| *i = Value::Null,
        |i| i["kind"] = json!("Input"),
        |i| i["apiVersion"] = json!("vcluster.fn.crossplane.io/v9"),
        |i| i["colour"] = json!("blue"),
        |i| _ = i.as_object_mut().expect("object").remove("id"),
        |i| i["id"] = json!(""),
        |i| i["namespace"] = json!("Platform"),
        |i| i["hostNamespacePrefix"] = json!("a-prefix-of-24-characters"),
        |i| i["hostNamespacePrefix"] = json!("-x"),
        |i| i["charts"]["vcluster"]["version"] = json!("0.18.1"),
        |i| i["charts"]["vcluster"]["allowed"] = json!(["0.36.1", "latest"]),
        |i| i["charts"]["vcluster"]["repository"] = json!("charts.loft.sh"),
        |i| i["charts"]["vcluster"]["upgrade"] = json!("Sometimes"),
        |i| i["charts"]["s3Register"]["repository"] = json!("https://user:hunter2@charts"),
        |i| i["charts"]["s3Register"]["version"] = json!("1"),
        |i| i["charts"]["s3Register"]["pullSecret"] = json!("hunter 2"),
        |i| _ = i["charts"].as_object_mut().expect("object").remove("rancherCluster"),
        |i| i["images"]["sidecar"] = json!(""),
        |i| i["images"]["registration"] = json!("an image"),
        |i| i["images"]["registry"] = json!("https://registry.example.org/"),
        |i| i["store"]["endpoint"] = json!("minio:9000"),
        |i| i["store"]["endpoint"] = json!("http://admin:hunter2@minio:9000"),
        |i| {
            i["store"]["register"] = json!("none");
            i["store"]["quota"] = json!("1Gi");
        },
        |i| i["store"]["register"] = json!("manual"),
        |i| i["store"]["bucketPrefix"] = json!("Bucket_"),
        |i| i["store"]["adminSecret"] = json!({"password": "hunter2"}),
        |i| i["store"]["adminPassword"] = json!("hunter2"),
        |i| i["store"]["adminUserKey"] = json!(""),
        |i| i["store"]["ca"] = json!("hunter2"),
        |i| i["store"]["ca"] = json!("-----BEGIN PRIVATE KEY-----"),
        |i| i["encryption"]["recipients"] = json!(["age1hunter2"]),
        |i| i["trust"] = json!(["ed25519:AAAA"]),
        |i| i["rancher"]["mode"] = json!("operators"),
        |i| i["rancher"]["url"] = Value::Null,
        |i| i["rancher"]["insecure"] = json!("false"),
        |i| i["rancher"]["tokenSecret"] = json!("token-x:hunter2"),
        |i| {
            i["charts"]["rancherCluster"]["version"] = json!("0.1.4");
            i["rancher"]["tokenSecret"] = json!("token");
        },
        |i| {
            i["charts"]["rancherCluster"]["version"] = json!("0.1.4");
            i["rancher"]["ca"] = json!("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----");
        },
        |i| i["sizes"]["small"]["requests"]["cpu"] = json!("much"),
        |i| i["sizes"]["small"]["storage"] = json!("0"),
        |i| i["limits"]["minInterval"] = json!("0s"),
        |i| i["providerConfig"]["name"] = json!(""),
        |i| i["defaults"]["size"] = json!("huge"),
        |i| i["defaults"]["backup"]["interval"] = json!("often"),
        |i| i["readyWhen"] = json!("Backup"),
    ];
    let sentences: Vec<String> =
        changes.into_iter().map(|change| World::new().with(|w| change(&mut w.input)).refusal()).collect();
    let text = sentences.join("\n");
    assert!(!text.contains("hunter"), "no secret is repeated, not even a part:\n{text}");
    insta::assert_snapshot!(text, @r#"
    input: missing; the Composition's step needs an input of apiVersion vcluster.fn.crossplane.io/v1alpha1 and kind Platform
    input.kind: "Input"; the Composition's step needs an input of apiVersion vcluster.fn.crossplane.io/v1alpha1 and kind Platform
    input.apiVersion: "vcluster.fn.crossplane.io/v9"; the Composition's step needs an input of apiVersion vcluster.fn.crossplane.io/v1alpha1 and kind Platform
    input.colour: there is no field "colour"; remove it or mend its name: apiVersion, kind, metadata, id, namespace, hostNamespacePrefix, charts, images, store, encryption, trust, rancher, sizes, kubernetesVersions, limits, valuePaths, providerConfig, readyWhen, usages, adopt, defaults
    input: field "id" is missing; it has no default, write it
    input.id: 0 characters; write 1 to 63
    input.namespace: "Platform" is not a DNS label; write at most 63 of a-z, 0-9 and -, a letter or digit at both ends
    input.hostNamespacePrefix: "a-prefix-of-24-characters" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.hostNamespacePrefix: "-x" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.charts.vcluster.version: vcluster chart 0.18.1 is not one this version of the function renders; use 0.19 to 0.36
    input.charts.vcluster.allowed[1]: "latest" is not a chart version; write it as 0.36.1
    input.charts.vcluster.repository: "charts.loft.sh" is not a chart repository; write it as https://... or oci://...
    input.charts.vcluster.upgrade: "Sometimes" is not one of its values; write OnEdit or Always
    input.charts.s3Register.repository: holds a user or password; name a Secret with both in pullSecret
    input.charts.s3Register.version: "1" is not a chart version; write it as 0.36.1
    input.charts.s3Register.pullSecret: not the name of a Secret; write the name of a Secret in the platform namespace, not its content
    input.charts.rancherCluster: missing; rancher.mode chart installs it
    input.images.sidecar: "" is not an image reference; write it as registry/name:tag
    input.images.registration: "an image" is not an image reference; write it as registry/name:tag
    input.images.registry: "https://registry.example.org/" is not a registry; write it as registry.example.org/mirror
    input.store.endpoint: "minio:9000" is not a URL of the form http(s)://host[:port], without a path
    input.store.endpoint: holds a user or password; credentials belong into a Secret
    input.store.quota: store.register: none makes no bucket to set it on; remove it
    input.store.register: "manual" is not one of its values; write minio or none
    input.store.bucketPrefix: "Bucket_" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.store.adminSecret: a map; write a text
    input.store.adminPassword: there is no field "adminPassword"; remove it or mend its name: url, endpoint, region, ca, pathStyle, register, adminSecret, adminUserKey, adminPasswordKey, credentialsSecret, credentialsRevision, bucketPrefix, quota, allowDelete
    input.store.adminUserKey: not a key of a Secret; write the name of the key, not its content
    input.store.ca: not a PEM certificate; begin it with -----BEGIN CERTIFICATE-----
    input.store.ca: holds a private key; only certificates belong here
    input.encryption.recipients[0]: not an age recipient; copy the whole of age1... (62 characters) as `vcluster-backup keygen` prints it
    input.trust[0]: not a signing key; copy it from status.backup.trustedKeys, as ed25519: and 44 characters of base64
    input.rancher.mode: "operators" is not one of its values; write one of none, chart, operator
    input.rancher.url: missing; rancher.mode chart needs the server's URL
    input.rancher.insecure: "false" is a text; write true or false
    input.rancher.tokenSecret: not the name of a Secret; write the name of a Secret in the platform namespace, not its content
    input.rancher.tokenSecret: the upstream chart rancher-cluster reads Secret "apitoken" alone; give it that name, or take the chart of this project
    input.rancher.ca: the upstream chart rancher-cluster trusts no further certificate; take the chart of this project
    input.sizes.small.requests.cpu: "much" is not a quantity; write it as 500m, 2, 256Mi or 5Gi
    input.sizes.small.storage: "0" is no room at all; write it as 5Gi
    input.limits.minInterval: 0s is no time at all; write it as 30s, 1m or 1h30m
    input.providerConfig.name: "" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
    input.defaults.size: "huge" is not a size of this platform; use one of large, small
    input.defaults.backup.interval: "often" is not a duration; write it as 30s, 1m or 1h30m
    input.readyWhen: "Backup" is not one of its values; write Release or RecoveryPoint
    "#);
}

#[test]
fn a_claim_that_asks_too_much_is_refused() {
    type Change = fn(&mut Value);
    let changes: [Change; 7] = [
        |s| s["chartVersion"] = json!("0.34.0"),
        |s| s["size"] = json!("huge"),
        |s| s["storage"] = json!({"size": "51Gi"}),
        |s| s["backup"]["interval"] = json!("1s"),
        |s| s["distro"] = json!("k3s"),
        |s| s["restore"] = json!({"id": "a", "at": "yesterday"}),
        |s| s["id"] = json!("x".repeat(64)),
    ];
    let mut sentences: Vec<String> =
        changes.into_iter().map(|change| World::new().with(|w| change(&mut w.xr["spec"])).refusal()).collect();
    let no_rancher = World::new().with(|w| {
        w.input["rancher"] = json!({});
        w.xr["spec"]["rancher"] = json!({"enabled": true});
    });
    sentences.push(no_rancher.refusal());
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    spec.chartVersion: "0.34.0" is not allowed by this platform; use one of 0.35.3, 0.36.1
    spec.size: "huge" is not a size of this platform; use one of large, small
    spec.storage.size: "51Gi" is more than this platform gives; ask for at most 50Gi
    spec.backup.interval: 1s is less than this platform gives; ask for at least 10s
    spec.distro: "k3s" is gone from the vcluster chart with 0.33, and 0.36.1 is wanted; write k8s, or take a chart from 0.19 to 0.32
    spec.restore.at: "yesterday" is no backup; write latest, empty, a time as 2026-11-22T06:00:00Z, or an id as status.backup.newest has it
    spec.id: 64 characters; write 1 to 63
    spec.rancher.enabled: true, but this platform has no Rancher (input.rancher.mode: none); remove the field
    "#);
}

#[test]
fn what_the_platform_got_wrong_is_said_of_the_platform() {
    type Change = fn(&mut World);
    let changes: [Change; 5] = [
        |w| w.input["sizes"]["small"]["storage"] = json!("60Gi"),
        |w| {
            w.input["sizes"]["small"] = json!({});
            w.input["defaults"]["storage"] = json!({"size": "60Gi"});
        },
        |w| {
            w.input["sizes"]["small"] = json!({});
            w.input["limits"]["maxStorage"] = json!("1Gi");
        },
        |w| w.input["sizes"]["small"] = json!({"requests": {"memory": "6Gi"}}),
        |w| w.input["sizes"]["small"] = json!({"limits": {"cpu": "100m"}}),
    ];
    let sentences: Vec<String> = changes.iter().map(|change| World::new().with(change).refusal()).collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    input.sizes.small.storage: "60Gi", but input.limits.maxStorage is 50Gi; raise that, or write less here
    input.defaults.storage.size: "60Gi", but input.limits.maxStorage is 50Gi; raise that, or write less here
    input.defaults.storage.size: "5Gi", but input.limits.maxStorage is 1Gi; raise that, or write less here
    input.sizes.small.requests.memory: "6Gi" is more than the 4Gi that vcluster chart 0.36.1 sets as limit; write limits.memory, too
    input.sizes.small.limits.cpu: "100m" is less than the 200m that vcluster chart 0.36.1 requests; write requests.cpu, too
    "#);
    // Nothing of it stops what runs.
    for change in changes {
        let (before, after) = (World::ready(), World::ready().with(change));
        assert_eq!(after.desired("vcluster"), before.desired("vcluster"));
    }
}

#[test]
fn a_quota_reaches_the_registration() {
    let quota = |text: &str| World::new().with(|w| w.input["store"]["quota"] = json!(text));
    let s3 = quota("200Gi").desired("s3").expect("desired");
    assert_eq!(values(&s3)["quota"], "200Gi");
    assert!(values(&World::new().desired("s3").expect("desired")).get("quota").is_none());
    for text in ["0", "500m", "5k", "lots", "-1Gi"] {
        assert!(quota(text).refusal().starts_with("input.store.quota: "), "{text}");
    }
}

#[test]
fn what_nobody_orders_has_a_default() {
    let world = World::new().with(|w| {
        w.xr["spec"] = json!({"claimRef": {"name": "shop", "namespace": "team-a"}});
        let input = w.input.as_object_mut().expect("object");
        for field in ["sizes", "limits", "providerConfig", "defaults", "rancher"] {
            input.remove(field);
        }
    });
    let vcluster = world.desired("vcluster").expect("desired");
    assert_eq!(vcluster["spec"]["providerConfigRef"]["name"], "default");
    let stateful_set = &values(&vcluster)["controlPlane"]["statefulSet"];
    assert!(stateful_set.get("resources").is_none(), "the chart's own");
    assert_eq!(stateful_set["persistence"]["volumeClaim"]["size"], "5Gi");
    assert!(settings(&world).contains("interval: 1m\n"));
    assert_eq!(names(&world.answer()), ["s3", "vcluster"]);
    // An XR that no claim made has no owner; only cluster administrators can make one.
    let direct = world.clone().with(|w| w.xr["metadata"]["labels"] = json!({}));
    assert_ne!(direct.desired("vcluster"), Some(vcluster));
}

#[test]
fn an_empty_request_is_answered() {
    let answer = crate::common::answer(&function_sdk_rust::proto::v1::RunFunctionRequest::default(), now());
    assert!(answer.results[0].message.starts_with("input: missing;"), "{:?}", answer.results);
    assert_eq!(answer.desired, None);
    let no_xr = World::new().with(|w| {
        w.xr = Value::Null;
        w.desired = State::default();
    });
    assert_eq!(no_xr.refusal(), "metadata.name: the observed XR has no apiVersion with a group, kind and name");
}

/// What a person or another program changes in one Release decides nothing: not over data, not over backups.
#[test]
fn an_edit_by_hand_neither_arms_a_deletion_nor_ends_the_backups() {
    let set = "/spec/forProvider/values/controlPlane/statefulSet";
    let edited = World::ready().with(|w| {
        let vcluster = w.find("vcluster");
        *vcluster.pointer_mut(&format!("{set}/persistence/volumeClaim/retentionPolicy")).expect("there") =
            json!("Delete");
    });
    let s3 = edited.desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]));
    assert_eq!(values(&s3)["deletionPolicy"], "Retain");

    let stripped = World::ready().with(|w| {
        let stateful_set = w.find("vcluster").pointer_mut(set).and_then(Value::as_object_mut).expect("there");
        stateful_set.remove("sidecarContainers");
        stateful_set.remove("initContainers");
    });
    let vcluster = stripped.desired("vcluster").expect("desired");
    assert!(values(&vcluster).pointer("/controlPlane/statefulSet/sidecarContainers/0").is_some(), "put back");
}

#[test]
fn a_decision_against_backups_outlives_a_default_that_changes() {
    let mut world = World::new().with(|w| w.input["defaults"]["backup"]["enabled"] = json!(false));
    world.settle();
    let before = world.desired("vcluster").expect("desired");
    world.input["defaults"]["backup"]["enabled"] = json!(true);
    assert_eq!(world.desired("vcluster").expect("desired"), before);
}

#[test]
fn a_default_does_not_arm_the_deletion_of_a_bucket_that_is_there() {
    let world = World::ready().with(|w| {
        w.observed.retain(|(name, _)| name == "s3");
        w.input["defaults"]["deletionPolicy"] = json!("Delete");
    });
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(values(&s3)["deletionPolicy"], "Retain");
}

#[test]
fn what_runs_stays_in_its_cluster_and_outlives_a_stricter_limit() {
    let moved = World::ready().with(|w| w.input["providerConfig"]["name"] = json!("other-cluster"));
    let refusal = moved.refusal();
    assert!(refusal.contains("input.providerConfig.name") && refusal.contains("never moves"), "{refusal}");

    let stricter = |w: &mut World| w.input["limits"]["minInterval"] = json!("5m");
    assert!(settings(&World::ready().with(stricter)).contains("interval: 5m"), "what runs is held to it");
    assert!(World::new().with(stricter).refusal().contains("spec.backup.interval"), "what is new is refused");

    let long = |w: &mut World| w.xr["spec"]["backup"]["interval"] = json!("8760h");
    assert_eq!(
        World::new().with(long).refusal(),
        "spec.backup.interval: 8760h is too long to tell a sidecar that is quiet from one that is dead; write at most 24h"
    );
    assert!(settings(&World::ready().with(long)).contains("interval: 24h"), "what runs goes on");
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    for (field, text) in [("endpoint", "admin:hunter2@minio:9000"), ("endpoint", "ftp://admin:hunter2@minio")] {
        let refusal = World::new().with(|w| w.input["store"][field] = json!(text)).refusal();
        assert!(!refusal.contains("hunter2") && refusal.contains("input.store.endpoint"), "{refusal}");
    }
    let refusal = World::new().with(|w| w.input["images"]["registry"] = json!("user:hunter2@mirror")).refusal();
    assert!(!refusal.contains("hunter2"), "{refusal}");
    let refusal = World::new().with(|w| w.input["store"]["region"] = json!("eu_west")).refusal();
    assert!(refusal.contains("input.store.region"), "{refusal}");
}

#[test]
fn a_chart_that_moves_to_another_repository_moves_nothing_that_runs() {
    let ready = World::ready();
    let before = ready.desired("vcluster").expect("desired");
    let moved = ready.with(|w| {
        w.input["charts"]["vcluster"]["name"] = json!("vcluster-pro");
        w.input["charts"]["vcluster"]["repository"] = json!("https://mirror.example.org");
        w.input["charts"]["vcluster"]["pullSecret"] = json!("mirror");
    });
    assert_eq!(moved.desired("vcluster").expect("desired"), before);
    // With the owner's own edit that restarts anyway, all of it moves at once.
    let upgraded = moved.with(|w| w.xr["spec"]["chartVersion"] = json!("0.35.3"));
    let chart = &upgraded.desired("vcluster").expect("desired")["spec"]["forProvider"]["chart"];
    assert_eq!((&chart["name"], &chart["version"]), (&json!("vcluster-pro"), &json!("0.35.3")));
    assert_eq!(chart["repository"], "https://mirror.example.org");
}
