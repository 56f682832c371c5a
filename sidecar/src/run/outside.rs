//! What the loop shows to the world beside log and status document: metrics, health, Events, and the answer to whoever
//! asks for a backup now. None of it can hold up or fail a backup.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use vcluster_proto::status::State;

use super::{Daemon, Done};
use crate::{
    control::{self, Answer, Ask, Control, Question},
    error::Error,
    event,
    listen::{self, Address, Shown},
    metrics::Outcome,
};

/// The endpoints, as long as this lives.
pub(super) struct Endpoints(tokio::task::JoinHandle<()>);

impl Endpoints {
    pub(super) fn open(address: Address, shown: &Arc<Shown>) -> Self {
        Self(tokio::spawn(listen::serve(address, Arc::clone(shown))))
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where others ask for a backup, and who waits for one. What is asked while a backup is under way is answered by the
/// next, since the one under way may have begun before what it is meant to hold.
pub(super) struct Doorway {
    control: Option<Control>,
    waiting: Vec<Ask>,
}

impl Doorway {
    pub(super) async fn open(spool_dir: &Path) -> Self {
        let control = match Control::open(spool_dir).await {
            Ok(control) => Some(control),
            Err(why) => {
                tracing::warn!("`vcluster-backup backup` cannot ask this one, backups go on: {why}");
                None
            }
        };
        Self { control, waiting: Vec::new() }
    }

    /// Until somebody asks; never, where nobody can.
    pub(super) async fn knocked(&mut self) {
        let asked = match &mut self.control {
            Some(control) => control.next().await,
            None => None,
        };
        match asked {
            Some(ask) => self.waiting.push(ask),
            None => std::future::pending().await,
        }
        while let Some(ask) = self.control.as_mut().and_then(Control::ready) {
            self.waiting.push(ask);
        }
    }

    /// Answers everybody who asked before the last attempt began.
    pub(super) fn answer(&mut self, answer: impl Fn(&Question) -> Answer) {
        for ask in self.waiting.drain(..) {
            let answer = answer(&ask.question);
            ask.answer(answer);
        }
    }
}

/// What is left of an attempt that panicked.
pub(super) fn nothing_done() -> Error {
    Error::Seal { action: "finish the backup", source: std::io::Error::other("the program is at fault, see its log") }
}

impl Daemon {
    /// What to say to somebody who asked for the attempt that ended so.
    pub(super) fn answer(&self, question: &Question, outcome: &Result<Done, Error>) -> Answer {
        let store = self.config.as_ref().and_then(|config| config.store.as_ref()).map_or("", |store| &store.url);
        let checked = control::check(question, &self.place.data_dir, store);
        match (checked, outcome, &self.status.newest) {
            (Err(refusal), ..) => Answer::refusal(&refusal),
            (_, Err(error), _) => Answer::refusal(error),
            (_, Ok(done), Some(newest)) => Answer::of_backup(newest, matches!(done, Done::Unchanged)),
            (_, Ok(_), None) => Answer::refusal(&nothing_done()),
        }
    }

    /// Metrics and health.
    pub(super) fn show(&self, outcome: &Result<Done, Error>, took: Duration, pause: Duration) {
        let (told, capture) = match outcome {
            Ok(Done::Backed(signed)) => (Outcome::BackedUp(signed.manifest.kind.as_str()), Some(self.pass)),
            Ok(Done::Unchanged) => (Outcome::Unchanged, None),
            Err(error) => (Outcome::Failed(error.reason()), None),
        };
        let Shown { metrics, health } = &*self.shown;
        metrics.attempt(told, took, capture);
        metrics.show(&self.status);
        metrics.room(room(&self.place.spool_dir), room(&self.place.data_dir));
        let found = crate::sqlite::find(&self.place.data_dir).ok().flatten();
        let bytes = found.and_then(|(path, _)| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
        metrics.database(bytes, self.config.as_ref().and_then(|config| config.prove_every));
        let well = self.status.state == State::Healthy && self.status.newest.is_some();
        health.turned(Instant::now(), pause, (!well).then(|| self.status.message.clone()));
    }

    /// An Event, if there is news. One that cannot be written is a matter of the log alone.
    pub(super) async fn tell(&mut self, outcome: &Result<Done, Error>) {
        let outcome = outcome.as_ref().map(|_| self.status.message.as_str());
        let Some(news) = self.watch.judge(Instant::now(), outcome) else { return };
        let Some(config) = &self.config else { return };
        if !self.report.as_ref().is_some_and(crate::report::Report::is_in_cluster) {
            return;
        }
        if let Err(error) = event::write(&config.cluster, &news).await {
            tracing::warn!("{}", error.chain());
        }
    }
}

/// Free bytes of the volume a folder is on; a folder that cannot be looked at has none.
fn room(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize))
}
