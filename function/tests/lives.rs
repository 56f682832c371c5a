//! Whole lives: whatever happens in whatever order, the rules that keep data and clusters safe hold after each step.
//!
//! The model is what Crossplane, provider-helm, the sidecar and two kinds of people do to one vcluster: desired state is
//! applied as Crossplane applies it (our fields win, what we no longer return goes, names are frozen, the provider's own
//! defaults stay), reports come, grow old and break, the owner and the platform edit. An edit that is refused is put
//! back, as its author would; everything else must never be refused.

mod common;

use common::{FAMILIES, World, bytes, desired, names, ttl, values};
use function_sdk_rust::{
    proto::v1::{Ready, RunFunctionResponse, Severity},
    resource::{json_to_struct, struct_to_json},
};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use vcluster_proto::{
    settings::Settings,
    status::{Restore, State},
};

/// What a provider puts into the texts of its conditions is never ours to repeat.
const SECRET: &str = "hunter2";

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Crossplane applies what is desired.
    Apply,
    /// provider-helm has looked at one of the Releases.
    Observe { which: usize, ready: bool },
    /// The owner edits a field that may restart the control plane.
    Restarts(usize),
    /// The owner edits a field that may not.
    Owner(usize),
    /// The platform team edits its input, or rolls out a new function with other defaults.
    Platform(usize),
    /// The sidecar, or somebody in its place, writes the status document.
    Report(usize),
    /// Time passes, up to half an hour.
    Wait(i64),
    /// A person edits a Release by hand.
    ByHand(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Apply),
        3 => (0..4usize, prop::bool::weighted(0.8)).prop_map(|(which, ready)| Event::Observe { which, ready }),
        2 => (0..RESTARTS.len()).prop_map(Event::Restarts),
        3 => (0..OWNER.len()).prop_map(Event::Owner),
        3 => (0..PLATFORM.len()).prop_map(Event::Platform),
        3 => (0..REPORTS.len()).prop_map(Event::Report),
        1 => (0..1800i64).prop_map(Event::Wait),
        1 => (0..BY_HAND.len()).prop_map(Event::ByHand),
    ]
}

type Edit = fn(&mut World);

/// The owner's words over what stands in the values of the vcluster.
const RESTARTS: [Edit; 12] = [
    |w| w.xr["spec"]["size"] = json!("large"),
    |w| w.xr["spec"]["size"] = json!("small"),
    |w| forget(w, "size"),
    |w| w.xr["spec"]["deletionPolicy"] = json!("Delete"),
    |w| w.xr["spec"]["deletionPolicy"] = json!("Retain"),
    |w| forget(w, "deletionPolicy"),
    |w| w.xr["spec"]["backup"]["enabled"] = json!(false),
    |w| w.xr["spec"]["backup"]["enabled"] = json!(true),
    |w| w.xr["spec"]["chartVersion"] = json!("0.32.3"),
    |w| w.xr["spec"]["chartVersion"] = json!("0.36.1"),
    |w| forget(w, "chartVersion"),
    |w| w.xr["spec"]["distro"] = json!("k8s"),
];

/// His words over everything else, and some that are refused.
const OWNER: [Edit; 14] = [
    |w| w.xr["spec"]["backup"]["interval"] = json!("10m"),
    |w| w.xr["spec"]["backup"]["interval"] = json!("1ms"),
    |w| w.xr["spec"]["backup"]["retention"] = json!({"keepLast": 3}),
    |w| w.xr["spec"]["backup"]["trigger"] = json!("now"),
    |w| w.xr["spec"]["bootstrap"] = json!("Latest"),
    |w| w.xr["spec"]["rancher"] = json!({"enabled": false}),
    |w| w.xr["spec"]["rancher"] = json!({"enabled": true}),
    |w| forget(w, "rancher"),
    |w| w.xr["spec"]["restore"] = json!({"id": "one", "at": "latest"}),
    |w| w.xr["spec"]["restore"] = json!({"id": "two", "at": "empty"}),
    |w| forget(w, "restore"),
    |w| w.xr["spec"]["id"] = json!("another"),
    |w| w.xr["spec"]["storage"] = json!({"size": "7Gi"}),
    |w| w.xr["spec"]["colour"] = json!("blue"),
];

/// None of these may reach a control plane that runs, but for the owner's next edit that restarts it anyway.
const PLATFORM: [Edit; 21] = [
    |w| w.input["charts"]["vcluster"]["version"] = json!("0.36.1"),
    |w| w.input["charts"]["vcluster"]["version"] = json!("0.30.0"),
    |w| w.input["charts"]["vcluster"]["repository"] = json!("https://mirror.example.org"),
    |w| w.input["charts"]["vcluster"]["allowed"] = json!(["0.36.1"]),
    |w| w.input["images"]["sidecar"] = json!("registry.example.org/vcluster-backup:9.9.9"),
    |w| w.input["images"]["registry"] = json!("registry.example.org/mirror"),
    |w| w.input["sizes"]["small"] = json!({"requests": {"cpu": "2"}, "storage": "9Gi"}),
    |w| w.input["defaults"]["size"] = json!("large"),
    |w| w.input["defaults"]["deletionPolicy"] = json!("Delete"),
    |w| w.input["defaults"]["backup"]["enabled"] = json!(false),
    |w| w.input["defaults"]["rancher"] = json!({"enabled": false}),
    |w| w.input["defaults"]["storage"] = json!({"size": "7Gi", "className": "fast"}),
    |w| w.input["limits"]["minInterval"] = json!("5m"),
    |w| w.input["store"]["endpoint"] = json!("https://other:9000"),
    |w| w.input["rancher"] = json!({"mode": "none"}),
    |w| w.input["namespace"] = json!("elsewhere"),
    |w| w.input["id"] = json!("another"),
    |w| w.input["readyWhen"] = json!("RecoveryPoint"),
    |w| w.input["providerConfig"] = json!({"name": "default", "kind": "ProviderConfig"}),
    |w| w.input["usages"] = json!("protection.crossplane.io/v1beta1"),
    |w| w.input["usages"] = Value::Null,
];

/// What may be found where the sidecar reports.
const REPORTS: [Edit; 10] = [
    |w| told(w, |_| {}),
    |w| told(w, |status| status.state = State::Failing),
    |w| told(w, |status| status.newest = None),
    |w| told(w, |status| "SomethingNew".clone_into(&mut status.reason)),
    |w| told(w, |status| status.restore = Some(outcome("one", "Succeeded"))),
    |w| told(w, |status| status.restore = Some(outcome("one", "Failed"))),
    |w| told(w, |status| "of another XR".clone_into(&mut status.uid)),
    |w| w.reports = Some(vec![w.config_map("{ not: [a document")]),
    |w| w.reports = Some(Vec::new()),
    |w| w.reports = None,
];

/// What a person with too many rights does to a Release.
const BY_HAND: [Edit; 4] = [
    |w| by_hand(w, "vcluster", |values| _ = values.as_object_mut().map(|values| values.remove("controlPlane"))),
    |w| by_hand(w, "vcluster", |values| values["added"] = json!(true)),
    |w| by_hand(w, "s3", |values| values["deletionPolicy"] = json!("Delete")),
    |w| by_hand(w, "s3", |values| values["settings"] = json!("{}")),
];

fn forget(world: &mut World, field: &str) {
    _ = world.xr["spec"].as_object_mut().expect("a spec").remove(field);
}

fn told(world: &mut World, change: impl FnOnce(&mut vcluster_proto::status::Status)) {
    let mut status = world.all_is_well();
    status.observed_at = Some(world.now);
    change(&mut status);
    world.report(&status);
}

fn outcome(id: &str, phase: &str) -> Restore {
    serde_json::from_value(json!({"id": id, "phase": phase, "message": "it is over"})).expect("a restore")
}

fn by_hand(world: &mut World, name: &str, change: impl FnOnce(&mut Value)) {
    if let Some((_, release)) = world.observed.iter_mut().find(|(observed, _)| observed == name) {
        change(&mut release["spec"]["forProvider"]["values"]);
    }
}

/// A vcluster's life so far.
struct Life {
    world: World,
    /// What runs is what was last desired; nothing waits to be applied.
    at_rest: bool,
}

impl Life {
    fn begin(family: (&str, &str), namespaced: bool) -> Self {
        let mut world = World::of(family.0, family.1);
        if namespaced {
            world = world.namespaced();
        }
        world.kubeconfig = Some(SECRET.into());
        let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-another-step"}});
        let desired = world.desired.resources.entry("foreign".to_owned()).or_default();
        desired.resource = foreign.as_object().map(json_to_struct);
        Self { world, at_rest: false }
    }

    fn happens(&mut self, event: Event) {
        let before = self.world.answer();
        let was = self.world.clone();
        let mut person = true; // whose edit can be refused, and is put back then
        match event {
            Event::Restarts(at) => RESTARTS[at](&mut self.world),
            Event::Owner(at) => OWNER[at](&mut self.world),
            Event::Platform(at) => PLATFORM[at](&mut self.world),
            Event::ByHand(at) => BY_HAND[at](&mut self.world),
            other => {
                person = false;
                match other {
                    Event::Apply => self.apply(&before),
                    Event::Observe { which, ready } => self.observe(which, ready),
                    Event::Report(at) => REPORTS[at](&mut self.world),
                    Event::Wait(seconds) => self.world.now += SignedDuration::from_secs(seconds),
                    _ => unreachable!("a person's"),
                }
            }
        }
        let after = self.world.answer();
        assert_eq!(bytes(&self.world.answer()), bytes(&after), "the same request, the same bytes");
        if let [fatal] = &after.results[..] {
            assert!(person, "{event:?} is nobody's fault, and refused: {}", fatal.message);
            assert_eq!(fatal.severity, Severity::Fatal as i32);
            assert_eq!(after.desired.as_ref(), Some(&self.world.desired), "handed on as it came");
            assert!(!fatal.message.contains(SECRET));
            self.world = was;
            return;
        }
        self.rules(&after);
        let rests = self.at_rest && !matches!(event, Event::Restarts(_) | Event::ByHand(_));
        let runs = was.observed.iter().any(|(name, _)| name == "vcluster");
        if runs && (rests || matches!(event, Event::Apply)) {
            let of = |answer| {
                let mut release = desired(answer, "vcluster").expect("desired");
                // For which fields the owner has given his word is remembered there, and restarts nothing.
                let annotations = release["metadata"]["annotations"].as_object_mut().expect("annotations");
                annotations.remove("vcluster.fn.crossplane.io/ordered");
                // A platform that nothing of this vcluster lives in yet may move: its kubeconfig goes elsewhere then.
                let moves = matches!(event, Event::Platform(_));
                if moves { release["spec"]["forProvider"].to_string() } else { release.to_string() }
            };
            assert_eq!(of(&after), of(&before), "{event:?} restarts the control plane");
        }
        self.at_rest = rests || matches!(event, Event::Apply);
    }

    /// The rules of every lawful answer that is not a refusal.
    fn rules(&self, answer: &RunFunctionResponse) {
        assert!(answer.results.is_empty(), "nothing is said in a steady state: {:?}", answer.results);
        assert_eq!(answer.conditions.len(), 4);
        assert!(matches!(ttl(answer), None | Some(10 | 60)), "{:?}", ttl(answer));
        let wanted = answer.desired.as_ref().expect("desired");
        assert_eq!(wanted.resources["foreign"], self.world.desired.resources["foreign"]);

        let xr = &self.world.xr;
        let off = |field: &str| xr["spec"][field]["enabled"] == json!(false);
        for (name, _) in &self.world.observed {
            let goes = match name.as_str() {
                "rancher" => off("rancher"),
                "usage-vcluster" => off("rancher") || self.world.input["usages"].is_null(),
                "usage-s3" => self.world.input["usages"].is_null(),
                // Its own rule, which `rules/restores.rs` tests, says when; never while a request is open.
                "keys" => off("backup") || xr["spec"]["restore"].is_null() || !xr["status"]["restore"].is_null(),
                _ => false,
            };
            assert!(goes || wanted.resources.contains_key(name), "{name} was dropped");
        }
        if let Some(s3) = desired(answer, "s3") {
            let policies = s3["spec"]["managementPolicies"].as_array().expect("written out");
            let deletes = policies.iter().any(|policy| policy == "*" || policy == "Delete");
            assert!(policies.contains(&json!("*")) || policies.contains(&json!("Create")), "{policies:?}");
            assert!(!deletes || s3["spec"].get("rollbackLimit").is_none(), "a rollback would remove the bucket");
            let asked = xr["spec"]["deletionPolicy"].as_str() == Some("Delete");
            let ever = self.world.input["defaults"]["deletionPolicy"] == json!("Delete") || asked;
            assert!(!deletes || ever, "nobody has asked for a deletion");
            let settings = values(&s3)["settings"].as_str().expect("one string");
            Settings::from_yaml(settings).expect("the sidecar can read it");
        }
        for (name, resource) in &wanted.resources {
            let nobody_waits = name.starts_with("usage-");
            let ready = resource.ready == Ready::True as i32;
            assert!(!ready || nobody_waits || self.is_ready(name), "{name} is called ready and is not");
        }
        let mut said = serde_json::to_value(answer).expect("protojson");
        said["desired"]["composite"]["connectionDetails"] = Value::Null;
        assert!(!said.to_string().contains(SECRET), "a secret is repeated");
    }

    fn is_ready(&self, name: &str) -> bool {
        let release = self.world.observed.iter().find(|(observed, _)| observed == name);
        release.is_some_and(|(_, release)| release["status"]["conditions"][0]["status"] == "True")
    }

    /// Server-side apply: our fields win, what we no longer return goes, what others own stays; a name is for ever.
    fn apply(&mut self, answer: &RunFunctionResponse) {
        if !answer.results.is_empty() {
            return; // a fatal result: nothing is applied, nothing deleted
        }
        let there = std::mem::take(&mut self.world.observed);
        for name in names(answer).into_iter().filter(|name| name != "foreign") {
            let mut object = desired(answer, &name).expect("named");
            let old = there.iter().find(|(observed, _)| *observed == name).map(|(_, old)| old);
            late_initialised(&mut object);
            if let Some(old) = old {
                object["metadata"]["name"] = old["metadata"]["name"].clone();
                object["status"] = old["status"].clone();
            }
            self.world.observed.push((name, object));
        }
        let status = answer.desired.as_ref().and_then(|state| state.composite.as_ref()?.resource.as_ref());
        self.world.xr["status"] = struct_to_json(status.expect("a status"))["status"].clone();
    }

    fn observe(&mut self, which: usize, ready: bool) {
        if let Some((_, release)) = self.world.observed.get_mut(which) {
            let status = if ready { "True" } else { "False" };
            // As provider-helm does when the API server refuses a value it was given.
            let message = format!("cannot upgrade release: password: Invalid value: {SECRET}");
            release["status"] = json!({"conditions": [{"type": "Ready", "status": status, "message": message}]});
            release["status"]["atProvider"] = json!({"releaseDescription": message, "state": "deployed"});
        }
    }
}

/// What the CRD's defaults and provider-helm add to a Release.
fn late_initialised(release: &mut Value) {
    if release["kind"] != "Release" {
        return;
    }
    let spec = &mut release["spec"];
    if spec["providerConfigRef"].get("kind").is_none() {
        spec["deletionPolicy"] = json!("Delete"); // not in the namespaced group
    }
    spec["forProvider"]["skipCreateNamespace"] = json!(false);
    release["metadata"]["generation"] = json!(1);
    release["metadata"]["finalizers"] = json!(["finalizer.managedresource.crossplane.io"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_holds_after_every_step(
        family in prop::sample::select(FAMILIES.to_vec()),
        namespaced in any::<bool>(),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut life = Life::begin(family, namespaced);
        for event in events {
            life.happens(event);
        }
    }
}
