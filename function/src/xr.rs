//! The VCluster XR as types: what a tenant may write, and what the status remembers for us. Pure.
//!
//! Whose values they are is settled here, what they mean together with the platform's defaults in [`crate::order`].

mod spec;
pub mod status;

use serde_json::{Map, Value};

pub use self::spec::{
    Access, Backup, DeletionPolicy, Rancher, Restore, RestoreSource, Retention, Spec, Storage, Values,
};
use crate::error::Refusal;

/// The label that says whose claim an XR answers.
const CLAIM_NAMESPACE: &str = "crossplane.io/claim-namespace";

/// What `status.backup` keeps for later requests whatever this version makes of it.
const REMEMBERED: [&str; 7] =
    ["generation", "lastTrigger", "lastVerified", "newest", "oldest", "sizeBytes", "trustedKeys"];
/// What `status.restore` keeps: an outcome outlives the report that brought it.
const OUTCOME: [&str; 5] = ["at", "from", "id", "message", "phase"];

/// An ordered vcluster.
#[derive(Clone, Debug)]
pub struct Xr {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; empty offline.
    pub uid: String,
    /// The claim's namespace; empty for an XR without a claim.
    pub owner: String,
    /// What is ordered.
    pub spec: Spec,
    /// `status.backup` as far as it must never be forgotten.
    pub remembered: Map<String, Value>,
    /// `status.restore`: the outcome of the last restore.
    pub restored: Map<String, Value>,
}

impl Xr {
    /// Reads an observed XR.
    ///
    /// # Errors
    /// A field that is unknown, unusable or not served yet.
    pub fn parse(xr: &Value) -> Result<Self, Refusal> {
        let text = |pointer: &str| xr.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api_version = text("/apiVersion");
        let (group, _) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = text("/metadata/name");
        if group.is_empty() || text("/kind").is_empty() || name.is_empty() {
            return Err(Refusal::field(
                "metadata.name",
                "the observed XR has no apiVersion with a group, kind and name",
            ));
        }
        let namespace = text("/metadata/namespace");
        if !namespace.is_empty() {
            let problem = format!("{namespace:?}: namespaced XRs join in a later version of the function; use a claim");
            return Err(Refusal::field("metadata.namespace", problem));
        }
        Ok(Self {
            group: group.to_owned(),
            kind: text("/kind"),
            name,
            uid: text("/metadata/uid"),
            owner: xr
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(CLAIM_NAMESPACE))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            spec: Spec::parse(xr.get("spec").unwrap_or(&Value::Null))?,
            remembered: remembered(xr, "/status/backup", &REMEMBERED),
            restored: remembered(xr, "/status/restore", &OUTCOME),
        })
    }

    /// `spec.id` or the name.
    pub fn id(&self) -> &str {
        self.spec.id.as_deref().unwrap_or(&self.name)
    }

    /// The status has had a newest backup: an empty bucket is then a loss, not a beginning.
    pub fn lived(&self) -> bool {
        self.remembered.contains_key("newest")
    }

    /// Signing keys the status has pinned so far.
    pub fn trusted_keys(&self) -> impl Iterator<Item = &str> {
        self.remembered.get("trustedKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

fn remembered(xr: &Value, pointer: &str, fields: &[&str]) -> Map<String, Value> {
    let Some(Value::Object(there)) = xr.pointer(pointer) else { return Map::new() };
    let keep = |(name, value): (&String, &Value)| {
        (fields.contains(&name.as_str()) && !value.is_null()).then(|| (name.clone(), value.clone()))
    };
    there.iter().filter_map(keep).collect()
}
