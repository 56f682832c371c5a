//! What the loop holds open and what may change under it: settings, status document, signing key, database, store.

use vcluster_proto::status::State;

use super::Daemon;
use crate::{
    config::{self, Config},
    error::Error,
    manifest::Layout,
    proof::Proof,
    signing::Signer,
    sqlite::{self, Live},
    store::{Access, Store},
};

impl Daemon {
    /// The settings as they are now; malformed ones leave the old ones in force.
    pub(super) fn load_config(&mut self) -> Result<Config, Error> {
        match Config::load(&self.options, &config::process_environment) {
            Ok(config) => {
                self.config = Some(config.clone());
                self.said_of_settings.forget();
                Ok(config)
            }
            Err(error) => {
                let old = self.config.clone().ok_or_else(|| Error::Usage(error.chain()))?;
                let sentence = error.chain();
                if self.said_of_settings.is_news(&sentence) {
                    tracing::error!("the settings cannot be used, the old ones stay: {sentence}");
                }
                Ok(old)
            }
        }
    }

    /// In a pod the settings tell which ConfigMap the status is in; what stood there before goes on. A document that
    /// cannot be understood is never written over, since it holds the trusted keys; backups go on without it.
    pub(super) async fn find_report(&mut self, config: Option<&Config>) {
        let cluster = config.map(|config| &config.cluster);
        let report = config::report(&self.options, cluster, &config::process_environment);
        if self.report.as_ref() == Some(&report) {
            return;
        }
        match report.read().await {
            Ok(status) => {
                self.status = status.unwrap_or_default();
                self.watch.resume(self.status.state == State::Failing);
                self.report = Some(report);
            }
            Err(error) => {
                self.report = None;
                self.say_of_report(&error.chain());
            }
        }
    }

    /// The key is in the status document before anything is signed with it.
    pub(super) async fn pin_signer(&mut self) -> Result<(), Error> {
        if self.signer.is_none() {
            self.signer = Some(Signer::load_or_make(&self.place.data_dir)?);
        }
        if let Some(signer) = &self.signer {
            let key = signer.public().to_string();
            if !self.status.trusted_keys.contains(&key) {
                self.status.trusted_keys.push(key);
                self.publish().await;
            }
        }
        Ok(())
    }

    pub(super) fn open_database(&mut self) -> Result<(), Error> {
        let data_dir = &self.place.data_dir;
        let (path, layout) = sqlite::find(data_dir)?.ok_or_else(|| {
            self.live = None;
            let tried = [Layout::K8s, Layout::K3s].map(|layout| layout.database().to_owned()).to_vec();
            Error::NoDatabase { data_dir: data_dir.clone(), tried }
        })?;
        if self.live.as_ref().is_none_or(|(live, _)| !live.is_current(&path)) {
            // Closed before the new one is opened: it may be the same file under another name.
            self.live = None;
            self.mark = None;
            self.live = Some((Live::open(&path)?, layout));
        }
        Ok(())
    }

    pub(super) fn open_store(&mut self, config: &Config) -> Result<Store, Error> {
        match (&self.store, &config.store) {
            (Some((old, store)), Some(new)) if old == new => Ok(store.clone()),
            _ => {
                let store = config.open_store(Access::Write)?;
                let before = self.store.as_ref().map(|(config, _)| config).zip(config.store.as_ref());
                if before.is_some_and(|(old, new)| !old.is_same_place(new)) {
                    // Another place knows nothing of this chain, and what it holds is not known here.
                    self.begin_anew();
                    self.proving.stop();
                    self.status.newest = None;
                    self.status.oldest = None;
                    self.status.last_verified = None;
                    if let Err(error) = Proof::forget(&self.place.data_dir) {
                        tracing::warn!("{}", error.chain());
                    }
                }
                self.store = config.store.clone().map(|c| (c, store.clone()));
                Ok(store)
            }
        }
    }
}
