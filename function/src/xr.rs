//! The VCluster XR as types: what a tenant may write, and what the status remembers for us. Pure.
//!
//! Everything unknown is refused with its path; fields of Crossplane's own machinery in `spec` are none of ours. Whose
//! values they are is settled here, what they mean together with the platform's defaults in [`crate::order`].

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use vcluster_proto::{interval, settings::Bootstrap};

use crate::{error::Refusal, forms, read, render::family::Distro};

/// The label that says whose claim an XR answers.
const CLAIM_NAMESPACE: &str = "crossplane.io/claim-namespace";

/// Fields Crossplane puts into the `spec` of every XR.
const MACHINERY: [&str; 13] = [
    "claimRef",
    "compositeDeletePolicy",
    "compositionRef",
    "compositionRevisionRef",
    "compositionRevisionSelector",
    "compositionSelector",
    "compositionUpdatePolicy",
    "crossplane",
    "environmentConfigRefs",
    "publishConnectionDetailsTo",
    "resourceRef",
    "resourceRefs",
    "writeConnectionSecretToRef",
];

/// Fields of the plan that join in later versions: refused by name until then, never ignored.
const LATER: [&str; 6] = ["restore", "access", "values", "kubernetesVersion", "backup.retention", "backup.trigger"];

/// What `status.backup` keeps for later requests whatever this version makes of it.
const REMEMBERED: [&str; 6] = ["generation", "lastVerified", "newest", "oldest", "sizeBytes", "trustedKeys"];
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

/// What is ordered; unset fields are the platform's to fill in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// The name everything is derived from instead of the XR's.
    pub id: Option<String>,
    /// A chart version the platform allows.
    pub chart_version: Option<String>,
    /// The Kubernetes inside; k3s only where the chart has it, and k3s to k8s once.
    pub distro: Option<Distro>,
    /// A preset of the platform.
    pub size: Option<String>,
    /// The volume, fixed when it is made.
    pub storage: Storage,
    /// Backups.
    pub backup: Backup,
    /// What becomes of bucket, store user and volume when the claim goes.
    pub deletion_policy: Option<DeletionPolicy>,
    /// What an empty disk does when the bucket holds an earlier life.
    pub bootstrap: Option<Bootstrap>,
    /// The registration.
    pub rancher: Rancher,
}

/// The volume of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// Its size.
    pub size: Option<String>,
    /// Its class; empty: the host cluster's default.
    pub class_name: Option<String>,
}

/// Backups, as a tenant orders them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backup {
    /// Whether the sidecar is there.
    pub enabled: Option<bool>,
    /// Time between two backups.
    #[serde(with = "interval::optional")]
    pub interval: Option<Duration>,
    /// age recipients, beside the platform's.
    pub recipients: Vec<String>,
}

/// The Rancher registration, as a tenant orders it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rancher {
    /// Whether the vcluster is registered; an explicit `false` removes a registration.
    pub enabled: Option<bool>,
    /// The principal that becomes cluster owner.
    pub owner: Option<String>,
}

/// What becomes of a tenant's data when the claim goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DeletionPolicy {
    /// Bucket, store user and volume stay.
    Retain,
    /// They go.
    Delete,
}

impl DeletionPolicy {
    /// As Kubernetes and the charts spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
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

impl Spec {
    fn parse(spec: &Value) -> Result<Self, Refusal> {
        let mut spec = match spec {
            Value::Null => Map::new(),
            Value::Object(spec) => spec.clone(),
            _ => return Err(Refusal::field("spec", "not an object; write its fields below it")),
        };
        MACHINERY.iter().for_each(|field| _ = spec.remove(*field));
        for path in LATER {
            let pointer = format!("/{}", path.replace('.', "/"));
            let (first, rest) = path.split_once('.').map_or((path, None), |(first, _)| (first, Some(pointer)));
            let value = spec.get(first).and_then(|value| match rest {
                Some(pointer) => value.pointer(&pointer[first.len() + 1..]),
                None => Some(value),
            });
            if let Some(value) = value.filter(|value| !value.is_null()) {
                return Err(later(&format!("spec.{path}"), value));
            }
        }
        let spec: Self = read::typed("spec", Value::Object(spec))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), Refusal> {
        if let Some(id) = &self.id {
            let length = id.chars().count();
            if !(1..=63).contains(&length) {
                return Err(Refusal::field("spec.id", format!("{length} characters; write 1 to 63")));
            }
        }
        read::check("spec.chartVersion", self.chart_version.as_deref(), |v| {
            forms::Version::known_vcluster(v).map(|_| ())
        })?;
        read::check("spec.storage.className", self.storage.class_name.as_deref(), forms::class_name)?;
        read::check("spec.rancher.owner", self.rancher.owner.as_deref(), forms::principal)?;
        read::check("spec.storage.size", self.storage.size.as_deref(), |s| forms::storage(s).map(|_| ()))?;
        for (index, recipient) in self.backup.recipients.iter().enumerate() {
            read::check(&format!("spec.backup.recipients[{index}]"), Some(recipient), forms::recipient)?;
        }
        Ok(())
    }
}

fn later(path: &str, value: &Value) -> Refusal {
    // Short, and never the inside of a structure: `values` may hold anything.
    let value = match value {
        Value::Object(_) => "this object".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        Value::String(text) => format!("{:?}", text.chars().take(63).collect::<String>()),
        scalar => scalar.to_string(),
    };
    Refusal::Later { path: path.to_owned(), value }
}

fn remembered(xr: &Value, pointer: &str, fields: &[&str]) -> Map<String, Value> {
    let Some(Value::Object(there)) = xr.pointer(pointer) else { return Map::new() };
    let keep = |(name, value): (&String, &Value)| {
        (fields.contains(&name.as_str()) && !value.is_null()).then(|| (name.clone(), value.clone()))
    };
    there.iter().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(spec: &Value) -> String {
        Spec::parse(spec).expect_err("refused").to_string()
    }

    #[test]
    fn crossplanes_own_fields_are_none_of_ours() {
        let spec = json!({"claimRef": {"name": "x"}, "resourceRefs": [], "crossplane": {}, "size": "small"});
        assert_eq!(Spec::parse(&spec).expect("fine").size.as_deref(), Some("small"));
        assert_eq!(Spec::parse(&Value::Null).expect("nothing is ordered"), Spec::default());
    }

    #[test]
    fn what_joins_later_is_refused_by_name_today() {
        for path in LATER {
            let mut spec = json!("value");
            for part in path.rsplit('.') {
                spec = json!({ part: spec });
            }
            assert_eq!(
                refusal(&spec),
                format!("spec.{path}: \"value\" cannot be honoured by this version of the function; remove the field")
            );
        }
        assert!(refusal(&json!({"values": {"password": "hunter2"}})).starts_with("spec.values: this object cannot"));
    }

    #[test]
    fn errors_name_the_path_and_the_value() {
        let wrong = [
            json!({"backup": {"interval": "often"}}),
            json!({"backup": {"interval": 60}}),
            json!({"backup": {"intervall": "1m"}}),
            json!({"sise": "small"}),
            json!({"size": 3}),
            json!({"deletionPolicy": "Keep"}),
            json!({"bootstrap": "Newest"}),
            json!({"backup": {"enabled": "yes"}}),
            json!({"backup": {"recipients": "AGE-SECRET-KEY-1QQQQ"}}),
            json!({"backup": {"recipients": ["age1"]}}),
            json!({"backup": {"recipients": ["AGE-SECRET-KEY-1QQQ"]}}),
            json!({"storage": {"size": "lots"}}),
            json!({"storage": {"size": "0"}}),
            json!({"storage": {"className": "a: b"}}),
            json!({"rancher": {"owner": "a\"; curl"}}),
            json!({"a\nb": 1}),
            json!({"chartVersion": "v0.36.1"}),
            json!({"chartVersion": "0.18.1"}),
            json!({"distro": "k0s"}),
            json!({"id": ""}),
            json!("all"),
        ];
        let sentences: Vec<String> = wrong.iter().map(refusal).collect();
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        spec.backup.interval: "often" is not a duration; write it as 30s, 1m or 1h30m
        spec.backup.interval: invalid type: integer `60`, expected a string
        spec.backup.intervall: unknown field `intervall`, expected one of `enabled`, `interval`, `recipients`; remove it or mend its name
        spec.sise: unknown field `sise`, expected one of `id`, `chartVersion`, `distro`, `size`, `storage`, `backup`, `deletionPolicy`, `bootstrap`, `rancher`; remove it or mend its name
        spec.size: invalid type: integer `3`, expected a string
        spec.deletionPolicy: unknown variant `Keep`, expected `Retain` or `Delete`
        spec.bootstrap: unknown variant `Newest`, expected `Latest` or `Empty`
        spec.backup.enabled: invalid type: string "yes", expected a boolean
        spec.backup.recipients: invalid type: string, expected a sequence
        spec.backup.recipients[0]: not an age recipient; copy the whole of age1... (62 characters) as `vcluster-backup keygen` prints it
        spec.backup.recipients[0]: holds an age identity, which must never be here: whoever reads the claim could open every backup; put its recipient (age1...) here and make a new identity
        spec.storage.size: "lots" is not a quantity; write it as 500m, 2, 256Mi or 5Gi
        spec.storage.size: "0" is no room at all; write it as 5Gi
        spec.storage.className: "a: b" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
        spec.rancher.owner: "a\"; curl" is not a principal; write it as local://u-abc12 or keycloak_user://name@example.org
        spec.a b: unknown field `a b`, expected one of `id`, `chartVersion`, `distro`, `size`, `storage`, `backup`, `deletionPolicy`, `bootstrap`, `rancher`; remove it or mend its name
        spec.chartVersion: "v0.36.1" is not a chart version; write it as 0.36.1
        spec.chartVersion: vcluster chart 0.18.1 is not one this version of the function renders; use 0.19 to 0.36
        spec.distro: unknown variant `k0s`, expected `k8s` or `k3s`
        spec.id: 0 characters; write 1 to 63
        spec: not an object; write its fields below it
        "#);
    }
}
