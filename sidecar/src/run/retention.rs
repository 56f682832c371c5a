//! What the loop removes: by the settings' rules, after a backup, at most hourly. Its failures are said and never count
//! as a failed backup.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Daemon, account::Said, point};
use crate::{
    catalog::Catalog,
    config::Config,
    error::Error,
    manifest::Signed,
    proof::Proof,
    prune::{self, Released},
    retention::{self, View},
    store::{Listed, Store},
};

const NOT_MORE_OFTEN_THAN: Duration = Duration::from_secs(3600);
/// A store with very much to remove gets through it in several hours' turns; backups go on in between.
const NOT_LONGER_THAN: Duration = Duration::from_secs(300);

/// What the loop remembers between two prunes.
#[derive(Default)]
pub(super) struct Memory {
    at: Option<Instant>,
    /// There was a backup since.
    pub(super) is_due: bool,
    /// Manifests that were read; none ever changes, so each is read once. None without rules, or without the right to
    /// remove: their number has no end then.
    known: Catalog,
    /// Generations that this cluster wrote.
    pub(super) own: BTreeSet<String>,
    said: Said,
}

impl Daemon {
    /// Looks at what the store holds, tells its size, and removes what no rule keeps.
    pub(super) async fn prune(&mut self) {
        let (Some((_, store)), Some(config)) = (self.store.clone(), self.config.clone()) else { return };
        if !self.pruning.is_due || self.pruning.at.is_some_and(|at| at.elapsed() < NOT_MORE_OFTEN_THAN) {
            return;
        }
        self.pruning.at = Some(Instant::now());
        self.pruning.is_due = false;
        let outcome = tokio::time::timeout(NOT_LONGER_THAN, self.prune_now(&store, &config)).await;
        let said = match outcome {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => Some(format!("old backups were not removed: {}", error.chain())),
            Err(_) => {
                Some("removing old backups takes more than five minutes; the rest is left for the next hour".into())
            }
        };
        match &said {
            Some(said) if self.pruning.said.is_news(said) => tracing::warn!("{said}"),
            Some(_) => {}
            None => self.pruning.said.forget(),
        }
        // Read with the next report.
        self.status.retention = said.unwrap_or_default();
    }

    async fn prune_now(&mut self, store: &Store, config: &Config) -> Result<Option<String>, Error> {
        let listed = store.list_objects("v1").await?;
        self.pruning.own.extend(self.lineage.as_ref().map(|lineage| lineage.generation().to_owned()));
        self.status.stored_bytes = Some(stored_bytes(&listed, &self.pruning.own));
        let known = std::mem::take(&mut self.pruning.known);
        let Some(rules) = &config.retention else { return Ok(None) };
        if let Some(refused) = prune::refusal(store).await? {
            return Ok(Some(prune::no_right(&refused)));
        }
        let catalog = Catalog::load_listed(store, prune::keys(&listed), known).await?;
        let trust = self.trust(config);
        let own = |e: &Signed| trust.covers(&e.signer) && config.cluster.owns(&e.manifest);
        let (proof, released) = (Proof::load(&self.place.data_dir), Released::load(&self.place.data_dir)?);
        let proven = proof.as_ref().map(|proof| &*proof.point);
        let view = View { catalog: &catalog, cluster: &config.cluster, trust: &trust, proven, released: &released.0 };
        let plan = retention::plan(&view, rules);
        let orphans = prune::orphans(&listed, &plan, Timestamp::now());
        let oldest = plan.verdicts.iter().rev().find(|v| v.keeps() && own(&v.signed)).map(|v| point(&v.signed));
        self.pruning.known = catalog;
        let removed = prune::carry_out(store, &plan, &orphans).await?;
        if removed.backups + removed.orphans > 0 {
            tracing::info!(
                backups = removed.backups,
                orphans = removed.orphans,
                bytes = removed.bytes,
                "old backups removed"
            );
        }
        if removed.refused.is_none() && removed.held == 0 {
            self.status.oldest = oldest;
            self.status.stored_bytes = self.status.stored_bytes.map(|stored| stored.saturating_sub(removed.bytes));
        }
        Ok(removed.refused.map(|refused| prune::no_right(&refused)).or_else(|| prune::say_earlier_lives(&plan)))
    }
}

/// Everything of the generations that this cluster wrote, in bytes.
fn stored_bytes(listed: &[Listed], own: &BTreeSet<String>) -> u64 {
    let of_ours = |object: &&Listed| object.key.split('/').nth(2).is_some_and(|generation| own.contains(generation));
    listed.iter().filter(of_ours).map(|object| object.size).sum()
}
