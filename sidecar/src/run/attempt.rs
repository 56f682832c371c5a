//! One try: look at everything that may have changed, then back up what has.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Daemon, Done, account::point, address};
use crate::{
    capture::{self, Mark},
    catalog::{Catalog, Trust},
    config::Config,
    error::Error,
    keys::{Recipients, UNENCRYPTED},
    lineage::Lineage,
    lock::Lock,
    manifest::Signed,
    store::Store,
    table::Table,
};

/// How often the store is asked whether everything that the newest backup needs is still there.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// A database that takes longer is read ahead before its transaction.
const WARM_ABOVE: Duration = Duration::from_millis(500);

impl Daemon {
    pub(super) async fn attempt(&mut self) -> Result<Done, Error> {
        let loaded = self.load_config();
        self.find_report(loaded.as_ref().ok()).await;
        let config = loaded?;
        address(&mut self.status, &config);
        if !config.has_settings {
            return Err(Error::Usage(
                "there is no settings.yaml in the config folder yet; chart s3-register makes it".into(),
            ));
        }
        let recipients = config.recipients.clone().ok_or(Error::NoKey)?;
        let open = if config.seals_for_nobody() { UNENCRYPTED } else { "" };
        if self.said_of_encryption.is_news(open) && !open.is_empty() {
            tracing::warn!("{open}");
        }
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.place.data_dir)?);
        }
        self.pin_signer().await?;
        tokio::task::block_in_place(|| self.open_database())?;
        // Before the look at the database: another store has not got what this one has.
        let store = self.open_store(&config)?;
        self.look_at_store(&store).await?;
        if self.lineage.as_ref().is_some_and(|lineage| !lineage.seals_for(&recipients)) {
            self.begin_anew();
        }
        let offered = self.offer_pending(&store, &config).await?;
        if tokio::task::block_in_place(|| self.is_unchanged(&recipients))? {
            return Ok(offered.map_or(Done::Unchanged, Done::Backed));
        }
        if self.lineage.is_none() {
            let trust = self.trust(&config);
            let catalog = Catalog::load_for_writer(&store, &trust, &config.cluster).await?;
            self.remember(&catalog, &trust, &config);
            let (now, data_dir) = (Timestamp::now(), &self.place.data_dir);
            self.lineage = Some(Lineage::begin(&catalog, &trust, &config.cluster, &recipients, data_dir, now)?);
            self.looked_at = Some(Instant::now());
        }
        self.copy().await?;
        Ok(match self.offer_pending(&store, &config).await?.or(offered) {
            Some(signed) => Done::Backed(signed),
            None => Done::Unchanged,
        })
    }

    /// Every key this cluster has signed with.
    pub(super) fn trust(&self, config: &Config) -> Trust {
        let known = self.status.trusted_keys.iter().filter_map(|key| key.parse().ok());
        Trust::Keys(known.chain(config.trusted.iter().copied()).collect())
    }

    /// What was known of the store and of the last backup counts no more.
    pub(super) fn begin_anew(&mut self) {
        self.lineage = None;
        self.pending = None;
        self.mark = None;
    }

    /// Hourly, and after every failure: what somebody has removed means that everything is to be backed up again.
    async fn look_at_store(&mut self, store: &Store) -> Result<(), Error> {
        let Some(lineage) = &self.lineage else { return Ok(()) };
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        if !lineage.is_whole(store).await? {
            // A lost identity leaves the chain whole to look at: nothing may go on from it.
            if let Err(error) = Table::forget(&self.place.data_dir) {
                tracing::warn!("{}", error.chain());
            }
            self.begin_anew();
        }
        self.looked_at = Some(Instant::now());
        Ok(())
    }

    /// Copies what has changed; it is pending then, unless the newest backup holds all of it.
    async fn copy(&mut self) -> Result<(), Error> {
        let (Some((mut live, layout)), Some(lineage)) = (self.live.take(), self.lineage.take()) else {
            return Err(nothing_open());
        };
        let (place, warm) = (self.place.clone(), self.pass > WARM_ABOVE);
        self.mark = None;
        let (outcome, pass, live, lineage) = crate::blocking(move || {
            let warmed = if warm { live.warm() } else { Ok(()) };
            let begun = Instant::now();
            let outcome = warmed.and_then(|()| capture::capture(&mut live, layout, &lineage, &place, Timestamp::now()));
            Ok((outcome, begun.elapsed(), live, lineage))
        })
        .await?;
        // After a pass that took too long, too: that is when rest matters most.
        self.pass = pass;
        self.live = Some((live, layout));
        let captured = outcome.inspect_err(|_| self.live = None);
        let known = captured.as_ref().is_ok_and(|captured| captured.is_known(&lineage));
        if known && let Some(base) = lineage.base() {
            // After a restart the status document may have been lost.
            self.status.newest.get_or_insert_with(|| point(base.newest()));
        }
        self.lineage = Some(lineage);
        let captured = captured?;
        if known {
            self.mark = Some(captured.mark);
        } else {
            tracing::debug!(kind = captured.kind().as_str(), why = captured.why.as_str(), "copied");
            self.pending = Some(captured);
        }
        Ok(())
    }

    /// Puts the copy that is waiting, if there is one. It stays if the store fails: the database is not read again for
    /// that, and the names and bytes are the same.
    async fn offer_pending(&mut self, store: &Store, config: &Config) -> Result<Option<Box<Signed>>, Error> {
        let Some(mut captured) = self.pending.take() else { return Ok(None) };
        // Both are put back unless another writer was found; so is neither if this is cut short by a signal.
        let (Some(signer), Some(mut lineage)) = (&self.signer, self.lineage.take()) else {
            return Err(nothing_open());
        };
        let data_dir = &self.place.data_dir;
        match lineage.commit(store, signer, &config.cluster, &mut captured, data_dir).await {
            Ok(signed) => {
                self.mark = Some(captured.mark);
                self.lineage = Some(lineage);
                Ok(Some(Box::new(signed)))
            }
            Err(error) => {
                self.looked_at = None;
                if matches!(error, Error::Store { .. }) {
                    self.lineage = Some(lineage);
                    self.pending = Some(captured);
                }
                Err(error)
            }
        }
    }

    fn is_unchanged(&self, recipients: &Recipients) -> Result<bool, Error> {
        let (Some(mark), Some((live, layout)), Some(lineage)) = (&self.mark, &self.live, &self.lineage) else {
            return Ok(false);
        };
        Ok(lineage.seals_for(recipients) && *mark == Mark::now(live, &self.place.data_dir, *layout)?)
    }

    /// What the store holds of this XR, for the status document.
    fn remember(&mut self, catalog: &Catalog, trust: &Trust, config: &Config) {
        let own = catalog.filter(|e| trust.covers(&e.signer) && config.cluster.owns(&e.manifest));
        self.pruning.own = own.entries.iter().map(|e| e.manifest.generation.clone()).collect();
        self.status.oldest = own.entries.iter().min_by_key(|e| e.manifest.time).map(point);
        for why in &catalog.rejected {
            tracing::warn!("{why}");
        }
    }
}

/// A state that `attempt` never leaves behind; said rather than taken for health.
fn nothing_open() -> Error {
    Error::Usage("there is no open database to back up; looking again".into())
}
