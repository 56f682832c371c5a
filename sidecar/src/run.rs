//! The loop: a backup at once, then every interval, a last one when told to stop. All decisions about retries and
//! shutdown are made here; errors travel up to this file, which says them once and goes on. It ends only on a signal:
//! an exited container would make the tenant's pod unready.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::timeout_at;
use vcluster_proto::{
    interval,
    status::{self, State, Status},
};

use crate::{
    backup::{self, Lineage, Mark, Place},
    catalog::{Catalog, Trust},
    cli::Options,
    config::{self, Config},
    error::Error,
    lock::Lock,
    manifest::{Layout, Signed},
    pace::{self, LOCAL_RETRY},
    report::Report,
    signal,
    signing::Signer,
    sqlite::{self, Live},
    store::{self, Access, Store},
};

/// After the signal: the whole way out, and how much of it waits for the API server's last writes.
const STOP_WITHIN: Duration = Duration::from_secs(8);
const WRITERS_REST_WITHIN: Duration = Duration::from_secs(4);
const PUBLISH_WITHIN: Duration = Duration::from_secs(2);
/// How often the store is asked whether the newest backup is still there.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
const WRITERS_REST_FOR: Duration = Duration::from_millis(400);

/// Backs up until a signal comes.
///
/// # Errors
/// Only flags that cannot be used.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut stop = signal::Stop::listen()?;
    let mut daemon = Daemon::new(options)?;
    let (deadline, through) = loop {
        let fingerprint = config::fingerprint(&daemon.options);
        let ticked = {
            let mut tick = std::pin::pin!(AssertUnwindSafe(daemon.tick()).catch_unwind());
            tokio::select! {
                pause = &mut tick => Ticked::Done(pause.unwrap_or(LOCAL_RETRY)),
                // The copy under way may still get through; else there is no time for another.
                () = stop.wait() => {
                    let deadline = tokio::time::Instant::now() + STOP_WITHIN;
                    Ticked::Stopped { deadline, through: timeout_at(deadline - PUBLISH_WITHIN, tick).await.is_ok() }
                }
            }
        };
        let pause = match ticked {
            Ticked::Done(pause) => pause,
            Ticked::Stopped { deadline, through } => break (deadline, through),
        };
        tokio::select! {
            () = config::changed(&daemon.options, fingerprint, pause) => {}
            () = stop.wait() => break (tokio::time::Instant::now() + STOP_WITHIN, true),
        }
    };
    daemon.last(deadline, through).await;
    Ok(())
}

/// How a tick ended.
enum Ticked {
    /// By itself; the time until the next.
    Done(Duration),
    /// By a signal; whether it got through all the same, and when the whole program must be out.
    Stopped { deadline: tokio::time::Instant, through: bool },
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

/// What a tick did.
enum Done {
    Backed(Box<Signed>),
    Unchanged,
}

struct Daemon {
    options: Options,
    place: Place,
    /// Known once the settings are.
    report: Option<Report>,
    config: Option<Config>,
    live: Option<(Live, Layout)>,
    store: Option<(store::Config, Store)>,
    signer: Option<Signer>,
    lineage: Option<Lineage>,
    /// Nobody else backs up or restores here meanwhile.
    lock: Option<Lock>,
    /// The last backup of this run, and when it was last seen in the store.
    newest: Option<Signed>,
    looked_at: Instant,
    /// What the last backup held; nothing after a failure.
    mark: Option<Mark>,
    status: Status,
    failures: u32,
    said: String,
    said_of_settings: String,
    said_of_report: String,
    pass: Duration,
}

impl Daemon {
    fn new(options: Options) -> Result<Self, Error> {
        let place = config::place(&options, &config::process_environment)?;
        Ok(Self {
            options,
            place,
            report: None,
            config: None,
            live: None,
            store: None,
            signer: None,
            lineage: None,
            mark: None,
            status: Status::default(),
            failures: 0,
            said: String::new(),
            said_of_settings: String::new(),
            said_of_report: String::new(),
            lock: None,
            newest: None,
            looked_at: Instant::now(),
            pass: Duration::ZERO,
        })
    }

    /// One backup and one status document; gives the time until the next.
    async fn tick(&mut self) -> Duration {
        self.status.last_attempt = Some(Timestamp::now());
        let outcome = self.attempt().await;
        self.record(&outcome);
        let pause = match &outcome {
            Ok(_) => self.until_next(),
            Err(error) => self.until_retry(error),
        };
        self.announce(pause);
        self.publish().await;
        pause
    }

    /// The next report comes after the interval, or after a longer rest of a slow disk; readers judge its age by that.
    fn announce(&mut self, pause: Duration) {
        if let Some(config) = &self.config {
            let whole_seconds = Duration::from_secs(pause.as_secs());
            self.status.interval = interval::print(config.interval.max(whole_seconds));
        }
    }

    async fn attempt(&mut self) -> Result<Done, Error> {
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
    fn trust(&self, config: &Config) -> Trust {
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

    /// The settings as they are now; malformed ones leave the old ones in force.
    fn load_config(&mut self) -> Result<Config, Error> {
        match Config::load(&self.options, &config::process_environment) {
            Ok(config) => {
                self.config = Some(config.clone());
                self.said_of_settings.clear();
                Ok(config)
            }
            Err(error) => {
                let old = self.config.clone().ok_or_else(|| Error::Usage(error.chain()))?;
                let sentence = error.chain();
                if self.said_of_settings != sentence {
                    tracing::error!("the settings cannot be used, the old ones stay: {sentence}");
                    self.said_of_settings = sentence;
                }
                Ok(old)
            }
        }
    }

    /// In a pod the settings tell which ConfigMap the status is in; what stood there before goes on. A document that
    /// cannot be understood is never written over, since it holds the trusted keys; backups go on without it.
    async fn find_report(&mut self, config: Option<&Config>) {
        let cluster = config.map(|config| &config.cluster);
        let report = config::report(&self.options, cluster, &config::process_environment);
        if self.report.as_ref() == Some(&report) {
            return;
        }
        match report.read().await {
            Ok(status) => {
                self.status = status.unwrap_or_default();
                self.report = Some(report);
            }
            Err(error) => {
                self.report = None;
                self.say_of_report(&error.chain());
            }
        }
    }

    /// The key is in the status document before anything is signed with it.
    async fn pin_signer(&mut self) -> Result<(), Error> {
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

    fn open_database(&mut self) -> Result<(), Error> {
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

    fn is_unchanged(&self, recipients: &crate::keys::Recipients) -> Result<bool, Error> {
        let (Some(mark), Some((live, layout)), Some(lineage)) = (&self.mark, &self.live, &self.lineage) else {
            return Ok(false);
        };
        Ok(lineage.seals_for(recipients) && *mark == Mark::now(live, &self.place.data_dir, *layout)?)
    }

    fn open_store(&mut self, config: &Config) -> Result<Store, Error> {
        match (&self.store, &config.store) {
            (Some((old, store)), Some(new)) if old == new => Ok(store.clone()),
            _ => {
                let store = config.open_store(Access::Write)?;
                let before = self.store.as_ref().map(|(config, _)| config).zip(config.store.as_ref());
                if before.is_some_and(|(old, new)| !old.is_same_place(new)) {
                    // Another place knows nothing of this chain, and what it holds is not known here.
                    self.lineage = None;
                    self.mark = None;
                    self.newest = None;
                    self.status.newest = None;
                    self.status.oldest = None;
                }
                self.store = config.store.clone().map(|c| (c, store.clone()));
                Ok(store)
            }
        }
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

    fn record(&mut self, outcome: &Result<Done, Error>) {
        self.status.observed_at = Some(Timestamp::now());
        match outcome {
            Ok(done) => {
                self.failures = 0;
                if self.status.state == State::Failing {
                    tracing::info!("backups work again");
                }
                self.said.clear();
                self.status.state = State::Healthy;
                "BackedUp".clone_into(&mut self.status.reason);
                if let (Done::Unchanged, Some(newest)) = (done, &self.status.newest) {
                    self.status.message =
                        format!("backup {} is in the store, and nothing has changed since", newest.id);
                }
                if let Done::Backed(signed) = done {
                    self.status.message = format!("backup {} is in the store", signed.manifest.id());
                    self.status.newest = Some(point(signed));
                    self.status.oldest.get_or_insert_with(|| point(signed));
                    let m = &signed.manifest;
                    tracing::info!(id = %m.id(), revision = m.revision, size_bytes = m.data.size, seconds = self.pass.as_secs_f64(), "backed up");
                }
            }
            Err(error) => {
                self.failures += 1;
                let sentence = error.chain();
                self.say(&sentence);
                self.status.state = State::Failing;
                error.reason().clone_into(&mut self.status.reason);
                self.status.message = sentence;
            }
        }
    }

    /// Logs a sentence unless it was the last one said.
    fn say(&mut self, sentence: &str) {
        if self.said != sentence {
            tracing::error!("{sentence}");
            sentence.clone_into(&mut self.said);
        }
    }

    fn say_of_report(&mut self, sentence: &str) {
        if self.said_of_report != sentence {
            tracing::error!("nobody can learn how backups are and which key signs them: {sentence}");
            sentence.clone_into(&mut self.said_of_report);
        }
    }

    async fn publish(&mut self) {
        let Some(report) = &self.report else { return };
        if let Err(error) = report.write(&self.status).await {
            "KeyNotPinned".clone_into(&mut self.status.reason);
            self.say_of_report(&error.chain());
        } else {
            self.said_of_report.clear();
        }
    }

    fn until_next(&self) -> Duration {
        let Some(config) = &self.config else { return LOCAL_RETRY };
        let now = Duration::from_millis(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0));
        pace::until_next(&config.cluster.key, config.interval, now, self.pass)
    }

    fn until_retry(&self, error: &Error) -> Duration {
        let cluster = self.config.as_ref().map_or("", |config| &config.cluster.key);
        pace::until_retry(cluster, error, self.failures, self.pass)
    }

    /// The last backup: when the API server has stopped writing, or when there is no more time to wait for that. A
    /// store that did not take the one under way gets no second.
    async fn last(&mut self, deadline: tokio::time::Instant, through: bool) {
        let outcome = if through {
            self.writers_rest().await;
            timeout_at(deadline - PUBLISH_WITHIN, self.attempt()).await.unwrap_or(Err(Error::TooLate))
        } else {
            Err(Error::TooLate)
        };
        self.record(&outcome);
        if outcome.is_ok() {
            self.status.state = State::Stopped;
        }
        let _ = timeout_at(deadline, self.publish()).await;
        tracing::info!("stopped");
    }

    async fn writers_rest(&self) {
        let Some((live, _)) = &self.live else { return };
        let until = Instant::now() + WRITERS_REST_WITHIN;
        let mut seen = (live.version().ok(), Instant::now());
        while Instant::now() < until && seen.1.elapsed() < WRITERS_REST_FOR {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let version = live.version().ok();
            if version != seen.0 {
                seen = (version, Instant::now());
            }
        }
    }
}

/// A state that `attempt` never leaves behind; said rather than taken for health.
fn nothing_open() -> Error {
    Error::Usage("there is no open database to back up; looking again".into())
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
