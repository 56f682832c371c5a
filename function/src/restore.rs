//! A restore that the owner asks for: whether it is still to be done, whose backups it reads and whom it believes. Pure.
//!
//! A request is open until an outcome is known for its id. Whatever cannot be read says nothing of an outcome, so doubt
//! leaves it open; and an outcome that is known once is never forgotten while the request stands.

use serde_json::{Map, Value, json};
use vcluster_proto::{
    settings,
    status::{self, FAILED, PENDING, SUCCEEDED, Status},
};

use crate::{
    forms,
    health::Source,
    key::Names,
    order,
    platform::Platform,
    xr::{Restore, Xr},
};

/// Signing keys of another vcluster that are believed: its status holds no more.
const MAX_KEYS: usize = 32;

/// What `at` says for a start without a backup.
const EMPTY: &str = "empty";

/// An open request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// As the owner wrote it.
    pub asked: &'a Restore,
    /// The vcluster whose backups are read, when it is another one.
    pub origin: Option<Origin>,
}

/// Another vcluster of the same owner.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its names.
    pub names: Names,
    /// Where its backups are.
    pub url: String,
}

impl<'a> Request<'a> {
    /// The request, unless an outcome is known for it. The other vcluster's key is derived with this one's owner: nobody
    /// can name what is not his own.
    pub fn open(xr: &'a Xr, platform: &Platform, names: &Names, report: Option<&Status>) -> Option<Self> {
        let asked = xr.spec.restore.as_ref()?;
        if ended(xr, report, &asked.id) {
            return None;
        }
        let origin = asked.from.as_ref().map(|from| {
            let names = order::names(xr, platform, &from.id);
            let url = platform.store.url_of(&names.bucket, names.key.as_str());
            Origin { names, url }
        });
        Some(Self { asked, origin: origin.filter(|origin| origin.names.key != names.key) })
    }

    /// Whether it opens no backup at all.
    pub fn starts_empty(&self) -> bool {
        self.asked.at == EMPTY
    }

    /// As the sidecar reads it.
    pub fn settings(&self) -> settings::Restore {
        settings::Restore {
            id: self.asked.id.clone(),
            at: self.asked.at.clone(),
            from: self
                .origin
                .as_ref()
                .map(|origin| settings::Source { key: origin.names.key.to_string(), url: origin.url.clone() }),
        }
    }
}

impl Origin {
    /// Where its sidecar reports.
    pub fn source(&self) -> Source {
        Source::of(&self.names)
    }
}

/// The signing keys another vcluster's status has pinned. Nothing else in it is believed, whosever uid it bears.
pub fn keys_of(source: &Source, given: Option<&[Value]>) -> Vec<String> {
    let text = given.into_iter().flatten().find_map(|object| source.document(object)).unwrap_or_default();
    let keys = Status::from_yaml(text).map(|status| status.trusted_keys).unwrap_or_default();
    keys.into_iter().filter(|key| forms::signing_key(key).is_ok()).take(MAX_KEYS).collect()
}

/// Whom a restore believes: only ever longer, and none twice.
pub fn trusted(xr: &Xr, platform: &Platform, of_origin: &[String]) -> Vec<String> {
    let asked = xr.spec.restore.iter().flat_map(|restore| &restore.trust).map(String::as_str);
    let all = xr.trusted_keys().chain(asked).chain(platform.trust.iter().map(String::as_str));
    let mut keys: Vec<String> = Vec::new();
    for key in all.chain(of_origin.iter().map(String::as_str)) {
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    keys
}

/// What `status.restore` says. `outcome` turns what the sidecar reports into fields of the status.
pub fn status(
    xr: &Xr,
    report: Option<&Status>,
    outcome: impl Fn(&status::Restore) -> Map<String, Value>,
) -> Map<String, Value> {
    let reported = report.and_then(|report| report.restore.as_ref());
    let Some(asked) = &xr.spec.restore else {
        // A request that was taken back before it ended leaves nothing to say.
        let remembered = if is_final(field(&xr.restored, "phase")) { xr.restored.clone() } else { Map::new() };
        return reported.map_or(remembered, outcome);
    };
    match reported.filter(|restore| restore.id == asked.id) {
        Some(restore) if is_final(&restore.phase) => outcome(restore),
        _ if remembers(xr, &asked.id) => xr.restored.clone(),
        restore => {
            let mut fields = restore.map(outcome).unwrap_or_default();
            fields.insert("id".to_owned(), json!(asked.id));
            fields.insert("phase".to_owned(), json!(PENDING));
            fields
        }
    }
}

fn ended(xr: &Xr, report: Option<&Status>, id: &str) -> bool {
    let reported = report.and_then(|report| report.restore.as_ref());
    remembers(xr, id) || reported.is_some_and(|restore| restore.id == id && is_final(&restore.phase))
}

fn remembers(xr: &Xr, id: &str) -> bool {
    field(&xr.restored, "id") == id && is_final(field(&xr.restored, "phase"))
}

fn field<'a>(map: &'a Map<String, Value>, name: &str) -> &'a str {
    map.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_final(phase: &str) -> bool {
    phase == SUCCEEDED || phase == FAILED
}
