//! Any bytes that are a request get a lawful answer: the same law as in the property tests.
//!
//! Bytes alone hardly ever hold a Platform and an XR, so they are also laid over a request that does: an example in its
//! steady state.
#![no_main]

use std::sync::LazyLock;

use function_sdk_rust::{
    proto::v1::{Resource, Resources, RunFunctionRequest, State},
    resource::json_to_struct,
};
use function_vcluster::wire;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use serde_json::Value;

#[path = "../../tests/common/lawful.rs"]
mod lawful;
#[path = "../../tests/common/rpc.rs"]
mod rpc;

macro_rules! example {
    ($file:literal) => {
        documents(include_str!(concat!("../../../examples/claim-v1-healthy/", $file)))
    };
}

static STEADY: LazyLock<Vec<u8>> = LazyLock::new(|| steady().encode_to_vec());

/// When the example's report is young.
static NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-23T07:00:30Z".parse().expect("a time"));

fuzz_target!(
    init: {
        let answer = lawful::lawful(&steady(), *NOW);
        assert!(answer.results.is_empty(), "what is edited is refused as it is: {:?}", answer.results);
    },
    |bytes: &[u8]| {
        check(bytes);
        if let Some(([high, low], edit)) = bytes.split_first_chunk() {
            let mut edited = STEADY.clone();
            let at = usize::from(u16::from_be_bytes([*high, *low])) % edited.len();
            edited[at..].iter_mut().zip(edit).for_each(|(byte, edit)| *byte = *edit);
            check(&edited);
        }
    }
);

fn check(bytes: &[u8]) {
    // What is no object is found out late by us and early by the SDK: each gets its answer.
    if let Ok(request) = wire::Request::decode(bytes) {
        wire::answer(request, *NOW);
    }
    if let Ok(request) = RunFunctionRequest::decode(bytes) {
        lawful::lawful(&request, *NOW);
    }
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("YAML")
}

fn steady() -> RunFunctionRequest {
    let resource =
        |object: &Value| Resource { resource: object.as_object().map(json_to_struct), ..Resource::default() };
    let name = |object: &Value| {
        let name = &object["metadata"]["annotations"]["crossplane.io/composition-resource-name"];
        name.as_str().expect("a name").to_owned()
    };
    let observed = example!("observed.yaml");
    let state = State {
        composite: example!("xr.yaml").first().map(resource),
        resources: observed.iter().map(|object| (name(object), resource(object))).collect(),
    };
    let report = Resources { items: example!("required.yaml").iter().map(resource).collect() };
    RunFunctionRequest {
        observed: Some(state),
        input: example!("composition.yaml")[0]["spec"]["pipeline"][0]["input"].as_object().map(json_to_struct),
        required_resources: [("backup-status".to_owned(), report)].into(),
        ..RunFunctionRequest::default()
    }
}
