//! The loop: a backup at once, then every interval, a last one when told to stop. All decisions about retries and
//! shutdown are made here; errors travel up to this file, which says them once and goes on. It ends only on a signal:
//! an exited container would make the tenant's pod unready.

mod account;
mod attempt;
mod farewell;
mod outside;
mod proving;
mod request;
mod retention;
mod surroundings;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::timeout_at;
use vcluster_proto::status::Status;

pub use self::account::{address, point};
use self::outside::{Doorway, Endpoints, nothing_done};
use self::{
    account::Said,
    farewell::{PUBLISH_WITHIN, STOP_WITHIN},
};
use crate::{
    backup::Place,
    capture::{Captured, Mark},
    cli::{Options, RunArgs},
    config::{self, Config},
    error::Error,
    event::Watch,
    health::Health,
    lineage::Lineage,
    listen::Shown,
    lock::Lock,
    manifest::{Layout, Signed},
    metrics::Metrics,
    pace::{self, LOCAL_RETRY},
    report::Report,
    serve, signal,
    signing::Signer,
    sqlite::Live,
    store::{self, Store},
};

/// Backs up until a signal comes.
///
/// # Errors
/// Flags that cannot be used; with `--strict` the first failure.
pub async fn run(options: Options, args: &RunArgs) -> Result<(), Error> {
    let mut stop = signal::Stop::listen()?;
    let mut daemon = Daemon::new(options)?;
    let _endpoints = Endpoints::open(args.metrics_address.clone(), &daemon.shown);
    let mut doorway = Doorway::open(&daemon.place.spool_dir).await;
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
        let outcome = daemon.outcome.take().unwrap_or_else(|| Err(nothing_done()));
        doorway.answer(|question| daemon.answer(question, &outcome));
        if let (true, Err(error)) = (args.strict, outcome) {
            return Err(error);
        }
        tokio::select! {
            // Given up at once: a prune may be cut short anywhere, a last backup may not.
            _ = AssertUnwindSafe(daemon.prune()).catch_unwind() => {}
            () = stop.wait() => break (tokio::time::Instant::now() + STOP_WITHIN, true),
        }
        daemon.prove();
        tokio::select! {
            () = config::changed(&daemon.options, fingerprint, pause) => {}
            () = doorway.knocked() => {}
            () = stop.wait() => break (tokio::time::Instant::now() + STOP_WITHIN, true),
        }
    };
    daemon.proving.stop();
    daemon.pruning.stop();
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
    /// A copy that the store has not taken yet: it is offered again, not made again.
    pending: Option<Captured>,
    /// Nobody else backs up or restores here meanwhile.
    lock: Option<Lock>,
    /// When the store was last seen to hold everything that the newest backup needs; nothing while that is in doubt.
    looked_at: Option<Instant>,
    /// What the last backup held; nothing after a failure.
    mark: Option<Mark>,
    status: Status,
    failures: u32,
    said: Said,
    said_of_settings: Said,
    said_of_report: Said,
    said_of_encryption: Said,
    pass: Duration,
    /// How the last attempt ended, until somebody has asked.
    outcome: Option<Result<Done, Error>>,
    /// What metrics and health endpoints show.
    shown: Arc<Shown>,
    watch: Watch,
    /// What looks at a restore that is asked for have read; empty without one.
    looked_through: serve::Known,
    pruning: retention::Memory,
    proving: proving::Proving,
    /// The request that the init container of this pod could not serve, for something near at hand.
    just_tried: Option<String>,
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
            pending: None,
            mark: None,
            status: Status::default(),
            failures: 0,
            said: Said::default(),
            said_of_settings: Said::default(),
            said_of_report: Said::default(),
            said_of_encryption: Said::default(),
            lock: None,
            looked_at: None,
            pass: Duration::ZERO,
            outcome: None,
            shown: Arc::new(Shown { metrics: Metrics::default(), health: Health::new(Instant::now()) }),
            watch: Watch::new(Instant::now()),
            looked_through: serve::Known::default(),
            pruning: retention::Memory::default(),
            proving: proving::Proving::new(),
            just_tried: None,
        })
    }

    /// One backup and one status document; gives the time until the next.
    async fn tick(&mut self) -> Duration {
        self.status.last_attempt = Some(Timestamp::now());
        let begun = Instant::now();
        let outcome = self.attempt().await;
        let took = begun.elapsed();
        self.record(&outcome);
        let pause = match &outcome {
            Ok(_) => self.until_next(),
            Err(error) => self.until_retry(error),
        };
        self.announce(pause);
        self.look_at_request().await;
        self.publish().await;
        self.show(&outcome, took, pause);
        self.tell(&outcome).await;
        self.outcome = Some(outcome);
        pause
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
}
