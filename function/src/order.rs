//! What is ordered: the claim's words, the platform's defaults and what already runs, joined once. Pure.
//!
//! A change of the vcluster's values restarts the tenant's API server, and only the owner's own edit may cause that.
//! So for everything that ends up there the claim's word comes first, then what runs, and a default only last: when
//! nothing runs yet, or when the owner has taken his word back.

mod access;
mod distro;
mod kubernetes;
mod made;
mod mirror;
mod operator;
mod resources;

use std::time::Duration;

use serde_json::{Map, Value, json};
use vcluster_proto::{
    interval,
    settings::{Bootstrap, DEFAULT_INTERVAL, MAX_INTERVAL},
};

use self::made::Made;
pub(crate) use self::{distro::missing as missing_distro, resources::check as check_resources};
pub use self::{kubernetes::Kubernetes, operator::Import};
use crate::{
    adopt::{self, OldStore},
    error::Refusal,
    forms::{self, Version},
    key::{Identity, Key, Names},
    observed::{BACKUP_ANNOTATION, Observed, RANCHER, Release, S3, VCLUSTER},
    overlay,
    platform::{Platform, RancherMode, Upgrade, unknown_size},
    render::family::{Distro, Family},
    xr::{DeletionPolicy, Retention, Values, Xr},
};

/// The volume of a vcluster nobody gave a size.
const DEFAULT_STORAGE: &str = "5Gi";

/// An order without open questions.
#[derive(Clone, Debug)]
pub struct Order {
    /// Every name.
    pub names: Names,
    /// The fields that are in force by the owner's word.
    pub ordered: Vec<&'static str>,
    /// The build that changes nothing by itself.
    pub kept: Build,
    /// The build for a control plane that restarts anyway, or does not run yet.
    pub fresh: Build,
    /// The owner or the platform said that it restarts.
    pub moves: bool,
    /// The host under which it is reached from outside.
    pub host: Option<String>,
    /// Chart values of the owner.
    pub values: Values,
    /// Their fingerprint; none: there are none.
    pub fingerprint: Option<String>,
    /// Whether what runs was made with them.
    pub values_run: bool,
    /// The volume's size.
    pub storage_size: String,
    /// The volume's class.
    pub storage_class: String,
    /// Whether the StatefulSet was made with pods in order, which cannot change.
    pub pods_in_order: bool,
    /// The API server as the kubeconfig of an adopted vcluster names it.
    pub server: Option<String>,
    /// Whether an adopted vcluster has a NetworkPolicy of its own.
    pub network_policy: bool,
    /// The bucket an adopted vcluster has had before.
    pub old_store: Option<OldStore>,
    /// An adopted vcluster takes the step to k8s, in values of others.
    pub steps: bool,
    /// What the owner has ordered for an adopted vcluster's volume; unset: it is as it is.
    pub volume_policy: Option<DeletionPolicy>,
    /// Whether the sidecar is there.
    pub backup: bool,
    /// Time between two backups.
    pub interval: Duration,
    /// Which are kept.
    pub retention: Option<Retention>,
    /// A new one asks for a backup at once.
    pub trigger: Option<String>,
    /// Everybody who can open them.
    pub recipients: Vec<String>,
    /// What becomes of the data.
    pub deletion_policy: DeletionPolicy,
    /// What an empty disk does when the bucket holds an earlier life.
    pub bootstrap: Option<Bootstrap>,
    /// Whether the vcluster is registered by a Release.
    pub rancher: bool,
    /// Whether an operator registers what it finds.
    pub by_operator: bool,
    /// Its owner there.
    pub rancher_owner: Option<String>,
}

/// Where the vcluster chart comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its repository.
    pub repository: String,
    /// The Secret that opens the repository.
    pub pull_secret: Option<String>,
}

/// What a roll-out moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The chart.
    pub source: Source,
    /// The chart's version.
    pub chart_version: String,
    /// Its family.
    pub family: Family,
    /// The Kubernetes inside.
    pub distro: Distro,
    /// Its version; unset: the chart's own.
    pub kubernetes: Option<Kubernetes>,
    /// The sidecar's image.
    pub sidecar_image: String,
    /// Where the chart's own images come from.
    pub registry: Option<String>,
    /// What its Service tells the vcluster-rancher-operator.
    pub import: Import,
    /// Chart values of the platform.
    pub defaults: Values,
    /// The preset.
    pub size: Option<String>,
    /// Its requests and limits; unset: the chart's own.
    pub resources: Option<Value>,
}

impl Order {
    /// Joins what is written and what is there.
    ///
    /// # Errors
    /// A wish the platform does not grant, or a change of what cannot change.
    pub fn join(xr: &Xr, platform: &Platform, observed: &Observed) -> Result<Self, Refusal> {
        let old_store = OldStore::of(observed)?;
        let names = adopt::renamed(names(xr, platform, xr.id()), old_store.as_ref(), observed, platform)?;
        observed.check(&names, old_store.as_ref(), platform)?;
        let running = observed.release(VCLUSTER);
        let adopted = observed.parts.is_adopted(VCLUSTER);
        let made = running.map(|release| Made::of(release, adopted, platform)).transpose()?;
        let runs_sidecar = made.map(Made::has_sidecar);
        let defaults = &platform.defaults;
        let kept_sidecar = unless_taken_back(running, "backup.enabled", kept_sidecar(made, observed));
        let backup = xr.spec.backup.enabled.or(kept_sidecar).or(defaults.backup.enabled).unwrap_or(true);
        let recipients = recipients(xr, platform);
        let passphrase = platform.encryption.passphrase_secret.is_some();
        match (backup, recipients.is_empty(), passphrase) {
            (true, true, false) => return Err(Refusal::NoRecipients),
            (true, false, true) => return Err(Refusal::TwoSecrecies),
            _ => (),
        }
        let (kept, mut fresh) = builds(xr, platform, made)?;
        if let Some(made) = made.filter(|_| adopted) {
            adopt::check_words(xr, made.host())?;
            if backup {
                adopt::check_vcluster(made.release, platform)?;
            }
        }
        if backup {
            mirror::check(&kept, &mut fresh)?;
        }
        operator::check(xr, platform, made.is_some())?;
        let rancher = rancher(xr, platform, observed)?;
        if rancher && observed.release(RANCHER).is_none() {
            upstream_registration(platform, &fresh)?;
        }
        let (storage_size, storage_class) = storage(xr, platform, made, &fresh)?;
        let host = access::host(xr, platform, made)?;
        let values = xr.spec.values.clone();
        let fingerprint = (!values.is_empty()).then(|| overlay::fingerprint(&values));
        let values_run = made.is_some_and(|made| made.remembers(fingerprint.as_deref()));
        let moves = kept.chart_version != running.and_then(Release::chart_version).unwrap_or_default()
            || runs_sidecar != Some(backup)
            || kept.size != fresh.size
            || made.is_some_and(|made| made.host() != host.as_deref())
            || (!values_run && made.is_some_and(|made| !made.has_lost(&values)))
            || platform.charts.vcluster.upgrade == Upgrade::Always;
        Ok(Self {
            server: made.filter(|_| adopted).and_then(Made::server).map(str::to_owned),
            network_policy: adopted && made.is_some_and(Made::has_network_policy),
            old_store,
            steps: adopted && made.is_some_and(|made| made.distro() != kept.distro),
            volume_policy: made.filter(|_| adopted).and_then(|made| word_on_retention(xr, made)),
            names,
            ordered: ordered(xr),
            kept,
            fresh,
            moves,
            host,
            values,
            fingerprint,
            values_run,
            storage_size,
            storage_class,
            pods_in_order: made.is_some_and(Made::pods_in_order),
            backup,
            interval: interval_of(xr, platform, running.is_some())?,
            retention: xr.spec.backup.retention.or(defaults.backup.retention),
            trigger: xr.spec.backup.trigger.clone(),
            recipients,
            deletion_policy: deletion_policy(xr, platform, made, observed),
            bootstrap: xr.spec.bootstrap.or(defaults.bootstrap),
            rancher,
            by_operator: platform.rancher.mode == RancherMode::Operator,
            rancher_owner: xr.spec.rancher.owner.clone().or_else(|| defaults.rancher.owner.clone()),
        })
    }
}

impl Order {
    /// The API server as the exported kubeconfig names it.
    pub fn server(&self) -> String {
        let ours = || self.host.as_ref().map_or_else(|| self.names.endpoint(), |host| format!("https://{host}:443"));
        self.server.clone().unwrap_or_else(ours)
    }
}

fn ordered(xr: &Xr) -> Vec<&'static str> {
    let spec = &xr.spec;
    let words = [
        ("access.host", spec.access.host.is_some()),
        ("backup.enabled", spec.backup.enabled.is_some()),
        ("deletionPolicy", spec.deletion_policy.is_some()),
        ("kubernetesVersion", spec.kubernetes_version.is_some()),
        (operator::DISABLED, spec.rancher.enabled == Some(false)),
        ("size", spec.size.is_some()),
    ];
    words.into_iter().filter_map(|(field, said)| said.then_some(field)).collect()
}

/// What runs by the owner's word does not go on without it.
fn unless_taken_back<T>(running: Option<Release<'_>>, field: &str, runs: Option<T>) -> Option<T> {
    runs.filter(|_| !running.is_some_and(|running| running.was_ordered(field)))
}

/// The names of a vcluster of this one's owner.
pub(crate) fn names(xr: &Xr, platform: &Platform, id: &str) -> Names {
    let identity = Identity { platform: &platform.id, group: &xr.group, kind: &xr.kind, owner: &xr.owner, id };
    let key = Key::derive(&identity);
    Names {
        host_namespace: format!("{}{key}", platform.host_namespace_prefix),
        platform_namespace: platform.namespace.clone(),
        bucket: format!("{}{key}", platform.store.bucket_prefix),
        scope: xr.scope.clone(),
        release: key.to_string(),
        credentials: format!("{key}-s3"),
        key,
    }
}

/// The platform's first, then the claim's, none twice.
fn recipients(xr: &Xr, platform: &Platform) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for recipient in platform.encryption.recipients.iter().chain(&xr.spec.backup.recipients) {
        if !joined.contains(recipient) {
            joined.push(recipient.clone());
        }
    }
    joined
}

fn builds(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<(Build, Build), Refusal> {
    let (size, resources) = size(xr, platform, made)?;
    let chart_version = chart_version(xr, platform, made)?;
    let distro = distro::choose(xr, platform, made, &chart_version)?;
    let (kept_kubernetes, kubernetes) = kubernetes::choose(xr, platform, made, distro)?;
    let family = |version: &str| Family::of(version).map_err(|problem| Refusal::field("spec.chartVersion", problem));
    let charts = &platform.charts.vcluster;
    let source = Source {
        name: charts.name.clone(),
        repository: charts.repository.clone(),
        pull_secret: charts.pull_secret.clone(),
    };
    let (kept_import, import) = operator::imports(xr, platform, made);
    let defaults = overlay::defaults(&platform.defaults.values, &charts.version, &chart_version);
    let fresh = Build {
        source,
        family: family(&chart_version)?,
        chart_version,
        distro,
        kubernetes,
        sidecar_image: platform.images.sidecar.clone(),
        registry: platform.images.registry.clone(),
        import,
        defaults,
        size,
        resources,
    };
    let Some(made) = made else { return Ok((fresh.clone(), fresh)) };
    let explicit = xr.spec.chart_version.as_deref();
    let chart_version = explicit.unwrap_or(made.version).to_owned();
    let kept = Build {
        source: made.source(&fresh.source).unwrap_or_else(|| fresh.source.clone()),
        family: family(&chart_version)?,
        chart_version,
        distro,
        kubernetes: kept_kubernetes,
        sidecar_image: made.sidecar_image().unwrap_or_else(|| fresh.sidecar_image.clone()),
        registry: made.registry().map(str::to_owned),
        import: kept_import,
        defaults: made.defaults(&fresh.defaults),
        size: made.release.size().map(str::to_owned),
        // Without a preset they are those of chart values, or none.
        resources: made.resources().filter(|_| made.release.size().is_some()).cloned(),
    };
    let fresh = match distro == made.distro() {
        // Values of others may not fit another chart.
        true if made.adopted => {
            let Build { sidecar_image, size, resources, .. } = fresh;
            Build { sidecar_image, size, resources, ..kept.clone() }
        }
        true => fresh,
        // The step to another distro moves nothing else, unless the owner orders it beside.
        false if kept.size == fresh.size => kept.clone(),
        false => Build {
            sidecar_image: kept.sidecar_image.clone(),
            registry: kept.registry.clone(),
            kubernetes: kept.kubernetes.clone(),
            import: kept.import,
            defaults: kept.defaults.clone(),
            ..fresh
        },
    };
    Ok((kept, fresh))
}

/// The owner's word, which the platform must allow unless it runs already; else the default, which never goes back.
fn chart_version(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<String, Refusal> {
    let running = made.and_then(|made| made.release.chart_version());
    if let Some(wanted) = &xr.spec.chart_version {
        if let Some(made) = made.filter(|made| made.adopted) {
            made.reads_the_same(wanted)?;
        }
        if platform.allows(wanted) || running == Some(wanted) {
            return Ok(wanted.clone());
        }
        let chart = &platform.charts.vcluster;
        let mut allowed: Vec<&str> = chart.allowed.iter().map(String::as_str).chain([chart.version.as_str()]).collect();
        allowed.sort_unstable();
        allowed.dedup();
        let problem = format!("{wanted:?} is not allowed by this platform; use one of {}", allowed.join(", "));
        return Err(Refusal::field("spec.chartVersion", problem));
    }
    let default = &platform.charts.vcluster.version;
    let ahead = |text: &&str| match (Version::parse(text), Version::parse(default)) {
        (Ok(running), Ok(default)) => running > default,
        _ => false,
    };
    let stays = |running: &&str| {
        ahead(running) || made.is_some_and(|made| made.adopted || distro::holds_back(xr, made, default))
    };
    Ok(running.filter(stays).unwrap_or(default).to_owned())
}

/// The preset and what it gives. One that is gone from the platform goes on as it runs.
fn size(xr: &Xr, platform: &Platform, made: Option<Made<'_>>) -> Result<(Option<String>, Option<Value>), Refusal> {
    let running = made.map(|made| made.release);
    let ran = running.and_then(Release::size);
    let wanted = xr.spec.size.as_deref();
    let new = running.is_none_or(|running| running.was_ordered("size"));
    let default = if new { platform.defaults.size.as_deref() } else { ran };
    // Without a preset, requests and limits are the chart's, or those of values.
    let Some(name) = wanted.or(default) else { return Ok((None, None)) };
    let Some(preset) = platform.sizes.get(name) else {
        if ran == Some(name) {
            return Ok((Some(name.to_owned()), made.and_then(Made::resources).cloned()));
        }
        return Err(Refusal::field("spec.size", unknown_size(name, platform)));
    };
    let mut resources = Map::new();
    for (kind, amounts) in [("requests", &preset.requests), ("limits", &preset.limits)] {
        if !amounts.is_empty() {
            resources.insert(kind.to_owned(), json!(amounts));
        }
    }
    Ok((Some(name.to_owned()), (!resources.is_empty()).then_some(Value::Object(resources))))
}

/// Fixed when the volume is made: a volume claim template of a StatefulSet cannot change.
fn storage(xr: &Xr, platform: &Platform, made: Option<Made<'_>>, fresh: &Build) -> Result<(String, String), Refusal> {
    let (wanted, defaults) = (&xr.spec.storage, &platform.defaults.storage);
    if let Some(made) = made {
        let fixed = |path, wanted: &Option<String>, found: &str, same: bool| match wanted {
            Some(wanted) if !same => Err(Refusal::Fixed {
                path,
                wanted: wanted.clone(),
                found: found.to_owned(),
                resource: VCLUSTER,
                reason: "the volume of a running vcluster keeps its size and class",
            }),
            _ => Ok(()),
        };
        let (size, class) = (made.storage_size().unwrap_or(DEFAULT_STORAGE), made.storage_class().unwrap_or_default());
        let same_size = wanted.size.as_deref().is_none_or(|w| forms::storage(w) == forms::storage(size));
        fixed("spec.storage.size", &wanted.size, size, same_size)?;
        fixed("spec.storage.className", &wanted.class_name, class, wanted.class_name.as_deref() == Some(class))?;
        return Ok((size.to_owned(), class.to_owned()));
    }
    let preset = fresh.size.as_ref().and_then(|name| Some((name, platform.sizes.get(name)?.storage.as_ref()?)));
    let (path, size) = match (&wanted.size, preset, &defaults.size) {
        (Some(wanted), ..) => ("spec.storage.size".to_owned(), wanted.as_str()),
        (None, Some((name, size)), _) => (format!("input.sizes.{name}.storage"), size.as_str()),
        (None, None, Some(size)) => ("input.defaults.storage.size".to_owned(), size.as_str()),
        (None, None, None) => ("input.defaults.storage.size".to_owned(), DEFAULT_STORAGE),
    };
    let room = |text: &str| forms::storage(text).unwrap_or(f64::INFINITY);
    if let Some(max) = platform.limits.max_storage.as_deref().filter(|max| room(size) > room(max)) {
        let problem = match &wanted.size {
            Some(_) => format!("{size:?} is more than this platform gives; ask for at most {max}"),
            None => format!("{size:?}, but input.limits.maxStorage is {max}; raise that, or write less here"),
        };
        return Err(Refusal::field(path, problem));
    }
    let class = wanted.class_name.as_ref().or(defaults.class_name.as_ref());
    Ok((size.to_owned(), class.cloned().unwrap_or_default()))
}

/// A limit that rises refuses new orders only; what runs is held to it without a word.
fn interval_of(xr: &Xr, platform: &Platform, runs: bool) -> Result<Duration, Refusal> {
    let least = platform.limits.min_interval;
    let most = MAX_INTERVAL.max(least);
    match xr.spec.backup.interval {
        Some(wanted) if wanted > most && runs => Ok(most),
        Some(wanted) if wanted > most => {
            let (wanted, most) = (interval::print(wanted), interval::print(most));
            let problem = format!(
                "{wanted} is too long to tell a sidecar that is quiet from one that is dead; write at most {most}"
            );
            Err(Refusal::field("spec.backup.interval", problem))
        }
        Some(wanted) if wanted < least && runs => Ok(least),
        Some(wanted) if wanted < least => {
            let (wanted, least) = (interval::print(wanted), interval::print(least));
            let problem = format!("{wanted} is less than this platform gives; ask for at least {least}");
            Err(Refusal::field("spec.backup.interval", problem))
        }
        Some(wanted) => Ok(wanted),
        None => Ok(platform.defaults.backup.interval.unwrap_or(DEFAULT_INTERVAL).clamp(least, most)),
    }
}

/// A sidecar that is missing goes on missing only by a decision, which is remembered; an edit of the Release by hand is
/// none, and is healed.
fn kept_sidecar(made: Option<Made<'_>>, observed: &Observed) -> Option<bool> {
    let made = made?;
    let decided_against = made.release.annotation(BACKUP_ANNOTATION) == Some("false");
    match (made.has_sidecar(), decided_against) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => observed.release(S3).map(|_| true),
    }
}

/// A default that changes must not decide over data that is already there, nor may an edit of one Release by hand: where
/// bucket and volume disagree, both are kept.
fn deletion_policy(xr: &Xr, platform: &Platform, made: Option<Made<'_>>, observed: &Observed) -> DeletionPolicy {
    if made.is_some_and(|made| made.adopted) {
        return xr.spec.deletion_policy.unwrap_or(DeletionPolicy::Retain);
    }
    let bucket = observed.release(S3).and_then(|s3| s3.value_text("/deletionPolicy")).map(|policy| {
        if policy == DeletionPolicy::Delete.as_str() { DeletionPolicy::Delete } else { DeletionPolicy::Retain }
    });
    let ran = match (bucket, made.map(Made::deletion_policy)) {
        (Some(bucket), Some(volume)) if bucket != volume => Some(DeletionPolicy::Retain),
        (bucket, volume) => bucket.or(volume),
    };
    let ran = unless_taken_back(made.map(|made| made.release), "deletionPolicy", ran);
    xr.spec.deletion_policy.or(ran).or(platform.defaults.deletion_policy).unwrap_or(DeletionPolicy::Retain)
}

/// The upstream chart's script reads a file that only k3s writes. A registration that is there is not made again.
fn upstream_registration(platform: &Platform, build: &Build) -> Result<(), Refusal> {
    let version = platform.charts.rancher_cluster.as_ref().map(|chart| chart.version.as_str()).unwrap_or_default();
    if !forms::is_upstream_rancher(version) || build.distro == Distro::K3s {
        return Ok(());
    }
    let problem = format!(
        "{version:?} is the upstream chart, which registers vclusters on k3s only, and this one runs {} on chart {}; use \
         the chart of this project, or rancher.mode: operator",
        build.distro.as_str(),
        build.chart_version
    );
    Err(Refusal::field("input.charts.rancherCluster.version", problem))
}

/// The word itself, or that it was taken back.
fn word_on_retention(xr: &Xr, made: Made<'_>) -> Option<DeletionPolicy> {
    xr.spec.deletion_policy.or_else(|| made.release.was_ordered("deletionPolicy").then_some(DeletionPolicy::Retain))
}

/// Only an explicit `false` in the claim removes a registration that is there.
fn rancher(xr: &Xr, platform: &Platform, observed: &Observed) -> Result<bool, Refusal> {
    let registered = observed.release(RANCHER).is_some();
    // An adopted one needs nothing of the Platform.
    let offered = platform.rancher.mode == RancherMode::Chart || observed.parts.is_adopted(RANCHER);
    match xr.spec.rancher.enabled {
        Some(false) => Ok(false),
        _ if registered && !offered => Err(Refusal::RancherGone { mode: platform.rancher.mode.as_str() }),
        _ if registered => Ok(true),
        // By the operator, which needs no Release.
        _ if platform.rancher.mode == RancherMode::Operator => Ok(false),
        Some(true) if !offered => Err(Refusal::field(
            "spec.rancher.enabled",
            "true, but this platform has no Rancher (input.rancher.mode: none); remove the field",
        )),
        Some(true) => Ok(true),
        None => Ok(offered && platform.defaults.rancher.enabled.unwrap_or(true)),
    }
}
