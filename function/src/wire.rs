//! The only room that knows the wire: decodes a request, encodes the answer.
//!
//! The RPC always succeeds. Whatever cannot be honoured is one fatal result over the desired state of earlier steps:
//! Crossplane then applies nothing and deletes nothing.

mod messages;
mod structs;

use function_sdk_rust::proto::v1::{
    self, MatchLabels, Ready, ResourceSelector, ResponseMeta, Severity, Status, Target, resource_selector::Match,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::{
    messages::{Request, Resource, Resources, Response, State},
    structs::{Malformed, RawStruct},
};
use crate::{
    error::Refusal,
    health::{self, KEY_LABEL, Source},
    observed::{self, KUBECONFIG, Observed},
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

/// For how long Crossplane may keep a refusal, in seconds: as long as other functions let it.
const REFUSED_TTL: i64 = 60;

/// Answers one request at a time. The same request gives the same answer until its report is stale.
pub fn answer(request: Request, now: Timestamp) -> Response {
    let rendered = rendered(&request, now);
    let mut answer = Response {
        meta: Some(ResponseMeta { tag: request.meta.map(|meta| meta.tag).unwrap_or_default(), ttl: ttl(REFUSED_TTL) }),
        desired: request.desired,
        context: request.context,
        ..Response::default()
    };
    if let Err(refusal) = rendered.and_then(|rendered| encode(rendered, &mut answer)) {
        tracing::debug!(%refusal, "refused");
        answer.results.push(v1::Result {
            severity: Severity::Fatal as i32,
            message: refusal.to_string(),
            reason: None,
            target: Some(Target::CompositeAndClaim as i32),
        });
        answer.conditions = health::refused().into_iter().map(condition).collect();
    }
    answer
}

fn rendered(request: &Request, now: Timestamp) -> Result<Rendered, Refusal> {
    let context = request.context.as_ref();
    let environment = context.map(|context| context.field(ENVIRONMENT)).transpose();
    let environment = environment.map_err(|malformed| unreadable("the pipeline's context", malformed))?.flatten();
    let input = object("the step's input", request.input.as_ref())?;
    let input = input.map(|input| environment::under(input, environment.as_ref())).transpose()?;
    let platform = Platform::parse(input.as_ref())?;
    let xr = request.observed.as_ref().and_then(|observed| observed.composite.as_ref());
    let mut xr = object("the observed XR", xr.and_then(|xr| xr.resource.as_ref()))?.unwrap_or_default();
    if let Some(spec) = xr.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| !platform.adopt.spec_fields.contains(field));
    }
    render::render(&Xr::parse(&xr)?, &platform, &observed(request)?.adopting(&platform), now)
}

fn observed(request: &Request) -> Result<Observed, Refusal> {
    let mut view = Observed::default();
    if let Some(observed) = &request.observed {
        view.kubeconfig = observed.composite.as_ref().and_then(kubeconfig);
        for (name, resource) in &observed.resources {
            let object = observed_object(name, resource.resource.as_ref())?;
            let resource = observed::Resource { object: object.unwrap_or_default(), kubeconfig: kubeconfig(resource) };
            view.resources.insert(name.clone(), resource);
        }
    }
    if let Some(desired) = &request.desired {
        view.desired = desired.resources.keys().cloned().collect();
    }
    view.reports = handed_over(request, REPORT)?;
    view.origin = handed_over(request, ORIGIN)?;
    Ok(view)
}

/// A large platform has much beside us that is nobody's Release; of that the kind is enough.
fn observed_object(name: &str, raw: Option<&RawStruct>) -> Result<Option<Value>, Refusal> {
    let what = format!("observed resource {name:?}");
    let field = |raw: &RawStruct, field: &str| raw.field(field).map_err(|malformed| unreadable(&what, malformed));
    let Some(closed) = raw else { return Ok(None) };
    match field(closed, "kind")? {
        Some(kind) if kind != "Release" && !observed::OURS.contains(&name) => {
            Ok(Some(json!({ "apiVersion": field(closed, "apiVersion")?, "kind": kind })))
        }
        _ => object(&what, raw),
    }
}

/// Cores from 2.0 on answer both forms of the question, those before only the older one.
fn handed_over(request: &Request, what: &str) -> Result<Option<Vec<Value>>, Refusal> {
    let answers = [request.required_resources.get(what), request.extra_resources.get(what)];
    let mut answers = answers.into_iter().flatten().peekable();
    if answers.peek().is_none() {
        return Ok(None);
    }
    let read = |item: &Resource| Ok(object(what, item.resource.as_ref())?.unwrap_or_default());
    answers.flat_map(|answer| &answer.items).map(read).collect::<Result<_, _>>().map(Some)
}

fn object(what: &str, object: Option<&RawStruct>) -> Result<Option<Value>, Refusal> {
    let read = |object: &RawStruct| object.open_object().map(Value::Object);
    object.map(read).transpose().map_err(|malformed| unreadable(what, malformed))
}

fn unreadable(what: &str, malformed: Malformed) -> Refusal {
    Refusal::Unreadable { what: what.to_owned(), malformed }
}

fn kubeconfig(resource: &Resource) -> Option<Vec<u8>> {
    resource.connection_details.get(KUBECONFIG).filter(|value| !value.is_empty()).cloned()
}

/// Nothing is changed but all of it: a refusal leaves what earlier steps desire.
fn encode(rendered: Rendered, answer: &mut Response) -> Result<(), Refusal> {
    let desired = answer.desired.get_or_insert_default();
    let composite = desired.composite.get_or_insert_default();
    let xr = composite.resource.get_or_insert_default();
    // Beside what earlier steps put into the status, never over it.
    xr.extend_field("status", &rendered.status).map_err(|malformed| unreadable("the desired XR", malformed))?;
    if let Some(kubeconfig) = rendered.kubeconfig {
        composite.connection_details.insert(KUBECONFIG.to_owned(), kubeconfig);
    }
    for (name, composed) in rendered.resources {
        let ready = if composed.ready { Ready::True } else { Ready::False };
        let resource = composed.object.as_object().map(RawStruct::from);
        desired.resources.insert(name, Resource { resource, ready: ready as i32, ..Resource::default() });
    }
    if let Some(meta) = &mut answer.meta {
        meta.ttl = rendered.ttl.and_then(|time| ttl(time.as_secs().try_into().unwrap_or(i64::MAX)));
    }
    answer.conditions.extend(rendered.conditions.into_iter().map(condition));
    for (what, source) in [(REPORT, rendered.report), (ORIGIN, rendered.origin)] {
        if let Some(source) = source {
            require(what, source, answer);
        }
    }
    Ok(())
}

fn ttl(seconds: i64) -> Option<pbjson_types::Duration> {
    Some(pbjson_types::Duration { seconds, nanos: 0 })
}

/// By name and namespace for cores from 2.0 on; those before look up a name without a namespace, or labels everywhere.
fn require(what: &str, Source { name, namespace, key }: Source, answer: &mut Response) {
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
