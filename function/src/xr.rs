//! The VCluster XR as types: what a tenant may write, and what the status remembers for us. Pure.
//!
//! Whose values they are is settled here, what they mean together with the platform's defaults in [`crate::order`].

mod spec;
pub mod status;

use serde_json::{Map, Value};

pub use self::spec::{
    Access, Backup, DeletionPolicy, Rancher, Restore, RestoreSource, Retention, Spec, Storage, Values,
};
use crate::{error::Refusal, read};

/// The label that says whose claim an XR answers.
const CLAIM_NAMESPACE: &str = "crossplane.io/claim-namespace";

/// What `status.backup` keeps for later requests whatever this version makes of it.
const REMEMBERED: [&str; 7] =
    ["generation", "lastTrigger", "lastVerified", "newest", "oldest", "sizeBytes", "trustedKeys"];
/// What `status.restore` keeps: an outcome outlives the report that brought it.
const OUTCOME: [&str; 5] = ["at", "from", "id", "message", "phase"];

/// Where an XR lives. Its Releases live there, too: Crossplane lets it compose into no other place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The XR of a claim, or a cluster administrator's own: Releases of the cluster-scoped group.
    Cluster,
    /// A tenant's own XR, in his namespace: Releases of the namespaced group.
    Namespace(String),
}

impl Scope {
    /// The namespace of the XR and its Releases.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Cluster => None,
            Self::Namespace(namespace) => Some(namespace),
        }
    }

    /// The API group of its Releases.
    pub fn helm_group(&self) -> &'static str {
        match self {
            Self::Cluster => "helm.crossplane.io",
            Self::Namespace(_) => "helm.m.crossplane.io",
        }
    }
}

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
    /// Where it lives, and its Releases with it.
    pub scope: Scope,
    /// Its own namespace or that of its claim; empty for a cluster-scoped XR without a claim.
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
        let text = |pointer: &str| read::at(xr, pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api_version = text("/apiVersion");
        let (group, _) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = text("/metadata/name");
        if group.is_empty() || text("/kind").is_empty() || name.is_empty() {
            return Err(Refusal::field(
                "metadata.name",
                "the observed XR has no apiVersion with a group, kind and name",
            ));
        }
        let scope = match text("/metadata/namespace") {
            none if none.is_empty() => Scope::Cluster,
            namespace => Scope::Namespace(namespace),
        };
        Ok(Self {
            group: group.to_owned(),
            kind: text("/kind"),
            name,
            uid: text("/metadata/uid"),
            owner: owner(xr, &scope),
            scope,
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

/// Whose it is. Labels of a namespaced XR are its tenant's to write, those of a claim's are Crossplane's.
fn owner(xr: &Value, scope: &Scope) -> String {
    let label = || read::at(xr, "/metadata/labels")?.get(CLAIM_NAMESPACE)?.as_str();
    scope.namespace().or_else(label).unwrap_or_default().to_owned()
}

fn remembered(xr: &Value, pointer: &str, fields: &[&str]) -> Map<String, Value> {
    let Some(Value::Object(there)) = read::at(xr, pointer) else { return Map::new() };
    let keep = |(name, value): (&String, &Value)| {
        (fields.contains(&name.as_str()) && !value.is_null()).then(|| (name.clone(), value.clone()))
    };
    there.iter().filter_map(keep).collect()
}
