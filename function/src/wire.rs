//! The only room that knows the SDK's types: decodes a request, encodes the answer.
//!
//! The RPC always succeeds. Whatever cannot be honoured is one fatal result over the desired state of earlier steps:
//! Crossplane then applies nothing and deletes nothing.

use function_sdk_rust::{
    proto::v1::{
        self, MatchLabels, Ready, ResourceSelector, RunFunctionRequest, RunFunctionResponse, Status, Target,
        resource_selector::Match,
    },
    resource::{json_to_pb, json_to_struct, pb_to_json, struct_to_json},
    response,
};
use jiff::Timestamp;
use pbjson_types::{Struct, value::Kind};
use serde_json::{Map, Value};

use crate::{
    error::Refusal,
    health::{KEY_LABEL, Source},
    observed::{KUBECONFIG, Observed, Resource},
    platform::{
        Platform,
        environment::{self, ENVIRONMENT},
    },
    render::{self, Condition, Rendered},
    xr::Xr,
};

/// Under which the sidecar's report is asked for and handed over.
const REPORT: &str = "backup-status";
/// The same for the vcluster whose backups a clone reads.
const ORIGIN: &str = "origin-status";

/// Answers one request at a time. The same request gives the same answer until its report is stale.
pub fn answer(request: &RunFunctionRequest, now: Timestamp) -> RunFunctionResponse {
    let mut answer = response::to(request, response::DEFAULT_TTL);
    match rendered(request, now) {
        Ok(rendered) => encode(rendered, &mut answer),
        Err(refusal) => {
            tracing::debug!(%refusal, "refused");
            response::fatal(&mut answer, refusal.to_string()).target = Some(Target::CompositeAndClaim as i32);
        }
    }
    answer
}

fn rendered(request: &RunFunctionRequest, now: Timestamp) -> Result<Rendered, Refusal> {
    let environment = request.context.as_ref().and_then(|context| context.fields.get(ENVIRONMENT));
    let environment = environment.map(pb_to_json);
    let input = request.input.as_ref().map(struct_to_json);
    let input = input.map(|input| environment::under(input, environment.as_ref())).transpose()?;
    let platform = Platform::parse(input.as_ref())?;
    let xr = request.observed.as_ref().and_then(|observed| observed.composite.as_ref());
    let mut xr = object(xr.and_then(|xr| xr.resource.as_ref()));
    if let Some(spec) = xr.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| !platform.adopt.spec_fields.contains(field));
    }
    render::render(&Xr::parse(&xr)?, &platform, &observed(request).adopting(&platform), now)
}

fn observed(request: &RunFunctionRequest) -> Observed {
    let mut view = Observed::default();
    if let Some(observed) = &request.observed {
        view.kubeconfig = observed.composite.as_ref().and_then(kubeconfig);
        for (name, resource) in &observed.resources {
            let resource = Resource { object: object(resource.resource.as_ref()), kubeconfig: kubeconfig(resource) };
            view.resources.insert(name.clone(), resource);
        }
    }
    if let Some(desired) = &request.desired {
        view.desired = desired.resources.keys().cloned().collect();
    }
    view.reports = handed_over(request, REPORT);
    view.origin = handed_over(request, ORIGIN);
    view
}

/// Cores from 2.0 on answer both forms of the question, those before only the older one.
fn handed_over(request: &RunFunctionRequest, what: &str) -> Option<Vec<Value>> {
    let answers = [request.required_resources.get(what), request.extra_resources.get(what)];
    let mut answers = answers.into_iter().flatten().peekable();
    answers.peek()?;
    Some(answers.flat_map(|answer| &answer.items).map(|item| object(item.resource.as_ref())).collect())
}

fn object(object: Option<&Struct>) -> Value {
    object.map_or(Value::Null, struct_to_json)
}

fn kubeconfig(resource: &v1::Resource) -> Option<Vec<u8>> {
    resource.connection_details.get(KUBECONFIG).filter(|value| !value.is_empty()).cloned()
}

fn encode(rendered: Rendered, answer: &mut RunFunctionResponse) {
    if let Some(meta) = &mut answer.meta {
        let seconds = rendered.ttl.map(|ttl| ttl.as_secs().try_into().unwrap_or(i64::MAX));
        meta.ttl = seconds.map(|seconds| pbjson_types::Duration { seconds, nanos: 0 });
    }
    let composite = response::desired_composite(answer);
    add_status(composite.resource.get_or_insert_default(), &rendered.status);
    if let Some(kubeconfig) = rendered.kubeconfig {
        composite.connection_details.insert(KUBECONFIG.to_owned(), kubeconfig);
    }
    for (name, composed) in rendered.resources {
        let desired = response::desired_composed(answer, name);
        desired.resource = composed.object.as_object().map(json_to_struct);
        desired.ready = if composed.ready { Ready::True } else { Ready::False } as i32;
    }
    answer.conditions.extend(rendered.conditions.into_iter().map(condition));
    for (what, source) in [(REPORT, rendered.report), (ORIGIN, rendered.origin)] {
        if let Some(source) = source {
            require(what, source, answer);
        }
    }
}

/// By name and namespace for cores from 2.0 on; those before look up a name without a namespace, or labels everywhere.
fn require(what: &str, Source { name, namespace, key }: Source, answer: &mut RunFunctionResponse) {
    let select = |r#match, namespace| ResourceSelector {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        r#match: Some(r#match),
        namespace,
    };
    let labels = [(KEY_LABEL.to_owned(), key)].into_iter().collect();
    let requirements = answer.requirements.get_or_insert_default();
    requirements.resources.insert(what.to_owned(), select(Match::MatchName(name), Some(namespace)));
    let by_label = select(Match::MatchLabels(MatchLabels { labels }), None);
    requirements.extra_resources.insert(what.to_owned(), by_label);
}

/// Beside what earlier steps put into the status, never over it.
fn add_status(xr: &mut Struct, ours: &Map<String, Value>) {
    let status = xr.fields.entry("status".to_owned()).or_default();
    if !matches!(status.kind, Some(Kind::StructValue(_))) {
        status.kind = Some(Kind::StructValue(Struct::default()));
    }
    if let Some(Kind::StructValue(status)) = &mut status.kind {
        status.fields.extend(ours.iter().map(|(name, value)| (name.clone(), json_to_pb(value))));
    }
}

fn condition(condition: Condition) -> v1::Condition {
    let status = match condition.status {
        Some(true) => Status::ConditionTrue,
        Some(false) => Status::ConditionFalse,
        None => Status::ConditionUnknown,
    };
    v1::Condition {
        r#type: condition.kind.to_owned(),
        status: status as i32,
        reason: condition.reason,
        message: Some(condition.message),
        target: Some(Target::CompositeAndClaim as i32),
    }
}
