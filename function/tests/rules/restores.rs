//! A restore that the owner asks for: what it is told, which Secrets come with it, and that they go.

use crate::common::{KEY, World, bytes, composite, config_map, names, report, settings, ttl, values};
use function_sdk_rust::proto::v1::{Ready, resource_selector::Match};
use serde_json::{Value, json};
use vcluster_proto::{
    settings::Settings,
    status::{FAILED, Restore, SUCCEEDED, State, Status, WAITING_FOR_IDENTITY},
};

const OTHER_KEY: &str = "ed25519:CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
const THIRD_KEY: &str = "ed25519:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// A platform that holds an identity for each vcluster.
fn with_identities(world: &mut World) {
    world.input["encryption"]["identitySecret"] = json!("{key}-identity");
    world.input["encryption"]["identityRevision"] = json!("7");
    with_chart(world);
}

fn with_chart(world: &mut World) {
    let chart = json!({"name": "backup-keys", "repository": "https://charts.example.org/vcluster", "version": "0.1.0"});
    world.input["charts"]["backupKeys"] = chart;
}

/// A healthy vcluster of that platform, whose owner asks for a restore.
fn asked(restore: &Value) -> World {
    World::healthy().with(|w| {
        with_identities(w);
        w.xr["spec"]["restore"] = restore.clone();
    })
}

fn latest() -> World {
    asked(&json!({"id": "a", "at": "latest"}))
}

fn told(world: &World) -> Settings {
    Settings::from_yaml(&settings(world)).expect("the sidecar reads it")
}

fn ended(phase: &str, id: &str) -> Status {
    let restore = Restore { id: id.into(), phase: phase.into(), from: "g/7".into(), ..Restore::default() };
    Status { restore: Some(restore), ..report() }
}

fn waiting(reason: &str) -> Status {
    let message = "bring the identity".to_owned();
    Status { state: State::Waiting, reason: reason.to_owned(), message, ..report() }
}

fn restored(world: &World) -> (i32, String, String) {
    let answer = world.answer();
    let condition = answer.conditions.iter().find(|c| c.r#type == "RestoreSucceeded").expect("always there");
    (condition.status, condition.reason.clone(), condition.message.clone().unwrap_or_default())
}

fn has_keys(world: &World) -> bool {
    world.desired("keys").is_some()
}

#[test]
fn an_open_request_is_told_to_the_sidecar_and_brings_the_identity() {
    let world = latest();
    let request = told(&world).restore.expect("told");
    assert_eq!((request.id.as_str(), request.at.as_str(), &request.from), ("a", "latest", &None));
    let keys = world.desired("keys").expect("desired");
    assert_eq!(keys["metadata"]["name"], "shop-x7k2p-3baw4pir-keys");
    assert_eq!(keys["metadata"]["annotations"]["crossplane.io/external-name"], "shop-x7k2p-3baw4pir-keys");
    assert_eq!(keys["spec"]["forProvider"]["namespace"], "vcluster-platform");
    assert_eq!(keys["spec"]["managementPolicies"], json!(["*"]), "its uninstall is what removes the copy");
    let want = json!({
        "clustername": "shop-x7k2p-3baw4pir",
        "hostNamespace": "tenant-shop-x7k2p-3baw4pir",
        "identity": {"secret": "shop-x7k2p-3baw4pir-identity", "revision": "7"},
        "statusUid": "",
    });
    assert_eq!(values(&keys), &want);
    let status = composite(&world.answer())["status"]["restore"].clone();
    assert_eq!((&status["id"], &status["phase"]), (&json!("a"), &json!("Pending")));
    assert_eq!(restored(&world).1, "Pending");
    assert_eq!(ttl(&world.answer()), Some(10), "somebody waits");
}

#[test]
fn the_vcluster_is_the_same_to_the_byte_through_the_whole_of_a_restore() {
    let before = World::healthy().with(with_identities);
    let vcluster = before.desired("vcluster");
    let mut world = latest();
    assert_eq!(world.desired("vcluster"), vcluster);
    world.settle();
    world.report(&ended(SUCCEEDED, "a"));
    world.settle();
    assert_eq!(world.desired("vcluster"), vcluster);
    let served = world.clone();
    world.xr["spec"].as_object_mut().expect("a spec").remove("restore");
    assert_eq!(world.desired("vcluster"), vcluster);
    assert_eq!(bytes(&world.answer()), bytes(&served.answer()), "removing a served request changes nothing at all");

    let open = latest().desired("s3").expect("desired");
    let mut without = before.desired("s3").expect("desired");
    without["spec"]["forProvider"]["values"]["settings"] = values(&open)["settings"].clone();
    assert_eq!(open, without, "removing an open one changes the settings alone");
}

#[test]
fn the_identity_is_gone_after_success_after_failure_when_the_request_is_and_when_backup_is_off() {
    for phase in [SUCCEEDED, FAILED] {
        let mut world = latest();
        world.settle();
        assert!(has_keys(&world));
        world.report(&ended(phase, "a"));
        assert!(!has_keys(&world), "{phase}: with the very report that says so");
        assert_eq!(told(&world).restore, None);
        assert_eq!(restored(&world).1, phase);
        world.settle();
        assert_eq!(names(&world.answer()), ["rancher", "s3", "vcluster"]);

        // The outcome is remembered, whatever becomes of the report.
        let later: [fn(&mut World); 5] = [
            |w| w.reports = None,
            |w| w.reports = Some(Vec::new()),
            |w| w.reports = Some(vec![config_map("]")]),
            |w| w.report(&report()),
            |w| w.report(&ended("Pending", "a")),
        ];
        for change in later {
            let world = world.clone().with(change);
            assert!(!has_keys(&world) && told(&world).restore.is_none(), "served once, never again");
            assert_eq!(restored(&world).1, phase);
        }
        world.xr["spec"]["restore"]["id"] = json!("b");
        assert!(has_keys(&world) && told(&world).restore.is_some_and(|r| r.id == "b"), "another id asks again");
        assert_eq!(restored(&world).1, "Pending");
    }
    let mut world = latest();
    world.settle();
    let cancelled = world.clone().with(|w| _ = w.xr["spec"].as_object_mut().expect("a spec").remove("restore"));
    assert!(!has_keys(&cancelled));
    assert_eq!(restored(&cancelled).1, "NotRequested");
    let off = world.with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert!(!has_keys(&off) && told(&off).restore.is_none(), "nobody is there to serve it");
    assert_eq!(restored(&off).1, "Disabled");
}

#[test]
fn doubt_keeps_the_identity_while_a_request_may_be_open() {
    let mut world = latest();
    world.settle();
    let keys = world.desired("keys");
    assert!(keys.is_some());
    let doubts: [fn(&mut World); 8] = [
        |w| w.reports = None,
        |w| w.reports = Some(Vec::new()),
        |w| w.reports = Some(vec![config_map("]")]),
        |w| w.report(&Status { uid: "another".into(), ..ended(SUCCEEDED, "a") }),
        |w| w.report(&ended(SUCCEEDED, "another")),
        |w| w.report(&ended("Pending", "a")),
        |w| w.report(&ended("Thinking", "a")),
        |w| w.report(&waiting("StoreUnavailable")),
    ];
    for change in doubts {
        let world = world.clone().with(change);
        assert_eq!(world.desired("keys"), keys);
        assert_eq!(restored(&world).1, "Pending");
        assert!(told(&world).restore.is_some());
    }
}

#[test]
fn an_empty_disk_gets_the_identity_only_where_the_platform_says_so() {
    let lost = |auto: bool| {
        World::healthy().with(|w| {
            with_identities(w);
            w.input["encryption"]["autoRestore"] = json!(auto);
            w.report(&waiting(WAITING_FOR_IDENTITY));
        })
    };
    assert!(!has_keys(&lost(false)));
    let mut world = lost(true);
    assert!(has_keys(&world));
    world.settle();
    // It flaps, says nothing, or is at work: what it waits for is not taken from its hands.
    let doubts: [fn(&mut World); 4] = [
        |w| w.reports = None,
        |w| w.reports = Some(vec![config_map("]")]),
        |w| w.report(&waiting("StoreUnavailable")),
        |w| w.report(&waiting("Restoring")),
    ];
    for change in doubts {
        assert!(has_keys(&world.clone().with(change)));
    }
    world.report(&report());
    assert!(!has_keys(&world), "it lives: the identity goes");
    world.settle();
    world.report(&waiting("StoreUnavailable"));
    assert!(!has_keys(&world), "and does not come for anything else");
}

#[test]
fn a_platform_without_an_identity_says_what_a_person_must_do() {
    let make = "the platform holds no identity: make Secret shop-x7k2p-3baw4pir-key in namespace \
                tenant-shop-x7k2p-3baw4pir with the age identity under key identity, and delete it after the restore";
    let world = World::healthy().with(|w| w.xr["spec"]["restore"] = json!({"id": "a"}));
    assert!(!has_keys(&world) && world.answer().results.is_empty());
    assert_eq!(restored(&world).2, make);
    assert_eq!(told(&world).restore.map(|restore| restore.at).as_deref(), Some("latest"), "unless he says otherwise");
    let lost = World::healthy().with(|w| w.report(&waiting(WAITING_FOR_IDENTITY)));
    let answer = lost.answer();
    let ready = answer.conditions.iter().find(|c| c.r#type == "BackupReady").expect("always there");
    assert_eq!(ready.reason, WAITING_FOR_IDENTITY);
    assert_eq!(ready.message.as_deref(), Some(format!("bring the identity; {make}").as_str()));
    for reason in ["PreviousBackupFound", "BucketLost"] {
        let answer = World::healthy().with(|w| w.report(&waiting(reason))).answer();
        assert!(answer.conditions.iter().any(|c| c.r#type == "BackupReady" && c.reason == reason), "{reason}");
    }
}

#[test]
fn an_empty_start_opens_nothing_and_needs_no_identity() {
    let world = asked(&json!({"id": "a", "at": "empty"}));
    assert!(!has_keys(&world));
    assert_eq!(told(&world).restore.map(|restore| restore.at).as_deref(), Some("empty"));
    assert_eq!(restored(&world).1, "Pending");
}

#[test]
fn a_passphrase_stays_as_long_as_there_are_backups_and_suffers_no_recipients() {
    let sealed = |w: &mut World| {
        with_chart(w);
        w.input["encryption"] = json!({"passphraseSecret": "phrase"});
        w.xr["spec"]["backup"]["recipients"] = json!([]);
    };
    let world = World::healthy().with(sealed);
    let keys = world.desired("keys").expect("desired");
    assert_eq!(values(&keys)["passphrase"], json!({"secret": "phrase", "revision": ""}));
    assert!(values(&keys).get("identity").is_none() && told(&world).backup.recipients.is_empty());
    let restore = world.clone().with(|w| w.xr["spec"]["restore"] = json!({"id": "a"}));
    assert_eq!(restore.desired("keys").as_ref(), Some(&keys), "a restore needs no more than that");
    let off = world.clone().with(|w| w.xr["spec"]["backup"]["enabled"] = json!(false));
    assert!(!has_keys(&off));
    for field in ["input", "spec"] {
        let both = world.clone().with(|w| match field {
            "input" => w.input["encryption"] = World::new().input["encryption"].clone(),
            _ => w.xr["spec"]["backup"] = World::new().xr["spec"]["backup"].clone(),
        });
        let both = both.with(|w| w.input["encryption"]["passphraseSecret"] = json!("phrase"));
        assert!(both.refusal().starts_with("input.encryption.passphraseSecret: there are recipients, too"));
    }
    let no_chart = world.with(|w| _ = w.input["charts"].as_object_mut().expect("charts").remove("backupKeys"));
    assert!(
        no_chart.refusal().starts_with(
            "input.charts.backupKeys: missing; it copies the Secret that input.encryption.passphraseSecret"
        )
    );
}

#[test]
fn credentials_that_nobody_draws_are_copied_for_good() {
    let world = World::new().with(|w| {
        with_chart(w);
        w.input["store"]["register"] = json!("none");
        w.input["store"]["credentialsSecret"] = json!("store-{key}");
        w.input["store"]["credentialsRevision"] = json!("2");
    });
    let keys = world.desired("keys").expect("desired");
    let want = json!({"secret": "store-shop-x7k2p-3baw4pir", "revision": "2", "keys": ["s3accesskey", "s3secretkey"]});
    assert_eq!(values(&keys)["credentials"], want);
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(values(&s3)["register"], "none");
    assert_eq!(told(&world).store.registration, None, "there is no Job to look at");
    // A passphrase and an identity for a while go beside them.
    let restore = world.with(|w| {
        with_identities(w);
        w.xr["spec"]["restore"] = json!({"id": "a"});
    });
    assert!(values(&restore.desired("keys").expect("desired")).get("identity").is_some());
}

#[test]
fn a_namespace_made_anew_gets_its_copies_again_and_silence_changes_nothing() {
    let uid = |world: &World| values(&world.desired("keys").expect("desired"))["statusUid"].clone();
    let seen = |w: &mut World, uid: &str| w.reports.as_mut().expect("there")[0]["metadata"]["uid"] = json!(uid);
    let mut world = latest().with(|w| seen(w, "one"));
    assert_eq!(uid(&world), "one");
    world.settle();
    for silence in [None, Some(Vec::new())] {
        assert_eq!(uid(&world.clone().with(|w| w.reports = silence)), "one");
    }
    assert_eq!(uid(&world.with(|w| seen(w, "two"))), "two");
}

#[test]
fn a_clone_reads_another_vcluster_of_the_same_owner_and_never_one_of_anybody_else() {
    let world = asked(&json!({"id": "a", "from": {"id": "shop-old"}, "trust": [THIRD_KEY]}));
    let source = told(&world).restore.and_then(|restore| restore.from).expect("a source");
    let bucket = format!("vcluster-{}", source.key);
    assert!(source.key.starts_with("shop-old-"), "{}", source.key);
    assert_eq!(source.url, format!("s3://{bucket}"));
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(values(&s3)["readFrom"], json!([bucket]));
    let identity = values(&world.desired("keys").expect("desired"))["identity"]["secret"].clone();
    assert_eq!(identity, format!("{}-identity", source.key), "what opens the other's backups");

    // The same word of another owner is another vcluster.
    let stranger = World::new().with(|w| {
        with_identities(w);
        w.xr["metadata"]["labels"]["crossplane.io/claim-namespace"] = json!("team-b");
        w.xr["spec"]["restore"] = json!({"id": "a", "from": {"id": "shop-old"}});
    });
    assert_ne!(told(&stranger).restore.and_then(|restore| restore.from).expect("a source").key, source.key);
    let own = asked(&json!({"id": "a", "from": {"id": "shop-x7k2p"}}));
    assert_eq!(told(&own).restore.expect("told").from, None, "its own backups need no clone");
    assert!(values(&own.desired("s3").expect("desired")).get("readFrom").is_none());

    let mut world = world;
    world.settle();
    world.report(&ended(SUCCEEDED, "a"));
    let s3 = world.desired("s3").expect("desired");
    assert!(values(&s3).get("readFrom").is_none(), "the right goes with the request");
    assert!(!world.answer().requirements.expect("asked").resources.contains_key("origin-status"));
}

#[test]
fn from_a_clones_source_only_trusted_keys_are_read_whosever_it_is() {
    let mut world = asked(&json!({"id": "a", "from": {"id": "shop-old"}, "trust": [THIRD_KEY]}));
    let key = told(&world).restore.and_then(|restore| restore.from).expect("a source").key;
    let requirements = world.answer().requirements.expect("asked");
    let by_name = &requirements.resources["origin-status"];
    assert_eq!(by_name.r#match, Some(Match::MatchName(format!("{key}-backup-status"))));
    assert_eq!(by_name.namespace.as_deref(), Some(format!("tenant-{key}").as_str()));
    let Some(Match::MatchLabels(labels)) = &requirements.extra_resources["origin-status"].r#match else { panic!() };
    assert_eq!(labels.labels["vcluster.fn.crossplane.io/key"], key);

    assert_eq!(told(&world).trusted_keys, [KEY, THIRD_KEY]);
    let mut map = config_map("");
    map["metadata"] = json!({"name": format!("{key}-backup-status"), "namespace": format!("tenant-{key}")});
    let other = Status { uid: "another".into(), ..ended(FAILED, "a") };
    let other = Status { trusted_keys: vec![OTHER_KEY.into(), "nonsense".into(), KEY.into()], ..other };
    map["data"]["status.yaml"] = json!(other.to_yaml().expect("YAML"));
    let before = world.answer();
    world.origin = Some(vec![map.clone()]);
    assert_eq!(told(&world).trusted_keys, [KEY, THIRD_KEY, OTHER_KEY]);
    assert_eq!(composite(&world.answer()), composite(&before), "not its outcome, not its newest, not its state");
    assert_eq!(world.answer().conditions, before.conditions);
    map["metadata"]["namespace"] = json!("team-b");
    world.origin = Some(vec![map, json!({"data": 1}), Value::Null]);
    assert_eq!(told(&world).trusted_keys, [KEY, THIRD_KEY], "a stranger's namespace is nobody's status");
}

#[test]
fn trust_only_grows_and_never_holds_the_newest_digest() {
    let world =
        asked(&json!({"id": "a", "trust": [OTHER_KEY, KEY]})).with(|w| w.input["trust"] = json!([THIRD_KEY, KEY]));
    assert_eq!(told(&world).trusted_keys, [KEY, OTHER_KEY, THIRD_KEY]);
    assert!(told(&world).lived);
    assert!(!settings(&world).contains(&"5f".repeat(32)), "each minute's digest would be an upgrade each minute");
}

#[test]
fn the_claim_shows_what_the_status_document_knows_beside() {
    let world = World::healthy().with(|w| {
        w.report(&Status {
            generation: "20261123T060012Z-hubl6skvwp6l6j4y".into(),
            stored_bytes: Some(123_456),
            last_verified: Some("2026-11-23T06:30:00Z".parse().expect("a time")),
            last_trigger: "before-upgrade".into(),
            ..report()
        });
    });
    let backup = composite(&world.answer())["status"]["backup"].clone();
    assert_eq!(backup["sizeBytes"], 123_456);
    assert_eq!(backup["lastVerified"], "2026-11-23T06:30:00Z");
    assert_eq!(backup["lastTrigger"], "before-upgrade");
    assert_eq!(backup["generation"], "20261123T060012Z-hubl6skvwp6l6j4y");
    let mut forgotten = world;
    forgotten.settle();
    forgotten.reports = None;
    let kept = composite(&forgotten.answer())["status"]["backup"].clone();
    for field in ["sizeBytes", "lastVerified", "lastTrigger", "generation"] {
        assert_eq!(kept[field], backup[field], "{field} is remembered");
    }
}

#[test]
fn a_release_of_ours_that_waits_holds_readiness_and_nothing_else() {
    let mut world = latest();
    world.settle();
    world.unready("keys");
    let answer = world.answer();
    assert_eq!(answer.desired.as_ref().expect("desired").resources["keys"].ready, Ready::False as i32);
    assert_eq!(answer.desired.as_ref().expect("desired").resources["vcluster"].ready, Ready::True as i32);
    assert!(answer.results.is_empty());
}

/// What was restored may hold no agent of Rancher's, and the Job that brings it runs again when a value changes.
#[test]
fn a_served_restore_registers_anew_and_a_failed_one_does_not() {
    let known = |world: &World| values(&world.desired("rancher").expect("desired"))["restored"].clone();
    let mut world = latest();
    assert_eq!(known(&world), Value::Null, "not while it is open");
    world.report(&ended(SUCCEEDED, "a"));
    assert_eq!(known(&world), "a");
    world.settle();
    let served = world.desired("rancher");
    world.xr["spec"]["restore"] = json!({"id": "b", "at": "latest"});
    assert_eq!(world.desired("rancher"), served, "the next one is open");
    world.settle();
    world.report(&ended(FAILED, "b"));
    assert_eq!(world.desired("rancher"), served, "it changed nothing");
    world.settle();
    let mut forgotten = world.clone();
    forgotten.xr["spec"].as_object_mut().expect("a spec").remove("restore");
    let _ = forgotten.xr["status"].as_object_mut().expect("a status").remove("restore");
    forgotten.report(&report());
    assert_eq!(forgotten.desired("rancher"), served);
    world.xr["spec"]["restore"] = json!({"id": "c", "at": "latest"});
    world.report(&ended(SUCCEEDED, "c"));
    assert_eq!(known(&world), "c");
    // The upstream chart has no such value.
    let upstream = world.with(|w| w.input["charts"]["rancherCluster"]["version"] = json!("0.1.4"));
    assert_eq!(known(&upstream), Value::Null);
}
