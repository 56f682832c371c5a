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
        self.run_with(&self.values(), name, seconds)
    }

    fn run_with(&self, values: &Value, name: &str, seconds: u32) -> Said {
        let documents = yaml::documents(&self.rendered(values).ok());
        let rights: Vec<Value> = documents.iter().filter(|each| each["kind"] != "Job").cloned().collect();
        self.host.apply(&yaml::text(&rights));
        let is_meant = |job: &&Value| job["kind"] == "Job" && (name == "unregister") == is_hook(job);
        self.execute(documents.iter().find(is_meant).expect("a Job"), seconds)
    }

    /// Runs a Job's pod with the rights that lie in the host cluster.
    fn execute(&self, job: &Value, seconds: u32) -> Said {
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
        self.waits_with(&self.values(), for_what);
    }

    fn waits_with(&self, values: &Value, for_what: &str) {
        let said = self.run_with(values, "register", WAITS);
        assert!(said.code == 124 && said.out.contains(for_what), "{for_what:?}: {said:?}");
    }
}

fn is_hook(job: &Value) -> bool {
    job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
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
        stage.vcluster.object("secret", "cattle-system", "cattle-credentials-ab12").expect("the agent has its token");
    assert_eq!(agent["data"]["token"], data_encoding::BASE64.encode(AGENT_TOKEN.as_bytes()));

    // Rancher takes its time: the removal waits for it, and so does whoever registers anew.
    stage.rancher.state().lingers = 3;
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
    stage.waits("refused: cluster");
    assert!(stage.vcluster.object("namespace", "", "cattle-system").is_none(), "nothing was changed");
    let said = stage.run("unregister", PATIENCE);
    assert!(said.code == 0 && said.out.contains("nothing was ever asked of Rancher"), "{said:?}");
    // Not even when there is doubt: without the ConfigMap nobody knows what was asked.
    let _ = stage
        .host
        .kubectl(&["patch", "configmap", RELEASE, "-n", "platform", "-p", r#"{"data":{"asked":"true"}}"#], "")
        .ok();
    let said = stage.run("unregister", PATIENCE);
    assert!(said.code == 0 && said.out.contains("was left alone"), "{said:?}");
    assert_eq!(stage.rancher.state().clusters[KEY], theirs);
    // The refusal says how it becomes this one's, and the Job goes on by itself.
    let annotate = "kubectl annotate clusters.provisioning.cattle.io --namespace fleet-default";
    stage.waits(&format!("{annotate} {KEY} {MARK}={KEY}"));
    stage.rancher.state().clusters.get_mut(KEY).expect("there")["metadata"]["annotations"] = json!({ MARK: KEY });
    let said = stage.run("register", PATIENCE);
    assert_eq!(said.code, 0, "{said:?}");
}

/// As the upstream chart leaves them: a cluster without our annotation, whose agent is in the vcluster.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_cluster_whose_agent_is_in_the_vcluster_is_taken_over() {
    let stage = Stage::set();
    stage.token(TOKEN);
    stage.kubeconfig();
    let theirs =
        json!({"metadata": {"name": KEY, "namespace": "fleet-default"}, "status": {"clusterName": "c-m-00000001"}});
    let _ = stage.rancher.state().clusters.insert(KEY.to_owned(), theirs);
    let agent = |token: &str| {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cattle-system"}});
        stage.vcluster.apply(&namespace.to_string());
        let metadata = json!({"name": "cattle-credentials-0123", "namespace": "cattle-system"});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}});
        stage.vcluster.apply(&secret.to_string());
    };
    for other in ["ofanothercluster", "", "agents3cre"] {
        agent(other);
        stage.waits("refused: cluster");
    }
    agent(AGENT_TOKEN);
    let said = stage.run("register", PATIENCE);
    assert!(said.code == 0 && said.out.contains("is taken over"), "{said:?}");
    let said = stage.run("register", PATIENCE);
    assert!(said.code == 0 && !said.out.contains("taken over"), "its id is known: {said:?}");
    let said = stage.run("unregister", PATIENCE);
    assert!(said.code == 0 && said.out.contains("is removed from Rancher"), "{said:?}");
    assert!(stage.rancher.state().clusters.is_empty());
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_dying_cluster_is_waited_for_and_made_anew() {
    let stage = Stage::set();
    stage.token(TOKEN);
    stage.kubeconfig();
    assert_eq!(stage.run("register", PATIENCE).code, 0);
    {
        let mut state = stage.rancher.state();
        state.clusters.get_mut(KEY).expect("there")["metadata"]["deletionTimestamp"] = json!("2026-11-25T00:00:00Z");
        state.lingers = u32::MAX;
    }
    stage.waits("is being removed from Rancher; it is made anew when it is gone");
    stage.rancher.state().lingers = 2;
    let said = stage.run("register", PATIENCE);
    assert!(said.code == 0 && said.out.contains("is being removed"), "{said:?}");
    assert_eq!(stage.rancher.state().clusters[KEY]["metadata"]["deletionTimestamp"], Value::Null);
}

/// By the real Helm, as provider-helm calls it. The cluster has no controllers, so what a Job's would do is done here.
#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn a_rancher_that_is_away_strands_no_release() {
    let stage = Stage::set();
    stage.token("token-abcde:wrong");
    stage.kubeconfig();
    stage.rancher.state().away = true;
    let file = stage.folder.path().join("values.json");
    let values = file.display().to_string();
    let chart = chart().display().to_string();
    let write = |values: &Value| std::fs::write(&file, values.to_string()).expect("writable");
    let status = || stage.host.helm(&["status", RELEASE, "--namespace", "platform", "--output", "json"]).ok();
    let jobs =
        || -> Vec<Value> { stage.host.objects("job", "platform").into_iter().filter(|job| !is_hook(job)).collect() };
    let registered =
        || stage.host.object("configmap", "platform", RELEASE).expect("there")["data"]["registered"].clone();
    write(&stage.values());
    let install = ["install", RELEASE, &chart, "--namespace", "platform", "--values", &values];
    let _ = stage.host.helm(&install).ok();
    assert!(status().contains("\"status\":\"deployed\""), "however long Rancher is away");
    let first = jobs().remove(0);
    assert_eq!(first["spec"]["activeDeadlineSeconds"], Value::Null);
    let said = stage.execute(&first, WAITS);
    assert!(said.code == 124 && said.out.contains("Rancher answers 503"), "{said:?}");
    assert_eq!(registered(), Value::Null, "and it is not ready");

    // Whoever orders it out again needs no Rancher.
    let rendered = yaml::documents(&stage.rendered(&stage.values()).ok());
    let removal = rendered.iter().find(|job| is_hook(job)).expect("a hook");
    let said = collecting(&stage.host, || stage.execute(removal, PATIENCE));
    assert!(said.code == 0 && said.out.contains("nothing was ever asked of Rancher"), "{said:?}");
    assert!(jobs().is_empty(), "the registration was ended first: {:?}", jobs());

    // The same values are the same Job; others are another, and the one before goes.
    let upgrade = ["upgrade", RELEASE, &chart, "--namespace", "platform", "--values", &values];
    let _ = stage.host.helm(&upgrade).ok();
    assert_eq!(jobs().remove(0)["metadata"]["name"], first["metadata"]["name"]);
    let mut changed = stage.values();
    changed["restored"] = json!("2026-11-23a");
    write(&changed);
    let _ = stage.host.helm(&upgrade).ok();
    stage.host.wait_until("one registration Job is left", || jobs().len() == 1);
    let second = jobs().remove(0);
    assert_ne!(second["metadata"]["name"], first["metadata"]["name"]);

    // Rancher is back, the token is mended: the same Job ends well, and an upgrade keeps what it wrote.
    stage.rancher.state().away = false;
    stage.token(TOKEN);
    let said = stage.execute(&second, PATIENCE);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(registered(), "c-m-00000001");
    write(&stage.values());
    let _ = stage.host.helm(&upgrade).ok();
    assert_eq!(registered(), "c-m-00000001");

    // Now there is something to remove: an uninstall waits for Rancher, and each further one tries again.
    let removal = |away: bool| {
        stage.rancher.state().away = away;
        let uninstall = ["uninstall", RELEASE, "--namespace", "platform", "--timeout", "2m"];
        std::thread::scope(|threads| {
            let helm = threads.spawn(|| stage.host.helm(&uninstall));
            let job = stage.host.wait_for("job", "platform", &format!("{RELEASE}-unregister"), |job| {
                job["status"]["conditions"].is_null()
            });
            let said = collecting(&stage.host, || stage.execute(&job, if away { 2 * WAITS } else { PATIENCE }));
            end(&stage.host, &job, said.code == 0);
            (helm.join().expect("it ended"), said)
        })
    };
    let (helm, said) = removal(true);
    assert!(helm.code != 0 && said.code == 124, "{helm:?} {said:?}");
    let (helm, said) = removal(false);
    assert!(helm.code == 0 && said.code == 0, "{helm:?} {said:?}");
    assert!(stage.rancher.state().clusters.is_empty());
    assert!(stage.host.object("configmap", "platform", RELEASE).is_none(), "nothing is left");
}

/// Plays the garbage collector meanwhile: Jobs that are deleted before their pods have none here.
fn collecting<T: Send>(host: &Cluster, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| {
        let acting = threads.spawn(act);
        while !acting.is_finished() {
            for job in host.objects("job", "platform") {
                if job["metadata"]["deletionTimestamp"].is_string() {
                    let name = job["metadata"]["name"].as_str().expect("named");
                    let patch = ["--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#];
                    // It may be gone by now.
                    let _ =
                        host.kubectl(&[&["patch", "job", name, "--namespace", "platform"], &patch[..]].concat(), "");
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        acting.join().expect("it has not failed")
    })
}

/// As the Job's controller tells what became of its pods.
fn end(host: &Cluster, job: &Value, well: bool) {
    let now = "2026-11-25T00:00:00Z";
    let conditions: Vec<Value> = match well {
        true => ["SuccessCriteriaMet", "Complete"],
        false => ["FailureTarget", "Failed"],
    }
    .into_iter()
    .map(|kind| json!({"type": kind, "status": "True", "reason": "Played", "lastTransitionTime": now, "lastProbeTime": now}))
    .collect();
    let mut status = json!({"conditions": conditions, "startTime": now});
    match well {
        true => (status["succeeded"], status["completionTime"]) = (json!(1), json!(now)),
        false => status["failed"] = json!(1),
    }
    let name = job["metadata"]["name"].as_str().expect("named");
    let patch = json!({ "status": status }).to_string();
    let arguments =
        ["patch", "job", name, "--namespace", "platform", "--subresource=status", "--type=merge", "--patch", &patch];
    let _ = host.kubectl(&arguments, "").ok();
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn proxy_and_certificate_reach_curl() {
    let stage = Stage::set();
    stage.token(TOKEN);
    stage.kubeconfig();
    // The proxy is the played Rancher itself; the manifest's URL names a loopback address, which is reached without it.
    let mut values = stage.values();
    values["rancher"]["url"] = json!("http://rancher.example.org");
    values["httpProxy"] = json!({"enabled": true, "address": stage.rancher.url});
    let said = stage.run_with(&values, "register", PATIENCE);
    assert_eq!(said.code, 0, "{said:?}");
    {
        let state = stage.rancher.state();
        assert!(
            state.calls.iter().any(|call| call.starts_with("POST http://rancher.example.org/v1/")),
            "{:?}",
            state.calls
        );
        assert!(state.calls.iter().any(|call| call.starts_with("GET /v3/import/")), "{:?}", state.calls);
    }
    values["httpProxy"]["noProxy"] = json!("example.org");
    stage.waits_with(&values, "its name is not known here");

    // A server with a certificate that nobody has signed: an API server, which refuses the token.
    let mut values = stage.values();
    let server = values["vclusterServer"].clone();
    values["rancher"]["url"] = server;
    stage.waits_with(&values, "its certificate is not trusted; name its CA in rancher.ca");
    let certificate = stage.folder.path().join("vcluster/certs/apiserver.crt");
    let mut trusted = values.clone();
    trusted["rancher"]["ca"] = json!(std::fs::read_to_string(certificate).expect("the server has written it"));
    stage.waits_with(&trusted, "Rancher refuses the token");
    values["insecure"] = json!(true);
    stage.waits_with(&values, "Rancher refuses the token");
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn the_job_may_read_one_kubeconfig_gets_in_and_values_hold_no_token() {
    let stage = Stage::set();
    let documents = yaml::documents(&stage.rendered(&stage.values()).ok());
    let roles: Vec<&Value> = documents.iter().filter(|each| each["kind"] == "Role").collect();
    let role = roles[0];
    let one =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [format!("vc-{KEY}")], "verbs": ["get"]});
    assert_eq!(role["rules"], json!([one]));
    assert_eq!(role["metadata"]["namespace"], HOME);
    let named =
        |role: &Value| role["rules"].as_array().expect("rules").iter().all(|rule| rule["resourceNames"][0].is_string());
    assert!(roles.len() == 2 && named(roles[1]), "and beside itself it may touch what is its own: {roles:?}");
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
    refused(|v| v["rancher"]["tokn"] = json!("x"), "tokn");
    refused(|v| v["rancher"]["url"] = json!(""), "rancher.url is not set");
    refused(|v| v["rancher"]["url"] = json!("https://user@rancher"), "rancher");
    refused(|v| v["clustername"] = json!(""), "clustername is not set");
    refused(|v| v["vclusterReleaseName"] = json!(""), "vclusterReleaseName is not set");
    refused(|v| v["httpProxy"] = json!({"enabled": true}), "httpProxy.address is not set");
    refused(|v| v["createOwner"] = json!({"enabled": true}), "createOwner.userPrincipalName is not set");
    refused(|v| v["insecure"] = json!("false"), "insecure");
}
