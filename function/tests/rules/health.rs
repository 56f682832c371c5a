//! What the claim tells of its backups.

use crate::common::{KEY, World, bytes, composite, config_map, names, now, ready, report, settings, ttl};
use function_sdk_rust::{
    proto::v1::{Ready, Resources, RunFunctionResponse, Status, resource_selector::Match},
    resource::json_to_struct,
};
use serde_json::{Value, json};
use vcluster_proto::status::{self, Restore};

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
    let answer = crate::common::answer(&request, now());
    assert_eq!(bytes(&answer), bytes(&world.answer()), "whichever way it comes");
    // Nothing found is an answer, nothing handed over is none.
    request.extra_resources.insert("backup-status".to_owned(), Resources::default());
    let none = crate::common::answer(&request, now());
    assert_eq!(condition(&none, "BackupReady").1, "NoReport");
    request.extra_resources.clear();
    let silent = crate::common::answer(&request, now());
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
