//! What is ordered: the claim's words, the platform's defaults and what already runs, joined once. Pure.
//!
//! A change of the vcluster's values restarts the tenant's API server, and only the owner's own edit may cause that.
//! So for everything that ends up there the claim's word comes first, then what runs, and a default only last: when
//! nothing runs yet, or when the owner has taken his word back.

mod access;
mod backup;
mod build;
mod distro;
mod kubernetes;
mod made;
mod mirror;
mod operator;
mod registration;
mod resources;
mod volume;

use std::time::Duration;

use vcluster_proto::settings::Bootstrap;

use self::made::Made;
pub use self::{
    build::{Build, Source},
    kubernetes::Kubernetes,
    operator::Import,
};
pub(crate) use self::{distro::missing as missing_distro, resources::check as check_resources};
use crate::{
    adopt::{self, OldStore},
    error::Refusal,
    key::{Identity, Key, Names},
    observed::{Observed, RANCHER, Release, VCLUSTER},
    overlay,
    platform::{Platform, RancherMode, Upgrade},
    xr::{DeletionPolicy, Retention, Values, Xr},
};

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
        let kept_sidecar = unless_taken_back(running, "backup.enabled", backup::kept_sidecar(made, observed));
        let backup = xr.spec.backup.enabled.or(kept_sidecar).or(defaults.backup.enabled).unwrap_or(true);
        let recipients = backup::recipients(xr, platform);
        let passphrase = platform.encryption.passphrase_secret.is_some();
        match (backup, recipients.is_empty(), passphrase) {
            (true, true, false) => return Err(Refusal::NoRecipients),
            (true, false, true) => return Err(Refusal::TwoSecrecies),
            _ => (),
        }
        let (kept, mut fresh) = build::builds(xr, platform, made)?;
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
        let rancher = registration::rancher(xr, platform, observed)?;
        if rancher && observed.release(RANCHER).is_none() {
            registration::upstream_registration(platform, &fresh)?;
        }
        let (storage_size, storage_class) = volume::storage(xr, platform, made, &fresh)?;
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
            volume_policy: made.filter(|_| adopted).and_then(|made| volume::word_on_retention(xr, made)),
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
            interval: backup::interval_of(xr, platform, running.is_some())?,
            retention: xr.spec.backup.retention.or(defaults.backup.retention),
            trigger: xr.spec.backup.trigger.clone(),
            recipients,
            deletion_policy: volume::deletion_policy(xr, platform, made, observed),
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
