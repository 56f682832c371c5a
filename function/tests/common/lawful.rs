//! What makes an answer lawful, whatever was asked; shared by the property tests and the fuzz target.

use function_sdk_rust::{
    proto::v1::{Resource, RunFunctionRequest, RunFunctionResponse, Severity, State},
    resource::struct_to_json,
};
use jiff::Timestamp;
use serde_json::Value;

use super::rpc;

/// The longest sentence a claim is told.
const LONGEST: usize = 4096;

/// Answers a request and holds the answer to the law; panics where it is broken.
pub(crate) fn lawful(request: &RunFunctionRequest, now: Timestamp) -> RunFunctionResponse {
    let answer = rpc::answer(request, now);
    assert_eq!(rpc::answer(request, now).results, answer.results, "the same request, the same answer");
    let tag = request.meta.as_ref().map(|meta| meta.tag.as_str()).unwrap_or_default();
    assert_eq!(answer.meta.as_ref().expect("meta").tag, tag, "the tag is kept");
    assert_eq!(
        answer.context.as_ref().map(struct_to_json),
        request.context.as_ref().map(struct_to_json),
        "the context"
    );
    match &answer.results[..] {
        [] => orderly(request, &answer),
        [fatal] => {
            assert_eq!(fatal.severity, Severity::Fatal as i32);
            assert!(!fatal.message.is_empty() && !fatal.message.contains('\n'), "one sentence: {}", fatal.message);
            assert!(fatal.message.len() < LONGEST, "short: {}", fatal.message);
            let (desired, before) = (answer.desired.clone(), request.desired.clone());
            assert_eq!(desired.is_some(), before.is_some(), "nothing is desired beside a refusal");
            if let (Some(desired), Some(before)) = (desired, before) {
                assert_eq!(desired.resources.len(), before.resources.len(), "nor left out");
                handed_on(&before, &desired);
                let xr = |state: &State| state.composite.as_ref().map(json);
                assert_eq!(xr(&desired), xr(&before), "nothing is said of the XR");
            }
        }
        many => panic!("{many:?}"),
    }
    answer
}

/// An answer that is applied: foreign desired state as it came, the XR's spec untouched, nothing that holds data dropped.
fn orderly(request: &RunFunctionRequest, answer: &RunFunctionResponse) {
    assert_eq!(answer.conditions.len(), 4);
    for condition in &answer.conditions {
        let message = condition.message.as_deref().expect("a message");
        assert!(message.chars().count() < 600 && !message.contains(char::is_control), "{message}");
        assert!(!condition.reason.is_empty() && condition.reason.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
    let desired = answer.desired.as_ref().expect("desired");
    let before = request.desired.clone().unwrap_or_default();
    handed_on(&before, desired);
    let foreign = |state: &State| {
        let xr = state.composite.as_ref().and_then(|xr| xr.resource.as_ref()).map(struct_to_json).unwrap_or_default();
        let fields = xr.as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(field, _)| field != "status").collect::<Vec<_>>()
    };
    assert_eq!(foreign(&before), foreign(desired), "of the XR only the status is ours");
    let observed = request.observed.iter().flat_map(|state| state.resources.keys());
    for name in observed.filter(|name| ["vcluster", "s3"].contains(&name.as_str())) {
        assert!(desired.resources.contains_key(name), "{name} was dropped");
    }
}

/// As JSON: a number that is none differs from itself.
fn json(resource: &Resource) -> Option<Value> {
    resource.resource.as_ref().map(struct_to_json)
}

/// What earlier steps desire is as it was.
fn handed_on(before: &State, desired: &State) {
    for (name, resource) in &before.resources {
        let after = &desired.resources[name];
        assert_eq!(json(after), json(resource), "{name} is foreign");
        assert_eq!((after.ready, &after.connection_details), (resource.ready, &resource.connection_details), "{name}");
    }
}
