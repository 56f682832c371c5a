//! What the loop proves by itself: that the store gives the newest backup back with all that it builds on, byte for byte
//! as it was written and signed. The pod has no key to open it, so a restore is not tried; `verify` does that where a key is.
//!
//! It runs beside the loop, one object at a time with rests between, in memory that does not grow, and is dropped at a
//! signal. What turns out to be bent is no base for anything: the next backup is a full.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::{Daemon, account::Said};
use crate::{
    error::Error,
    keys::Recipients,
    manifest::Signed,
    proof::{How, Proof},
    store::Store,
    table::Table,
    verify::{self, Sealed},
};

/// A program that has just started has better things to do.
const NOT_BEFORE: Duration = Duration::from_secs(300);
/// After a store that did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// What the loop remembers between two proofs.
pub(super) struct Proving {
    task: Option<JoinHandle<Found>>,
    /// When the program was.
    pub(super) started: Instant,
    /// When the last proof that came to no end was begun.
    undecided: Option<Instant>,
    said: Said,
}

/// How a proof ended.
enum Found {
    Proven(Proof),
    /// The backup of this digest is not what was written.
    Bent(String, String),
    Undecided(Error),
}

impl Proving {
    pub(super) fn new() -> Self {
        Self { task: None, started: Instant::now(), undecided: None, said: Said::default() }
    }

    /// A proof under way is given up.
    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Daemon {
    /// Hears how a proof under way has ended, and begins one when it is time.
    pub(super) fn prove(&mut self) {
        let ended = self.proving.task.as_mut().and_then(|task| task.now_or_never());
        if let Some(ended) = ended {
            self.proving.task = None;
            match ended {
                Ok(found) => self.hear(found),
                Err(panic) => {
                    self.proving.undecided = Some(Instant::now());
                    tracing::error!("the newest backup could not be proven, the program is at fault: {panic}");
                }
            }
        }
        let (Some((_, store)), Some(base)) = (&self.store, self.lineage.as_ref().and_then(|l| l.base())) else {
            return;
        };
        if self.proving.task.is_none() && self.is_time_to_prove() {
            let chain = base.chain().to_vec();
            let passphrase = match self.config.as_ref().and_then(|config| config.recipients.as_ref()) {
                Some(Recipients::Passphrase(passphrase)) => Some(passphrase.clone()),
                _ => None,
            };
            let own = self.lineage.as_ref().and_then(|lineage| lineage.sealed_identity());
            let identities = Sealed { own, passphrase };
            let data_dir = self.place.data_dir.clone();
            self.proving.task = Some(tokio::spawn(prove(store.clone(), chain, identities, data_dir)));
        }
    }

    fn is_time_to_prove(&self) -> bool {
        let Some(every) = self.config.as_ref().and_then(|config| config.prove_every) else { return false };
        let soon = |begun: Instant, pause: Duration| begun.elapsed() < pause.min(every);
        if soon(self.proving.started, NOT_BEFORE) || self.proving.undecided.is_some_and(|at| soon(at, AGAIN_AFTER)) {
            return false;
        }
        // One of an older backup says nothing about what would be needed now.
        let last = Proof::load(&self.place.data_dir).and_then(|proof| proof.newest_at);
        // A proof of the future is one of a clock that was wrong.
        last.is_none_or(|at| {
            let age = Timestamp::now().duration_since(at);
            age.is_negative() || age.unsigned_abs() >= every
        })
    }

    fn hear(&mut self, found: Found) {
        let word = match found {
            Found::Proven(proof) => {
                self.proving.undecided = None;
                self.proving.said.forget();
                tracing::info!(id = %proof.point, "proven: the store gives it back byte for byte, with all that it builds on");
                "proven"
            }
            // What is no longer built on may have been removed meanwhile.
            Found::Bent(digest, why) if self.builds_on(&digest) => {
                tracing::error!("the newest backup could not be restored, everything is backed up again: {why}");
                if let Err(error) = Table::forget(&self.place.data_dir) {
                    tracing::warn!("{}", error.chain());
                }
                self.begin_anew();
                "failed"
            }
            Found::Bent(_, why) => {
                tracing::warn!("a backup that is no longer built on is gone or bent: {why}");
                "undecided"
            }
            Found::Undecided(error) => {
                self.proving.undecided = Some(Instant::now());
                let sentence = error.chain();
                if self.proving.said.is_news(&sentence) {
                    tracing::warn!(
                        "the newest backup could not be proven, another try comes within the hour: {sentence}"
                    );
                }
                "undecided"
            }
        };
        self.shown.metrics.proof(word);
    }

    fn builds_on(&self, digest: &str) -> bool {
        let base = self.lineage.as_ref().and_then(|lineage| lineage.base());
        base.is_some_and(|base| base.chain().iter().any(|link| link.digest == digest))
    }
}

async fn prove(store: Store, chain: Vec<Signed>, identities: Sealed, data_dir: PathBuf) -> Found {
    let Some(newest) = chain.last() else { return Found::Undecided(super::nothing_done()) };
    match verify::reread(&store, &chain, &identities).await {
        Ok(Some((digest, why))) => Found::Bent(digest, why),
        Ok(None) => {
            let proof = Proof::new(newest.manifest.id(), How::Digests, None, true, Proof::load(&data_dir));
            proof.save(&data_dir).map_or_else(Found::Undecided, |_| Found::Proven(proof))
        }
        Err(error) => Found::Undecided(error),
    }
}
