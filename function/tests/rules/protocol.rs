//! The protocol of composition functions.

use crate::common::{World, bytes, composite, desired, names, now, ready, ttl};
use function_sdk_rust::{
    proto::v1::{Ready, Status, Target},
    resource::json_to_struct,
};
use function_vcluster::wire;
use prost::Message;
use serde_json::json;

#[test]
fn the_same_request_gives_the_same_answer() {
    for world in [World::new(), World::ready(), World::healthy(), World::new().with(|w| w.input = json!({}))] {
        let (request, first) = (world.request(), bytes(&world.answer()));
        for _ in 0..10 {
            assert_eq!(bytes(&crate::common::answer(&request, now())), first);
        }
    }
}

#[test]
fn an_object_that_cannot_be_read_is_refused_and_one_that_is_foreign_is_handed_on() {
    // One entry that holds a group, which a Struct never does.
    let malformed = || wire::RawStruct::decode([0x0a, 0x02, 0x0b, 0x0c].as_slice()).expect("an entry");
    let request = || wire::Request::decode(World::new().request().encode_to_vec().as_slice()).expect("a request");
    let foreign = wire::Resource { resource: Some(malformed()), ..Default::default() };

    let mut asked = request();
    asked.desired.get_or_insert_default().resources.insert("theirs".to_owned(), foreign.clone());
    let answer = wire::answer(asked, now());
    assert_eq!(answer.results, []);
    assert_eq!(answer.desired.expect("desired").resources["theirs"], foreign);

    let mut asked = request();
    asked.observed.get_or_insert_default().resources.insert("theirs".to_owned(), foreign);
    let answer = wire::answer(asked, now());
    let [refusal] = &answer.results[..] else { panic!("one result: {:?}", answer.results) };
    assert!(refusal.message.starts_with("observed resource \"theirs\" cannot be read: "), "{}", refusal.message);
    assert_eq!(answer.desired, request().desired);
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
        "desired resource \"s3\" comes from an earlier step, but the name is this function's; rename or remove it there"
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
