//! What the loop removes: by the settings' rules, after a backup, at most hourly. Its failures are said and never count
//! as a failed backup.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use vcluster_proto::{settings::Retention, status::State};

use super::{Daemon, account::Said, point};
use crate::{
    catalog::Catalog,
    config::Config,
    error::Error,
    manifest::{self, Signed},
    proof::Proof,
    prune::{self, Released},
    retention::{self, View},
    store::{Fault, Listed, Store},
};

const NOT_MORE_OFTEN_THAN: Duration = Duration::from_secs(3600);
/// A store with very much to remove gets through it in several hours' turns; backups go on in between.
const NOT_LONGER_THAN: Duration = Duration::from_secs(300);

/// What the loop remembers between two prunes.
#[derive(Default)]
pub(super) struct Memory {
    at: Option<Instant>,
    /// There was a backup since, or the store is full.
    pub(super) is_due: bool,
    /// By which rules that was.
    rules: Option<Retention>,
    /// Manifests that were read; none ever changes, so each is read once. None without rules, or without the right to
    /// remove: their number has no end then.
    known: Catalog,
    /// The store has let us remove something.
    may_remove: bool,
    /// Generations that this cluster wrote.
    pub(super) own: BTreeSet<String>,
    said: Said,
}

impl Daemon {
    /// Looks at what the store holds, tells its size, and removes what no rule keeps.
    pub(super) async fn prune(&mut self) {
        let (Some((_, store)), Some(config)) = (self.store.clone(), self.config.clone()) else { return };
        let by_other_rules = self.status.state == State::Healthy && self.pruning.rules != config.retention;
        let is_due = self.pruning.is_due || by_other_rules;
        if !is_due || self.pruning.at.is_some_and(|at| at.elapsed() < NOT_MORE_OFTEN_THAN) {
            return;
        }
        self.pruning.at = Some(Instant::now());
        self.pruning.is_due = false;
        self.pruning.rules.clone_from(&config.retention);
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
        let mut listed = store.list_objects("v1").await?;
        self.pruning.own.extend(self.lineage.as_ref().map(|lineage| lineage.generation().to_owned()));
        self.status.stored_bytes = Some(stored_bytes(&listed, &self.pruning.own));
        self.look_for_oldest(store, &listed).await?;
        let known = std::mem::take(&mut self.pruning.known);
        let Some(rules) = &config.retention else { return Ok(None) };
        // Asked until the answer is yes: in a bucket that keeps versions the question itself leaves one.
        if !self.pruning.may_remove
            && let Some(refused) = prune::refusal(store).await?
        {
            return Ok(Some(prune::no_right(&refused)));
        }
        self.pruning.may_remove = true;
        let catalog = Catalog::load_listed(store, prune::keys(&listed), known).await?;
        let trust = self.trust(config);
        let own = |e: &Signed| trust.covers(&e.signer) && config.cluster.owns(&e.manifest);
        let (proof, released) = (Proof::load(&self.place.data_dir), Released::load(&self.place.data_dir)?);
        let proven = proof.as_ref().map(|proof| &*proof.point);
        let view = View {
            catalog: &catalog,
            listed: &listed,
            now: Timestamp::now(),
            cluster: &config.cluster,
            trust: &trust,
            proven,
            released: &released.0,
        };
        let plan = retention::plan(&view, rules);
        listed.extend(store.left_behind().await?);
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
        if removed.refused.is_some() {
            (self.pruning.may_remove, self.pruning.known) = (false, Catalog::default());
        } else if removed.held == 0 {
            self.status.oldest = oldest;
            self.status.stored_bytes = self.status.stored_bytes.map(|stored| stored.saturating_sub(removed.bytes));
        }
        Ok(removed.refused.map(|refused| prune::no_right(&refused)).or_else(|| prune::say_earlier_lives(&plan)))
    }

    /// A bucket's own rules tell nobody what they have expired.
    async fn look_for_oldest(&mut self, store: &Store, listed: &[Listed]) -> Result<(), Error> {
        let Some(id) = oldest_full(listed, &self.pruning.own) else { return Ok(()) };
        if self.status.oldest.as_ref().is_some_and(|oldest| oldest.id == id) {
            return Ok(());
        }
        let key = format!("v1/full/{id}.json");
        match store.get_small(&key).await.and_then(|bytes| manifest::verify(&bytes, &key)) {
            Ok(signed) => self.status.oldest = Some(point(&signed)),
            // Expired between listing and reading, or bent; the next look finds another.
            Err(Error::Store { fault: Fault::NotFound, .. } | Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The id of the oldest full of ours. Nothing older can be restored, whatever is left of it.
fn oldest_full<'a>(listed: &'a [Listed], own: &BTreeSet<String>) -> Option<&'a str> {
    let ids = listed.iter().filter_map(|object| object.key.strip_prefix("v1/full/")?.strip_suffix(".json"));
    // A generation's name begins with its time.
    ids.filter(|id| id.split('/').next().is_some_and(|generation| own.contains(generation))).min()
}

/// Everything of the generations that this cluster wrote, in bytes.
fn stored_bytes(listed: &[Listed], own: &BTreeSet<String>) -> u64 {
    let of_ours = |object: &&Listed| object.key.split('/').nth(2).is_some_and(|generation| own.contains(generation));
    listed.iter().filter(of_ours).map(|object| object.size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_full_of_ours_is_told_by_names_alone() {
        let keys = [
            "v1/delta/20260101T000000Z-ours/00000001.json",
            "v1/full/20260102T000000Z-theirs/00000001.json",
            "v1/full/20260103T000000Z-ours/00000009.json",
            "v1/full/20260103T000000Z-ours/00000004.json",
            "v1/full/20260103T000000Z-ours/00000002.tar.zst.age",
            "v1/full/20260104T000000Z-ours/00000001.json",
        ];
        let listed = keys.map(|key| Listed { key: key.to_owned(), size: 1, modified: Timestamp::UNIX_EPOCH });
        let own = ["20260101", "20260103", "20260104"].map(|day| format!("{day}T000000Z-ours")).into();
        assert_eq!(oldest_full(&listed, &own), Some("20260103T000000Z-ours/00000004"));
        assert_eq!(oldest_full(&listed, &BTreeSet::new()), None);
    }
}
