//! Releases that a hand-written Composition has made, gone on with. Pure.
//!
//! A Helm release cannot be renamed, only removed and made anew, so such a Release keeps every name it has: what is called
//! how is read from what is there. Which of the observed resources are adopted is settled by `observed::parts`; this room
//! reads what must be known of them, and refuses where it cannot be known.

pub(crate) mod values;

use serde_json::Value;

use crate::{
    error::Refusal,
    forms,
    key::Names,
    observed::{CREDENTIALS_ANNOTATION, OLD_S3, Observed, RANCHER, Release, S3, VCLUSTER},
    platform::Platform,
    xr::Xr,
};

/// The upstream chart that made buckets; ours of the same name begins with 0.1.0.
pub(crate) const UPSTREAM: &str = "s3-register";
/// What it takes when nothing is said.
const UPSTREAM_BUCKET: &str = "vc";
const UPSTREAM_URL: &str = "http://minio.minio:9000";

/// Where values of the vcluster chart are lists that ours join, or tell where the database is.
const MUST_BE_SEEN: [&str; 10] = [
    "controlPlane.backingStore",
    "controlPlane.distro",
    "controlPlane.statefulSet.initContainers",
    "controlPlane.statefulSet.persistence",
    "controlPlane.statefulSet.sidecarContainers",
    "embeddedEtcd",
    "plugin",
    "storage",
    "syncer.storage",
    "volumes",
];

/// The bucket an adopted vcluster has had before, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldStore {
    /// The bucket.
    pub bucket: String,
    /// The Secret with s3accesskey and s3secretkey.
    pub secret: String,
    /// The endpoint.
    pub endpoint: String,
}

impl OldStore {
    /// From the Release of the upstream chart. When somebody has removed that, which removes nothing in the store, from
    /// what stands in ours beside it.
    ///
    /// # Errors
    /// A Release of another chart, or a bucket whose name cannot be read here.
    pub fn of(observed: &Observed) -> Result<Option<Self>, Refusal> {
        if let Some(old) = observed.release(OLD_S3) {
            return Self::read(old, observed.parts.name(OLD_S3)).map(Some);
        }
        let Some(ours) = observed.release(S3).filter(|_| observed.parts.is_beside()) else { return Ok(None) };
        let text = |pointer: &str| ours.value_text(pointer).unwrap_or_default().to_owned();
        let secret = ours.annotation(CREDENTIALS_ANNOTATION).unwrap_or_default().to_owned();
        Ok(Some(Self { bucket: text("/bucket"), secret, endpoint: text("/s3/url") }))
    }

    fn read(old: Release<'_>, resource: &str) -> Result<Self, Refusal> {
        let refused = |problem: String| Err(Refusal::field("input.adopt.s3", problem));
        let (chart, version) = (old.chart("/name").unwrap_or_default(), old.chart_version());
        let ours = version.is_some_and(|version| forms::s3_register(version).is_ok());
        if chart != UPSTREAM || ours {
            let version = version.unwrap_or_default();
            return refused(format!(
                "{resource:?} is a Release of chart {chart:?} {version}, not of the upstream {UPSTREAM} 0.0.x; name that \
                 one, or leave it out when there is none"
            ));
        }
        let text = |name: &str, or: &str| match set_or_value(old, name) {
            Ok(text) => Ok(text.unwrap_or_else(|| or.to_owned())),
            Err(Unreadable) => Err(Refusal::field(
                "input.adopt.s3",
                format!(
                    "{name} of {resource:?} comes from a ConfigMap or Secret, which is not read here; write it into its \
                     values first, where it changes nothing"
                ),
            )),
        };
        let bucket = text("clustername", UPSTREAM_BUCKET)?;
        if !is_bucket(&bucket) {
            return refused(format!("clustername of {resource:?} is not the name of a bucket; mend it there first"));
        }
        let endpoint = text("s3.url", UPSTREAM_URL)?.trim_end_matches('/').to_owned();
        if let Err(problem) = forms::http_url(&endpoint) {
            return refused(format!("s3.url of {resource:?}: {problem}; mend it there first"));
        }
        Ok(Self { bucket, secret: old.helm_name().to_owned(), endpoint })
    }

    /// Where the backups go.
    pub fn url(&self) -> String {
        format!("s3://{}", self.bucket)
    }

    /// Whether the Platform's own words for its store speak of this one, too.
    pub fn is_of(&self, platform: &Platform) -> bool {
        platform.store.endpoint.as_deref().map(|url| url.trim_end_matches('/')) == Some(&self.endpoint)
    }
}

/// Whatever is adopted keeps its names; ours go by the key as always.
///
/// # Errors
/// Parts of a vcluster that is not there.
pub fn renamed(
    names: Names,
    store: Option<&OldStore>,
    observed: &Observed,
    platform: &Platform,
) -> Result<Names, Refusal> {
    let parts = &observed.parts;
    let Some(vcluster) = observed.release(VCLUSTER).filter(|_| parts.is_adopted(VCLUSTER)) else {
        let lost = [OLD_S3, RANCHER, S3].into_iter().find(|part| match *part {
            S3 => parts.is_beside(),
            part => parts.is_adopted(part),
        });
        return match lost {
            None => Ok(names),
            Some(part) => Err(Refusal::HalfAdopted {
                found: parts.name(part).to_owned(),
                missing: platform.adopt.vcluster.clone().unwrap_or_default(),
            }),
        };
    };
    let mut names =
        Names { release: vcluster.helm_name().to_owned(), host_namespace: vcluster.home().to_owned(), ..names };
    if let Some(store) = store {
        names.bucket.clone_from(&store.bucket);
        names.credentials.clone_from(&store.secret);
    }
    Ok(names)
}

/// Looks that nothing is ordered that would have to be told apart from values of others, which are kept whatever they are.
///
/// # Errors
/// The first such word.
pub fn check_words(xr: &Xr, host: Option<&str>) -> Result<(), Refusal> {
    let spec = &xr.spec;
    let words = [
        ("spec.access.host", spec.access.host.is_some() && spec.access.host.as_deref() != host),
        ("spec.kubernetesVersion", spec.kubernetes_version.is_some()),
        ("spec.values", !spec.values.is_empty()),
    ];
    match words.into_iter().find(|(_, said)| *said) {
        None => Ok(()),
        Some((path, _)) => Err(Refusal::field(
            path,
            "not for a vcluster that another Composition has made, whose values stay as they are; remove the field, and \
             edit the values of its Release",
        )),
    }
}

/// Looks whether a sidecar can be added to a vcluster that others have made: its values can be seen, nothing in them bears
/// our names, and it keeps its state in the file that the sidecar reads.
///
/// # Errors
/// The first of these that does not hold.
pub fn check_vcluster(vcluster: Release<'_>, platform: &Platform) -> Result<(), Refusal> {
    let refused = |problem: String| {
        let way_out = "or write spec.backup.enabled: false";
        Err(Refusal::field("input.adopt.vcluster", format!("{problem}, {way_out}")))
    };
    if !vcluster.list("/valuesFrom").is_empty() {
        return refused(
            "some of its values come from a ConfigMap or Secret, which is not read here, and the sidecar's could replace \
             them; write them into its values first, where they change nothing"
                .to_owned(),
        );
    }
    let names = vcluster.list("/set").iter().filter_map(|set| set.get("name")?.as_str());
    let unseen = |name: &&str| {
        let below = |place: &str| name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || !is_word(rest));
        MUST_BE_SEEN.iter().any(|place| below(place))
    };
    if let Some(name) = names.into_iter().find(|name| unseen(name)) {
        return refused(format!(
            "{name} stands in its forProvider.set, and sidecar and database must be seen in values; write it there first, \
             where it changes nothing"
        ));
    }
    let replaced = platform.adopt.sidecar.as_deref();
    if let Some(name) = vcluster.foreign_containers().into_iter().find(|name| Some(*name) != replaced) {
        return refused(format!(
            "its values hold a container {name:?} that is not ours but bears its name; name it in input.adopt.sidecar to \
             have it replaced"
        ));
    }
    if let Some(place) = not_root(vcluster) {
        return refused(format!(
            "{place} gives its containers another user than root, as whom the sidecar runs: the pod would not start, or the \
             sidecar not read the database; take it out"
        ));
    }
    match without_database(vcluster) {
        Some(why) => {
            refused(format!("{why}, so there is no database file that the sidecar could back up; take it out"))
        }
        None => Ok(()),
    }
}

/// Where it is told to run as somebody else than the sidecar's user.
fn not_root(vcluster: Release<'_>) -> Option<String> {
    const CONTEXTS: [&str; 5] = [
        "/controlPlane/statefulSet/security/podSecurityContext",
        "/controlPlane/statefulSet/security/containerSecurityContext",
        "/podSecurityContext",
        "/securityContext",
        "/syncer/securityContext",
    ];
    let other = |context: &&str| {
        let said = vcluster.value(context);
        let field = |name: &str| said.and_then(|said| said.get(name));
        field("runAsNonRoot") == Some(&Value::Bool(true))
            || ["runAsUser", "runAsGroup"].iter().any(|name| field(name).is_some_and(|id| id.as_i64() != Some(0)))
    };
    CONTEXTS.into_iter().find(other).map(|context| context[1..].replace('/', "."))
}

/// What it keeps its state in, when that is no file of SQLite's on a volume.
fn without_database(vcluster: Release<'_>) -> Option<&'static str> {
    const ON: [(&str, &str); 6] = [
        ("/controlPlane/backingStore/database/external/enabled", "it keeps its state in an external database"),
        ("/controlPlane/backingStore/etcd/deploy/enabled", "it keeps its state in an etcd"),
        ("/controlPlane/backingStore/etcd/embedded/enabled", "it keeps its state in an etcd"),
        ("/controlPlane/backingStore/etcd/external/enabled", "it keeps its state in an etcd"),
        ("/controlPlane/distro/k0s/enabled", "k0s keeps its state in an etcd"),
        ("/embeddedEtcd/enabled", "it keeps its state in an etcd"),
    ];
    const OFF: [&str; 3] = [
        "/controlPlane/statefulSet/persistence/volumeClaim/enabled",
        "/storage/persistence",
        "/syncer/storage/persistence",
    ];
    // Below 0.20 each distro had a chart of its own, and only that of k3s keeps its state in SQLite.
    if vcluster.chart("/name").is_some_and(|name| name.starts_with("vcluster-")) {
        return Some("its chart is not that of k3s and keeps its state in an etcd");
    }
    let is = |pointer: &str, want: bool| vcluster.value(pointer) == Some(&Value::Bool(want));
    let on = ON.into_iter().find(|(pointer, _)| is(pointer, true)).map(|(_, why)| why);
    on.or_else(|| OFF.iter().any(|pointer| is(pointer, false)).then_some("it has no volume"))
}

struct Unreadable;

/// A value as Helm sees it: `set` goes over `values`, and those over what is read from elsewhere.
fn set_or_value(release: Release<'_>, name: &str) -> Result<Option<String>, Unreadable> {
    let set = release.list("/set").iter().rev().find(|set| set.get("name").and_then(Value::as_str) == Some(name));
    if let Some(set) = set {
        return set.get("value").and_then(Value::as_str).map(|text| Some(text.to_owned())).ok_or(Unreadable);
    }
    match release.value(&format!("/{}", name.replace('.', "/"))) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Ok(Some(other.to_string())),
        None if release.list("/valuesFrom").is_empty() => Ok(None),
        None => Err(Unreadable),
    }
}

fn is_bucket(text: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    (3..=63).contains(&text.len()) && text.chars().all(known)
}

/// `storageClass` is not below `storage`.
fn is_word(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_alphanumeric())
}
