//! What a report knows, as fields of the XR's status: each in a form that may be shown. Pure.

use serde_json::{Map, Value, json};
use vcluster_proto::status::{Point, Restore, Status};

use super::{Verdict, newest, text};
use crate::forms;

/// What a report adds to `status.backup`; what it does not know stays as it is remembered.
pub(super) fn facts(status: Option<&Status>, ready: &Verdict, trusted: Vec<Value>) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |field: &str, value: Value| _ = facts.insert(field.to_owned(), value);
    put("state", json!(ready.state));
    // Healthy, the sidecar says more than the condition, whose words must rest.
    let said = status.filter(|_| ready.status == Some(true)).and_then(|status| text::sentence(&status.message));
    put("message", json!(said.as_deref().unwrap_or(&ready.message)));
    if !trusted.is_empty() {
        put("trustedKeys", Value::Array(trusted));
    }
    let Some(status) = status else { return facts };
    if let Some(newest) = newest(status) {
        put("newest", point(newest));
        let written = newest.id.split_once('/').map(|(generation, _)| generation);
        if let Some(generation) = text::id(&status.generation).or(written) {
            put("generation", json!(generation));
        }
    }
    // Until everything is counted, what the newest one alone takes.
    if let Some(bytes) = status.stored_bytes.or_else(|| newest(status).map(|newest| newest.size_bytes)) {
        put("sizeBytes", json!(bytes));
    }
    if let Some(time) = status.last_verified {
        put("lastVerified", json!(time.to_string()));
    }
    if forms::token(&status.last_trigger).is_ok() {
        put("lastTrigger", json!(status.last_trigger));
    }
    if let Some(oldest) = text::point(status.oldest.as_ref()) {
        put("oldest", point(oldest));
    }
    facts
}

fn point(point: &Point) -> Value {
    let mut value = json!({ "id": point.id });
    if let Some(time) = point.time {
        value["time"] = json!(time.to_string());
    }
    value
}

/// The outcome of a restore, for `status.restore`.
pub(super) fn outcome(restore: &Restore) -> Map<String, Value> {
    let fields = [
        ("id", text::id(&restore.id).map(str::to_owned)),
        ("phase", text::word(&restore.phase).map(str::to_owned)),
        ("from", text::id(&restore.from).map(str::to_owned)),
        ("at", restore.at.map(|at| at.to_string())),
        ("message", text::sentence(&restore.message)),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), json!(value?)))).collect()
}
