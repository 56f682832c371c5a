//! A whole order under a real control plane: Crossplane's core calls our function over mTLS and applies what it answers.
//!
//! The manifests are those `function-vcluster manifests` prints. Nobody installs charts here: the stories play
//! provider-helm, whose words in a Release's status and in its connection Secret are all that Crossplane sees of it.

use e2e::crossplane::{Crossplane, is_true, manifests};
use e2e::{examples::Example, played, process::Said, yaml};
use serde_json::{Value, json};

/// How one generation of Crossplane names things.
struct Tenancy {
    /// What `manifests` is asked for.
    name: &'static str,
    /// The resource a tenant orders.
    ordered: &'static str,
    /// The resource of its Releases.
    releases: &'static str,
    /// The resource of their order of deletion.
    usages: &'static str,
    /// What the tenant writes.
    order: Value,
    /// The namespace of the Releases; none: they are cluster-scoped.
    home: &'static str,
    /// The namespace into which provider-helm copies the kubeconfig.
    secrets: &'static str,
}

const TENANT: &str = "team-a";
const PLATFORM: &str = "vcluster-platform";
/// What Crossplane puts on a resource that a Usage speaks of.
const IN_USE: &str = "crossplane.io/in-use";
const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\n";

impl Tenancy {
    fn claims() -> Self {
        Self {
            name: "claims",
            ordered: "vclusters.vcluster.example.org",
            releases: "releases.helm.crossplane.io",
            usages: "clusterusages.protection.crossplane.io",
            order: yaml::documents(&Example::named("claim-v1").text("claim.yaml")).remove(0),
            home: "",
            secrets: PLATFORM,
        }
    }

    fn namespaced() -> Self {
        let mut order = yaml::documents(&Example::named("namespaced-v2").text("xr.yaml")).remove(0);
        // What Crossplane adds.
        order["metadata"] = json!({"name": "shop", "namespace": TENANT});
        order["spec"].as_object_mut().expect("a spec").remove("crossplane");
        Self {
            name: "namespaced",
            ordered: "vclusters.vcluster.m.example.org",
            releases: "releases.helm.m.crossplane.io",
            usages: "usages.protection.crossplane.io",
            order,
            home: TENANT,
            secrets: TENANT,
        }
    }
}

/// A control plane with the printed manifests of a tenancy, and namespaces.
struct Story {
    crossplane: Crossplane,
    tenancy: Tenancy,
    _folder: tempfile::TempDir,
}

impl Story {
    fn begin(tenancy: Tenancy) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let crossplane = Crossplane::start(folder.path());
        // Of the other parts, the rights are an administrator's here, and the Function would be fetched from a registry.
        let printed = manifests(&[tenancy.name, "--only", "definition,composition"]);
        let mut documents = yaml::documents(&printed);
        let composition = documents.iter_mut().find(|document| document["kind"] == "Composition").expect("printed");
        edit(&mut composition["spec"]["pipeline"][0]["input"]);
        crossplane.define(&yaml::text(&documents));
        for namespace in [TENANT, PLATFORM] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            crossplane.cluster.apply(&namespace.to_string());
        }
        Self { crossplane, tenancy, _folder: folder }
    }

    fn order(&self, order: &Value) {
        self.crossplane.cluster.apply(&order.to_string());
    }

    fn wait_for_order(&self, name: &str, found: impl Fn(&Value) -> bool) -> Value {
        self.crossplane.cluster.wait_for(self.tenancy.ordered, TENANT, name, found)
    }

    /// The XR of an order, once it is there: the order itself or what its claim was given.
    fn wait_for_xr(&self, order: &str, found: impl Fn(&Value) -> bool) -> Value {
        if self.tenancy.home == TENANT {
            return self.wait_for_order(order, found);
        }
        let claim = self.wait_for_order(order, |claim| claim["spec"]["resourceRef"]["name"].is_string());
        let name = yaml::str_at(&claim, "/spec/resourceRef/name");
        self.crossplane.cluster.wait_for("xvclusters.vcluster.example.org", "", name, found)
    }

    fn wait_for_release(&self, key: &str, resource: &str, found: impl Fn(&Value) -> bool) -> Value {
        let name = format!("{key}-{resource}");
        self.crossplane.cluster.wait_for(self.tenancy.releases, self.tenancy.home, &name, found)
    }

    fn release(&self, key: &str, resource: &str) -> Value {
        self.wait_for_release(key, resource, |_| true)
    }

    fn wait_for_usage(&self, key: &str, used: &str, found: impl Fn(&Value) -> bool) -> Value {
        let name = format!("{key}-usage-{used}");
        self.crossplane.cluster.wait_for(self.tenancy.usages, self.tenancy.home, &name, found)
    }

    /// Deletes an order, and waits until Crossplane has let its XR go.
    fn cancel(&self, order: &str, xr: &Value) {
        let namespace = format!("--namespace={TENANT}");
        let delete = ["delete", self.tenancy.ordered, order, &namespace, "--wait=false"];
        let _ = self.crossplane.cluster.kubectl(&delete, "").ok();
        let (kind, home) = match self.tenancy.home {
            "" => ("xvclusters.vcluster.example.org", ""),
            home => (self.tenancy.ordered, home),
        };
        let name = yaml::str_at(xr, "/metadata/name");
        let gone = || self.crossplane.cluster.object(kind, home, name).is_none();
        self.crossplane.cluster.wait_until("the XR is gone", gone);
    }

    /// Deletes as Kubernetes' garbage collector does, which nobody runs here.
    fn collect(&self, kind: &str, name: &str) -> Said {
        let namespace = format!("--namespace={}", self.tenancy.home);
        let how = ["--cascade=background", "--wait=false"];
        self.crossplane.cluster.kubectl(&[&["delete", kind, name, &namespace], &how[..]].concat(), "")
    }

    /// Takes away what Crossplane has noted of a refused deletion.
    fn forget_attempt(&self, key: &str, resource: &str) {
        let (name, namespace) = (format!("{key}-{resource}"), format!("--namespace={}", self.tenancy.home));
        let note = "usage.crossplane.io/deletion-attempt-with-policy-";
        let _ = self.crossplane.cluster.kubectl(&["annotate", self.tenancy.releases, &name, &namespace, note], "").ok();
    }

    /// provider-helm holds a Release until its chart is uninstalled.
    fn hold(&self, key: &str, resource: &str, held: bool) {
        let finalizers = if held { json!(["finalizer.managedresource.crossplane.io"]) } else { json!([]) };
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        let (name, namespace) = (format!("{key}-{resource}"), format!("--namespace={}", self.tenancy.home));
        let arguments = ["patch", self.tenancy.releases, &name, &namespace, "--type=merge", "--patch", &patch];
        let _ = self.crossplane.cluster.kubectl(&arguments, "").ok();
    }

    fn releases(&self) -> Vec<Value> {
        self.crossplane.cluster.objects(self.tenancy.releases, self.tenancy.home)
    }

    /// As provider-helm does when a chart is installed.
    fn installed(&self, key: &str, resource: &str) {
        let release = self.release(key, resource);
        if let Some(target) = release["spec"].get("writeConnectionSecretToRef") {
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "connection.crossplane.io/v1alpha1",
                "metadata": { "name": target["name"], "namespace": self.tenancy.secrets },
                "stringData": { "kubeconfig": KUBECONFIG },
            });
            self.crossplane.cluster.apply(&secret.to_string());
        }
        let name = yaml::str_at(&release, "/metadata/name");
        played::installed(&self.crossplane.cluster, self.tenancy.releases, self.tenancy.home, name);
    }

    /// From an order to a vcluster that is ready; returns its XR.
    fn live(&self) -> Value {
        self.order(&self.tenancy.order);
        let xr = self.wait_for_xr("shop", |xr| xr["status"]["vcluster"]["key"].is_string());
        let key = yaml::str_at(&xr, "/status/vcluster/key").to_owned();
        for resource in ["s3", "vcluster"] {
            let release = self.release(&key, resource);
            assert_eq!(release["metadata"]["ownerReferences"][0]["uid"], xr["metadata"]["uid"], "{resource}");
            assert_eq!(release["metadata"]["namespace"].as_str().unwrap_or_default(), self.tenancy.home, "{resource}");
        }
        assert_eq!(self.releases().len(), 2, "the registration waits for a vcluster that is ready");
        assert!(!is_true(&xr, "Ready"), "{xr}");
        self.installed(&key, "s3");
        self.installed(&key, "vcluster");
        // It follows, and is not taken for ready.
        let rancher = self.release(&key, "rancher");
        assert_eq!(rancher["spec"]["forProvider"]["namespace"], PLATFORM);
        played::reported(&self.crossplane.cluster, &xr);
        self.installed(&key, "rancher");
        assert_eq!(self.releases().len(), 3);
        for (used, user) in [("s3", "vcluster"), ("vcluster", "rancher")] {
            let usage = self.wait_for_usage(&key, used, |usage| is_true(usage, "Ready"));
            assert_eq!(usage["spec"]["of"]["resourceRef"]["name"], format!("{key}-{used}"));
            assert_eq!(usage["spec"]["by"]["resourceRef"]["name"], format!("{key}-{user}"));
            self.wait_for_release(&key, used, |release| release["metadata"]["labels"][IN_USE] == "true");
        }
        self.wait_for_xr("shop", |xr| is_true(xr, "Ready") && is_true(xr, "Synced"))
    }
}

/// What a platform team writes into the printed Platform: here, that there is a Rancher, and an order of deletion.
fn edit(platform: &mut Value) {
    platform["usages"] = json!("protection.crossplane.io/v1beta1");
    platform["rancher"] = json!({"mode": "chart", "url": "https://rancher.example.org"});
    platform["charts"]["rancherCluster"] = json!({
        "name": "rancher-cluster", "repository": "https://charts.example.org/vcluster", "version": "0.2.0",
    });
}

fn secret_text(secret: &Value, field: &str) -> String {
    let encoded = yaml::str_at(secret, &format!("/data/{field}"));
    let decoded = data_encoding::BASE64.decode(encoded.as_bytes()).expect("base64");
    String::from_utf8(decoded).expect("text")
}

fn all_is_well(story: &Story, ordered: &Value) {
    for kind in ["BackupReady", "Recoverable", "RancherRegistered"] {
        assert!(is_true(ordered, kind), "{kind}: {}", ordered["status"]);
    }
    assert_eq!(ordered["status"]["backup"]["state"], "Healthy");
    // The report has reached the settings: the sidecar is told that there has been a backup.
    let key = yaml::str_at(ordered, "/status/vcluster/key");
    let lived = |release: &Value| {
        release["spec"]["forProvider"]["values"]["settings"].as_str().is_some_and(|text| text.contains("lived: true"))
    };
    let name = format!("{key}-s3");
    let _ = story.crossplane.cluster.wait_for(story.tenancy.releases, story.tenancy.home, &name, lived);
}

/// What would show that somebody else has been at a Release.
fn essence(releases: &[Value]) -> Vec<Value> {
    let essence = |release: &Value| {
        let metadata = &release["metadata"];
        json!([metadata["name"], metadata["uid"], metadata["ownerReferences"], metadata["labels"], release["spec"]])
    };
    releases.iter().map(essence).collect()
}

/// A second order of the same owner with the same key: the API server gives the names of its Releases to nobody twice.
fn a_second_order_with_the_same_key_is_refused(story: &Story, first: &Value) {
    let before = essence(&story.releases());
    assert_eq!(before.len(), 3);
    let mut order = story.tenancy.order.clone();
    order["metadata"]["name"] = json!("intruder");
    // The first one has no id: its XR's name is it. Everything a takeover would change is different.
    order["spec"] = json!({"id": first["metadata"]["name"], "size": "large", "deletionPolicy": "Delete"});
    story.order(&order);
    let refused = |xr: &Value| {
        let conditions = xr["status"]["conditions"].as_array();
        let synced = conditions.into_iter().flatten().find(|condition| condition["type"] == "Synced");
        synced.is_some_and(|synced| synced["status"] == "False")
    };
    let xr = story.wait_for_xr("intruder", refused);
    let said = "reference can have Controller set to true";
    let of_the_second = |event: &Value| event["involvedObject"]["uid"] == xr["metadata"]["uid"];
    let events = story.crossplane.cluster.kubectl(&["get", "events", "--all-namespaces", "--output=json"], "").ok();
    let events: Value = serde_json::from_str(&events).expect("kubectl prints JSON");
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let heard = events.iter().filter(|event| of_the_second(event)).any(|event| event.to_string().contains(said));
    assert!(heard, "{said:?} in {events:#?}");
    assert_eq!(xr["status"]["vcluster"]["key"], first["status"]["vcluster"]["key"], "it is the same key");

    // Whatever it asks for later, it is refused again, and owns nothing.
    order["spec"]["size"] = json!("small");
    order["spec"]["rancher"] = json!({"enabled": false});
    story.order(&order);
    let generation =
        story.wait_for_xr("intruder", |xr| xr["spec"]["rancher"]["enabled"] == json!(false))["metadata"]["generation"]
            .clone();
    let seen = |xr: &Value| {
        let conditions = xr["status"]["conditions"].as_array();
        let synced = conditions.into_iter().flatten().find(|condition| condition["type"] == "Synced");
        synced.is_some_and(|synced| synced["observedGeneration"] == generation)
    };
    let xr = story.wait_for_xr("intruder", seen);
    assert!(refused(&xr) && !is_true(&xr, "Ready"), "{}", xr["status"]);
    assert_eq!(essence(&story.releases()), before, "nothing of the first one has changed");
    let first = story.wait_for_xr("shop", |_| true);
    assert!(is_true(&first, "Ready") && is_true(&first, "Synced"), "{}", first["status"]);
    // It would be given the names once the first one has gone.
    story.cancel("intruder", &xr);
}

/// Registration, vcluster, bucket: each stays until the one before it is uninstalled, however things are deleted.
fn it_goes_in_order(story: &Story, xr: &Value) {
    let key = yaml::str_at(xr, "/status/vcluster/key");
    let deleted = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    let releases = ["s3", "vcluster", "rancher"];
    for resource in releases {
        story.hold(key, resource, true);
    }
    // By somebody's hand, while the order lives.
    for resource in ["s3", "vcluster"] {
        let said = story.collect(story.tenancy.releases, &format!("{key}-{resource}"));
        assert!(said.code != 0 && said.err.contains("in-use by 1 usage(s)"), "{resource}: {}", said.all());
        assert!(!deleted(&story.release(key, resource)), "{resource}");
        // That is remembered, and would be done again when the Usage goes, for whatever reason.
        let replays = |wanted: bool| move |usage: &Value| usage["spec"]["replayDeletion"] == json!(wanted);
        let _ = story.wait_for_usage(key, resource, replays(false));
        story.forget_attempt(key, resource);
        let _ = story.wait_for_usage(key, resource, replays(true));
    }
    // With the order. The collector begins where it likes.
    story.cancel("shop", xr);
    for resource in releases {
        let said = story.collect(story.tenancy.releases, &format!("{key}-{resource}"));
        assert_eq!(said.code == 0, resource == "rancher", "{resource}: {}", said.all());
    }
    for used in ["s3", "vcluster"] {
        let _ = story.collect(story.tenancy.usages, &format!("{key}-usage-{used}")).ok();
    }
    for (going, stays) in [("rancher", &["vcluster", "s3"][..]), ("vcluster", &["s3"]), ("s3", &[])] {
        // What follows is deleted by Crossplane, which has seen that somebody wanted it.
        story.wait_for_release(key, going, deleted);
        for resource in stays {
            assert!(!deleted(&story.release(key, resource)), "{resource} before {going} is gone");
        }
        story.hold(key, going, false);
    }
    story.crossplane.cluster.wait_until("all of it is gone", || {
        let usages = story.crossplane.cluster.objects(story.tenancy.usages, story.tenancy.home);
        usages.is_empty() && story.releases().is_empty()
    });
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_claim_becomes_a_ready_vcluster_that_nobody_else_can_take_and_goes_in_order() {
    let story = Story::begin(Tenancy::claims());
    let xr = story.live();
    let claim = story.wait_for_order("shop", |claim| is_true(claim, "Ready") && is_true(claim, "BackupReady"));
    all_is_well(&story, &claim);
    let secret = story.crossplane.cluster.wait_for("secret", TENANT, "shop-kubeconfig", |_| true);
    assert_eq!(secret_text(&secret, "kubeconfig"), KUBECONFIG);
    a_second_order_with_the_same_key_is_refused(&story, &xr);
    it_goes_in_order(&story, &xr);
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_namespaced_xr_becomes_a_ready_vcluster_that_nobody_else_can_take_and_goes_in_order() {
    let story = Story::begin(Tenancy::namespaced());
    let _ = story.live();
    let xr = story.wait_for_order("shop", |xr| is_true(xr, "Ready") && is_true(xr, "BackupReady"));
    all_is_well(&story, &xr);
    // Nothing copies it on: what the status names is what provider-helm has written.
    let name = yaml::str_at(&xr, "/status/vcluster/kubeconfigSecret");
    let secret = story.crossplane.cluster.object("secret", TENANT, name).expect("in the tenant's namespace");
    assert_eq!(secret_text(&secret, "kubeconfig"), KUBECONFIG);
    a_second_order_with_the_same_key_is_refused(&story, &xr);
    it_goes_in_order(&story, &xr);
}
