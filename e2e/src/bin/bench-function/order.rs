//! What is asked: the order of `examples/claim-v1-healthy` in its steady state, as our input and as a template that
//! renders the same Releases and the same status.

use e2e::examples::Example;
use e2e::yaml;
use function_sdk_rust::{
    proto::v1::{
        RequestMeta, Resource, Resources, RunFunctionRequest, RunFunctionResponse, State,
        function_runner_service_client::FunctionRunnerServiceClient,
    },
    resource::{json_to_struct, struct_to_json},
};
use function_vcluster::{offline, wire};
use jiff::Timestamp;
use prost::Message;
use serde_json::{Value, json};

/// One order and everything that is there of it.
pub(crate) struct Order {
    request: RunFunctionRequest,
    answer: RunFunctionResponse,
}

/// The key in the example; a template has to make it.
const KEY: &str = "shop-x7k2p-3baw4pir";
const MAKE_KEY: &str = "{{- $xr := .observed.composite.resource }}\n\
     {{- $owner := index $xr.metadata.labels \"crossplane.io/claim-namespace\" }}\n\
     {{- $hash := printf \"%s/%s\" $owner $xr.metadata.name | sha256sum | trunc 8 }}\n\
     {{- $key := printf \"%s-%s\" $xr.metadata.name $hash }}\n";

impl Order {
    pub(crate) fn of_the_example() -> Self {
        let example = Example::named("claim-v1-healthy");
        let one = |file: &str| yaml::documents(&example.text(file)).remove(0);
        let mut state = State { composite: Some(resource(&one("xr.yaml"))), ..State::default() };
        for release in yaml::documents(&example.text("observed.yaml")) {
            let name = yaml::resource_name(&release).expect("an observed resource has a name").to_owned();
            state.resources.insert(name, resource(&release));
        }
        let now = Timestamp::now();
        let mut report = one("required.yaml");
        let text = yaml::str_at(&report, "/data/status.yaml").lines().map(|line| match line.split_once(": ") {
            Some(("observedAt", _)) => format!("observedAt: {now}\n"),
            _ => format!("{line}\n"),
        });
        report["data"]["status.yaml"] = Value::String(text.collect());
        let request = RunFunctionRequest {
            meta: Some(RequestMeta { tag: "benchmark".to_owned(), ..RequestMeta::default() }),
            input: one("composition.yaml")["spec"]["pipeline"][0]["input"].as_object().map(json_to_struct),
            observed: Some(state),
            desired: Some(State::default()),
            required_resources: [("backup-status".to_owned(), Resources { items: vec![resource(&report)] })].into(),
            ..RunFunctionRequest::default()
        };
        let asked = wire::Request::decode(request.encode_to_vec().as_slice()).expect("a request");
        let answer = wire::answer(asked, now).encode_to_vec();
        let answer = RunFunctionResponse::decode(answer.as_slice()).expect("an answer");
        assert!(answer.results.is_empty(), "{:?}", answer.results);
        Self { request, answer }
    }

    /// Our own input.
    pub(crate) fn ours(&self) -> Vec<u8> {
        self.request.encode_to_vec()
    }

    /// The input of function-go-templating: our answer as a template.
    pub(crate) fn as_template(&self) -> Vec<u8> {
        let desired = self.answer.desired.as_ref().expect("something is desired");
        let object = |resource: &Resource| struct_to_json(resource.resource.as_ref().expect("an object"));
        let mut xr = object(desired.composite.as_ref().expect("a status"));
        let observed = self.request.observed.as_ref().and_then(|state| state.composite.as_ref());
        let observed = object(observed.expect("an XR"));
        xr["apiVersion"] = observed["apiVersion"].clone();
        xr["kind"] = observed["kind"].clone();
        let mut documents = vec![xr];
        for (name, resource) in &desired.resources {
            let mut release = object(resource);
            let annotations = &mut release["metadata"]["annotations"];
            annotations["gotemplating.fn.crossplane.io/composition-resource-name"] = json!(name);
            annotations["gotemplating.fn.crossplane.io/ready"] = json!("True");
            documents.push(release);
        }
        let text = offline::to_yaml(&documents).expect("YAML");
        let template = format!("{MAKE_KEY}{}", text.replace(KEY, "{{ $key }}"));
        let input = json!({
            "apiVersion": "gotemplating.fn.crossplane.io/v1beta1",
            "kind": "GoTemplate",
            "source": "Inline",
            "inline": { "template": template },
        });
        RunFunctionRequest { input: input.as_object().map(json_to_struct), ..self.request.clone() }.encode_to_vec()
    }
}

fn resource(object: &Value) -> Resource {
    Resource { resource: object.as_object().map(json_to_struct), ..Resource::default() }
}

/// Asks once: a refusal would be quick.
pub(crate) fn check(address: &str, request: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let request = RunFunctionRequest::decode(request).expect("a request");
    let answer = runtime.block_on(async {
        let mut client = FunctionRunnerServiceClient::connect(format!("http://{address}")).await.expect("a connection");
        client.run_function(request).await.expect("an answer").into_inner()
    });
    assert!(answer.results.is_empty(), "{address}: {:?}", answer.results);
    let desired = answer.desired.expect("something is desired");
    let mut names: Vec<&str> = desired.resources.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["rancher", "s3", "vcluster"], "{address}");
    let status = desired.composite.and_then(|xr| xr.resource).expect("a status");
    assert_eq!(struct_to_json(&status)["status"]["backup"]["state"], "Healthy", "{address}");
}
