//! Whole lives over a migration: from a hand-written Composition to ours, whatever happens in whatever order, nothing is
//! deleted, nothing renamed, and nothing restarted but by its owner's word.
//!
//! Server-side apply is modelled as it is: a field that Crossplane has applied and that is left out the next time goes, a
//! field of somebody else stays, and a list is one value.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod common;

use std::collections::BTreeMap;

use common::{World, desired, example, names, values, yaml};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Crossplane reconciles.
    Apply,
    /// The owner edits what may restart his vcluster.
    Owner(usize),
    /// Somebody edits what may not.
    Others(usize),
    /// Somebody deletes the old Release object of the bucket, which uninstalls nothing.
    OldReleaseGoes,
}

type Edit = fn(&mut World);

const OWNER: [Edit; 8] = [
    |w| w.xr["spec"]["backup"]["enabled"] = json!(true),
    |w| w.xr["spec"]["backup"]["enabled"] = json!(false),
    |w| w.xr["spec"]["size"] = json!("large"),
    |w| w.xr["spec"]["deletionPolicy"] = json!("Delete"),
    |w| _ = w.xr["spec"].as_object_mut().expect("a spec").remove("deletionPolicy"),
    |w| w.xr["spec"]["chartVersion"] = json!("0.32.3"),
    |w| w.xr["spec"]["distro"] = json!("k8s"),
    |w| w.xr["spec"]["rancher"] = json!({"enabled": true}),
];

const OTHERS: [Edit; 10] = [
    |w| w.input["charts"]["vcluster"]["version"] = json!("0.36.1"),
    |w| w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:9.9.9"),
    |w| w.input["images"]["registry"] = json!("registry.example.org/mirror"),
    |w| w.input["defaults"] = json!({"size": "small", "deletionPolicy": "Delete"}),
    |w| w.input["store"]["endpoint"] = json!("https://other:9000"),
    |w| w.input["rancher"] = json!({"mode": "none"}),
    |w| w.xr["spec"]["backup"]["interval"] = json!("10m"),
    |w| w.xr["spec"]["backup"]["retention"] = json!({"keepLast": 3}),
    |w| w.reports = Some(Vec::new()),
    // Refused, and put back.
    |w| w.input["adopt"] = json!({}),
];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Apply),
        3 => (0..OWNER.len()).prop_map(Event::Owner),
        3 => (0..OTHERS.len()).prop_map(Event::Others),
        1 => Just(Event::OldReleaseGoes),
    ]
}

/// An adopted vcluster's life.
struct Life {
    world: World,
    /// What Crossplane has applied last, by the name of the composed resource.
    applied: BTreeMap<String, Value>,
    /// How often Helm had to upgrade the vcluster.
    restarts: usize,
    /// How often its owner has given a word that may restart it, since the last apply and ever.
    words: usize,
    fresh_words: usize,
}

impl Life {
    fn begin() -> Self {
        let mut world = World::adopted();
        world.input["charts"]["vcluster"]["allowed"] = json!(["0.32.3"]);
        // By the hand-written Composition: everything but what the provider and the CRD have added.
        let applied = world.observed.iter().map(|(name, object)| {
            let mut theirs = object.clone();
            theirs.as_object_mut().expect("an object").remove("status");
            let spec = theirs["spec"].as_object_mut().expect("a spec");
            spec.retain(|field, _| !["deletionPolicy", "managementPolicies"].contains(&field.as_str()));
            let annotation = &object["metadata"]["annotations"]["crossplane.io/external-name"];
            theirs["metadata"] = json!({
                "name": object["metadata"]["name"],
                "annotations": {"crossplane.io/external-name": annotation},
                "labels": {"example.org/team": "team-a"},
            });
            (name.clone(), theirs)
        });
        let applied = applied.collect();
        Self { world, applied, restarts: 0, words: 0, fresh_words: 0 }
    }

    fn happens(&mut self, event: Event) {
        let was = self.world.clone();
        match event {
            Event::Apply => return self.apply(),
            Event::Owner(at) => OWNER[at](&mut self.world),
            Event::Others(at) => OTHERS[at](&mut self.world),
            Event::OldReleaseGoes if self.world.observed.iter().any(|(name, _)| name == "s3-settings") => {
                self.world.observed.retain(|(name, _)| name != "s3");
            }
            Event::OldReleaseGoes => return,
        }
        let answer = self.world.answer();
        if !answer.results.is_empty() {
            assert_eq!(answer.desired.as_ref(), Some(&self.world.desired), "nothing is desired beside a refusal");
            self.world = was;
            return;
        }
        if matches!(event, Event::Owner(_)) {
            self.words += 1;
            self.fresh_words += 1;
        } else if self.fresh_words == 0 {
            let sees = |answer| helm_sees(&desired(answer, "vcluster").expect("desired")).to_string();
            assert!(sees(&answer) == sees(&was.answer()), "{event:?} restarts it");
        }
    }

    fn apply(&mut self) {
        let answer = self.world.answer();
        assert!(answer.results.is_empty(), "{:?}", answer.results);
        let wanted = names(&answer);
        let before = std::mem::take(&mut self.world.observed);
        for (name, there) in &before {
            assert!(wanted.contains(name), "{name} would be deleted");
            let again = desired(&answer, name).expect("desired");
            assert_eq!(again["metadata"]["name"], there["metadata"]["name"], "{name} would be made anew");
            let helm = |object: &Value| object["metadata"]["annotations"]["crossplane.io/external-name"].clone();
            assert_eq!(helm(&again), helm(there), "{name} would be another Helm release");
            for place in ["namespace", "chart"] {
                let of = |object: &Value| match place {
                    "chart" => object["spec"]["forProvider"]["chart"]["name"].clone(),
                    _ => object["spec"]["forProvider"][place].clone(),
                };
                assert_eq!(of(&again), of(there), "{name}: {place}");
            }
        }
        for name in wanted {
            let ours = desired(&answer, &name).expect("desired");
            let there = before.iter().find(|(there, _)| *there == name).map(|(_, there)| there.clone());
            let last = self.applied.insert(name.clone(), ours.clone());
            let mut now = there.clone().unwrap_or_else(|| json!({}));
            server_side_apply(&mut now, last.as_ref().unwrap_or(&Value::Null), &ours);
            now["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            if name == "vcluster" && there.is_some_and(|there| helm_sees(&there) != helm_sees(&now)) {
                self.restarts += 1;
                assert!(self.fresh_words > 0, "restarted by nobody's word");
            }
            self.stays(&name, &now);
            self.world.observed.push((name, now));
        }
        self.fresh_words = 0;
    }

    /// What the old Composition has given each of them and nobody has ordered away.
    fn stays(&self, name: &str, now: &Value) {
        match name {
            "s3" => {
                let policies = now["spec"]["managementPolicies"].as_array().expect("written out");
                assert!(!policies.iter().any(|policy| policy == "*" || policy == "Update"), "{policies:?}");
                let asked = self.world.xr["spec"]["deletionPolicy"] == "Delete";
                assert_eq!(policies.contains(&json!("Delete")), asked, "only by the owner's present word");
                assert_eq!(now["spec"]["forProvider"]["set"].as_array().map(Vec::len), Some(2), "its credentials");
            }
            "vcluster" => {
                let v = values(now);
                assert_eq!(v["controlPlane"]["ingress"]["host"], "shop.k8s.example.org");
                assert_eq!(v["exportKubeConfig"]["server"], "https://shop.k8s.example.org");
                assert_eq!(v["sync"], json!({"toHost": {"ingresses": {"enabled": true}}}));
                assert_eq!(v["controlPlane"]["statefulSet"]["persistence"]["volumeClaim"]["size"], "10Gi");
                let containers = v["controlPlane"]["statefulSet"]["sidecarContainers"].as_array();
                assert!(containers.is_none_or(|containers| containers.len() == 1), "one backs up, not two");
                assert_eq!(now["metadata"]["labels"]["example.org/team"], "team-a");
            }
            _ => (),
        }
    }
}

/// What provider-helm compares: a change of any of it is an upgrade.
fn helm_sees(release: &Value) -> Value {
    let provider = &release["spec"]["forProvider"];
    json!([provider["chart"], provider["values"], provider["set"], provider["valuesFrom"]])
}

/// What was applied before and is not any more goes; what is applied now is so; the rest is somebody else's.
fn server_side_apply(there: &mut Value, last: &Value, now: &Value) {
    let (Value::Object(object), Value::Object(wanted)) = (&mut *there, now) else {
        *there = now.clone();
        return;
    };
    let empty = Map::new();
    let last = last.as_object().unwrap_or(&empty);
    for (field, before) in last {
        if !wanted.contains_key(field) {
            removed(object, field, before);
        }
    }
    for (field, value) in wanted {
        server_side_apply(
            object.entry(field.clone()).or_insert(Value::Null),
            last.get(field).unwrap_or(&Value::Null),
            value,
        );
    }
}

/// Leaves are owned, not the objects around them.
fn removed(object: &mut Map<String, Value>, field: &str, before: &Value) {
    match (object.get_mut(field), before) {
        (Some(Value::Object(there)), Value::Object(before)) => {
            before.iter().for_each(|(field, before)| removed(there, field, before));
            if there.is_empty() {
                object.remove(field);
            }
        }
        _ => _ = object.remove(field),
    }
}

/// The example folders tell one story: each begins where the one before has ended.
#[test]
fn the_steps_of_the_example_follow_each_other() {
    let documents = |file: &str| -> BTreeMap<String, Value> {
        let text = std::fs::read_to_string(example(file)).expect("readable");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let named = documents.into_iter().filter_map(|mut document| {
            let name =
                document["metadata"]["annotations"]["crossplane.io/composition-resource-name"].as_str()?.to_owned();
            document.as_object_mut().expect("an object").remove("status");
            document["metadata"].as_object_mut().expect("metadata").remove("uid");
            Some((name, document))
        });
        named.collect()
    };
    let composition = |step: &str| yaml(&example(step).join("composition.yaml"));
    assert_eq!(documents("adopt-step-1/observed.yaml"), documents("adopt-before/releases.yaml"));
    for (step, next) in [("adopt-step-1", "adopt-step-2"), ("adopt-step-2", "adopt-step-3")] {
        let (rendered, observed) =
            (documents(&format!("{step}/rendered.yaml")), documents(&format!("{next}/observed.yaml")));
        assert_eq!(rendered, observed, "{next} begins where {step} has ended");
        assert_eq!(composition(step), composition(next));
    }
    let by_hand = yaml(&example("adopt-before/composition.yaml"));
    let adopt = composition("adopt-step-1")["spec"]["pipeline"][0]["input"]["adopt"].clone();
    for resource in by_hand["spec"]["pipeline"][0]["input"]["resources"].as_array().expect("resources") {
        let name = &resource["name"];
        assert!(["s3", "vcluster", "rancher"].iter().any(|part| adopt[part] == *name), "{name} is adopted");
    }
    let (there, rests) = (documents("adopt-step-3/observed.yaml"), documents("adopt-step-3/rendered.yaml"));
    assert_eq!(there, rests, "in the end nothing is desired that is not there");
}

#[test]
fn a_migration_restarts_a_vcluster_once() {
    let mut life = Life::begin();
    for _ in 0..3 {
        life.apply();
    }
    assert_eq!((life.restarts, names(&life.world.answer()).len()), (0, 3), "adopted, and nothing else");
    life.happens(Event::Owner(0));
    for _ in 0..3 {
        life.apply();
    }
    assert_eq!((life.restarts, names(&life.world.answer()).len()), (1, 4), "backed up");
    for at in 0..OTHERS.len() {
        life.happens(Event::Others(at));
        life.apply();
    }
    assert_eq!(life.restarts, 1);
}

#[test]
fn all_at_once_is_one_restart_too() {
    let mut life = Life::begin();
    life.happens(Event::Owner(0));
    life.apply();
    life.apply();
    assert_eq!((life.restarts, names(&life.world.answer()).len()), (1, 4));
}

/// Crossplane goes back to the hand-written Composition: what it desires is there again, and ours has left nothing behind.
#[test]
fn the_way_back_is_one_restart_and_deletes_nothing_that_holds_data() {
    let mut life = Life::begin();
    let theirs = life.applied.clone();
    life.happens(Event::Owner(0));
    life.apply();
    life.apply();
    let mut restarts = 0;
    for (name, before) in std::mem::take(&mut life.world.observed) {
        let Some(wanted) = theirs.get(&name) else {
            // Crossplane deletes the Release object; by its policies nothing is uninstalled.
            assert_eq!(name, "s3-settings");
            let policies = before["spec"]["managementPolicies"].as_array().expect("written out");
            assert!(!policies.iter().any(|policy| policy == "*" || policy == "Delete"), "{policies:?}");
            continue;
        };
        let mut now = before.clone();
        server_side_apply(&mut now, &life.applied[&name], wanted);
        assert_eq!(helm_sees(&now), helm_sees(wanted), "{name}");
        restarts += usize::from(helm_sees(&now) != helm_sees(&before));
    }
    assert_eq!(restarts, 1, "the old container is back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_deleted_renamed_or_restarted_but_by_its_owner(events in prop::collection::vec(event(), 1..40)) {
        let mut life = Life::begin();
        for event in events {
            life.happens(event);
        }
        assert!(life.restarts <= life.words, "{} restarts by {} words", life.restarts, life.words);
    }
}
