//! The restore init container: gathers facts, lets `init` decide, acts. It ends only when the vcluster may start; while
//! anything is in doubt it waits, says why, and looks at everything anew.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use vcluster_proto::status::{self, State, Status};

use crate::{
    backup::Place,
    catalog::{At, Catalog, Trust},
    cli::Options,
    config::{self, Config},
    error::Error,
    init::{Action, Facts, StoreFact, decide},
    report::Report,
    restore::{self, Outcome},
    signal, sqlite,
    store::{Fault, Store},
};

/// Time between two looks; a changed file of the config folder is seen sooner.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs until the vcluster may start.
///
/// # Errors
/// [`Error::Interrupted`] on a signal, and flags that cannot be used. Nothing else ends it.
pub async fn init(options: &Options) -> Result<(), Error> {
    let place = config::place(options, &config::process_environment)?;
    let mut stop = signal::Stop::listen()?;
    let mut said = String::new();
    loop {
        let fingerprint = config::fingerprint(options);
        let step = tokio::select! {
            step = step(options, &place) => step,
            () = stop.wait() => return Err(Error::Interrupted),
        };
        let (reason, message) = match step {
            Ok(done) => {
                tracing::info!("{done}");
                return Ok(());
            }
            Err(wait) => wait,
        };
        if message != said {
            tracing::warn!(reason, "waiting: {message}");
        }
        say_waiting(options, reason, &message).await;
        said = message;
        tokio::select! {
            () = config::changed(options, fingerprint, LOOK_EVERY) => {}
            () = stop.wait() => return Err(Error::Interrupted),
        }
    }
}

/// One way through the table: what was done, or for what to wait.
async fn step(options: &Options, place: &Place) -> Result<String, (&'static str, String)> {
    let database = sqlite::find(&place.data_dir).is_some();
    let loaded = Config::load(options, &config::process_environment);
    let mut facts = Facts {
        database,
        settings: settings_fact(&loaded, options),
        bootstrap: loaded.as_ref().ok().and_then(|c| c.bootstrap),
        lived: false,
        store: StoreFact::NotAsked,
    };
    if database {
        // Before anything that needs the network: every restart of a healthy pod comes this way.
        return act_without_store(decide(&facts));
    }
    let Ok(config) = loaded else { return act_without_store(decide(&facts)) };
    let report = &config::report(options, Some(&config.cluster), &config::process_environment);
    facts.lived = config.lived || known(report, &config).await.is_some_and(|s| s.newest.is_some());
    let first = decide(&facts);
    if first != Action::AskStore {
        return act_without_store(first);
    }
    let asked = ask(&config).await;
    facts.store = match &asked {
        Ok((_, catalog)) => store_fact(catalog, &config),
        Err(error) => StoreFact::Unavailable(with_registration(error, &config)),
    };
    match (decide(&facts), asked) {
        (Action::Restore { own }, Ok((store, catalog))) => {
            restore_newest(options, place, report, &config, &store, &catalog, own)
                .await
                .map_err(|error| (error.reason(), with_registration(&error, &config)))
        }
        (action, _) => act_without_store(action),
    }
}

fn settings_fact(loaded: &Result<Config, Error>, options: &Options) -> Result<(), String> {
    match loaded {
        Ok(config) if config.has_settings => Ok(()),
        Ok(_) => {
            let folder = options.config_dir.as_deref().unwrap_or(Path::new(""));
            Err(format!("there is no settings/settings.yaml in {} yet; chart s3-register makes it", folder.display()))
        }
        Err(error) => Err(error.chain()),
    }
}

fn act_without_store(action: Action) -> Result<String, (&'static str, String)> {
    match action {
        Action::Present => Ok("a database is there; nothing to restore".into()),
        Action::StartEmpty => Ok("this is a beginning: there is nothing to restore".into()),
        Action::Wait { reason, message } => Err((reason, message)),
        Action::AskStore | Action::Restore { .. } => Err(("WaitingForStore", "the store has not answered yet".into())),
    }
}

async fn ask(config: &Config) -> Result<(Store, Catalog), Error> {
    let store = config.open_store()?;
    let catalog = Catalog::load(&store).await?;
    Ok((store, catalog))
}

fn store_fact(catalog: &Catalog, config: &Config) -> StoreFact {
    if let (true, Some(why)) = (catalog.entries.is_empty(), catalog.rejected.first()) {
        return StoreFact::Unavailable(format!("no backup in the store can be read: {why}"));
    }
    if catalog.entries.is_empty() {
        return StoreFact::Empty;
    }
    StoreFact::Backups { own: catalog.entries.iter().any(|e| e.manifest.uid == config.cluster.uid) }
}

async fn restore_newest(
    options: &Options,
    place: &Place,
    report: &Report,
    config: &Config,
    store: &Store,
    catalog: &Catalog,
    own: bool,
) -> Result<String, Error> {
    let trust = config.trust(options, &place.data_dir, report).await?;
    let candidates = if own { catalog.filter(|e| e.manifest.uid == config.cluster.uid) } else { catalog.clone() };
    let pin = known(report, config).await.filter(|_| own).and_then(|s| s.newest);
    check_pin(&candidates, pin.as_ref(), store.url())?;
    let outcome = restore_point(&candidates, catalog, &trust, pin.as_ref(), config, store, place).await?;
    say_restored(report, config, &outcome).await;
    Ok(format!("restored backup {} ({} bytes) to {}", outcome.point, outcome.size_bytes, outcome.path.display()))
}

async fn restore_point(
    candidates: &Catalog,
    all: &Catalog,
    trust: &Trust,
    pin: Option<&status::Point>,
    config: &Config,
    store: &Store,
    place: &Place,
) -> Result<Outcome, Error> {
    let chosen = candidates.select(&At::Latest, trust)?;
    let fetched = restore::fetch(store, chosen, &config.identities, &place.spool_dir).await?;
    let seen = all.highest_revision().max(pin.map_or(0, |p| p.revision));
    let data_dir = place.data_dir.clone();
    crate::blocking(move || fetched.into_data_dir(&data_dir, seen)).await
}

/// A store that no longer has the newest backup we know of has been rolled back.
///
/// # Errors
/// [`Error::RolledBack`].
pub fn check_pin(catalog: &Catalog, pin: Option<&status::Point>, store: &str) -> Result<(), Error> {
    match pin {
        Some(pin) if !pin.manifest.is_empty() && !catalog.contains(&pin.manifest) => {
            Err(Error::RolledBack { store: store.to_owned(), pinned: pin.id.clone() })
        }
        _ => Ok(()),
    }
}

/// The status document, if it speaks of this XR.
#[must_use]
pub async fn known(report: &Report, config: &Config) -> Option<Status> {
    report.read().await.filter(|status| status.uid == config.cluster.uid)
}

/// While bucket and user are being registered, the store's refusal alone would mislead.
fn with_registration(error: &Error, config: &Config) -> String {
    let not_there_yet = matches!(
        error,
        Error::Store { fault: Fault::NoBucket | Fault::NoCredentials | Fault::Refused(_) | Fault::NotFound, .. }
    );
    match &config.registration {
        Some(job) if not_there_yet => {
            format!("{}; Job {job}... registers bucket and user, look there if this lasts", error.chain())
        }
        _ => error.chain(),
    }
}

async fn say_waiting(options: &Options, reason: &str, message: &str) {
    let config = Config::load(options, &config::process_environment).ok();
    let report = config::report(options, config.as_ref().map(|c| &c.cluster), &config::process_environment);
    let mut status = report.read().await.unwrap_or_default();
    if let Some(config) = &config {
        crate::run::address(&mut status, config);
    }
    status.state = State::Waiting;
    reason.clone_into(&mut status.reason);
    message.clone_into(&mut status.message);
    status.observed_at = Some(Timestamp::now());
    write(&report, &status).await;
}

async fn say_restored(report: &Report, config: &Config, outcome: &Outcome) {
    let mut status = report.read().await.unwrap_or_default();
    crate::run::address(&mut status, config);
    let now = Timestamp::now();
    status.state = State::Healthy;
    "Restored".clone_into(&mut status.reason);
    status.message = format!("restored from backup {}", outcome.point);
    status.observed_at = Some(now);
    status.restore = Some(status::Restore {
        phase: "Succeeded".into(),
        from: outcome.point.clone(),
        at: Some(now),
        message: status.message.clone(),
        ..status::Restore::default()
    });
    write(report, &status).await;
}

async fn write(report: &Report, status: &Status) {
    if let Err(error) = report.write(status).await {
        tracing::warn!("{}", error.chain());
    }
}
