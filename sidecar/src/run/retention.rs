//! What the loop removes: by the settings' rules, after a backup, at most hourly. Its failures are said and never count
//! as a failed backup.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::task::JoinHandle;
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
    store::{self, Fault, Listed, Store},
};

const NOT_MORE_OFTEN_THAN: Duration = Duration::from_secs(3600);
/// A look at the store that takes longer, or longer than the interval, goes on beside the loop.
const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// The second look, after one beside the loop: a listing, and what was backed up since.
const LOOK_AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// A store with very much to remove gets through it in many turns, with a backup between two.
const REMOVE_WITHIN: Duration = Duration::from_secs(20);

/// What the loop remembers between two prunes.
#[derive(Default)]
pub(super) struct Memory {
    at: Option<Instant>,
    /// There was a backup since, or the store is full.
    pub(super) is_due: bool,
    /// By which rules that was.
    rules: Option<Retention>,
    /// Manifests that were read; none ever changes, so each is read once. A look that is under way has them. None without
    /// rules, or without the right to remove: their number has no end then.
    known: Catalog,
    /// The look that is under way, and at which store.
    look: Option<(store::Config, JoinHandle<Look>)>,
    /// The store has let us remove something.
    may_remove: bool,
    /// Generations that this cluster wrote.
    pub(super) own: BTreeSet<String>,
    said: Said,
}

impl Memory {
    /// A look under way is given up.
    pub(super) fn stop(&mut self) {
        if let Some((_, look)) = self.look.take() {
            look.abort();
        }
    }
}

impl Daemon {
    /// Looks at what the store holds, tells its size, and removes what no rule keeps. Reading thousands of manifests takes
    /// its time beside the loop; what is removed is decided by a look that no backup has come after.
    pub(super) async fn prune(&mut self) {
        let (Some((place, store)), Some(config)) = (self.store.clone(), self.config.clone()) else { return };
        let mut is_fresh = false;
        if self.pruning.look.is_none() {
            if !self.is_time_to_prune(&config) {
                return;
            }
            self.pruning.at = Some(Instant::now());
            self.pruning.is_due = false;
            self.pruning.rules.clone_from(&config.retention);
            self.begin_look(&place, &store, &config);
            is_fresh = true;
        }
        let look = match self.look_within(LOOK_WITHIN.min(config.interval), &place).await {
            Some(look) if is_fresh || look.outcome.is_err() => Some(look),
            Some(look) => {
                self.pruning.known = look.known;
                self.begin_look(&place, &store, &config);
                self.look_within(LOOK_AGAIN_WITHIN, &place).await
            }
            None => None,
        };
        let said = match look {
            Some(look) => self
                .prune_by(look, &store, &config)
                .await
                .unwrap_or_else(|error| Some(format!("old backups were not removed: {}", error.chain()))),
            None => Some("the manifests of the store are being read, before old backups are removed".into()),
        };
        match &said {
            Some(said) if self.pruning.said.is_news(said) => tracing::warn!("{said}"),
            Some(_) => {}
            None => self.pruning.said.forget(),
        }
        // Read with the next report.
        self.status.retention = said.unwrap_or_default();
    }

    fn is_time_to_prune(&self, config: &Config) -> bool {
        let by_other_rules = self.status.state == State::Healthy && self.pruning.rules != config.retention;
        let is_due = self.pruning.is_due || by_other_rules;
        is_due && self.pruning.at.is_none_or(|at| at.elapsed() >= NOT_MORE_OFTEN_THAN)
    }

    fn begin_look(&mut self, place: &store::Config, store: &Store, config: &Config) {
        self.pruning.own.extend(self.lineage.as_ref().map(|lineage| lineage.generation().to_owned()));
        let aim = Aim {
            own: self.pruning.own.clone(),
            oldest: self.status.oldest.as_ref().map(|oldest| oldest.id.clone()),
            has_rules: config.retention.is_some(),
            may_remove: self.pruning.may_remove,
        };
        let (store, known) = (store.clone(), std::mem::take(&mut self.pruning.known));
        self.pruning.look = Some((place.clone(), tokio::spawn(Look::take(store, aim, known))));
    }

    /// The look under way, if it is at its end by then and was one at this store.
    async fn look_within(&mut self, patience: Duration, place: &store::Config) -> Option<Look> {
        let (asked, look) = self.pruning.look.as_mut()?;
        let ended = tokio::time::timeout(patience, look).await.ok()?;
        let is_here = asked.is_same_place(place);
        self.pruning.look = None;
        match ended {
            Ok(look) if is_here => return Some(look),
            Ok(_) => self.pruning.at = None,
            Err(panic) => tracing::error!("the store was not looked at, the program is at fault: {panic}"),
        }
        self.pruning.is_due = true;
        None
    }

    async fn prune_by(&mut self, look: Look, store: &Store, config: &Config) -> Result<Option<String>, Error> {
        let Look { listed, oldest, refused, is_complete, known, outcome } = look;
        self.pruning.known = known;
        if let Some(listed) = &listed {
            self.status.stored_bytes = Some(stored_bytes(listed, &self.pruning.own));
        }
        if let Some(oldest) = oldest {
            self.status.oldest = Some(point(&oldest));
        }
        outcome?;
        if let Some(refused) = refused {
            return Ok(Some(prune::no_right(&refused)));
        }
        let (Some(rules), Some(mut listed), true) = (&config.retention, listed, is_complete) else { return Ok(None) };
        self.pruning.may_remove = true;
        self.pruning.rules.clone_from(&config.retention);
        let trust = self.trust(config);
        let own = |e: &Signed| trust.covers(&e.signer) && config.cluster.owns(&e.manifest);
        let released = Released::load(&self.place.data_dir)?;
        let proven = Proof::load(&self.place.data_dir).map_or_else(Vec::new, |proof| proof.points());
        let view = View {
            catalog: &self.pruning.known,
            listed: &listed,
            now: Timestamp::now(),
            cluster: &config.cluster,
            trust: &trust,
            proven: &proven,
            released: &released.0,
        };
        let plan = retention::plan(&view, rules);
        listed.extend(store.left_behind().await?);
        let running = self.lineage.as_ref().map(|lineage| lineage.generation());
        let orphans = prune::orphans(&listed, &plan, running, Timestamp::now());
        let oldest = plan.verdicts.iter().rev().find(|v| v.keeps() && own(&v.signed)).map(|v| point(&v.signed));
        let until = Instant::now() + REMOVE_WITHIN.min(config.interval);
        let removed = prune::carry_out(store, &plan, &orphans, Some(until)).await?;
        if removed.backups + removed.orphans > 0 {
            tracing::info!(
                backups = removed.backups,
                orphans = removed.orphans,
                bytes = removed.bytes,
                "old backups removed"
            );
        }
        if let Some(refused) = removed.refused {
            (self.pruning.may_remove, self.pruning.known) = (false, Catalog::default());
            return Ok(Some(prune::no_right(&refused)));
        }
        self.status.stored_bytes = self.status.stored_bytes.map(|stored| stored.saturating_sub(removed.bytes));
        if removed.unfinished {
            (self.pruning.at, self.pruning.is_due) = (None, true);
            return Ok(Some("there is much to remove; some of it goes after each backup".into()));
        }
        if removed.held == 0 {
            self.status.oldest = oldest;
        }
        Ok(prune::say_earlier_lives(&plan))
    }
}

/// What a look is about.
struct Aim {
    /// Generations of ours.
    own: BTreeSet<String>,
    /// The oldest backup that we know of.
    oldest: Option<String>,
    has_rules: bool,
    may_remove: bool,
}

/// What a look at the store has found.
struct Look {
    listed: Option<Vec<Listed>>,
    /// The oldest full of ours, if it is another than the one we know of.
    oldest: Option<Signed>,
    /// Why nothing may be removed.
    refused: Option<String>,
    /// Every manifest is read, so that it can be judged what goes.
    is_complete: bool,
    /// What was read, however it ended: the next look goes on from there.
    known: Catalog,
    outcome: Result<(), Error>,
}

impl Look {
    async fn take(store: Store, aim: Aim, known: Catalog) -> Self {
        let mut look = Self { listed: None, oldest: None, refused: None, is_complete: false, known, outcome: Ok(()) };
        look.outcome = look.at(&store, &aim).await;
        look
    }

    async fn at(&mut self, store: &Store, aim: &Aim) -> Result<(), Error> {
        let listed = self.listed.insert(store.list_objects("v1").await?);
        self.oldest = oldest(store, listed, aim).await?;
        if !aim.has_rules {
            self.known = Catalog::default();
            return Ok(());
        }
        // Asked until the answer is yes: in a bucket that keeps versions the question itself leaves one.
        if !aim.may_remove {
            self.refused = prune::refusal(store).await?;
        }
        if self.refused.is_some() {
            self.known = Catalog::default();
            return Ok(());
        }
        self.known.refresh_listed(store, prune::keys(listed)).await?;
        self.is_complete = true;
        Ok(())
    }
}

/// A bucket's own rules tell nobody what they have expired.
async fn oldest(store: &Store, listed: &[Listed], aim: &Aim) -> Result<Option<Signed>, Error> {
    let Some(id) = oldest_full(listed, &aim.own).filter(|id| aim.oldest.as_deref() != Some(id)) else {
        return Ok(None);
    };
    let key = format!("v1/full/{id}.json");
    match store.get_small(&key).await.and_then(|bytes| manifest::verify(&bytes, &key)) {
        Ok(signed) => Ok(Some(signed)),
        // Expired between listing and reading, or bent; the next look finds another.
        Err(Error::Store { fault: Fault::NotFound, .. } | Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
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
