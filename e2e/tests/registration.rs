//! Chart rancher-cluster by hand, without the function: rendered by the real Helm, its Jobs' scripts run as they are, with
//! the rights of their service account, against a Rancher that is played and a vcluster that is a real API server.

use e2e::cluster::Cluster;
use e2e::process::{Said, run};
use e2e::rancher::{AGENT_TOKEN, Rancher, TOKEN};
use e2e::{cluster, job, tools, yaml};
use serde_json::{Value, json};

const KEY: &str = "team-a-abcdefgh";
const RELEASE: &str = "team-a-abcdefgh-rancher";
const HOME: &str = "vc-team-a-abcdefgh";
const MARK: &str = "vcluster.fn.crossplane.io/key";
/// Long enough for a run that has nothing to wait for, on two busy cores.
const PATIENCE: u32 = 60;
/// Enough to say why it waits.
const WAITS: u32 = 8;

/// A host cluster, a vcluster, and Rancher.
struct Stage {
    host: Cluster,
    vcluster: Cluster,
    rancher: Rancher,
    /// Last, so that logs are there until every program has ended.
    folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let start = |name: &str| Cluster::start(&folder.path().join(name), &folder.path().join(format!("{name}-data")));
        let stage = Self { host: start("host"), vcluster: start("vcluster"), rancher: Rancher::start(), folder };
        for namespace in ["platform", HOME] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            stage.host.apply(&namespace.to_string());
        }
        stage
    }

    fn secret(&self, namespace: &str, name: &str, data: &Value) {
        let metadata = json!({"name": name, "namespace": namespace});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        self.host.apply(&secret.to_string());
    }

    fn token(&self, token: &str) {
        self.secret("platform", "rancher-token", &json!({"APITOKEN": token}));
    }

    /// As the syncer writes it, with a server that only the pod itself reaches.
    fn kubeconfig(&self) {
        let ours = std::fs::read_to_string(self.vcluster.kubeconfig()).expect("readable");
        let mut config: Value = serde_json::from_str(&ours).expect("JSON");
        config["clusters"][0]["cluster"]["server"] = json!("https://localhost:1");
        self.secret(HOME, &format!("vc-{KEY}"), &json!({"config": config.to_string()}));
    }

    fn values(&self) -> Value {
        let ours = std::fs::read_to_string(self.vcluster.kubeconfig()).expect("readable");
        let config: Value = serde_json::from_str(&ours).expect("JSON");
        json!({
            "clustername": KEY, "vclusterReleaseName": KEY, "targetnamespace": HOME,
            "vclusterServer": config["clusters"][0]["cluster"]["server"],
            "rancher": {"url": self.rancher.url, "existingSecret": "rancher-token"},
            "createOwner": {"enabled": true, "userPrincipalName": "keycloak_user://ada@example.org"},
        })
    }

    fn rendered(&self, values: &Value) -> Said {
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).expect("writable");
        let mut helm = cluster::helm();
        run(helm.args(["template", RELEASE]).arg(chart()).args(["--namespace", "platform", "--values"]).arg(file), "")
    }

    /// Runs one of the chart's Jobs.
    fn run(&self, name: &str, seconds: u32) -> Said {
        let documents = yaml::documents(&self.rendered(&self.values()).ok());
        let job = documents.iter().find(|each| each["metadata"]["name"] == format!("{RELEASE}-{name}")).expect("a Job");
        let rights: Vec<Value> = documents.iter().filter(|each| each["kind"] != "Job").cloned().collect();
        self.host.apply(&yaml::text(&rights));
        assert_eq!(job["spec"]["template"]["spec"]["serviceAccountName"], RELEASE);
        let account = self.host.kubeconfig_of("platform", RELEASE);
        let root = self.folder.path().join("job");
        let _ = std::fs::remove_dir_all(&root);
        let said = job::execute_as(&self.host, job, &root, &account, seconds);
        for secret in ["s3cretw0rds", AGENT_TOKEN] {
            assert!(!said.all().contains(secret), "a secret was printed: {said:?}");
        }
        said
    }

    fn waits(&self, for_what: &str) {
        let said = self.run("register", WAITS);
        assert!(said.code == 124 && said.out.contains(for_what), "{for_what:?}: {said:?}");
    }
}

fn chart() -> std::path::PathBuf {
    tools::repository().join("package/charts/rancher-cluster")
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_vcluster_is_registered_any_number_of_times_and_removed() {
    let stage = Stage::set();
    // Whatever is missing is waited for, and said.
    stage.waits("Secret platform/rancher-token holds no APITOKEN");
    stage.token("token-abcde:wrong");
    stage.waits("Rancher refuses the token of Secret platform/rancher-token (401)");
    stage.token(TOKEN);
    stage.waits(&format!("cannot read Secret vc-{KEY} of namespace {HOME}"));
    stage.kubeconfig();

    for run in ["first", "second"] {
        let said = stage.run("register", PATIENCE);
        assert_eq!(said.code, 0, "{run}: {said:?}");
        assert!(said.out.contains(&format!("vcluster {KEY} is registered as c-m-00000001")), "{said:?}");
    }
    {
        let state = stage.rancher.state();
        let cluster = &state.clusters[KEY];
        assert_eq!(cluster["metadata"]["annotations"][MARK], KEY);
        let agent = &cluster["spec"]["clusterAgentDeploymentCustomization"]["overrideResourceRequirements"];
        assert_eq!(agent["limits"]["memory"], "2Gi");
        assert_eq!(state.bindings.len(), 1, "an owner is made once: {:?}", state.bindings);
        assert_eq!(state.bindings[0]["userPrincipalId"], "keycloak_user://ada@example.org");
        assert_eq!(state.bindings[0]["roleTemplateId"], "cluster-owner");
        let made = state.calls.iter().filter(|call| call.starts_with("POST /v1/")).count();
        assert_eq!(made, 1, "a cluster is made once");
        assert!(!state.calls.iter().any(|call| call.contains("s3cretw0rds")), "the token is in no URL");
    }
    let agent =
        stage.vcluster.object("secret", "cattle-system", "cattle-credentials").expect("the agent has its token");
    assert_eq!(agent["data"]["token"], data_encoding::BASE64.encode(AGENT_TOKEN.as_bytes()));

    for said in ["is removed from Rancher", "is not in Rancher"] {
        let removed = stage.run("unregister", PATIENCE);
        assert!(removed.code == 0 && removed.out.contains(said), "{said:?}: {removed:?}");
    }
    assert!(stage.rancher.state().clusters.is_empty());
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_cluster_of_somebody_else_is_left_alone() {
    let stage = Stage::set();
    stage.token(TOKEN);
    stage.kubeconfig();
    let theirs =
        json!({"metadata": {"name": KEY, "namespace": "fleet-default"}, "status": {"clusterName": "c-m-00000001"}});
    let _ = stage.rancher.state().clusters.insert(KEY.to_owned(), theirs.clone());
    let said = stage.run("register", PATIENCE);
    assert!(said.code == 3 && said.out.contains("refused: cluster"), "{said:?}");
    assert!(stage.vcluster.object("namespace", "", "cattle-system").is_none(), "nothing was changed");
    let said = stage.run("unregister", PATIENCE);
    assert!(said.code == 0 && said.out.contains("was left alone"), "{said:?}");
    assert_eq!(stage.rancher.state().clusters[KEY], theirs);
    // The refusal says how it becomes this one's.
    stage.rancher.state().clusters.get_mut(KEY).expect("there")["metadata"]["annotations"] = json!({ MARK: KEY });
    let said = stage.run("register", PATIENCE);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_job_may_read_one_kubeconfig_gets_in_and_values_hold_no_token() {
    let stage = Stage::set();
    let documents = yaml::documents(&stage.rendered(&stage.values()).ok());
    let role = documents.iter().find(|each| each["kind"] == "Role").expect("a Role");
    let one =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [format!("vc-{KEY}")], "verbs": ["get"]});
    assert_eq!(role["rules"], json!([one]));
    assert_eq!(role["metadata"]["namespace"], HOME);
    assert!(!documents.iter().any(|each| each["kind"] == "NetworkPolicy"), "alone it would shut out everybody else");
    let mut shut = stage.values();
    shut["networkPolicy"] = json!({"enabled": true});
    let manifest = stage.rendered(&shut).ok();
    let documents = yaml::documents(&manifest);
    let policy = documents.iter().find(|each| each["kind"] == "NetworkPolicy").expect("a way in");
    let job = documents.iter().find(|each| each["kind"] == "Job").expect("a Job");
    let from = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(*from, job["spec"]["template"]["metadata"]["labels"], "it is the Job's pod that may come in");
    let said = stage.host.accepts(&manifest);
    assert_eq!(said.code, 0, "{}", said.all());
    let refused = |change: fn(&mut Value), says: &str| {
        let mut values = stage.values();
        change(&mut values);
        let said = stage.rendered(&values);
        assert!(said.code != 0 && said.err.contains(says), "{says:?}: {said:?}");
    };
    refused(|v| v["rancher"]["apitoken"] = json!("token-x:y"), "rancher.apitoken is not accepted");
    refused(|v| v["rancher"]["url"] = json!(""), "rancher.url is not set");
    refused(|v| v["rancher"]["url"] = json!("https://user@rancher"), "rancher");
    refused(|v| v["clustername"] = json!(""), "clustername is not set");
    refused(|v| v["vclusterReleaseName"] = json!(""), "vclusterReleaseName is not set");
    refused(|v| v["httpProxy"] = json!({"enabled": true}), "httpProxy.address is not set");
    refused(|v| v["createOwner"] = json!({"enabled": true}), "createOwner.userPrincipalName is not set");
    refused(|v| v["insecure"] = json!("false"), "insecure");
}
