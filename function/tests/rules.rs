//! What must hold for every answer: the rules of the function protocol, and those that keep data and clusters safe.

mod common;

use common::{FAMILIES, KEY, World, bytes, config_map, desired, names, now, report, values};
use function_sdk_rust::{
    proto::v1::{Ready, Resources, RunFunctionResponse, State, Status, Target, resource_selector::Match},
    resource::{json_to_struct, struct_to_json},
};
use serde_json::{Value, json};
use vcluster_proto::status::{self, Restore};

fn ttl(answer: &RunFunctionResponse) -> Option<i64> {
    answer.meta.as_ref()?.ttl.as_ref().map(|ttl| ttl.seconds)
}

fn composite(answer: &RunFunctionResponse) -> Value {
    let composite = answer.desired.as_ref().and_then(|state| state.composite.as_ref());
    struct_to_json(composite.and_then(|xr| xr.resource.as_ref()).expect("a composite"))
}

fn ready(answer: &RunFunctionResponse, name: &str) -> i32 {
    answer.desired.as_ref().expect("desired").resources[name].ready
}

fn settings(world: &World) -> String {
    let s3 = world.desired("s3").expect("desired");
    values(&s3)["settings"].as_str().expect("one string").to_owned()
}

// -- the protocol

#[test]
fn the_same_request_gives_the_same_answer() {
    for world in [World::new(), World::ready(), World::healthy(), World::new().with(|w| w.input = json!({}))] {
        let (request, first) = (world.request(), bytes(&world.answer()));
        for _ in 0..10 {
            assert_eq!(bytes(&function_vcluster::wire::answer(&request, now())), first);
        }
    }
}

#[test]
fn the_tag_is_kept_and_only_status_and_readiness_are_said_of_the_xr() {
    let answer = World::ready().answer();
    assert_eq!(answer.meta.as_ref().expect("meta").tag, "tag");
    let xr = composite(&answer);
    assert_eq!(xr.as_object().expect("an object").keys().collect::<Vec<_>>(), ["status"], "no spec, no metadata");
    let status = xr["status"].as_object().expect("a status");
    assert_eq!(status.keys().collect::<Vec<_>>(), ["backup", "vcluster"], "nothing outside of our own subtrees");
    for name in names(&answer) {
        assert!(desired(&answer, &name).expect("desired").get("status").is_none(), "a composed status is ignored");
    }
}

#[test]
fn what_earlier_steps_want_stays_as_it_is() {
    let world = World::new().with(|w| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
        let resource = w.desired.resources.entry("theirs".to_owned()).or_default();
        resource.resource = object.as_object().map(json_to_struct);
        resource.ready = Ready::True as i32;
        let xr = json!({"status": {"theirs": 1, "vcluster": {"old": true}}});
        let composite = w.desired.composite.get_or_insert_default();
        composite.resource = xr.as_object().map(json_to_struct);
        composite.connection_details.insert("password".to_owned(), b"x".to_vec());
    });
    let answer = world.answer();
    assert_eq!(names(&answer), ["s3", "theirs", "vcluster"]);
    let theirs = &answer.desired.as_ref().expect("desired").resources["theirs"];
    assert_eq!(Some(theirs), world.desired.resources.get("theirs"));
    let status = composite(&answer)["status"].clone();
    assert_eq!(status["theirs"], 1);
    assert!(status["vcluster"].get("old").is_none(), "our subtree is ours");
    let composite = answer.desired.as_ref().and_then(|state| state.composite.as_ref()).expect("composite");
    assert!(composite.connection_details.contains_key("password"));

    let taken = World::new().with(|w| _ = w.desired.resources.entry("s3".to_owned()).or_default());
    assert_eq!(
        taken.refusal(),
        "desired resource \"s3\" comes from an earlier step, but the name is this function's; rename it there"
    );
}

#[test]
fn a_steady_state_is_silent_and_asks_again_after_a_minute() {
    let world = World::healthy();
    let answer = world.answer();
    assert!(answer.results.is_empty());
    assert_eq!(ttl(&answer), Some(60));
    for name in ["vcluster", "s3", "rancher"] {
        assert_eq!(ready(&answer, name), Ready::True as i32, "{name}");
        let observed = &world.observed.iter().find(|(n, _)| n == name).expect("observed").1;
        let mut there = observed.clone();
        there.as_object_mut().expect("an object").remove("status");
        assert_eq!(desired(&answer, name), Some(there), "{name} is desired as it is there");
    }
}

#[test]
fn the_four_conditions_are_always_there_and_go_to_the_claim() {
    let off = World::new().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    for world in [World::new(), World::ready(), off] {
        let answer = world.answer();
        let kinds: Vec<&str> = answer.conditions.iter().map(|c| c.r#type.as_str()).collect();
        assert_eq!(kinds, ["BackupReady", "Recoverable", "RestoreSucceeded", "RancherRegistered"]);
        for condition in &answer.conditions {
            assert_eq!(condition.target, Some(Target::CompositeAndClaim as i32));
            assert!(!condition.reason.is_empty() && condition.message.is_some());
        }
        // Crossplane has handed over no report: no word about backups is more than unknown.
        assert!(answer.conditions[..3].iter().all(|c| c.status == Status::ConditionUnknown as i32));
    }
    let rancher = |world: &World| world.answer().conditions[3].clone();
    assert_eq!(rancher(&World::new()).status, Status::ConditionFalse as i32);
    assert_eq!(rancher(&World::ready()).status, Status::ConditionTrue as i32);
    let disabled = World::new().with(|w| w.xr["spec"]["rancher"] = json!({"enabled": false}));
    assert_eq!(rancher(&disabled).reason, "Disabled");
}

#[test]
fn readiness_is_what_provider_helm_says_and_nothing_else() {
    let mut world = World::new();
    assert_eq!(ready(&world.answer(), "s3"), Ready::False as i32, "nothing is observed yet");
    assert_eq!(ttl(&world.answer()), Some(10), "something is awaited");
    world.settle();
    assert_eq!(ready(&world.answer(), "s3"), Ready::True as i32);
    world.unready("s3");
    assert_eq!(ready(&world.answer(), "s3"), Ready::False as i32);
}

// -- the vcluster's values restart the tenant's API server

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

// -- nothing that holds data is ever dropped

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

// -- health on the claim

fn condition(answer: &RunFunctionResponse, kind: &str) -> (i32, String) {
    let condition = answer.conditions.iter().find(|c| c.r#type == kind).expect("always there");
    (condition.status, condition.reason.clone())
}

fn backup_ready(world: &World) -> String {
    condition(&world.answer(), "BackupReady").1
}

fn backup_status(world: &World) -> Value {
    composite(&world.answer())["status"]["backup"].clone()
}

#[test]
fn the_report_is_asked_for_in_both_forms_while_backup_is_on() {
    for world in [World::new(), World::healthy()] {
        let asked = world.answer().requirements.expect("asked");
        let by_name = &asked.resources["backup-status"];
        assert_eq!((by_name.api_version.as_str(), by_name.kind.as_str()), ("v1", "ConfigMap"));
        assert_eq!(by_name.r#match, Some(Match::MatchName("shop-x7k2p-3baw4pir-backup-status".to_owned())));
        assert_eq!(by_name.namespace.as_deref(), Some("tenant-shop-x7k2p-3baw4pir"));
        let by_label = &asked.extra_resources["backup-status"];
        let Some(Match::MatchLabels(labels)) = &by_label.r#match else { panic!("{by_label:?}") };
        assert_eq!(labels.labels["vcluster.fn.crossplane.io/key"], "shop-x7k2p-3baw4pir");
        assert_eq!((labels.labels.len(), &by_label.namespace), (1, &None), "cores before 2.0 know no namespace");
        assert_eq!((asked.resources.len(), asked.extra_resources.len()), (1, 1));
    }
    let off = World::healthy().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert_eq!(off.answer().requirements, None);
    assert_eq!(backup_ready(&off), "Disabled");
    assert_eq!(backup_status(&off)["state"], "Disabled");
    assert_eq!(backup_status(&off)["newest"], backup_status(&World::healthy())["newest"], "and nothing is forgotten");
}

#[test]
fn the_claim_says_what_the_sidecar_reports() {
    let world = World::healthy();
    let answer = world.answer();
    let yes = Status::ConditionTrue as i32;
    assert_eq!(condition(&answer, "BackupReady"), (yes, "BackedUp".to_owned()));
    assert_eq!(condition(&answer, "Recoverable"), (yes, "RecoveryPoint".to_owned()));
    assert_eq!(condition(&answer, "RestoreSucceeded"), (Status::ConditionUnknown as i32, "NotRequested".to_owned()));
    let newest = json!({"id": "20261123T060012Z-hubl6skvwp6l6j4y/00000060", "time": "2026-11-23T06:59:12Z"});
    assert_eq!(backup_status(&world)["newest"], newest);
    assert!(settings(&world).contains("lived: true\n") && settings(&world).contains(KEY), "{}", settings(&world));

    let failing = world.clone().with(|w| {
        let message = format!("cannot write\n{}", "x".repeat(9999));
        w.report(&status::Status { state: status::State::Failing, reason: "NoBucket".into(), message, ..report() });
    });
    let answer = failing.answer();
    assert_eq!(condition(&answer, "BackupReady"), (Status::ConditionFalse as i32, "NoBucket".to_owned()));
    let message = answer.conditions[0].message.clone().expect("a message");
    assert!(message.starts_with("cannot write xxx") && message.len() < 600 && !message.contains('\n'), "{message}");
    assert_eq!(backup_status(&failing)["state"], "Failing");
    assert!(answer.results.is_empty());

    let restored = world.with(|w| {
        let restore = Restore { phase: "Succeeded".into(), from: "g/7".into(), ..Restore::default() };
        w.report(&status::Status { restore: Some(restore), ..report() });
    });
    assert_eq!(condition(&restored.answer(), "RestoreSucceeded"), (yes, "Succeeded".to_owned()));
    let mut forgotten = restored;
    forgotten.settle();
    forgotten.reports = Some(Vec::new());
    let answer = forgotten.answer();
    assert_eq!(condition(&answer, "RestoreSucceeded"), (yes, "Succeeded".to_owned()), "an outcome is history");
    assert_eq!(composite(&answer)["status"]["restore"], json!({"phase": "Succeeded", "from": "g/7"}));
}

#[test]
fn a_stale_report_is_no_fact_and_its_age_is_never_said() {
    let late = World::healthy().with(|w| w.now = "2026-11-23T07:05:00Z".parse().expect("a time"));
    let answer = late.answer();
    assert_eq!(condition(&answer, "BackupReady"), (Status::ConditionFalse as i32, "Stale".to_owned()));
    assert_eq!(condition(&answer, "Recoverable"), (Status::ConditionTrue as i32, "LastReported".to_owned()));
    let backup = backup_status(&late);
    assert_eq!((&backup["state"], &backup["newest"]), (&json!("Stale"), &backup_status(&World::healthy())["newest"]));
    assert!(answer.results.is_empty());
    // The verdict is all that time changes.
    let later = late.with(|w| w.now = "2027-01-01T00:00:00Z".parse().expect("a time"));
    assert_eq!(bytes(&later.answer()), bytes(&answer));
    let fresh = World::healthy().with(|w| w.now = "2026-11-23T07:02:00Z".parse().expect("a time"));
    assert_eq!(bytes(&fresh.answer()), bytes(&World::healthy().answer()));
}

#[test]
fn a_report_of_somebody_else_is_not_believed() {
    type Change = fn(&mut World);
    let place: Change = |w| w.reports.as_mut().expect("there")[0]["metadata"]["namespace"] = json!("team-b");
    let name: Change = |w| w.reports.as_mut().expect("there")[0]["metadata"]["name"] = json!("mine-backup-status");
    let uid: Change = |w| w.report(&status::Status { uid: "another".into(), ..report() });
    let text: Change = |w| w.reports = Some(vec![config_map("]")]);
    for (change, reason) in
        [(place, "NoReport"), (name, "NoReport"), (uid, "ReportOfAnother"), (text, "ReportUnreadable")]
    {
        let world = World::ready().with(|w| w.report(&report())).with(change);
        let (answer, nothing) = (world.answer(), World::ready());
        for kind in ["BackupReady", "Recoverable"] {
            assert_eq!(condition(&answer, kind), (Status::ConditionUnknown as i32, reason.to_owned()), "{kind}");
        }
        let mut backup = backup_status(&world);
        backup["message"] = backup_status(&nothing)["message"].clone();
        assert_eq!(backup, backup_status(&nothing), "{reason}: not even its keys");
        assert_eq!(ttl(&answer), Some(10), "the first backup is awaited");
    }
    // An XR without a uid is nobody's: two of them would believe each other.
    let nobody = World::ready().with(|w| {
        w.xr["metadata"].as_object_mut().expect("metadata").remove("uid");
        w.report(&status::Status { uid: String::new(), ..report() });
    });
    assert_eq!(backup_ready(&nobody), "ReportOfAnother");
}

#[test]
fn older_cores_hand_the_report_over_by_label_and_the_oldest_not_at_all() {
    let world = World::healthy();
    let mut request = world.request();
    let mut found = std::mem::take(&mut request.required_resources)["backup-status"].clone();
    let stranger = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "shop-x7k2p-3baw4pir-backup-status", "namespace": "team-b"},
        "data": {"status.yaml": "x"},
    });
    let mut item = found.items[0].clone();
    item.resource = stranger.as_object().map(json_to_struct);
    found.items.insert(0, item);
    request.extra_resources.insert("backup-status".to_owned(), found);
    let answer = function_vcluster::wire::answer(&request, now());
    assert_eq!(bytes(&answer), bytes(&world.answer()), "whichever way it comes");
    // Nothing found is an answer, nothing handed over is none.
    request.extra_resources.insert("backup-status".to_owned(), Resources::default());
    let none = function_vcluster::wire::answer(&request, now());
    assert_eq!(condition(&none, "BackupReady").1, "NoReport");
    request.extra_resources.clear();
    let silent = function_vcluster::wire::answer(&request, now());
    assert_eq!(condition(&silent, "BackupReady").1, "ReportNotRead");
    assert_eq!(
        composite(&silent)["status"]["backup"]["newest"],
        backup_status(&world)["newest"],
        "the last values stay"
    );
}

#[test]
fn trust_only_grows_and_within_a_bound() {
    let key = |n: u8| format!("ed25519:{}", data_encoding::BASE64.encode(&[n; 32]));
    let told = |keys: Vec<String>| {
        let world = World::healthy();
        let known = world.with(|w| w.report(&status::Status { trusted_keys: keys, ..report() }));
        let answer = known.answer();
        (composite(&answer)["status"]["backup"]["trustedKeys"].clone(), condition(&answer, "Recoverable").1)
    };
    assert_eq!(told(vec![key(1)]), (json!([KEY, key(1)]), "RecoveryPoint".to_owned()), "what is gone from it stays");
    let junk = vec!["ed25519:AAAA".into(), "x".into(), key(7), String::new()];
    assert_eq!(told(junk), (json!([KEY]), "RecoveryPoint".to_owned()), "{} is {KEY}", key(7));
    let (pinned, reason) = told((100..200).map(key).collect());
    assert_eq!((pinned.as_array().map(Vec::len), reason.as_str()), (Some(32), "KeyNotPinned"));
}

#[test]
fn no_report_changes_a_byte_of_the_vcluster_release() {
    let start = World::healthy();
    let before = start.desired("vcluster").expect("desired").to_string();
    let said = |state, reason: &str| status::Status { state, reason: reason.to_owned(), ..report() };
    let reports = [
        said(status::State::Failing, "NoKey"),
        said(status::State::Waiting, "WaitingForIdentity"),
        said(status::State::Stopped, ""),
        status::Status { newest: None, oldest: None, ..report() },
        status::Status { trusted_keys: vec![KEY.replace("Bwc", "Cwc")], ..report() },
        status::Status { interval: "9h".into(), ..report() },
        status::Status { uid: "another".into(), ..report() },
        status::Status::default(),
    ];
    for report in reports {
        let mut world = start.clone().with(|w| w.report(&report));
        for round in 0..3 {
            assert_eq!(world.desired("vcluster").expect("desired").to_string(), before, "{report:?} {round}");
            world.settle();
        }
        assert_eq!(names(&world.answer()), ["rancher", "s3", "vcluster"]);
    }
}

#[test]
fn a_platform_can_hold_readiness_until_the_first_backup() {
    let ready_s3 = |world: &World| ready(&world.answer(), "s3") == Ready::True as i32;
    let held = World::ready().with(|w| w.input["readyWhen"] = json!("RecoveryPoint"));
    assert!(ready_s3(&World::ready()), "unless asked, it does not wait");
    assert!(!ready_s3(&held));
    assert_eq!(ttl(&held.answer()), Some(10));
    assert_eq!(ready(&held.answer(), "vcluster"), Ready::True as i32, "which registers at once");
    let begun = status::Status { newest: None, ..report() };
    assert!(!ready_s3(&held.clone().with(|w| w.report(&begun))));
    let mut there = held.clone().with(|w| w.report(&report()));
    assert!(ready_s3(&there));
    assert_eq!(ttl(&there.answer()), Some(60));
    // Once is enough: a claim does not become unready over a lost report.
    there.settle();
    there.reports = Some(Vec::new());
    assert!(ready_s3(&there));
    let off = held.with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert!(ready_s3(&off), "nothing is awaited where nothing is backed up");
}

#[test]
fn a_first_backup_is_awaited_with_short_breaths() {
    let world = World::ready().with(|w| w.reports = Some(Vec::new()));
    assert_eq!(ttl(&world.answer()), Some(10));
    assert_eq!(ttl(&world.with(|w| w.report(&report())).answer()), Some(60));
    let lost = World::healthy().with(|w| w.reports = Some(Vec::new()));
    assert_eq!(ttl(&lost.answer()), Some(60), "it is no first one any more");
    let off = World::healthy().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert_eq!(ttl(&off.answer()), None, "nothing to watch");
}

// -- doubt is a fatal result

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
        ("a namespaced XR", |w| w.xr["metadata"]["namespace"] = json!("team-a")),
    ];
    let sentences: Vec<String> = worlds
        .into_iter()
        .map(|(name, change)| {
            let world = World::ready().with(change);
            let sentence = world.refusal();
            assert_eq!(world.refusal(), sentence, "the same words each time");
            format!("{name}: {sentence}")
        })
        .collect();
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    another id: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "other-duqk7teo": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed
    another owner: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "shop-x7k2p-3hmdtiav": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed
    another platform: observed resource "vcluster" belongs to key "shop-x7k2p-3baw4pir", but this XR now derives key "shop-x7k2p-uooizuye": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed
    a foreign helm name: observed resource "s3" belongs to key "x", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed
    a foreign object name: observed resource "s3" belongs to key "bucket-x1", but this XR now derives key "shop-x7k2p-3baw4pir": spec.id, input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed
    another host namespace: input.hostNamespacePrefix: "v-shop-x7k2p-3baw4pir" differs from "tenant-shop-x7k2p-3baw4pir", with which "vcluster" was made; put it back, a Helm release never changes its namespace
    another platform namespace: input.namespace: "other" differs from "vcluster-platform", with which "rancher" was made; put it back, a Helm release never changes its namespace
    another bucket: input.store.bucketPrefix: "b-shop-x7k2p-3baw4pir" differs from "vcluster-shop-x7k2p-3baw4pir", with which "s3" was made; put it back, a vcluster's backups stay in one bucket
    not a Release: observed resource "vcluster" is helm.crossplane.io/v1beta1 Object, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    another generation's Release: observed resource "s3" is helm.m.crossplane.io/v1beta1 Release, not a Release of helm.crossplane.io: going on would replace it; rename it in the step that made it
    another volume: spec.storage.size: "6Gi" differs from "5Gi", with which "vcluster" was made; put it back, the volume of a running vcluster keeps its size and class
    another class: spec.storage.className: "fast" differs from "", with which "vcluster" was made; put it back, the volume of a running vcluster keeps its size and class
    an orphan: observed resource "bucket" is a Release of chart "s3-register" that no step desires: going on would uninstall it; let an earlier step desire it (`adopt` in the Platform will take it over in a later version)
    no recipients: spec.backup.recipients: empty, and so is input.encryption.recipients: nobody could open a backup; make a key pair with `vcluster-backup keygen` and put its recipient (age1...) into one of the two
    a chart from the future: spec.chartVersion: vcluster chart 0.40.0 is not one this version of the function renders; use 0.19 to 0.36
    a namespaced XR: metadata.namespace: "team-a": namespaced XRs join in a later version of the function; use a claim
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
    let changes: [Change; 43] = [
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
        |i| i["store"]["register"] = json!("none"),
        |i| i["store"]["register"] = json!("manual"),
        |i| i["store"]["bucketPrefix"] = json!("Bucket_"),
        |i| i["store"]["adminSecret"] = json!({"password": "hunter2"}),
        |i| i["store"]["adminPassword"] = json!("hunter2"),
        |i| i["store"]["adminUserKey"] = json!(""),
        |i| i["store"]["ca"] = json!("hunter2"),
        |i| i["store"]["ca"] = json!("-----BEGIN PRIVATE KEY-----"),
        |i| i["encryption"]["recipients"] = json!(["age1hunter2"]),
        |i| i["trust"] = json!(["ed25519:AAAA"]),
        |i| i["rancher"]["mode"] = json!("operator"),
        |i| i["rancher"]["url"] = Value::Null,
        |i| i["rancher"]["insecure"] = json!("false"),
        |i| i["rancher"]["tokenSecret"] = json!("token"),
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
    input.colour: unknown field `colour`, expected one of `apiVersion`, `kind`, `metadata`, `id`, `namespace`, `hostNamespacePrefix`, `charts`, `images`, `store`, `encryption`, `trust`, `rancher`, `sizes`, `limits`, `providerConfig`, `readyWhen`, `defaults`; remove it or mend its name
    input: missing field `id`; it has no default, write it
    input.id: 0 characters; write 1 to 63
    input.namespace: "Platform" is not a DNS label; write at most 63 of a-z, 0-9 and -, a letter or digit at both ends
    input.hostNamespacePrefix: "a-prefix-of-24-characters" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.hostNamespacePrefix: "-x" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.charts.vcluster.version: vcluster chart 0.18.1 is not one this version of the function renders; use 0.19 to 0.36
    input.charts.vcluster.allowed[1]: "latest" is not a chart version; write it as 0.36.1
    input.charts.vcluster.repository: "charts.loft.sh" is not a chart repository; write it as https://... or oci://...
    input.charts.vcluster.upgrade: unknown variant `Sometimes`, expected `OnEdit` or `Always`
    input.charts.s3Register.repository: holds a user or password; name a Secret with both in pullSecret
    input.charts.s3Register.version: "1" is not a chart version; write it as 0.36.1
    input.charts.s3Register.pullSecret: not the name of a Secret; write the name of a Secret in the platform namespace, not its content
    input.charts.rancherCluster: missing; rancher.mode chart installs it
    input.images.sidecar: "" is not an image reference; write it as registry/name:tag
    input.images.registration: "an image" is not an image reference; write it as registry/name:tag
    input.images.registry: "https://registry.example.org/" is not a registry; write it as registry.example.org/mirror
    input.store.endpoint: "minio:9000" is not a URL of the form http(s)://host[:port], without a path
    input.store.endpoint: holds a user or password; credentials belong into a Secret
    input.store.register: "none" cannot be honoured by this version of the function; remove the field
    input.store.register: unknown variant `manual`, expected `minio` or `none`
    input.store.bucketPrefix: "Bucket_" cannot stand before a name; write at most 23 of a-z, 0-9 and -, a letter or digit first
    input.store.adminSecret: invalid type: map, expected a string
    input.store.adminPassword: unknown field `adminPassword`, expected one of `endpoint`, `region`, `ca`, `pathStyle`, `register`, `adminSecret`, `adminUserKey`, `adminPasswordKey`, `bucketPrefix`, `allowDelete`; remove it or mend its name
    input.store.adminUserKey: not a key of a Secret; write the name of the key, not its content
    input.store.ca: not a PEM certificate; begin it with -----BEGIN CERTIFICATE-----
    input.store.ca: holds a private key; only certificates belong here
    input.encryption.recipients[0]: not an age recipient; copy the whole of age1... (62 characters) as `vcluster-backup keygen` prints it
    input.trust[0]: not a signing key; copy it from status.backup.trustedKeys, as ed25519: and 44 characters of base64
    input.rancher.mode: unknown variant `operator`, expected `none` or `chart`
    input.rancher.url: missing; rancher.mode chart needs the server's URL
    input.rancher.insecure: invalid type: string "false", expected a boolean
    input.rancher.tokenSecret: chart rancher-cluster reads Secret "apitoken", key APITOKEN; give it that name
    input.sizes.small.requests.cpu: "much" is not a quantity; write it as 500m, 2, 256Mi or 5Gi
    input.sizes.small.storage: "0" is no room at all; write it as 5Gi
    input.limits.minInterval: 0s is no time at all; write it as 30s, 1m or 1h30m
    input.providerConfig.name: "" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
    input.defaults.size: "huge" is not a size of this platform; use one of large, small
    input.defaults.backup.interval: "often" is not a duration; write it as 30s, 1m or 1h30m
    input.readyWhen: unknown variant `Backup`, expected `Release` or `RecoveryPoint`
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
        |s| s["restore"] = json!({"id": "a", "at": "latest"}),
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
    spec.restore: this object cannot be honoured by this version of the function; remove the field
    spec.id: 64 characters; write 1 to 63
    spec.rancher.enabled: true, but this platform has no Rancher (input.rancher.mode: none); remove the field
    "#);
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
    let answer = function_vcluster::wire::answer(&function_sdk_rust::proto::v1::RunFunctionRequest::default(), now());
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
