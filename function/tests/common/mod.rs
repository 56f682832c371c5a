//! What the tests share: the examples, and a cluster that exists only in two maps.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "every test file uses its own part")]

pub mod rpc;

use std::{fs, path::PathBuf};

use function_sdk_rust::{
    proto::v1::{RequestMeta, Resource, Resources, RunFunctionRequest, RunFunctionResponse, Severity, State},
    resource::{json_to_struct, struct_to_json},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use vcluster_proto::status::{Point, Status};

pub use self::rpc::answer;

/// When everything here happens; the examples' reports are a few seconds old then.
pub const NOW: &str = "2026-11-23T07:00:30Z";

/// A signing key.
pub const KEY: &str = "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// What the tests call now.
pub fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// The folder of an example.
pub fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// Every example there is.
pub fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(example("")).expect("the examples are there");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("readable").path()).filter(|path| path.join("xr.yaml").exists()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// One YAML document.
pub fn yaml(path: &std::path::Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).expect("readable")).expect("YAML")
}

/// Chart versions of every family, with the distros they have: the ends of each family and one between.
pub const FAMILIES: [(&str, &str); 13] = [
    ("0.19.10", "k3s"),
    ("0.20.6", "k3s"),
    ("0.20.6", "k8s"),
    ("0.26.5", "k3s"),
    ("0.26.5", "k8s"),
    ("0.29.3", "k3s"),
    ("0.29.3", "k8s"),
    ("0.30.0", "k3s"),
    ("0.30.0", "k8s"),
    ("0.32.3", "k3s"),
    ("0.32.3", "k8s"),
    ("0.33.4", "k8s"),
    ("0.36.1", "k8s"),
];

/// A claim's XR and a Platform, to be changed by a test, and what is there.
#[derive(Clone)]
pub struct World {
    pub xr: Value,
    pub input: Value,
    pub observed: Vec<(String, Value)>,
    /// The vcluster's connection details, once it has some.
    pub kubeconfig: Option<Vec<u8>>,
    /// What an earlier step desires.
    pub desired: State,
    /// What Crossplane hands over where the report is asked for; unset: nothing, as 1.14 does.
    pub reports: Option<Vec<Value>>,
    /// The same for the report of the vcluster whose backups a clone reads.
    pub origin: Option<Vec<Value>>,
    /// The time.
    pub now: Timestamp,
}

impl World {
    /// The world of examples/claim-v1 before anything is there.
    pub fn new() -> Self {
        let composition = yaml(&example("claim-v1/composition.yaml"));
        Self {
            xr: yaml(&example("claim-v1/xr.yaml")),
            input: composition["spec"]["pipeline"][0]["input"].clone(),
            observed: Vec::new(),
            kubeconfig: None,
            desired: State::default(),
            reports: None,
            origin: None,
            now: now(),
        }
    }

    /// The world of examples/adopt-step-1: three Releases that a hand-written Composition has made, and backup off.
    pub fn adopted() -> Self {
        let folder = example("adopt-step-1");
        let observed = fs::read_to_string(folder.join("observed.yaml")).expect("readable");
        let observed: Vec<Value> = serde_saphyr::from_multiple(&observed).expect("YAML");
        let name =
            |release: &Value| release["metadata"]["annotations"]["crossplane.io/composition-resource-name"].clone();
        Self {
            xr: yaml(&folder.join("xr.yaml")),
            input: yaml(&folder.join("composition.yaml"))["spec"]["pipeline"][0]["input"].clone(),
            observed: observed.into_iter().map(|r| (name(&r).as_str().expect("named").to_owned(), r)).collect(),
            ..Self::new()
        }
    }

    /// The same once all three Releases are ready.
    pub fn ready() -> Self {
        Self::new().lived()
    }

    /// The same world with another vcluster chart, and the owner's word for a distro.
    pub fn of(version: &str, distro: &str) -> Self {
        Self::new().with(|w| {
            w.input["charts"]["vcluster"]["version"] = json!(version);
            w.input["charts"]["vcluster"]["allowed"] = json!(FAMILIES.map(|(version, _)| version));
            w.xr["spec"]["distro"] = json!(distro);
        })
    }

    /// The same order as a namespaced XR of its own, without a claim: the world of examples/namespaced-v2.
    pub fn namespaced(mut self) -> Self {
        let xr = yaml(&example("namespaced-v2/xr.yaml"));
        for field in ["apiVersion", "kind", "metadata"] {
            self.xr[field] = xr[field].clone();
        }
        let spec = self.xr["spec"].as_object_mut().expect("a spec");
        spec.retain(|field, _| !["claimRef", "compositionRef", "writeConnectionSecretToRef"].contains(&field.as_str()));
        spec.insert("crossplane".to_owned(), xr["spec"]["crossplane"].clone());
        self.input["providerConfig"] = json!({"name": "default", "kind": "ClusterProviderConfig"});
        self
    }

    /// The key of this world's vcluster, as long as nobody gives it another id.
    pub fn key(&self) -> &'static str {
        if self.xr["metadata"]["namespace"].is_null() { "shop-x7k2p-3baw4pir" } else { "shop-lfbcuv45" }
    }

    /// What its sidecar reports when all is well.
    pub fn all_is_well(&self) -> Status {
        let uid = self.xr["metadata"]["uid"].as_str().expect("a uid");
        Status { key: self.key().to_owned(), uid: uid.to_owned(), ..report() }
    }

    /// A while later: all three Releases are ready.
    pub fn lived(mut self) -> Self {
        self.settle();
        self.settle();
        assert_eq!(self.observed.len(), 3);
        self
    }

    /// The same once the sidecar has reported its first backup.
    pub fn healthy() -> Self {
        Self::ready().backed_up()
    }

    /// A while later: the sidecar has reported its first backup.
    pub fn backed_up(mut self) -> Self {
        self.report(&self.all_is_well());
        self.settle();
        self.settle();
        self
    }

    /// Lets the sidecar report.
    pub fn report(&mut self, status: &Status) {
        self.reports = Some(vec![self.config_map(&status.to_yaml().expect("YAML"))]);
    }

    /// The ConfigMap of its report around a document.
    pub fn config_map(&self, yaml: &str) -> Value {
        let text = config_map(yaml).to_string().replace("shop-x7k2p-3baw4pir", self.key());
        serde_json::from_str(&text).expect("JSON")
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn request(&self) -> RunFunctionRequest {
        let resource =
            |object: &Value| Resource { resource: object.as_object().map(json_to_struct), ..Resource::default() };
        let mut state = State { composite: Some(resource(&self.xr)), ..State::default() };
        for (name, object) in &self.observed {
            let mut resource = resource(object);
            if let Some(kubeconfig) = self.kubeconfig.as_ref().filter(|_| name == "vcluster") {
                resource.connection_details.insert("kubeconfig".to_owned(), kubeconfig.clone());
            }
            state.resources.insert(name.clone(), resource);
        }
        let items = |reports: &Vec<Value>| Resources { items: reports.iter().map(resource).collect() };
        let given = [("backup-status", &self.reports), ("origin-status", &self.origin)];
        let given = given.into_iter().filter_map(|(what, given)| Some((what.to_owned(), items(given.as_ref()?))));
        RunFunctionRequest {
            meta: Some(RequestMeta { tag: "tag".to_owned(), ..RequestMeta::default() }),
            observed: Some(state),
            desired: Some(self.desired.clone()),
            input: self.input.as_object().map(json_to_struct),
            required_resources: given.collect(),
            ..RunFunctionRequest::default()
        }
    }

    pub fn answer(&self) -> RunFunctionResponse {
        answer(&self.request(), self.now)
    }

    /// The one fatal sentence; nothing may be desired beside it.
    pub fn refusal(&self) -> String {
        let answer = self.answer();
        assert_eq!(answer.results.len(), 1, "exactly one result: {:?}", names(&answer));
        assert_eq!(answer.results[0].severity, Severity::Fatal as i32);
        assert_eq!(answer.desired, Some(self.desired.clone()), "desired state is handed on as it came");
        answer.results[0].message.clone()
    }

    /// A desired resource; none of it may be refused.
    pub fn desired(&self, name: &str) -> Option<Value> {
        let answer = self.answer();
        assert!(answer.results.is_empty(), "{:?}", answer.results);
        desired(&answer, name)
    }

    /// Applies what is desired and lets provider-helm make it ready; what is not desired is deleted.
    pub fn settle(&mut self) {
        let answer = self.answer();
        assert!(answer.results.is_empty(), "{:?}", answer.results);
        self.observed = names(&answer)
            .into_iter()
            .map(|name| {
                let mut object = desired(&answer, &name).expect("named");
                object["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
                (name, object)
            })
            .collect();
        let status = answer.desired.and_then(|state| state.composite).and_then(|xr| xr.resource);
        self.xr["status"] = struct_to_json(&status.expect("a status"))["status"].clone();
    }

    /// Takes readiness from a resource.
    pub fn unready(&mut self, name: &str) {
        self.find(name)["status"]["conditions"][0]["status"] = json!("False");
    }

    pub fn find(&mut self, name: &str) -> &mut Value {
        &mut self.observed.iter_mut().find(|(n, _)| n == name).expect("observed").1
    }
}

/// What the sidecar of examples/claim-v1 reports when all is well.
pub fn report() -> Status {
    let point = |id: &str, time: &str| Point {
        id: id.to_owned(),
        time: Some(time.parse().expect("a time")),
        kind: "full".to_owned(),
        size_bytes: 29_512,
        revision: 975,
        manifest: "5f".repeat(32),
    };
    Status {
        key: "shop-x7k2p-3baw4pir".to_owned(),
        uid: "7cfce08b-7229-5c89-8d9f-16fdc03c5b35".to_owned(),
        state: vcluster_proto::status::State::Healthy,
        reason: "BackedUp".to_owned(),
        message: "backup 20261123T060012Z-hubl6skvwp6l6j4y/00000060 is in the store".to_owned(),
        observed_at: Some("2026-11-23T07:00:12Z".parse().expect("a time")),
        last_attempt: Some("2026-11-23T07:00:12Z".parse().expect("a time")),
        interval: "1m".to_owned(),
        store: "s3://vcluster-shop-x7k2p-3baw4pir".to_owned(),
        newest: Some(point("20261123T060012Z-hubl6skvwp6l6j4y/00000060", "2026-11-23T06:59:12Z")),
        oldest: Some(point("20261123T060012Z-hubl6skvwp6l6j4y/00000001", "2026-11-23T06:00:12Z")),
        trusted_keys: vec![KEY.to_owned()],
        ..Status::default()
    }
}

/// The ConfigMap of examples/claim-v1 around a document.
pub fn config_map(yaml: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "shop-x7k2p-3baw4pir-backup-status",
            "namespace": "tenant-shop-x7k2p-3baw4pir",
            "labels": { "vcluster.fn.crossplane.io/key": "shop-x7k2p-3baw4pir" },
        },
        "data": { "status.yaml": yaml },
    })
}

pub fn names(answer: &RunFunctionResponse) -> Vec<String> {
    let mut names: Vec<String> =
        answer.desired.as_ref().map(|state| state.resources.keys().cloned().collect()).unwrap_or_default();
    names.sort();
    names
}

pub fn desired(answer: &RunFunctionResponse, name: &str) -> Option<Value> {
    let resource = answer.desired.as_ref()?.resources.get(name)?;
    resource.resource.as_ref().map(struct_to_json)
}

/// The bytes on the wire, maps in one order: what "the same" means.
pub fn bytes(answer: &RunFunctionResponse) -> String {
    serde_json::to_value(answer).expect("protojson").to_string()
}

pub fn values(release: &Value) -> &Value {
    &release["spec"]["forProvider"]["values"]
}

/// The chart line of a Release: the middle number of its version.
pub fn line(release: &Value) -> u64 {
    let version = release["spec"]["forProvider"]["chart"]["version"].as_str().expect("a version");
    version.split('.').nth(1).and_then(|line| line.parse().ok()).expect("0.<line>.<patch>")
}

/// What the chart makes of the values: written down here anew, apart from the function's own tables.
pub struct Pod<'a> {
    pub volumes: &'a [Value],
    pub sidecar: &'a Value,
    pub restore: &'a Value,
    /// The server of the exported kubeconfig.
    pub server: &'a str,
}

/// Reads the values of a vcluster Release with backup as the chart of its version does.
pub fn pod(release: &Value) -> Pod<'_> {
    let (values, line) = (values(release), line(release));
    let at = |pointer: &str| values.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {values}"));
    let list = |pointer: &str| at(pointer).as_array().unwrap_or_else(|| panic!("{pointer} is a list")).as_slice();
    let (sidecar, restore) = match line {
        ..20 => ("/plugin/backup", "/plugin/backup-restore"),
        20..30 => ("/plugin/backup", "/plugins/backup-restore"),
        30.. => ("/controlPlane/statefulSet/sidecarContainers/0", "/controlPlane/statefulSet/initContainers/0"),
    };
    let server = match line {
        ..20 => list("/syncer/extraArgs")
            .iter()
            .find_map(|argument| argument.as_str()?.strip_prefix("--out-kube-config-server=")),
        20.. => at("/exportKubeConfig/server").as_str(),
    };
    Pod {
        volumes: list(if line < 20 { "/volumes" } else { "/controlPlane/statefulSet/persistence/addVolumes" }),
        sidecar: at(sidecar),
        restore: at(restore),
        server: server.expect("a server"),
    }
}

pub fn ttl(answer: &RunFunctionResponse) -> Option<i64> {
    answer.meta.as_ref()?.ttl.as_ref().map(|ttl| ttl.seconds)
}

pub fn composite(answer: &RunFunctionResponse) -> Value {
    let composite = answer.desired.as_ref().and_then(|state| state.composite.as_ref());
    struct_to_json(composite.and_then(|xr| xr.resource.as_ref()).expect("a composite"))
}

pub fn ready(answer: &RunFunctionResponse, name: &str) -> i32 {
    answer.desired.as_ref().expect("desired").resources[name].ready
}

pub fn settings(world: &World) -> String {
    let s3 = world.desired("s3").expect("desired");
    values(&s3)["settings"].as_str().expect("one string").to_owned()
}
