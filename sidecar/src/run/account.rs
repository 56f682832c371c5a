//! What the loop says: the log once, the status document after every try.

use std::time::Duration;

use jiff::Timestamp;
use vcluster_proto::{
    interval,
    status::{self, State, Status},
};

use super::{Daemon, Done};
use crate::{config::Config, error::Error, keys::UNENCRYPTED, manifest::Signed, proof::Proof, store::Fault};

/// A sentence that is logged when it is another than the last.
#[derive(Default)]
pub(super) struct Said(String);

impl Said {
    /// Whether this is news; it no longer is afterwards.
    pub(super) fn is_news(&mut self, sentence: &str) -> bool {
        let news = self.0 != sentence;
        sentence.clone_into(&mut self.0);
        news
    }

    /// What was said no longer holds: the next time it is news again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Daemon {
    pub(super) fn record(&mut self, outcome: &Result<Done, Error>) {
        self.status.observed_at = Some(Timestamp::now());
        self.status.last_verified =
            Proof::load(&self.place.data_dir).map(|proof| proof.at).or(self.status.last_verified);
        match outcome {
            Ok(done) => {
                self.failures = 0;
                if self.status.state == State::Failing {
                    tracing::info!("backups work again");
                }
                self.said.forget();
                if let Some(trigger) = self.config.as_ref().and_then(|config| config.trigger.as_ref()) {
                    self.status.last_trigger.clone_from(trigger);
                }
                self.status.state = State::Healthy;
                "BackedUp".clone_into(&mut self.status.reason);
                if let (Done::Unchanged, Some(newest)) = (done, &self.status.newest) {
                    self.status.message =
                        format!("backup {} is in the store, and nothing has changed since", newest.id);
                }
                if let Done::Backed(signed) = done {
                    self.pruning.is_due = true;
                    self.status.message = format!("backup {} is in the store", signed.manifest.id());
                    self.status.newest = Some(point(signed));
                    self.status.oldest.get_or_insert_with(|| point(signed));
                    let m = &signed.manifest;
                    self.status.generation.clone_from(&m.generation);
                    tracing::info!(id = %m.id(), revision = m.revision, size_bytes = m.data.size, seconds = self.pass.as_secs_f64(), "backed up");
                }
                let open = self.config.as_ref().is_some_and(Config::seals_for_nobody);
                if open && !self.status.message.ends_with(UNENCRYPTED) {
                    self.status.message = format!("{}; {UNENCRYPTED}", self.status.message);
                }
            }
            Err(error) => {
                self.failures += 1;
                // Nothing else would ever make room again.
                self.pruning.is_due |= matches!(error, Error::Store { fault: Fault::Full(_), .. });
                let sentence = error.chain();
                if self.said.is_news(&sentence) {
                    tracing::error!("{sentence}");
                }
                self.status.state = State::Failing;
                error.reason().clone_into(&mut self.status.reason);
                self.status.message = sentence;
            }
        }
    }

    pub(super) fn say_of_report(&mut self, sentence: &str) {
        if self.said_of_report.is_news(sentence) {
            tracing::error!("nobody can learn how backups are and which key signs them: {sentence}");
        }
    }

    pub(super) async fn publish(&mut self) {
        let Some(report) = &self.report else { return };
        if let Err(error) = report.write(&self.status).await {
            "KeyNotPinned".clone_into(&mut self.status.reason);
            self.say_of_report(&error.chain());
        } else {
            self.said_of_report.forget();
        }
    }

    /// The next report comes after the interval, or after a longer rest of a slow disk; readers judge its age by that.
    pub(super) fn announce(&mut self, pause: Duration) {
        if let Some(config) = &self.config {
            let whole_seconds = Duration::from_secs(pause.as_secs());
            self.status.interval = interval::print(config.interval.max(whole_seconds));
        }
    }
}

/// Writes into `status` whose it is; the past of another XR is forgotten, the keys that signed are not.
pub fn address(status: &mut Status, config: &Config) {
    if status.uid != config.cluster.uid {
        let trusted_keys = std::mem::take(&mut status.trusted_keys);
        *status = Status { trusted_keys, ..Status::default() };
    }
    status.key.clone_from(&config.cluster.key);
    status.uid.clone_from(&config.cluster.uid);
    status.interval = interval::print(config.interval);
    status.store = config.store.as_ref().map(|s| s.url.clone()).unwrap_or_default();
}

/// A backup as the status document shows it.
#[must_use]
pub fn point(signed: &Signed) -> status::Point {
    let manifest = &signed.manifest;
    status::Point {
        id: manifest.id(),
        time: Some(manifest.time),
        kind: manifest.kind.as_str().into(),
        size_bytes: manifest.data.size,
        revision: manifest.revision,
        manifest: signed.digest.clone(),
    }
}
