//! What the tests share: the examples, and a cluster that exists only in two maps.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "every test file uses its own part")]

use std::{fs, path::PathBuf};

use function_sdk_rust::{
    proto::v1::{RequestMeta, Resource, RunFunctionRequest, RunFunctionResponse, Severity, State},
    resource::{json_to_struct, struct_to_json},
};
use function_vcluster::wire;
use serde_json::{Value, json};

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

    /// A while later: all three Releases are ready.
    pub fn lived(mut self) -> Self {
        self.settle();
        self.settle();
        assert_eq!(self.observed.len(), 3);
        self
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
        RunFunctionRequest {
            meta: Some(RequestMeta { tag: "tag".to_owned(), ..RequestMeta::default() }),
            observed: Some(state),
            desired: Some(self.desired.clone()),
            input: self.input.as_object().map(json_to_struct),
            ..RunFunctionRequest::default()
        }
    }

    pub fn answer(&self) -> RunFunctionResponse {
        wire::answer(&self.request())
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
