//! The whole flight on real parts, joined by nothing but what was rendered: an XR becomes Releases, our chart goes
//! through the real Helm into a real API server, its Job registers a bucket in a real MinIO, the sidecar backs up the
//! database under a real kube-apiserver on kine, the database is destroyed, and the init container brings it back.
//!
//! Two clusters: the host, which keeps what the chart makes, and the tenant, whose database is the one at stake.
//! Replaced are only: images by programs, absolute paths of mounts by folders, host and port of the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::cluster::Cluster;
use e2e::examples::Example;
use e2e::history::{create, highest_revision, inventory, restored};
use e2e::minio::{ADMIN_PASSWORD, ADMIN_USER, Minio};
use e2e::pod::Pod;
use e2e::process::{Running, run};
use e2e::{job, tools, yaml};
use serde_json::{Value, json};
use vcluster_proto::status::{State, Status};

/// What is ordered: the example with a key pair made for this story, and a store with an address of this machine.
struct Order {
    xr: Value,
    composition: Value,
    store: String,
}

impl Order {
    fn of_example(name: &str, recipient: &str, store: &Minio) -> Self {
        let example = Example::named(name);
        let one = |file: &str| yaml::documents(&example.text(file)).remove(0);
        let (xr, mut composition) = (one("xr.yaml"), one("composition.yaml"));
        *composition.pointer_mut("/spec/pipeline/0/input/encryption/recipients").expect("a Platform") =
            json!([recipient]);
        Self { xr, composition, store: store.address.clone() }
    }

    /// The Releases by resource name.
    fn render(&self) -> BTreeMap<String, Value> {
        let (xr, composition) = (self.xr.to_string(), self.composition.to_string());
        let documents = function_vcluster::offline::render_files(&xr, &composition, None, None);
        let documents = documents.unwrap_or_else(|refusal| panic!("not rendered: {refusal}"));
        let releases = documents.into_iter().filter_map(|document| {
            let name = yaml::resource_name(&document)?.to_owned();
            Some((name, document))
        });
        releases.collect()
    }

    /// The values of a Release, with the store where it is on this machine.
    fn values(&self, release: &Value) -> Value {
        let input = self.composition.pointer("/spec/pipeline/0/input/store/endpoint").and_then(Value::as_str);
        let (_, given) = input.and_then(|url| url.split_once("://")).expect("the store's endpoint is a URL");
        let text = release["spec"]["forProvider"]["values"].to_string();
        assert!(text.contains(given), "the values do not name the store {given}");
        serde_json::from_str(&text.replace(given, &self.store)).expect("still JSON")
    }
}

/// The cluster the platform runs, with the store's admin Secret in it, as a platform team would have put it there.
fn start_host(folder: &Path, order: &Order, s3: &Value) -> Cluster {
    let host = Cluster::start(&folder.join("host"), &folder.join("host-data"));
    let values = order.values(s3);
    let namespace = yaml::str_at(&values, "/platformNamespace");
    let keys = [yaml::str_at(&values, "/s3/adminUserKey"), yaml::str_at(&values, "/s3/adminPasswordKey")];
    for name in [namespace, yaml::str_at(s3, "/spec/forProvider/namespace")] {
        host.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
    }
    let admin = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": yaml::str_at(&values, "/s3/existingSecret"), "namespace": namespace},
        "stringData": {keys[0]: ADMIN_USER, keys[1]: ADMIN_PASSWORD},
    });
    host.apply(&admin.to_string());
    host
}

/// provider-helm's part: the Release, installed or upgraded by the real Helm from the chart of this repository.
fn helm(verb: &str, host: &Cluster, order: &Order, s3: &Value, folder: &Path) {
    let file = folder.join("values.json");
    std::fs::write(&file, order.values(s3).to_string()).expect("writable");
    let chart = tools::repository().join("package/charts").join(yaml::str_at(s3, "/spec/forProvider/chart/name"));
    let (chart, file) = (chart.display().to_string(), file.display().to_string());
    let namespace = yaml::str_at(s3, "/spec/forProvider/namespace");
    let _ = host.helm(&[verb, yaml::helm_name(s3), &chart, "--namespace", namespace, "--values", &file]).ok();
}

/// The vcluster's pod, as far as it is ours: the two containers and volumes the rendered values add to it.
struct Vcluster<'a> {
    pod: Pod<'a>,
    sidecar: Value,
    init: Value,
    program: PathBuf,
    logs: PathBuf,
}

impl<'a> Vcluster<'a> {
    fn new(host: &'a Cluster, release: &Value, folder: &Path) -> Self {
        let set = "/spec/forProvider/values/controlPlane/statefulSet";
        let at = |path: &str| release.pointer(&format!("{set}/{path}")).cloned().unwrap_or_default();
        let one = |path: &str| match at(path).as_array().map(Vec::as_slice) {
            Some([container]) => container.clone(),
            other => panic!("one container is expected in {path}: {other:?}"),
        };
        let mut volumes = at("persistence/addVolumes").as_array().cloned().unwrap_or_default();
        // The chart's own.
        volumes.push(json!({"name": "data", "persistentVolumeClaim": {}}));
        let namespace = yaml::str_at(release, "/spec/forProvider/namespace").to_owned();
        Self {
            pod: Pod { cluster: host, namespace, root: folder.join("pod"), volumes },
            sidecar: one("sidecarContainers"),
            init: one("initContainers"),
            program: tools::ours("vcluster-backup"),
            logs: folder.to_path_buf(),
        }
    }

    fn start(&self, container: &Value) -> Running {
        self.refresh();
        let name = yaml::str_at(container, "/name");
        Running::start(name, &self.logs, &mut self.pod.command(container, Some(&self.program), "/usr/bin:/bin"))
    }

    /// Runs the init container, which is expected to have all it needs.
    fn initialise(&self) {
        let ended = self.start(&self.init).wait();
        assert!(ended.success(), "the init container ended with {ended}:\n{}", self.log(&self.init));
    }

    /// Kubelet's sync: what the API holds now is mounted now.
    fn refresh(&self) {
        for container in [&self.sidecar, &self.init] {
            self.pod.mount(container);
        }
    }

    fn data(&self) -> PathBuf {
        self.pod.path("/data")
    }

    fn status(&self) -> Option<Status> {
        let file = self.pod.path("/etc/vcluster-backup/status/status.yaml");
        Status::from_yaml(&std::fs::read_to_string(file).ok()?).ok()
    }

    fn log(&self, container: &Value) -> String {
        let file = self.logs.join(format!("{}.log", yaml::str_at(container, "/name")));
        std::fs::read_to_string(file).unwrap_or_default()
    }
}

fn remove_database(data: &Path) {
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
    assert!(!data.join("state.db").exists());
}

#[test]
#[ignore = "needs the real programs of e2e/tools"]
fn an_ordered_vcluster_survives_the_loss_of_its_database_and_of_its_disk() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let store = Minio::start(folder);

    // A person makes a key pair and orders a vcluster with its recipient.
    let identity = folder.join("identity");
    let keygen = run(Command::new(tools::ours("vcluster-backup")).args(["keygen", "-o"]).arg(&identity), "");
    let mut order = Order::of_example("claim-v1", keygen.ok().trim(), &store);
    let releases = order.render();
    let (s3, vcluster) = (&releases["s3"], &releases["vcluster"]);
    let host = start_host(folder, &order, s3);
    helm("install", &host, &order, s3, folder);

    // The pod starts before anyone has registered its bucket: it waits, and says for what.
    let pod = Vcluster::new(&host, vcluster, folder);
    let mut init = pod.start(&pod.init);
    let values = order.values(s3);
    let platform = yaml::str_at(&values, "/platformNamespace");
    let registration = job::of_release(&host, platform, yaml::helm_name(s3));
    let expected = format!("{platform}/{}", yaml::helm_name(s3));
    init.wait_until("it names the registration Job", || pod.log(&pod.init).contains(&expected));

    // The Job, twice: the second changes nothing.
    let secret = || host.object("secret", &pod.pod.namespace, yaml::helm_name(s3)).expect("S3 credentials");
    let password = secret()["data"]["s3secretkey"].clone();
    for _ in 0..2 {
        let said = job::execute(&host, &registration, &folder.join("job"));
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert_eq!(secret()["data"]["s3secretkey"], password);
    assert!(init.wait().success(), "an empty bucket is a first start");
    assert!(!pod.data().join("state.db").exists());

    // The vcluster's API comes up, the sidecar beside it; objects are created all the while.
    std::fs::create_dir_all(pod.data().join("pki")).expect("writable");
    std::fs::write(pod.data().join("pki/sa.key"), "a signing key").expect("writable");
    let tenant = || Cluster::start(&folder.join("tenant"), &pod.data());
    let api = tenant();
    create(&api, "early", 20);
    let mut sidecar = pod.start(&pod.sidecar);
    create(&api, "meanwhile", 20);
    sidecar.wait_until("the first backup", || pod.status().is_some_and(|status| status.newest.is_some()));
    let first = pod.status().expect("a status");
    assert_eq!((first.state, first.interval.as_str()), (State::Healthy, "1m"), "{first:?}");

    // The owner edits the interval: the ConfigMap changes, the vcluster does not by one byte, the sidecar follows.
    order.xr["spec"]["backup"]["interval"] = json!("20s");
    let edited = order.render();
    assert_eq!(edited["vcluster"].to_string(), vcluster.to_string());
    helm("upgrade", &host, &order, &edited["s3"], folder);
    assert_eq!(job::of_release(&host, platform, yaml::helm_name(s3))["metadata"], registration["metadata"]);
    pod.refresh();
    create(&api, "edited", 20);
    sidecar.wait_until("it follows the edit", || pod.status().is_some_and(|status| status.interval == "20s"));

    // The pod stops: the last backup holds everything that was acknowledged. What comes after is lost with the disk.
    create(&api, "last", 20);
    let before = inventory(&api);
    assert!(sidecar.stop().success(), "SIGTERM is how it ends");
    let last = pod.status().and_then(|status| status.newest).expect("a last backup");
    assert!(last.revision >= highest_revision(&before), "{last:?}");
    create(&api, "too-late", 5);
    let watched = highest_revision(&inventory(&api));
    api.stop();

    // First loss: the database. Nobody can open the backups yet, and the init container says so until a person helps.
    remove_database(&pod.data());
    let mut init = pod.start(&pod.init);
    let says = |word: &'static str| move |status: Option<Status>| status.is_some_and(|status| status.reason == word);
    let waits = says("WaitingForIdentity");
    init.wait_until("it waits for the identity", || waits(pod.status()));
    let key = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("{}-key", yaml::helm_name(vcluster)), "namespace": pod.pod.namespace},
        "stringData": {"identity": std::fs::read_to_string(&identity).expect("readable")},
    });
    host.apply(&key.to_string());
    pod.refresh();
    assert!(init.wait().success());
    let api = tenant();
    restored(&api, &before, "too-late", watched);

    // Life goes on: a restart of the pod touches nothing, and the sidecar adds to its history.
    pod.initialise();
    let mut sidecar = pod.start(&pod.sidecar);
    sidecar.wait_until("a backup of the second life", || {
        pod.status().and_then(|status| status.newest).is_some_and(|newest| newest.revision > watched)
    });
    create(&api, "second-life", 20);
    let before = inventory(&api);
    assert!(sidecar.stop().success());
    create(&api, "later-still", 5);
    let watched = highest_revision(&inventory(&api));
    api.stop();

    // Second loss: the whole disk, signing key and PKI included.
    std::fs::remove_dir_all(pod.data()).expect("removable");
    pod.initialise();
    let pki = std::fs::read_to_string(pod.data().join("pki/sa.key")).expect("the PKI is back");
    assert_eq!(pki, "a signing key");
    let api = tenant();
    restored(&api, &before, "later-still", watched);

    let logs = pod.log(&pod.sidecar) + &pod.log(&pod.init);
    let encoded = data_encoding::BASE64.decode(password.as_str().expect("text").as_bytes()).expect("base64");
    let secret_key = String::from_utf8(encoded).expect("text");
    assert!(!logs.contains(&secret_key) && !logs.contains("AGE-SECRET-KEY"), "no secret is in any log");
}
