//! The restore init container: gathers facts, lets `init` decide, acts. It ends only when the vcluster may start; while
//! anything is in doubt it waits, says why, and looks at everything anew.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use vcluster_proto::{
    settings,
    status::{self, State, Status},
};

use crate::{
    backup::Place,
    catalog::{At, Catalog},
    cli::{Options, RestoreArgs},
    config::{self, Config},
    error::Error,
    host,
    init::{Action, Facts, Request, StoreFact, decide},
    install::{self, Cancel},
    manifest::Layout,
    report::Report,
    restore::{self, Outcome, Purpose},
    serve::{self, Asked, Known},
    signal, sqlite,
    store::{Access, Fault, Store},
    traffic,
};

/// How long a look waits for a store that says nothing, at least.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From the signal to the end.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(2);

/// Runs until the vcluster may start.
///
/// # Errors
/// [`Error::Interrupted`] on a signal, and flags that cannot be used. Nothing else ends it.
pub async fn init(options: &Options, args: &RestoreArgs) -> Result<(), Error> {
    let place = config::place(options, &config::process_environment)?;
    let (mut stop, cancel) = (signal::Stop::listen()?, Cancel::default());
    let mut said = String::new();
    let begun = Instant::now();
    let mut known = Known::default();
    loop {
        let fingerprint = config::fingerprint(options);
        let step = {
            let mut work = std::pin::pin!(step(options, args, &place, &mut known, &cancel));
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
        let Wait { reason, message, database } = match step {
            Ok(done) => {
                tracing::info!("{done}");
                return Ok(());
            }
            Err(wait) => wait,
        };
        if message != said {
            tracing::warn!(reason, "waiting: {message}");
        }
        if database && begun.elapsed() >= args.store_patience {
            say_pending(options, &message).await;
            tracing::warn!("the old database stays for now, and the restore stays asked for");
            return Ok(());
        }
        say_waiting(options, reason, &message).await;
        said = message;
        tokio::select! {
            () = config::changed(options, fingerprint, args.look_every) => {}
            () = stop.wait() => return Err(Error::Interrupted),
        }
    }
}

/// For what the init container waits.
struct Wait {
    reason: &'static str,
    message: String,
    /// There is a database to go on with, if it takes too long.
    database: bool,
}

impl From<Error> for Wait {
    fn from(error: Error) -> Self {
        Self { reason: error.reason(), message: error.chain(), database: false }
    }
}

/// One way through the table: what was done, or for what to wait.
async fn step(
    options: &Options,
    args: &RestoreArgs,
    place: &Place,
    known_manifests: &mut Known,
    cancel: &Cancel,
) -> Result<String, Wait> {
    if let Some(path) = install::roll_forward(&place.data_dir)? {
        tracing::warn!("a restore that was cut short has been brought to its end: {} is in place", path.display());
    }
    let database = sqlite::find(&place.data_dir)?.map(|(path, _)| path);
    let loaded = Config::load(options, &config::process_environment);
    let mut facts = Facts {
        database: database.is_some(),
        settings: settings_fact(&loaded, options),
        request: Request::Served,
        key: config::identities(options, &config::process_environment).is_ok_and(|keys| !keys.is_empty())
            || loaded.as_ref().is_ok_and(Config::seals_for_nobody),
        bootstrap: loaded.as_ref().ok().and_then(|c| c.bootstrap),
        lived: false,
        store: StoreFact::NotAsked,
    };
    let Ok(config) = loaded else { return act_without_store(decide(&facts)) };
    let report = &config::report(options, Some(&config.cluster), &config::process_environment);
    let asked = &Asked { options, place, report, config: &config };
    facts.request = match serve::on_disk(asked, database.as_deref()).await {
        // A database that is there starts, whatever else is broken.
        Err(error) if database.is_some() => {
            tracing::error!("the restore that is asked for cannot be served: {}", error.chain());
            Request::Served
        }
        other => other?,
    };
    if database.is_none() {
        facts.lived = config.lived || known(report, &config).await?.is_some_and(|s| s.newest.is_some());
    }
    match decide(&facts) {
        Action::AskStore => {}
        Action::ServeEmpty => return serve_empty(asked).await,
        Action::Serve => return serve_over(asked, known_manifests, cancel, args.look_every).await,
        // Before anything that needs the network: every restart of a healthy pod comes this way.
        action => return act_without_store(action),
    }
    let silence = args.look_every.max(ANSWER_WITHIN);
    let Some(answer) = traffic::unless_silent(silence, ask(&config, known_manifests)).await else {
        return Err(silent_store(silence, known_manifests));
    };
    facts.store = match &answer {
        Ok(_) => store_fact(&known_manifests.own, &config),
        Err(error) => StoreFact::Unavailable(with_registration(error, &config)),
    };
    if let (Request::Undecided, Ok(_), Some(request)) = (facts.request, &answer, &config.restore) {
        let trust = config.trust(options, &place.data_dir, report).await?;
        let served = serve::served(&known_manifests.own, &trust, &config.cluster).outcome(&request.id).is_some();
        facts.request = if served { Request::Served } else { Request::Open };
    }
    let failed = |error: Error| Wait { message: with_registration(&error, &config), ..Wait::from(error) };
    match (decide(&facts), answer) {
        (Action::Restore { own }, Ok(store)) => {
            let found = Found { asked, store: &store, catalog: &known_manifests.own, own };
            restore_newest(found, cancel).await.map_err(failed)
        }
        (Action::Serve, _) => match serve::serve(asked, known_manifests, cancel).await.map_err(failed)? {
            Some(restored) => Ok(say_restored(asked, &restored).await),
            None => Err(Wait {
                reason: "WaitingForStore",
                message: "the store changes; looking again".into(),
                database: false,
            }),
        },
        (action, _) => act_without_store(action),
    }
}

/// Over a database that is there: whatever fails, it starts, now or after the store's five minutes.
async fn serve_over(
    asked: &Asked<'_>,
    known_manifests: &mut Known,
    cancel: &Cancel,
    look_every: Duration,
) -> Result<String, Wait> {
    let Some(request) = &asked.config.restore else { return act_without_store(Action::Present) };
    // A look first, which ends when the store is silent; the restore itself takes as long as it takes.
    let silence = look_every.max(ANSWER_WITHIN);
    if traffic::unless_silent(silence, ask(asked.config, known_manifests)).await.is_none() {
        return Err(Wait { database: true, ..silent_store(silence, known_manifests) });
    }
    match serve::serve(asked, known_manifests, cancel).await {
        Ok(Some(restored)) => Ok(say_restored(asked, &restored).await),
        Ok(None) => act_without_store(Action::Present),
        Err(error) if serve::is_for_later(&error) => {
            let message = serve::say_later(&error, with_registration(&error, asked.config));
            Err(Wait { database: true, message, ..Wait::from(error) })
        }
        Err(error) => {
            let ended =
                serve::fail(asked, &request.id, &error).map_err(|e| Wait { database: true, ..Wait::from(e) })?;
            let message = ended.message.clone();
            say_outcome(asked, ended).await;
            Ok(format!("restore {} failed: {message}", request.id))
        }
    }
}

async fn serve_empty(asked: &Asked<'_>) -> Result<String, Wait> {
    match serve::serve_empty(asked) {
        Ok(ended) => {
            let message = ended.message.clone();
            say_outcome(asked, ended).await;
            Ok(message)
        }
        Err(error) => Err(Wait { database: true, ..Wait::from(error) }),
    }
}

fn silent_store(silence: Duration, known: &Known) -> Wait {
    let seconds = silence.as_secs();
    let read = match known.count() {
        0 => String::new(),
        count => format!("; {count} manifests were read before and are not read again"),
    };
    let message = format!("the store has not answered within {seconds} s; check its endpoint and the network{read}");
    Wait { reason: "WaitingForStore", message, database: false }
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

fn act_without_store(action: Action) -> Result<String, Wait> {
    match action {
        Action::Present => Ok("a database is there; nothing to restore".into()),
        Action::StartEmpty => Ok("this is a beginning: there is nothing to restore".into()),
        Action::LeaveToSidecar => Ok("a database is there; the restore that is asked for waits for its key".into()),
        Action::Wait { reason, message } => Err(Wait { reason, message, database: false }),
        Action::AskStore | Action::Restore { .. } | Action::Serve | Action::ServeEmpty => {
            Err(Wait { reason: "WaitingForStore", message: "the store has not answered yet".into(), database: false })
        }
    }
}

async fn ask(config: &Config, known: &mut Known) -> Result<Store, Error> {
    let store = config.open_store(Access::Read)?;
    known.own.refresh(&store).await?;
    Ok(store)
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
    asked: &'a Asked<'a>,
    store: &'a Store,
    catalog: &'a Catalog,
    /// Only backups of this XR count.
    own: bool,
}

async fn restore_newest(found: Found<'_>, cancel: &Cancel) -> Result<String, Error> {
    let Found { asked, store, catalog, own } = found;
    let Asked { options, place, report, config } = asked;
    let trust = config.trust(options, &place.data_dir, report).await?;
    let candidates = if own { catalog.filter(|e| config.cluster.owns(&e.manifest)) } else { catalog.clone() };
    let pin = known(report, config).await?.filter(|_| own).and_then(|s| s.newest);
    check_pin(&candidates, pin.as_ref(), store.url())?;
    let chosen = candidates.select(&At::Latest, &trust)?;
    let identities = config::identities(options, &config::process_environment)?;
    let chain = catalog.chain(chosen)?;
    let fetched = restore::fetch(store, &chain, &identities, &place.spool_dir, cancel.clone()).await?;
    let purpose = Purpose {
        seen: catalog.highest_revision(&trust).max(pin.map_or(0, |p| p.revision)),
        request: None,
        clone: false,
        served: serve::served(catalog, &trust, &config.cluster),
    };
    let data_dir = place.data_dir.clone();
    let outcome = crate::blocking(move || fetched.into_data_dir(&data_dir, &purpose)).await?;
    Ok(say_restored(asked, &outcome).await)
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
        Error::Store { fault: Fault::NoBucket | Fault::NoCredentials(_) | Fault::Refused(..) | Fault::NotFound, .. }
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
    say(options, |status, request| {
        status.state = State::Waiting;
        reason.clone_into(&mut status.reason);
        message.clone_into(&mut status.message);
        if let Some(request) = request {
            status.restore = Some(serve::pending(&request.id, message.to_owned()));
        }
    })
    .await;
}

/// The vcluster starts; only the restore waits.
async fn say_pending(options: &Options, message: &str) {
    say(options, |status, request| {
        if let Some(request) = request {
            status.restore = Some(serve::pending(&request.id, message.to_owned()));
        }
    })
    .await;
}

async fn say(options: &Options, change: impl FnOnce(&mut Status, Option<&settings::Restore>)) {
    let config = Config::load(options, &config::process_environment).ok();
    let report = config::report(options, config.as_ref().map(|c| &c.cluster), &config::process_environment);
    // One that cannot be understood holds the trusted keys: it stays for people to mend.
    let Ok(status) = report.read().await else { return };
    let mut status = status.unwrap_or_default();
    if let Some(config) = &config {
        crate::run::address(&mut status, config);
    }
    change(&mut status, config.as_ref().and_then(|config| config.restore.as_ref()));
    status.observed_at = Some(Timestamp::now());
    write(&report, &status).await;
}

/// Says what was restored, for status and log, and brings back the Secrets that vcluster keeps on the host.
async fn say_restored(asked: &Asked<'_>, outcome: &Outcome) -> String {
    let request = asked.config.restore.as_ref().map(|request| request.id.clone()).unwrap_or_default();
    let served =
        asked.config.restore.is_some() && serve::on_disk(asked, None).await.is_ok_and(|r| r == Request::Served);
    let id = if served { request } else { String::new() };
    say_outcome(asked, serve::succeeded(outcome).as_status(&id)).await;
    let cluster = &asked.config.cluster;
    if !cluster.key.is_empty() && !cluster.namespace.is_empty() {
        let layout = if outcome.path.ends_with(Layout::K3s.database()) { Layout::K3s } else { Layout::K8s };
        match host::bring_back_secrets(cluster, &asked.place.data_dir, layout).await {
            Ok(made) => made.iter().for_each(|name| tracing::info!("brought back Secret {name}")),
            Err(error) => tracing::warn!("{}", error.chain()),
        }
    }
    format!("restored backup {} ({} bytes) to {}", outcome.point, outcome.size_bytes, outcome.path.display())
}

async fn say_outcome(asked: &Asked<'_>, ended: status::Restore) {
    let Ok(status) = asked.report.read().await else { return };
    let mut status = status.unwrap_or_default();
    crate::run::address(&mut status, asked.config);
    status.state = State::Healthy;
    let succeeded = ended.phase == status::SUCCEEDED;
    if succeeded { "Restored" } else { "RestoreFailed" }.clone_into(&mut status.reason);
    status.message.clone_from(&ended.message);
    status.observed_at = Some(Timestamp::now());
    status.restore = Some(ended);
    write(asked.report, &status).await;
}

async fn write(report: &Report, status: &Status) {
    if let Err(error) = report.write(status).await {
        tracing::warn!("{}", error.chain());
    }
}
