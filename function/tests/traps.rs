//! The ten traps that a hand-written Composition around these charts and providers falls into, each with one test.
//!
//! What only real programs can show is in `e2e/tests`: the chart under Helm and a real API server (`register`), the user's
//! rights at a real store (`register`, `store`), the restored vcluster (`stock_tools`).

mod common;

use std::{fs, path::PathBuf};

use common::{FAMILIES, World, composite, line, names, pod, settings, values};
use serde_json::{Value, json};

fn vcluster(world: &World) -> Value {
    world.desired("vcluster").expect("desired")
}

/// A template of our own chart, as text: how Helm and a real API server take it is a story of its own.
#[expect(clippy::disallowed_methods, reason = "a test may read what the chart says")]
fn template(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../package/charts/s3-register/templates").join(name);
    fs::read_to_string(path).expect("the chart is there")
}

#[test]
fn trap_01_the_upstream_s3_register_is_refused_because_helm_4_cannot_install_it() {
    // Its Job has a misspelt volume key, which server-side apply refuses: the Release would end as failed for good.
    for version in ["0.0.1", "0.0.2"] {
        let upstream = World::new().with(|w| w.input["charts"]["s3Register"]["version"] = json!(version));
        let refusal = upstream.refusal();
        assert!(refusal.starts_with("input.charts.s3Register.version: "), "{refusal}");
        assert!(refusal.contains(version) && refusal.contains("use 0.1.0 or newer"), "{refusal}");
    }
    // Nor is it mended from outside: a patched Release is upgraded over and over.
    for name in ["vcluster", "s3", "rancher"] {
        let release = World::ready().desired(name).expect("desired");
        assert!(release["spec"]["forProvider"].get("patchesFrom").is_none(), "{name}");
    }
}

#[test]
fn trap_02_an_upgrade_of_s3_register_keeps_the_password_the_store_knows() {
    let s3 = World::ready().desired("s3").expect("desired");
    let policies = s3["spec"]["managementPolicies"].as_array().expect("policies");
    assert!(policies.contains(&json!("Update")), "settings arrive by an upgrade");
    // So no upgrade may draw anew: not from values, which hold no credentials at all, but from what is there.
    let text = values(&s3).to_string().to_lowercase();
    for secret in ["secretkey\"", "adminpassword\"", "accesskey\""] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let helpers = template("_helpers.tpl");
    let drawn = helpers.lines().find(|line| line.contains("randAlphaNum")).expect("it is drawn somewhere");
    assert!(
        drawn.contains("$platform | default $host | default (randAlphaNum"),
        "only when neither copy exists: {drawn}"
    );
    assert_eq!(helpers.matches("randAlphaNum").count(), 1, "and nowhere else");
}

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
fn trap_04_the_same_name_in_two_namespaces_is_two_vclusters() {
    let of = |owner: &str, name: &str| {
        World::new().with(|w| {
            w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!(owner);
            w.xr["metadata"]["name"] = json!(name);
        })
    };
    // The last two would be one where owner and name are merely joined.
    let orders = [("team-a", "shop"), ("team-b", "shop"), ("a-b", "c"), ("a", "b-c")];
    let mut taken: Vec<String> = Vec::new();
    for (owner, name) in orders {
        let world = of(owner, name);
        let (vcluster, s3) = (vcluster(&world), world.desired("s3").expect("desired"));
        for global in [
            &vcluster["metadata"]["name"],
            &s3["metadata"]["name"],
            &vcluster["spec"]["forProvider"]["namespace"],
            &values(&s3)["bucket"],
            &values(&s3)["clustername"],
        ] {
            let global = global.as_str().expect("a name").to_owned();
            assert!(!taken.contains(&global), "{owner}/{name}: {global} is another's");
            taken.push(global);
        }
    }
}

#[test]
fn trap_05_a_user_that_may_not_delete_is_the_rule_and_the_sidecar_is_told_the_exception() {
    let s3 = |world: &World| values(&world.desired("s3").expect("desired")).clone();
    let rule = World::ready();
    assert_eq!(s3(&rule)["allowDelete"], json!(false), "a stolen pod cannot destroy its backups");
    let allowed = rule.clone().with(|w| w.input["store"]["allowDelete"] = json!(true));
    assert_eq!(s3(&allowed)["allowDelete"], json!(true));
    assert_eq!(vcluster(&allowed), vcluster(&rule), "a right at the store restarts nothing");
}

#[test]
fn trap_06_sidecars_before_0_30_are_plugins() {
    for (version, distro) in FAMILIES {
        let release = vcluster(&World::of(version, distro));
        let (values, line, pod) = (values(&release), line(&release), pod(&release));
        let stateful_set = &values["controlPlane"]["statefulSet"];
        for list in ["sidecarContainers", "initContainers"] {
            assert_eq!(
                stateful_set.get(list).is_some(),
                line >= 30,
                "{version}: the schema refuses {list} before 0.30"
            );
        }
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect()
        };
        let (plugin, plugins) = (keys(&values["plugin"]), keys(&values["plugins"]));
        // What the syncer waits for: below 0.20 what is not optional, then what has no version or is optional.
        let sidecar = (pod.sidecar.get("version"), pod.sidecar.get("optional"));
        match line {
            ..20 => {
                assert_eq!((plugin, plugins.len()), (vec!["backup".to_owned(), "backup-restore".to_owned()], 0));
                assert_eq!(sidecar, (None, Some(&json!(true))), "{version}");
                assert_eq!(pod.restore["version"], "v2", "{version}: else it is a second sidecar");
            }
            20..30 => {
                assert_eq!((plugin, plugins), (vec!["backup".to_owned()], vec!["backup-restore".to_owned()]));
                assert_eq!(sidecar, (Some(&json!("v1")), Some(&json!(false))), "{version}");
            }
            30.. => assert_eq!((plugin.len(), plugins.len(), sidecar), (0, 0, (None, None)), "{version}"),
        }
        for container in [pod.sidecar, pod.restore] {
            assert_eq!(container.get("name").is_some(), line >= 30, "{version}: the id of a plugin is its name");
            assert_eq!(container["securityContext"]["runAsUser"], 0, "{version}: the syncer's user owns the database");
            assert!(container.get("env").is_none(), "{version}: an init container before 0.30 has none");
        }
        let off = World::of(version, distro).with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
        let off = vcluster(&off);
        assert!(!off["spec"]["forProvider"]["values"].to_string().contains("vcluster-backup"), "{version}: {off}");
    }
}

#[test]
fn trap_07_k3s_is_gone_from_0_33() {
    for version in ["0.33.4", "0.36.1"] {
        let new = World::of(version, "k3s");
        let gone = format!(
            "\"k3s\" is gone from the vcluster chart with 0.33, and {version} is wanted; write k8s, or take a chart \
             from 0.19 to 0.32"
        );
        assert_eq!(new.refusal(), format!("spec.distro: {gone}"));
        let default = World::of(version, "k8s").with(|w| w.input["defaults"]["distro"] = json!("k3s"));
        assert_eq!(default.refusal(), format!("input.defaults.distro: {gone}"));
        let kept = World::of("0.32.3", "k3s").lived().with(|w| w.xr["spec"]["chartVersion"] = json!(version));
        let sentence = format!(
            "spec.chartVersion: \"{version}\" has no k3s, on which this vcluster runs with chart 0.32.3; set \
             spec.distro: k8s on a chart from 0.25 to 0.32 first, and change the version after that step"
        );
        assert_eq!(kept.refusal(), sentence);
        let kept = kept.with(|w| _ = w.xr["spec"].as_object_mut().expect("spec").remove("distro"));
        assert_eq!(kept.refusal(), sentence, "the distro stays without a word for it");
    }
}

#[test]
fn trap_08_what_may_change_is_not_in_the_values_of_the_vcluster() {
    // The pod template carries a hash of all values: each change of them restarts the tenant's API server.
    type Change = fn(&mut World);
    let changes: [Change; 5] = [
        |w| w.xr["spec"]["backup"]["interval"] = json!("10m"),
        |w| w.xr["spec"]["backup"]["retention"] = json!({"keepLast": 3}),
        |w| w.xr["spec"]["restore"] = json!({"id": "again", "at": "latest"}),
        |w| w.xr["spec"]["bootstrap"] = json!("Latest"),
        |w| w.input["store"]["endpoint"] = json!("https://other:9000"),
    ];
    for world in FAMILIES.map(|(version, distro)| World::of(version, distro).lived()) {
        let (before, told) = (vcluster(&world).to_string(), settings(&world));
        for change in changes {
            let changed = world.clone().with(change);
            assert_eq!(vcluster(&changed).to_string(), before);
            assert_ne!(settings(&changed), told, "it reaches the sidecar by its own file");
        }
    }
}

#[test]
fn trap_09_the_keys_travel_with_the_database() {
    // CA and signing keys lie beside the database, and in a Secret that goes with the Helm release.
    for (version, distro) in FAMILIES {
        let release = vcluster(&World::of(version, distro));
        let pod = pod(&release);
        for container in [pod.sidecar, pod.restore] {
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            let data = mounts.iter().find(|mount| mount["mountPath"] == "/data").expect("the whole folder");
            assert_eq!(data["name"], "data", "{version} {distro}");
            assert!(data.get("subPath").is_none() && data.get("readOnly").is_none(), "{version} {distro}: {data}");
        }
    }
    let rights = template("rights.yaml");
    assert!(rights.contains("%s-certs"), "the Secret of the keys can be put back");
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
