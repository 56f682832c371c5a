//! One try: look at everything that may have changed, then back up what has.

use std::time::Instant;

use jiff::Timestamp;

use super::{Daemon, Done, account::point, address};
use crate::{
    backup::{self, Lineage, Mark},
    catalog::{Catalog, Trust},
    config::Config,
    error::Error,
    keys::Recipients,
    lock::Lock,
    store::Store,
};

/// How often the store is asked whether the newest backup is still there.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(3600);

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
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.place.data_dir)?);
        }
        self.pin_signer().await?;
        tokio::task::block_in_place(|| self.open_database())?;
        // Before the look at the database: another store has not got what this one has.
        let store = self.open_store(&config)?;
        self.look_at_store(&store).await?;
        if tokio::task::block_in_place(|| self.is_unchanged(&recipients))? {
            return Ok(Done::Unchanged);
        }
        if self.lineage.as_ref().is_none_or(|l| !l.seals_for(&recipients)) {
            let catalog = Catalog::load(&store).await?;
            self.remember(&catalog, &config);
            let trust = self.trust(&config);
            self.lineage = Some(Lineage::begin(&catalog, &trust, &config.cluster, &recipients, Timestamp::now())?);
        }
        self.back_up(&store, &config).await
    }

    /// Every key this cluster has signed with.
    pub(super) fn trust(&self, config: &Config) -> Trust {
        let known = self.status.trusted_keys.iter().filter_map(|key| key.parse().ok());
        Trust::Keys(known.chain(config.trusted.iter().copied()).collect())
    }

    /// Hourly: an object that somebody removed means that everything is to be backed up again.
    async fn look_at_store(&mut self, store: &Store) -> Result<(), Error> {
        let (Some(newest), true) = (&self.newest, self.looked_at.elapsed() > LOOK_EVERY) else { return Ok(()) };
        let there = store.list(&format!("v1/full/{}", newest.manifest.generation)).await?;
        if ![newest.manifest.key(), newest.manifest.data.key.clone()].iter().all(|key| there.contains(key)) {
            tracing::error!("backup {} is gone from the store; everything is backed up again", newest.manifest.id());
            self.mark = None;
            self.lineage = None;
        }
        self.looked_at = Instant::now();
        Ok(())
    }

    async fn back_up(&mut self, store: &Store, config: &Config) -> Result<Done, Error> {
        // Both are put back when all went well; after a failure they are made anew, which follows whatever is there.
        let (Some((mut live, layout)), Some(mut lineage)) = (self.live.take(), self.lineage.take()) else {
            return Err(nothing_open());
        };
        let (place, recipients) = (self.place.clone(), lineage.recipients().to_vec());
        self.mark = None;
        let begun = Instant::now();
        let captured = crate::blocking(move || {
            backup::capture(&mut live, layout, &recipients, &place).map(|captured| (captured, live))
        })
        .await;
        // After a pass that took too long, too: that is when rest matters most.
        self.pass = begun.elapsed();
        let (mut captured, live) = captured?;
        self.live = Some((live, layout));
        let Some(signer) = &self.signer else { return Err(nothing_open()) };
        let signed = lineage.commit(store, signer, &config.cluster, &mut captured).await?;
        self.mark = Some(captured.mark);
        self.lineage = Some(lineage);
        self.newest = Some(signed.clone());
        Ok(Done::Backed(Box::new(signed)))
    }

    fn is_unchanged(&self, recipients: &Recipients) -> Result<bool, Error> {
        let (Some(mark), Some((live, layout)), Some(lineage)) = (&self.mark, &self.live, &self.lineage) else {
            return Ok(false);
        };
        Ok(lineage.seals_for(recipients) && *mark == Mark::now(live, &self.place.data_dir, *layout)?)
    }

    /// What the store holds of this XR, for the status document.
    fn remember(&mut self, catalog: &Catalog, config: &Config) {
        let trust = self.trust(config);
        let own = catalog.filter(|e| trust.covers(&e.signer) && config.cluster.owns(&e.manifest));
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
