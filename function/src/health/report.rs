//! The sidecar's report as a request brings it: asked for, found, believed or not. Pure.

use serde_json::Value;
use vcluster_proto::status::{FILE_NAME, Status};

use crate::{key::Names, read};

/// The label by which cores before 2.0 find the ConfigMap: they look through all namespaces.
pub const KEY_LABEL: &str = "vcluster.fn.crossplane.io/key";

/// The ConfigMap that holds the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What its label [`KEY_LABEL`] says.
    pub key: String,
}

impl Source {
    /// The one of a vcluster.
    pub fn of(names: &Names) -> Self {
        Self { name: names.status(), namespace: names.host_namespace.clone(), key: names.key.to_string() }
    }

    /// The report's text, if an object is this ConfigMap.
    pub(crate) fn document<'a>(&self, object: &'a Value) -> Option<&'a str> {
        if self.is(object) { object.get("data")?.get(FILE_NAME)?.as_str() } else { None }
    }

    /// The uid of the ConfigMap, if it is among what Crossplane has handed over.
    pub(crate) fn uid<'a>(&self, given: Option<&'a [Value]>) -> Option<&'a str> {
        read::at(given?.iter().find(|object| self.is(object))?, "/metadata/uid")?.as_str()
    }

    /// Anybody may label a ConfigMap in a namespace of his own: only name and namespace tell whose it is.
    fn is(&self, object: &Value) -> bool {
        let has = |pointer: &str, want: &str| read::at(object, pointer).and_then(Value::as_str) == Some(want);
        has("/apiVersion", "v1")
            && has("/kind", "ConfigMap")
            && has("/metadata/name", &self.name)
            && has("/metadata/namespace", &self.namespace)
    }
}

/// What is known of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Crossplane has handed over nothing: it has not been asked yet, or is older than 1.15.
    NotRead,
    /// There is no ConfigMap, or nobody has written into it.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// It speaks of another XR: of an earlier life under the same name.
    Foreign,
    /// It speaks of this XR.
    Known(Box<Status>),
}

impl Report {
    /// Looks through what Crossplane has handed over; `uid` is the XR's, and an XR without one is nobody's.
    pub fn read(given: Option<&[Value]>, source: &Source, uid: &str) -> Self {
        let Some(given) = given else { return Self::NotRead };
        let yaml = given.iter().find_map(|object| source.document(object)).unwrap_or_default();
        if yaml.trim().is_empty() {
            return Self::Missing;
        }
        match Status::from_yaml(yaml) {
            Err(_) => Self::Unreadable,
            Ok(status) if uid.is_empty() || status.uid != uid => Self::Foreign,
            Ok(status) => Self::Known(Box::new(status)),
        }
    }

    /// The report, when it is believed.
    pub fn known(&self) -> Option<&Status> {
        match self {
            Self::Known(status) => Some(status),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source() -> Source {
        Source { name: "k-backup-status".into(), namespace: "tenant-k".into(), key: "k".into() }
    }

    fn map(yaml: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "k-backup-status", "namespace": "tenant-k"},
            "data": {"status.yaml": yaml},
        })
    }

    fn document(uid: &str) -> String {
        Status { uid: uid.into(), ..Status::default() }.to_yaml().expect("YAML")
    }

    #[test]
    fn only_a_report_of_this_xr_from_the_right_place_is_known() {
        let read = |given: Option<&[Value]>, uid: &str| Report::read(given, &source(), uid);
        let edited = |pointer: &str, value: &str| {
            let mut map = map(&document("u"));
            *map.pointer_mut(pointer).expect("there") = json!(value);
            [map]
        };
        assert_eq!(read(None, "u"), Report::NotRead);
        assert_eq!(read(Some(&[]), "u"), Report::Missing);
        assert!(read(Some(&[map(&document("u"))]), "u").known().is_some());
        for (pointer, value) in [
            ("/metadata/name", "k-backup"),
            ("/metadata/namespace", "tenant-mine"),
            ("/kind", "Secret"),
            ("/apiVersion", "v2"),
            ("/data/status.yaml", " \n"),
        ] {
            assert_eq!(read(Some(&edited(pointer, value)), "u"), Report::Missing, "{pointer}");
        }
        let [stranger] = edited("/metadata/namespace", "tenant-mine");
        assert!(read(Some(&[stranger, map(&document("u"))]), "u").known().is_some(), "a stranger hides nothing");
        assert_eq!(read(Some(&[map(&document("u"))]), "other"), Report::Foreign);
        assert_eq!(read(Some(&[map(&document(""))]), ""), Report::Foreign, "no uid is nobody's uid");
        for yaml in ["{", "kind: BackupStatus", "apiVersion: v1\nkind: ConfigMap", "uid: u"] {
            assert_eq!(read(Some(&[map(yaml)]), "u"), Report::Unreadable, "{yaml}");
        }
        for data in [json!(null), json!([]), json!({"status.yaml": 1})] {
            let mut map = map("");
            map["data"] = data;
            assert_eq!(read(Some(&[map]), "u"), Report::Missing);
        }
    }
}
