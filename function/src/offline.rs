//! `function-vcluster render`: files in, YAML out, in process. No container engine, no network, the same core.
//!
//! What is printed follows `crossplane render`: first the XR with its status, then the composed resources sorted by
//! name, with the metadata Crossplane itself adds.

use std::path::{Path, PathBuf};

use function_sdk_rust::proto::v1::{Ready, RequestMeta, ResourceSelector, Severity, Status, resource_selector::Match};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    error::Error,
    platform,
    wire::{self, Malformed, RawStruct, Request, Resource, Resources, Response, State},
};

/// Crossplane gives up on requirements that do not settle after this many calls.
const MAX_CALLS: usize = 5;

/// The time every condition bears: `crossplane render` writes the same, so that its output is stable.
const TRANSITION: &str = "2024-01-01T00:00:00Z";

const RESOURCE_NAME: &str = "crossplane.io/composition-resource-name";
const COMPOSITE: &str = "crossplane.io/composite";
const CLAIM: [&str; 2] = ["crossplane.io/claim-name", "crossplane.io/claim-namespace"];

/// What `render` reads.
#[derive(Clone, Debug, clap::Args)]
pub struct Files {
    /// The composite resource (XR)
    #[arg(value_name = "XR")]
    pub xr: PathBuf,
    /// The Composition whose step holds our Platform
    #[arg(value_name = "COMPOSITION")]
    pub composition: PathBuf,
    /// Composed resources that are there already, each annotated with crossplane.io/composition-resource-name
    #[arg(short, long, value_name = "FILE")]
    pub observed_resources: Option<PathBuf>,
    /// Objects the function may ask to see
    #[arg(short = 'e', long, value_name = "FILE")]
    pub required_resources: Option<PathBuf>,
    /// Context of the pipeline, as KEY=FILE; the files hold JSON or YAML
    #[arg(long, value_name = "KEY=FILE", value_parser = key_and_file)]
    pub context_files: Vec<(String, PathBuf)>,
    /// The time at which to judge how old the sidecar's report is, as 2026-11-23T06:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub now: Option<Timestamp>,
}

/// Reads the files, renders them and returns what is to be printed.
///
/// # Errors
/// A file that cannot be read or used, or the function's own refusal.
pub fn run(files: &Files) -> Result<String, Error> {
    let optional = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let (observed, required) = (optional(&files.observed_resources)?, optional(&files.required_resources)?);
    let (xr, composition) = (read(&files.xr)?, read(&files.composition)?);
    let context = files.context_files.iter().map(|(key, path)| Ok((key.clone(), read(path)?)));
    let texts = Texts {
        xr: &xr,
        composition: &composition,
        observed: observed.as_deref(),
        required: required.as_deref(),
        context: context.collect::<Result<_, Error>>()?,
    };
    to_yaml(&texts.render(files.now.unwrap_or_else(clock))?)
}

pub(crate) fn key_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (key, file) = text.split_once('=').ok_or("write KEY=FILE")?;
    Ok((key.to_owned(), file.into()))
}

/// The texts of files to render.
#[derive(Clone, Debug, Default)]
pub struct Texts<'a> {
    /// The XR.
    pub xr: &'a str,
    /// The Composition.
    pub composition: &'a str,
    /// Composed resources that are there.
    pub observed: Option<&'a str>,
    /// Objects the function may ask to see.
    pub required: Option<&'a str>,
    /// Context of the pipeline, by key.
    pub context: Vec<(String, String)>,
}

impl Texts<'_> {
    /// Renders them. The first document is the XR, then come the composed resources, sorted by their pipeline name.
    ///
    /// # Errors
    /// A text that cannot be used, or the function's own refusal.
    pub fn render(&self, now: Timestamp) -> Result<Vec<Value>, Error> {
        let xr = one_document("the XR", self.xr)?;
        let (step, input) = our_step(&one_document("the Composition", self.composition)?, &xr)?;
        let mut observed = documents("the observed resources", self.observed.unwrap_or_default())?;
        observed.retain(|object| !is_of_another(object, &xr));
        let required = documents("the required resources", self.required.unwrap_or_default())?;
        let mut request = request(&xr, &input, &observed)?;
        let context = self.context.iter().map(|(key, text)| Ok((key.clone(), one_document("the context", text)?)));
        request.context = Some(RawStruct::from(&context.collect::<Result<Map<_, _>, Error>>()?));
        let response = converse(request, &required, now)?;
        if let Some(fatal) = response.results.iter().find(|result| result.severity == Severity::Fatal as i32) {
            return Err(Error::Fatal { step, message: fatal.message.clone() });
        }
        printed(&xr, &observed, &response).map_err(|malformed| unusable("the function's answer", malformed.to_string()))
    }
}

/// Renders the texts of an XR and a Composition, over what is observed and what may be required.
///
/// # Errors
/// A text that cannot be used, or the function's own refusal.
pub fn render_files(
    xr: &str,
    composition: &str,
    observed: Option<&str>,
    required: Option<&str>,
) -> Result<Vec<Value>, Error> {
    render_files_at(xr, composition, observed, required, clock())
}

/// The same at another time.
///
/// # Errors
/// Those of [`render_files`].
pub fn render_files_at(
    xr: &str,
    composition: &str,
    observed: Option<&str>,
    required: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Value>, Error> {
    Texts { xr, composition, observed, required, context: Vec::new() }.render(now)
}

/// Documents as YAML, each after a `---`, in the order of their keys.
///
/// # Errors
/// Only if a value cannot be expressed in YAML.
pub fn to_yaml(documents: &[Value]) -> Result<String, Error> {
    // No sentence is broken into lines: people search for it.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        let yaml = serde_saphyr::to_string_with_options(document, options.clone());
        text.push_str(&yaml.map_err(|error| Error::Print(error.to_string()))?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

#[expect(clippy::disallowed_methods, reason = "this shell looks at the clock")]
fn clock() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "this shell reads files")]
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}

pub(crate) fn unusable(what: &'static str, problem: impl Into<String>) -> Error {
    Error::Document { what, problem: problem.into() }
}

pub(crate) fn documents(what: &'static str, text: &str) -> Result<Vec<Value>, Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| unusable(what, error.to_string()))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).flat_map(unfolded).collect())
}

/// What kubectl prints of several objects is one.
fn unfolded(mut document: Value) -> Vec<Value> {
    let lists = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if lists => items,
        Some(items) => {
            document["items"] = items;
            vec![document]
        }
        None => vec![document],
    }
}

pub(crate) fn one_document(what: &'static str, text: &str) -> Result<Value, Error> {
    let mut documents = documents(what, text)?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        n => Err(unusable(what, format!("{n} documents where one is wanted"))),
    }
}

/// The name and the input of the step that is ours: the first whose input is a Platform.
fn our_step(composition: &Value, xr: &Value) -> Result<(String, Value), Error> {
    const WHAT: &str = "the Composition";
    let text = |pointer: &str| composition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    for field in ["apiVersion", "kind"] {
        let (wanted, found) = (text(&format!("/spec/compositeTypeRef/{field}")), &xr[field]);
        if found != wanted {
            let problem = format!("spec.compositeTypeRef.{field} is {wanted:?}, the XR says {found}");
            return Err(unusable(WHAT, problem));
        }
    }
    if text("/spec/mode") != "Pipeline" {
        return Err(unusable(WHAT, "spec.mode is not Pipeline"));
    }
    let steps = composition.pointer("/spec/pipeline").and_then(Value::as_array).into_iter().flatten();
    let ours = |step: &&Value| {
        step.pointer("/input/kind").and_then(Value::as_str) == Some(platform::KIND)
            && step.pointer("/input/apiVersion").and_then(Value::as_str) == Some(vcluster_proto::API_VERSION)
    };
    let step = steps.clone().find(ours).ok_or_else(|| {
        let (kind, version) = (platform::KIND, vcluster_proto::API_VERSION);
        unusable(WHAT, format!("no step of spec.pipeline has an input of kind {kind}, apiVersion {version}"))
    })?;
    let name = step.get("step").and_then(Value::as_str).unwrap_or_default();
    Ok((name.to_owned(), step["input"].clone()))
}

fn request(xr: &Value, input: &Value, observed: &[Value]) -> Result<Request, Error> {
    let mut state = State { composite: Some(resource(xr)), ..State::default() };
    for object in observed {
        let name = observed_name(object).ok_or_else(|| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            unusable("the observed resources", format!("object {name:?} bears no annotation {RESOURCE_NAME}"))
        })?;
        if state.resources.insert(name.to_owned(), resource(object)).is_some() {
            let problem = format!("two objects bear the name {name:?} in annotation {RESOURCE_NAME}");
            return Err(unusable("the observed resources", problem));
        }
    }
    Ok(Request {
        meta: Some(RequestMeta { tag: "render".to_owned(), ..RequestMeta::default() }),
        observed: Some(state),
        desired: Some(State::default()),
        input: input.as_object().map(RawStruct::from),
        ..Request::default()
    })
}

fn resource(object: &Value) -> Resource {
    Resource { resource: object.as_object().map(RawStruct::from), ..Resource::default() }
}

/// As Crossplane marks what it composes: a cluster holds what other XRs have, too.
fn is_of_another(object: &Value, xr: &Value) -> bool {
    let composite = object["metadata"]["labels"].get("crossplane.io/composite");
    let elsewhere =
        xr["metadata"]["namespace"].is_string() && object["metadata"]["namespace"] != xr["metadata"]["namespace"];
    composite.is_some_and(|composite| *composite != xr["metadata"]["name"] || elsewhere)
}

fn observed_name(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations")?.get(RESOURCE_NAME)?.as_str()
}

/// Calls the function until it has seen all it asks for, as Crossplane does.
fn converse(mut request: Request, required: &[Value], now: Timestamp) -> Result<Response, Error> {
    let mut known = None;
    for _ in 0..=MAX_CALLS {
        let response = wire::answer(request.clone(), now);
        if response.requirements == known {
            return Ok(response);
        }
        let wanted = response.requirements.clone().unwrap_or_default();
        let select = |(name, selector): (&String, &ResourceSelector)| (name.clone(), matching(required, selector));
        request.required_resources = wanted.resources.iter().map(select).collect();
        known = response.requirements;
    }
    Err(unusable("the function's requirements", format!("they still change after {MAX_CALLS} calls")))
}

fn matching(objects: &[Value], selector: &ResourceSelector) -> Resources {
    let text =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let matches = |object: &&Value| {
        text(object, "/apiVersion") == selector.api_version
            && text(object, "/kind") == selector.kind
            && selector.namespace.as_ref().is_none_or(|namespace| text(object, "/metadata/namespace") == *namespace)
            && match &selector.r#match {
                None => true,
                Some(Match::MatchName(name)) => text(object, "/metadata/name") == *name,
                Some(Match::MatchLabels(wanted)) => wanted.labels.iter().all(|(label, value)| {
                    object.pointer("/metadata/labels").and_then(|labels| labels.get(label)?.as_str()) == Some(value)
                }),
            }
    };
    Resources { items: objects.iter().filter(matches).map(resource).collect() }
}

fn printed(xr: &Value, observed: &[Value], response: &Response) -> Result<Vec<Value>, Malformed> {
    let desired = response.desired.clone().unwrap_or_default();
    let unready = desired.resources.iter().filter(|(_, resource)| resource.ready != Ready::True as i32);
    let unready: Vec<&str> = unready.map(|(name, _)| name.as_str()).collect();
    let status = desired.composite.as_ref().and_then(|composite| composite.resource.as_ref());
    let status = status.map(|xr| xr.field("status")).transpose()?.flatten();
    let mut status = status.unwrap_or_else(|| json!({}));
    status["conditions"] = conditions(response, &unready);
    let mut metadata = json!({ "name": xr["metadata"]["name"] });
    if let Some(namespace) = xr["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    let mut documents = vec![json!({
        "apiVersion": xr["apiVersion"],
        "kind": xr["kind"],
        "metadata": metadata,
        "status": status,
    })];
    for (name, resource) in &desired.resources {
        let object = resource.resource.as_ref().map(RawStruct::open).transpose()?.map_or(Value::Null, Value::Object);
        let there = observed.iter().find(|object| observed_name(object) == Some(name));
        documents.push(composed(object, name, there, xr));
    }
    Ok(documents)
}

/// The function's conditions beside the one Crossplane derives from its resources.
fn conditions(response: &Response, unready: &[&str]) -> Value {
    let mut ready = json!({ "type": "Ready", "status": "True", "reason": "Available" });
    if !unready.is_empty() {
        ready = json!({
            "type": "Ready",
            "status": "False",
            "reason": "Creating",
            "message": format!("Unready resources: {}", listed(unready)),
        });
    }
    let ours = response.conditions.iter().map(|condition| {
        let status = match Status::try_from(condition.status) {
            Ok(Status::ConditionTrue) => "True",
            Ok(Status::ConditionFalse) => "False",
            _ => "Unknown",
        };
        let mut json = json!({ "type": condition.r#type, "status": status, "reason": condition.reason });
        if let Some(message) = &condition.message {
            json["message"] = json!(message);
        }
        json
    });
    let all = ours.chain([ready]).map(|mut condition| {
        condition["lastTransitionTime"] = json!(TRANSITION);
        condition
    });
    all.collect()
}

/// Names as Crossplane lists them: three at most, in its own punctuation.
fn listed(names: &[&str]) -> String {
    match names {
        [one, two, three] => format!("{one}, {two}, and {three}"),
        [one, two, three, more @ ..] => format!("{one}, {two}, {three}, and {} more", more.len()),
        few => few.join(", "),
    }
}

/// What Crossplane itself adds to a composed resource.
fn composed(mut object: Value, name: &str, there: Option<&Value>, xr: &Value) -> Value {
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let xr_name = text(xr, "/metadata/name").unwrap_or_default();
    let metadata = &mut object["metadata"];
    // What is there keeps its name.
    if let Some(name) = there.and_then(|there| text(there, "/metadata/name")) {
        metadata["name"] = json!(name);
    }
    metadata["annotations"][RESOURCE_NAME] = json!(name);
    let mut labels = Map::from_iter([(COMPOSITE.to_owned(), json!(xr_name))]);
    let claim = CLAIM.map(|label| xr["metadata"]["labels"].get(label).and_then(Value::as_str).unwrap_or_default());
    if claim.iter().all(|value| !value.is_empty()) {
        labels.extend(CLAIM.iter().zip(claim).map(|(label, value)| ((*label).to_owned(), json!(value))));
    }
    match &mut metadata["labels"] {
        Value::Object(there) => there.extend(labels),
        none => *none = Value::Object(labels),
    }
    metadata["ownerReferences"] = json!([{
        "apiVersion": xr["apiVersion"],
        "kind": xr["kind"],
        "name": xr_name,
        "uid": text(xr, "/metadata/uid").unwrap_or_default(),
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    object
}
