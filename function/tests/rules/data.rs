//! Nothing that holds data is ever dropped, and nothing the status has pinned forgotten.

use crate::common::{World, composite, names, now, settings, ttl, values};
use serde_json::json;

#[test]
fn policies_keep_the_backups_unless_the_claim_says_otherwise() {
    let s3 = World::new().desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]), "no Delete");
    assert_eq!(s3["spec"]["rollbackLimit"], 3);
    let world = World::new().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    let s3 = world.desired("s3").expect("desired");
    assert_eq!(s3["spec"]["managementPolicies"], json!(["*"]));
    assert!(s3["spec"].get("rollbackLimit").is_none(), "a rollback of a first install would be an uninstall");
    // Back to Retain: Helm would uninstall by the hooks of the last install, which remove the bucket.
    let mut world = World::new().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    world.settle();
    world.unready("s3");
    world.xr["spec"]["deletionPolicy"] = json!("Retain");
    for _ in 0..2 {
        let s3 = world.desired("s3").expect("desired");
        assert_eq!(s3["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]));
        assert!(s3["spec"].get("rollbackLimit").is_none(), "not before an upgrade has got through");
        world.settle();
        world.unready("s3");
    }
    world.settle();
    assert_eq!(world.desired("s3").expect("desired")["spec"]["rollbackLimit"], 3);
    world.settle();
    world.unready("s3");
    assert_eq!(world.desired("s3").expect("desired")["spec"]["rollbackLimit"], 3, "it does not come and go");
    let world = World::new().with(|w| w.xr["spec"]["deletionPolicy"] = json!("Delete"));
    let vcluster = world.desired("vcluster").expect("desired");
    let volume = &values(&vcluster)["controlPlane"]["statefulSet"]["persistence"]["volumeClaim"];
    assert_eq!(volume["retentionPolicy"], "Delete");
}

#[test]
fn what_a_deletion_leaves_in_the_store_is_said_beforehand() {
    let said = |world: &World| composite(&world.answer())["status"]["backup"]["onDeletion"].as_str().map(str::to_owned);
    let delete = |w: &mut World| w.xr["spec"]["deletionPolicy"] = json!("Delete");
    let given = |w: &mut World| w.input["store"] = json!({"register": "none", "url": "s3://shared/{key}"});
    assert_eq!(said(&World::new().with(delete)), None, "the chart's Job removes the bucket");
    assert_eq!(said(&World::new().with(given)), None, "nobody expects it to go");
    let mut stays = World::new().with(given).with(delete);
    assert!(said(&stays).is_some_and(|text| text.starts_with("the bucket and all backups stay")), "{:?}", said(&stays));
    // It is said as long as it is so.
    stays.xr["status"] = composite(&stays.answer())["status"].clone();
    assert!(said(&stays).is_some());
    stays.xr["spec"]["deletionPolicy"] = json!("Retain");
    assert_eq!(said(&stays), None);

    // The chart that has made the bucket of an adopted vcluster removes it as well, as long as its Release is there.
    let mut adopted = World::adopted().with(delete).with(|w| w.xr["spec"]["backup"]["enabled"] = json!(true));
    adopted.settle();
    assert_eq!(said(&adopted), None);
    adopted.observed.retain(|(name, _)| name != "s3");
    assert!(said(&adopted).is_some());
}

#[test]
fn a_vclusters_backups_never_change_their_place_unseen() {
    let register = |w: &mut World, url: &str| {
        w.input["store"] = json!({"register": "none", "url": url});
    };
    for (url, bucket) in [
        ("s3://shared/backups/{key}", Some("shared")),
        ("gs://backups/{key}", Some("backups")),
        ("az://backups/{bucket}/x", Some("backups")),
        ("file:///data/backups/{key}", None),
    ] {
        let world = World::new().with(|w| register(w, url));
        let place = url.replace("{key}", world.key()).replace("{bucket}", world.key());
        assert!(settings(&world).contains(&format!("url: {place}\n")), "{}", settings(&world));
        let backup = composite(&world.answer())["status"]["backup"].clone();
        assert_eq!((backup["store"].as_str(), backup["bucket"].as_str()), (Some(place.as_str()), bucket));
        let lived = settled(world);
        assert!(lived.answer().results.is_empty(), "it goes on where it is");
        let moved = lived.clone().with(|w| register(w, "s3://elsewhere/{key}"));
        let sentence = format!(
            "input.store.url: \"s3://elsewhere/{}\" differs from \"{place}\", with which \"s3\" was made; put it back, a \
             vcluster's backups stay in one place",
            lived.key()
        );
        assert_eq!(moved.refusal(), sentence);
        // What cannot be read says nothing of a place, and is written anew.
        let broken = lived.with(|w| w.find("s3")["spec"]["forProvider"]["values"]["settings"] = json!("{ nonsense"));
        assert!(settings(&broken).contains(&place));
    }
    // Under another registration the credentials would be another's, over those that are in use.
    let drawn = World::ready().with(|w| {
        w.input["store"]["register"] = json!("none");
        w.input["store"].as_object_mut().expect("a store").remove("adminSecret");
    });
    assert_eq!(
        drawn.refusal(),
        "input.store.register: \"none\" differs from \"minio\", with which \"s3\" was made; put it back, a vcluster keeps \
         the credentials it began with"
    );
}

fn settled(mut world: World) -> World {
    world.settle();
    world.settle();
    world
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
    let answer = crate::common::answer(&request, now());
    let composite = answer.desired.and_then(|state| state.composite).expect("a composite");
    assert_eq!(composite.connection_details["kubeconfig"], b"old");
}
