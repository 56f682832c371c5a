//! The migration of docs/adoption.md under a real core: an XR of a hand-written Composition goes over to ours, and back.
//!
//! `function/tests/adoption.rs` asks the same of a model of server-side apply, over many lives; here it is the real one,
//! with the owners of fields and the garbage collection of a core that has made the Releases itself.

use std::collections::BTreeMap;

use e2e::crossplane::{Crossplane, is_true, manifests};
use e2e::{examples::Example, played, yaml};
use serde_json::{Value, json};

const RELEASES: &str = "releases.helm.crossplane.io";
const CLAIMS: &str = "vclusters.vcluster.example.org";
const XRS: &str = "xvclusters.vcluster.example.org";
const TEAM: &str = "team-a";
const OLD: [&str; 3] = ["rancher", "s3", "vcluster"];

struct Story {
    crossplane: Crossplane,
    _folder: tempfile::TempDir,
}

/// Releases by the names Crossplane knows them by.
type Releases = BTreeMap<String, Value>;

impl Story {
    /// A platform before: an XRD of its own, a Composition of three Releases, an order, and its charts installed.
    fn before() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let crossplane = Crossplane::start(folder.path());
        let releases = yaml::documents(&Example::beside("adopt-before").text("releases.yaml"));
        crossplane.install_by_hand("function-patch-and-transform", releases);
        let mut definition = definition();
        *schema(&mut definition) = json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": {"parameters": parameters()}},
                "status": {"type": "object", "properties": {}},
            },
        });
        crossplane.define(&yaml::text(&[definition]));
        crossplane.cluster.apply(&Example::beside("adopt-before").text("composition.yaml"));
        for name in [TEAM, "vcluster-platform"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            crossplane.cluster.apply(&namespace.to_string());
        }
        let story = Self { crossplane, _folder: folder };
        story.crossplane.cluster.apply(
            &json!({
                "apiVersion": "vcluster.example.org/v1alpha1",
                "kind": "VCluster",
                "metadata": {"name": "shop", "namespace": TEAM},
                "spec": {
                    "parameters": {"owner": "ada@example.org"},
                    "compositionRef": {"name": "vcluster-by-hand"},
                    "writeConnectionSecretToRef": {"name": "shop-kubeconfig"},
                },
            })
            .to_string(),
        );
        let claim = story.claim(|claim| claim["spec"]["resourceRef"]["name"].is_string());
        let xr = yaml::str_at(&claim, "/spec/resourceRef/name");
        let composed = |xr: &Value| xr["spec"]["resourceRefs"].as_array().map_or(0, Vec::len) == OLD.len();
        let _ = story.crossplane.cluster.wait_for(XRS, "", xr, composed);
        story.install();
        let _ = story.claim(|claim| is_true(claim, "Ready"));
        story
    }

    /// The fields of our XRD join, and our Composition stands beside theirs.
    fn prepare(&self) {
        let mut definition = definition();
        schema(&mut definition)["properties"]["spec"]["properties"]["parameters"] = parameters();
        self.crossplane.define(&yaml::text(&[definition]));
        // The server takes the new schema some time after the CRD has it, and drops fields it does not know until then.
        let xr = self.xr(|_| true)["metadata"]["name"].clone();
        for (kind, metadata) in
            [("VCluster", json!({"name": "shop", "namespace": TEAM})), ("XVCluster", json!({"name": xr}))]
        {
            let spec = json!({"backup": {"enabled": false}});
            let object = json!({"apiVersion": "vcluster.example.org/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
            let cluster = &self.crossplane.cluster;
            cluster.wait_until("the fields are served", || cluster.accepts(&object.to_string()).code == 0);
        }
        let mut composition = yaml::documents(&Example::named("adopt-step-1").text("composition.yaml")).remove(0);
        // What the XRD has besides, for the Composition before.
        composition["spec"]["pipeline"][0]["input"]["adopt"]["specFields"] = json!(["parameters"]);
        self.crossplane.cluster.apply(&composition.to_string());
    }

    fn claim(&self, found: impl Fn(&Value) -> bool) -> Value {
        self.crossplane.cluster.wait_for(CLAIMS, TEAM, "shop", found)
    }

    fn xr(&self, found: impl Fn(&Value) -> bool) -> Value {
        let claim = self.claim(|_| true);
        self.crossplane.cluster.wait_for(XRS, "", yaml::str_at(&claim, "/spec/resourceRef/name"), found)
    }

    /// What the owner, or the platform for him, writes into the claim.
    fn edit(&self, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        let namespace = format!("--namespace={TEAM}");
        let arguments = ["patch", CLAIMS, "shop", &namespace, "--type=merge", "--patch", &patch];
        let _ = self.crossplane.cluster.kubectl(&arguments, "").ok();
    }

    fn releases(&self) -> Releases {
        let releases = self.crossplane.cluster.objects(RELEASES, "");
        releases.into_iter().map(|each| (yaml::resource_name(&each).expect("composed").to_owned(), each)).collect()
    }

    /// provider-helm installs or upgrades whatever is there.
    fn install(&self) {
        for release in self.releases().values() {
            played::installed(&self.crossplane.cluster, RELEASES, "", yaml::str_at(release, "/metadata/name"));
        }
    }
}

fn definition() -> Value {
    let mut definition = yaml::documents(&manifests(&["claims", "--only", "definition"])).remove(0);
    definition["spec"]["defaultCompositionRef"] = json!({"name": "vcluster-by-hand"});
    definition
}

fn schema(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn parameters() -> Value {
    json!({"type": "object", "properties": {"owner": {"type": "string"}}})
}

/// What must never change of a Release: a deletion, or another one under its name, would show.
fn identity(release: &Value) -> Value {
    let metadata = &release["metadata"];
    let annotation = &metadata["annotations"]["crossplane.io/external-name"];
    let namespace = &release["spec"]["forProvider"]["namespace"];
    let deleted = &metadata["deletionTimestamp"];
    json!([metadata["uid"], metadata["name"], annotation, metadata["ownerReferences"], namespace, deleted])
}

/// What provider-helm looks at to decide whether Helm has to do something.
fn helm_sees(releases: &Releases, name: &str) -> Value {
    releases[name]["spec"]["forProvider"].clone()
}

/// The fields of `spec` and the annotations that Crossplane owns; what nobody owns any more would be gone with the next
/// apply, and what two own could not be taken back.
fn owned(release: &Value) -> Vec<Value> {
    let managers = release["metadata"]["managedFields"].as_array().expect("the server tells");
    let of = |manager: &Value| {
        let fields = &manager["fieldsV1"];
        json!([manager["manager"], manager["operation"], fields["f:spec"], fields["f:metadata"]["f:labels"]])
    };
    managers.iter().filter(|manager| manager["subresource"].is_null()).map(of).collect()
}

/// The example's Releases, as they are for this XR.
fn as_rendered(example: &str, xr: &Value) -> Releases {
    let example = Example::named(example);
    let rendered = example.rendered();
    let theirs = &rendered[0];
    let text = example.text("rendered.yaml");
    let uid = "7cfce08b-7229-5c89-8d9f-16fdc03c5b35";
    let text = text
        .replace(yaml::str_at(theirs, "/status/vcluster/key"), yaml::str_at(xr, "/status/vcluster/key"))
        .replace(uid, yaml::str_at(xr, "/metadata/uid"));
    let documents = yaml::documents(&text).into_iter();
    documents.filter_map(|each| Some((yaml::resource_name(&each)?.to_owned(), each))).collect()
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_vcluster_of_a_hand_written_composition_goes_over_to_ours_and_back() {
    let story = Story::before();
    let before = story.releases();
    assert_eq!(before.keys().collect::<Vec<_>>(), OLD);
    let same_objects = |now: &Releases| {
        for name in OLD {
            assert_eq!(identity(&now[name]), identity(&before[name]), "{name}");
        }
    };
    story.prepare();

    // Step 1: taken over, and nothing changes for Helm.
    // The word on backups first, and again until it has arrived: a field that is young may still be dropped on its way, and
    // our Composition would then find no word and back up.
    story.crossplane.cluster.wait_until("the XR says that backup is off", || {
        story.edit(&json!({"backup": {"enabled": false}}));
        story.crossplane.cluster.objects(XRS, "").iter().any(|xr| xr["spec"]["backup"]["enabled"] == false)
    });
    story.edit(&json!({"compositionRef": {"name": "vcluster"}}));
    let xr = story.xr(|xr| xr["status"]["vcluster"]["key"].is_string() && is_true(xr, "Synced"));
    assert_eq!(xr["status"]["vcluster"]["release"], "shop");
    story.crossplane.looks_at(XRS, yaml::str_at(&xr, "/metadata/name"));
    let taken = story.releases();
    same_objects(&taken);
    assert_eq!(taken.keys().collect::<Vec<_>>(), OLD, "nothing is added while backup is off");
    for name in OLD {
        assert_eq!(helm_sees(&taken, name), helm_sees(&before, name), "{name}");
    }
    let policies = |releases: &Releases, name: &str| releases[name]["spec"]["managementPolicies"].clone();
    assert_eq!(policies(&taken, "s3"), json!(["Observe", "Create"]));
    assert_eq!(policies(&taken, "vcluster"), json!(["*"]));
    for name in OLD {
        let (one, was) = (owned(&taken[name]), owned(&before[name]));
        assert_eq!(one.len(), was.len(), "{name} has no second owner");
        assert_eq!(one[0][0], was[0][0], "{name}");
        assert_eq!(one[0][2]["f:forProvider"], was[0][2]["f:forProvider"], "{name}: the same fields are Crossplane's");
        assert_eq!(one[0][3], was[0][3], "{name}: labels");
    }

    // Step 2: the owner wants backups. The vcluster changes as planned, a Release joins, the rest is left alone.
    story.edit(&json!({"backup": {"enabled": true}}));
    let joined = |xr: &Value| xr["spec"]["resourceRefs"].as_array().is_some_and(|all| all.len() == 4);
    let xr = story.xr(joined);
    story.crossplane.looks_at(XRS, yaml::str_at(&xr, "/metadata/name"));
    let backed_up = story.releases();
    same_objects(&backed_up);
    let planned = as_rendered("adopt-step-2", &xr);
    assert_eq!(backed_up.keys().collect::<Vec<_>>(), ["rancher", "s3", "s3-settings", "vcluster"]);
    for name in backed_up.keys() {
        assert_eq!(helm_sees(&backed_up, name), helm_sees(&planned, name), "{name} is as the example shows it");
    }
    assert_ne!(helm_sees(&backed_up, "vcluster"), helm_sees(&before, "vcluster"), "the one planned change");
    for name in ["rancher", "s3"] {
        assert_eq!(backed_up[name]["metadata"]["generation"], taken[name]["metadata"]["generation"], "{name}");
    }
    assert_eq!(policies(&backed_up, "s3"), json!(["Observe", "Create"]));
    assert_eq!(policies(&backed_up, "s3-settings"), json!(["Observe", "Create", "Update"]));

    // Step 3: healthy, and then nothing is written any more.
    story.install();
    played::reported(&story.crossplane.cluster, &xr);
    let _ = story.claim(|claim| is_true(claim, "Ready") && is_true(claim, "BackupReady"));
    story.crossplane.looks_at(XRS, yaml::str_at(&xr, "/metadata/name"));
    let versions = || {
        let of = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let releases: Vec<Value> = story.releases().values().map(of).collect();
        (releases, story.xr(|_| true)["status"].clone(), of(&story.claim(|_| true)))
    };
    let resting = versions();
    story.crossplane.looks_at(XRS, yaml::str_at(&xr, "/metadata/name"));
    assert_eq!(versions(), resting, "a steady state writes nothing");

    // Back: the three are what they were, and ours goes without anything being uninstalled.
    let settings = story.releases()["s3-settings"].clone();
    story.edit(&json!({"compositionRef": {"name": "vcluster-by-hand"}}));
    let name = yaml::str_at(&settings, "/metadata/name");
    // It goes when a garbage collector, which nobody runs here, has looked that it owns nothing.
    let deleted = |release: &Value| release["metadata"]["deletionTimestamp"].is_string();
    let going = story.crossplane.cluster.wait_for(RELEASES, "", name, deleted);
    assert_eq!(going["spec"]["managementPolicies"], json!(["Observe", "Create", "Update"]), "nothing is uninstalled");
    for name in OLD {
        let metadata = &before[name]["metadata"];
        let was = |release: &Value| release["spec"] == before[name]["spec"];
        let _ = story.crossplane.cluster.wait_for(RELEASES, "", yaml::str_at(metadata, "/name"), was);
    }
    same_objects(&story.releases());
}
