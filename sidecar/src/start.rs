//! The restore init container: gathers facts, lets `init` decide, acts. It ends only when the vcluster may start; while
//! anything is in doubt it waits, says why, and looks at everything anew.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use vcluster_proto::status::{self, State, Status};

use crate::{
    backup::Place,
    catalog::{At, Catalog},
    cli::Options,
    config::{self, Config},
    error::Error,
    init::{Action, Facts, StoreFact, decide},
    install::Cancel,
    report::Report,
    restore::{self, Outcome},
    signal, sqlite,
    store::{Access, Fault, Store},
};

/// Time between two looks; a changed file of the config folder is seen sooner.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// From the signal to the end.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(2);

/// Runs until the vcluster may start.
///
/// # Errors
/// [`Error::Interrupted`] on a signal, and flags that cannot be used. Nothing else ends it.
pub async fn init(options: &Options) -> Result<(), Error> {
    let place = config::place(options, &config::process_environment)?;
    let (mut stop, cancel) = (signal::Stop::listen()?, Cancel::default());
    let mut said = String::new();
    loop {
        let fingerprint = config::fingerprint(options);
        let step = {
            let mut work = std::pin::pin!(step(options, &place, &cancel));
            tokio::select! {
                step = &mut work => step,
                () = stop.wait() => {
                    cancel.ask();
                    // What is past its rename still gets to say so.
                    match tokio::time::timeout(CLEAN_UP_WITHIN, work).await {
                        Ok(Ok(done)) => Ok(done),
                        _ => return Err(Error::Interrupted),
                    }
                }
            }
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
async fn step(options: &Options, place: &Place, cancel: &Cancel) -> Result<String, (&'static str, String)> {
    let said = |error: Error| (error.reason(), error.chain());
    let database = sqlite::find(&place.data_dir).map_err(said)?.is_some();
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
    facts.lived = config.lived || known(report, &config).await.map_err(said)?.is_some_and(|s| s.newest.is_some());
    let first = decide(&facts);
    if first != Action::AskStore {
        return act_without_store(first);
    }
    let asked = match tokio::time::timeout(LOOK_EVERY, ask(&config)).await {
        Ok(asked) => asked,
        Err(_) => {
            let message = format!(
                "the store has not answered within {} s; check its endpoint and the network",
                LOOK_EVERY.as_secs()
            );
            return Err(("WaitingForStore", message));
        }
    };
    facts.store = match &asked {
        Ok((_, catalog)) => store_fact(catalog, &config),
        Err(error) => StoreFact::Unavailable(with_registration(error, &config)),
    };
    match (decide(&facts), asked) {
        (Action::Restore { own }, Ok((store, catalog))) => {
            let found = Found { options, place, report, config: &config, store: &store, catalog: &catalog, own };
            restore_newest(found, cancel).await.map_err(|error| (error.reason(), with_registration(&error, &config)))
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
    let store = config.open_store(Access::Read)?;
    let catalog = Catalog::load(&store).await?;
    Ok((store, catalog))
}

fn store_fact(catalog: &Catalog, config: &Config) -> StoreFact {
    let own = catalog.entries.iter().any(|e| config.cluster.owns(&e.manifest));
    match catalog.rejected.first() {
        // What cannot be read may be this cluster's own: that is no beginning, whatever else is there.
        Some(why) if !own => StoreFact::Unavailable(format!(
            "no backup of this cluster can be read, and one cannot be read at all: {why}"
        )),
        _ if catalog.entries.is_empty() => StoreFact::Empty,
        _ => StoreFact::Backups { own },
    }
}

/// What a restore at start rests on.
struct Found<'a> {
    options: &'a Options,
    place: &'a Place,
    report: &'a Report,
    config: &'a Config,
    store: &'a Store,
    catalog: &'a Catalog,
    /// Only backups of this XR count.
    own: bool,
}

async fn restore_newest(found: Found<'_>, cancel: &Cancel) -> Result<String, Error> {
    let Found { options, place, report, config, store, catalog, own } = found;
    let trust = config.trust(options, &place.data_dir, report).await?;
    let candidates = if own { catalog.filter(|e| config.cluster.owns(&e.manifest)) } else { catalog.clone() };
    let pin = known(report, config).await?.filter(|_| own).and_then(|s| s.newest);
    check_pin(&candidates, pin.as_ref(), store.url())?;
    let chosen = candidates.select(&At::Latest, &trust)?;
    let identities = config::identities(options, &config::process_environment)?;
    let fetched = restore::fetch(store, chosen, &identities, &place.spool_dir, cancel.clone()).await?;
    let seen = catalog.highest_revision(&trust).max(pin.map_or(0, |p| p.revision));
    let data_dir = place.data_dir.clone();
    let outcome = crate::blocking(move || fetched.into_data_dir(&data_dir, seen)).await?;
    say_restored(report, config, &outcome).await;
    Ok(format!("restored backup {} ({} bytes) to {}", outcome.point, outcome.size_bytes, outcome.path.display()))
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
///
/// # Errors
/// It cannot be understood.
pub async fn known(report: &Report, config: &Config) -> Result<Option<Status>, Error> {
    Ok(report.read().await?.filter(|status| status.uid == config.cluster.uid))
}

/// While bucket and user are being registered, the store's refusal alone would mislead.
fn with_registration(error: &Error, config: &Config) -> String {
    let not_there_yet = matches!(
        error,
        Error::Store { fault: Fault::NoBucket | Fault::NoCredentials | Fault::Refused(_) | Fault::NotFound, .. }
    );
    if let Error::NoRepository { store } = error {
        return format!("the folder of store {store} is not there: mount or make it");
    }
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
    let Ok(status) = report.read().await else { return };
    let mut status = status.unwrap_or_default();
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
    let Ok(status) = report.read().await else { return };
    let mut status = status.unwrap_or_default();
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
