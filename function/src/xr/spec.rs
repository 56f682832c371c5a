//! `spec` of an XR: what a tenant may write, each field with its form. Pure.
//!
//! Everything unknown is refused with its path; fields of Crossplane's own machinery in `spec` are none of ours.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vcluster_proto::{
    interval,
    settings::{self, Bootstrap},
};

use crate::{error::Refusal, forms, read, render::family::Distro};

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

impl Spec {
    /// What a tenant may write at the first level.
    pub(crate) const FIELDS: [&'static str; 13] = [
        "access",
        "backup",
        "bootstrap",
        "chartVersion",
        "deletionPolicy",
        "distro",
        "id",
        "kubernetesVersion",
        "rancher",
        "restore",
        "size",
        "storage",
        "values",
    ];
}

/// Values of the vcluster chart, as a tenant or a platform adds them.
pub type Values = Map<String, Value>;

/// What is ordered; unset fields are the platform's to fill in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// The name everything is derived from instead of the object's own; it never changes.
    #[schemars(length(min = 1, max = 63))]
    pub id: Option<String>,
    /// A version of the vcluster chart that the platform allows.
    #[schemars(regex(pattern = forms::pattern::CHART_VERSION))]
    pub chart_version: Option<String>,
    /// The Kubernetes version, one of those the platform offers, as "1.33".
    #[schemars(regex(pattern = forms::pattern::KUBERNETES_VERSION))]
    pub kubernetes_version: Option<String>,
    /// A preset of the platform: requests, limits and the size of the volume.
    pub size: Option<String>,
    /// The Kubernetes distribution inside: k3s only with charts below 0.33, and from k3s to k8s once.
    pub distro: Option<Distro>,
    /// The volume of the control plane, fixed when it is made.
    pub storage: Storage,
    /// How the API server is reached from outside of the host cluster.
    pub access: Access,
    /// Backups.
    pub backup: Backup,
    /// What becomes of bucket, store user and volume when the order is deleted.
    pub deletion_policy: Option<DeletionPolicy>,
    /// What an empty disk does when the bucket holds an earlier life of the same name; unset: it waits and asks.
    pub bootstrap: Option<Bootstrap>,
    /// A restore that is asked for; it is done once for each id.
    pub restore: Option<Restore>,
    /// The registration with Rancher.
    pub rancher: Rancher,
    /// Values of the vcluster chart, below the paths that the platform allows.
    pub values: Values,
}

/// The volume of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// Its size, as 5Gi.
    #[schemars(regex(pattern = forms::pattern::QUANTITY))]
    pub size: Option<String>,
    /// Its class; empty: the host cluster's default.
    pub class_name: Option<String>,
}

/// How the API server is reached from outside of the host cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// A host name for an ingress, the certificate and the kubeconfig; it must end as the platform says.
    pub host: Option<String>,
}

/// Backups, as a tenant orders them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backup {
    /// Whether backups are made.
    pub enabled: Option<bool>,
    /// Time between two backups, as 1m.
    #[serde(with = "interval::optional")]
    #[schemars(with = "Option<String>", regex(pattern = forms::pattern::INTERVAL))]
    pub interval: Option<Duration>,
    /// Which backups are kept; unset: all of them, until the bucket's own rules expire them.
    pub retention: Option<Retention>,
    /// age recipients (age1...) that can open the backups, beside the platform's.
    #[schemars(inner(regex(pattern = forms::pattern::RECIPIENT)))]
    pub recipients: Vec<String>,
    /// Any text: each new one asks for a backup at once.
    #[schemars(regex(pattern = forms::pattern::TOKEN))]
    pub trigger: Option<String>,
}

/// Which backups are kept: one stays when any of the rules keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many.
    pub keep_last: Option<u32>,
    /// The newest of each of the newest so many hours that have one.
    pub keep_hourly: Option<u32>,
    /// The newest of each of the newest so many days that have one.
    pub keep_daily: Option<u32>,
    /// The newest of each of the newest so many weeks that have one; a week begins on Monday.
    pub keep_weekly: Option<u32>,
    /// The newest of each of the newest so many months that have one.
    pub keep_monthly: Option<u32>,
    /// The newest of each of the newest so many years that have one.
    pub keep_yearly: Option<u32>,
    /// All that are younger than this, as 48h.
    #[serde(with = "interval::optional")]
    #[schemars(with = "Option<String>", regex(pattern = forms::pattern::INTERVAL))]
    pub keep_within: Option<Duration>,
}

impl Retention {
    /// As the sidecar reads it; rules that keep nothing are no rules.
    pub fn rules(self) -> Option<settings::Retention> {
        let rules = settings::Retention {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
            keep_within: self.keep_within,
        };
        (rules != settings::Retention::default()).then_some(rules)
    }
}

/// A restore that is asked for. It is done once: its outcome is remembered by its id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restore {
    /// Tells this request from others; a new one asks again.
    #[schemars(regex(pattern = forms::pattern::TOKEN))]
    pub id: String,
    /// What is restored: latest, empty, a time as 2026-11-22T06:00:00Z, or the id of a backup.
    #[serde(default = "latest")]
    pub at: String,
    /// Another vcluster of the same owner, whose backups are read instead of this one's.
    #[serde(default)]
    pub from: Option<RestoreSource>,
    /// Signing keys (ed25519:...) to believe beside those that are known.
    #[serde(default)]
    #[schemars(inner(regex(pattern = forms::pattern::SIGNING_KEY)))]
    pub trust: Vec<String>,
}

/// Another vcluster of the same owner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreSource {
    /// Its spec.id, or the name of its object where it has none.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,
}

/// The Rancher registration, as a tenant orders it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rancher {
    /// Whether the vcluster is registered; an explicit false removes a registration.
    pub enabled: Option<bool>,
    /// The principal that becomes cluster owner.
    pub owner: Option<String>,
}

/// What becomes of a tenant's data when the order is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Spec {
    pub(super) fn parse(spec: &Value) -> Result<Self, Refusal> {
        let mut spec = match spec {
            Value::Null => Map::new(),
            Value::Object(spec) => spec.clone(),
            _ => return Err(Refusal::field("spec", "not an object; write its fields below it")),
        };
        MACHINERY.iter().for_each(|field| _ = spec.remove(*field));
        let spec: Self = read::typed("spec", &Value::Object(spec))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), Refusal> {
        let known = |version: &str| forms::Version::known_vcluster(version).map(|_| ());
        let storage = |text: &str| forms::storage(text).map(|_| ());
        read::check("spec.id", self.id.as_deref(), forms::id)?;
        read::check("spec.chartVersion", self.chart_version.as_deref(), known)?;
        read::check("spec.kubernetesVersion", self.kubernetes_version.as_deref(), forms::kubernetes_version)?;
        read::check("spec.storage.className", self.storage.class_name.as_deref(), forms::class_name)?;
        read::check("spec.storage.size", self.storage.size.as_deref(), storage)?;
        read::check("spec.access.host", self.access.host.as_deref(), forms::host)?;
        read::check("spec.rancher.owner", self.rancher.owner.as_deref(), forms::principal)?;
        read::check_all("spec.backup.recipients", &self.backup.recipients, forms::recipient)?;
        read::check("spec.backup.trigger", self.backup.trigger.as_deref(), forms::token)?;
        self.restore.as_ref().map_or(Ok(()), Restore::check)
    }
}

impl Restore {
    fn check(&self) -> Result<(), Refusal> {
        read::check("spec.restore.id", Some(&self.id), forms::token)?;
        read::check("spec.restore.at", Some(&self.at), forms::restore_point)?;
        read::check("spec.restore.from.id", self.from.as_ref().map(|from| from.id.as_str()), forms::id)?;
        read::check_all("spec.restore.trust", &self.trust, forms::signing_key)
    }
}

fn latest() -> String {
    "latest".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_known_by_its_name() {
        let sentence = refusal(&json!({"colour": "blue"}));
        let (_, known) = sentence.split_once("mend its name: ").expect("they are listed");
        let mut fields: Vec<&str> = known.split(", ").collect();
        fields.sort_unstable();
        assert_eq!(fields, Spec::FIELDS, "{sentence}");
    }

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
        spec.backup.interval: 60 is a number; write a text, in quotes
        spec.backup.intervall: there is no field "intervall"; remove it or mend its name: enabled, interval, retention, recipients, trigger
        spec.sise: there is no field "sise"; remove it or mend its name: id, chartVersion, kubernetesVersion, size, distro, storage, access, backup, deletionPolicy, bootstrap, restore, rancher, values
        spec.size: 3 is a number; write a text, in quotes
        spec.deletionPolicy: "Keep" is not one of its values; write Retain or Delete
        spec.bootstrap: "Newest" is not one of its values; write Latest or Empty
        spec.backup.enabled: "yes" is a text; write true or false
        spec.backup.recipients: a text; write a list
        spec.backup.recipients[0]: not an age recipient; copy the whole of age1... (62 characters) as `vcluster-backup keygen` prints it
        spec.backup.recipients[0]: holds an age identity, which must never be here: whoever reads the claim could open every backup; put its recipient (age1...) here and make a new identity
        spec.storage.size: "lots" is not a quantity; write it as 500m, 2, 256Mi or 5Gi
        spec.storage.size: "0" is no room at all; write it as 5Gi
        spec.storage.className: "a: b" is not the name of an object; write a-z, 0-9, - and ., a letter or digit at both ends
        spec.rancher.owner: "a\"; curl" is not a principal; write it as local://u-abc12 or keycloak_user://name@example.org
        spec.a b: there is no field "a b"; remove it or mend its name: id, chartVersion, kubernetesVersion, size, distro, storage, access, backup, deletionPolicy, bootstrap, restore, rancher, values
        spec.chartVersion: "v0.36.1" is not a chart version; write it as 0.36.1
        spec.chartVersion: vcluster chart 0.18.1 is not one this version of the function renders; use 0.19 to 0.36
        spec.distro: "k0s" is not one of its values; write k8s or k3s
        spec.id: 0 characters; write 1 to 63
        spec: not an object; write its fields below it
        "#);
    }
}
