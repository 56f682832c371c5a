//! A restore that somebody asked for, from its words to its outcome. `run` looks whether it can be served and restarts
//! the pod; the init container serves it, once.

use std::path::Path;

use jiff::Timestamp;
use vcluster_proto::{
    settings::{self, Bootstrap},
    status::{self, Status},
};

use crate::{
    backup::{self, Cluster, Place},
    catalog::{At, Catalog, Trust},
    cli::Options,
    config::{self, Config},
    error::Error,
    init,
    install::{self, Cancel},
    manifest::Signed,
    report::Report,
    requests::{Ledger, Outcome},
    restore::{self, Purpose},
    sqlite,
    start::{check_pin, known},
    store::{Access, Fault, Store},
};

/// What a request for nothing says.
const EMPTY: &str = "empty";

/// Where a request is looked at.
pub struct Asked<'a> {
    /// Flags.
    pub options: &'a Options,
    /// Folders.
    pub place: &'a Place,
    /// The status document.
    pub report: &'a Report,
    /// Settings.
    pub config: &'a Config,
}

/// Manifests that earlier looks have read, so that the next goes on from there.
#[derive(Debug, Default)]
pub struct Known {
    /// Of the cluster's own store.
    pub own: Catalog,
    /// Of another cluster's store that a request names.
    source: Catalog,
}

impl Known {
    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.own.entries.len() + self.source.entries.len()
    }
}

/// What the disk says of the request in the settings. With a database that nobody has open its marker is looked at, too:
/// a program that was killed between its rename and its ledger has served it.
///
/// # Errors
/// The disk cannot be read, or the ledger not be understood.
pub async fn on_disk(asked: &Asked<'_>, idle_database: Option<&Path>) -> Result<init::Request, Error> {
    let Asked { place, report, config, .. } = asked;
    let Some(request) = &config.restore else { return Ok(init::Request::Served) };
    if Ledger::load(&place.data_dir)?.outcome(&request.id).is_some() {
        return Ok(init::Request::Served);
    }
    if let Some(path) = idle_database
        && let Some(marker) = sqlite::marker(path)
        && marker.request.as_ref() == Some(&request.id)
    {
        Ledger::record(&place.data_dir, &request.id, &outcome(&marker.backup, true, String::new()))?;
        return Ok(init::Request::Served);
    }
    if request.at != EMPTY {
        return Ok(init::Request::Undecided);
    }
    let told = known(report, config).await?.and_then(|status| status.restore);
    let ended = |restore: &status::Restore| [status::SUCCEEDED, status::FAILED].contains(&restore.phase.as_str());
    let served = told.is_some_and(|restore| restore.id == request.id && ended(&restore));
    Ok(if served { init::Request::Served } else { init::Request::OpenEmpty })
}

/// The requests this cluster has served, as far as trusted manifests of it tell.
#[must_use]
pub fn served(catalog: &Catalog, trust: &Trust, cluster: &Cluster) -> Ledger {
    let mut ledger = Ledger::default();
    let own = catalog.entries.iter().filter(|e| trust.covers(&e.signer) && cluster.owns(&e.manifest));
    for entry in own {
        ledger.learn_from(&entry.manifest.requests);
    }
    ledger
}

/// How a restore into the data directory is remembered.
#[must_use]
pub fn succeeded(restored: &restore::Outcome) -> Outcome {
    let mut message = format!("restored from backup {}", restored.point);
    for remark in &restored.remarks {
        message.push_str("; ");
        message.push_str(remark);
    }
    outcome(&restored.point, true, message)
}

fn outcome(from: &str, succeeded: bool, message: String) -> Outcome {
    let message = if message.is_empty() { format!("restored from backup {from}") } else { message };
    Outcome { at: Timestamp::now(), from: from.to_owned(), message, succeeded }
}

/// A point that was found.
struct Found<'a> {
    store: Store,
    /// The point is the last; before it what it builds on.
    chain: Vec<Signed>,
    /// Of the cluster's own store.
    own_store: Store,
    own: &'a Catalog,
    trust: Trust,
    served: Ledger,
    seen: i64,
    clone: bool,
}

/// Looks for the point a request means; nothing if a manifest says that it was served.
async fn find<'a>(
    asked: &Asked<'_>,
    request: &settings::Restore,
    known_manifests: &'a mut Known,
) -> Result<Option<Found<'a>>, Error> {
    let Asked { options, place, report, config } = asked;
    let trust = config.trust(options, &place.data_dir, report).await?;
    let own_store = config.open_store(Access::Write)?;
    known_manifests.own.refresh(&own_store).await?;
    let own = &known_manifests.own;
    let served = served(own, &trust, &config.cluster);
    if served.outcome(&request.id).is_some() {
        let mut ledger = Ledger::load(&place.data_dir)?;
        ledger.learn(served.iter());
        ledger.save(&place.data_dir)?;
        return Ok(None);
    }
    let at: At = request.at.parse().map_err(|why: Error| Error::NoSuchPoint {
        at: request.at.clone(),
        store: own_store.url().to_owned(),
        window: why.to_string(),
    })?;
    let pin = known(report, config).await?.and_then(|status| status.newest);
    let (store, catalog, candidates) = match &request.from {
        Some(source) => {
            let store = config.open_source(source)?;
            known_manifests.source.refresh(&store).await?;
            let catalog = &known_manifests.source;
            let of_source = catalog.filter(|e| e.manifest.cluster == source.key);
            (store, catalog, of_source)
        }
        None => (own_store.clone(), own, own_candidates(own, &at, config)),
    };
    if request.from.is_none() && at == At::Latest && candidates.entries.iter().any(|e| config.cluster.owns(&e.manifest))
    {
        check_pin(&candidates, pin.as_ref(), store.url())?;
    }
    let chain = catalog.chain(candidates.select(&at, &trust)?)?.into_iter().cloned().collect();
    let seen = own.highest_revision(&trust).max(catalog.highest_revision(&trust)).max(pin.map_or(0, |p| p.revision));
    Ok(Some(Found { store, chain, own_store, own, trust, served, seen, clone: request.from.is_some() }))
}

/// An id may be of an earlier life; `latest` and a time mean this one, or the earlier ones if this has none yet.
fn own_candidates(catalog: &Catalog, at: &At, config: &Config) -> Catalog {
    let own = catalog.filter(|e| config.cluster.owns(&e.manifest));
    if matches!(at, At::Id(_)) || (own.entries.is_empty() && config.bootstrap != Some(Bootstrap::Empty)) {
        catalog.clone()
    } else {
        own
    }
}

/// What the running sidecar does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is asked for.
    Nothing,
    /// Say this, and look again at the next tick.
    Say(status::Restore),
    /// Say this, and restart the pod: the init container will serve it.
    Restart(status::Restore),
}

/// Looks at the request in the settings, beside a running vcluster: changes nothing but the ledger, and that only when
/// the request can never be served.
pub async fn look(asked: &Asked<'_>, known: &mut Known) -> Next {
    let Some(request) = &asked.config.restore else { return Next::Nothing };
    let pending = |message: String| pending(&request.id, message);
    match can_serve(asked, request, known).await {
        Ok(Ready::Served(ended)) => Next::Say(ended),
        Ok(Ready::Yes(point)) => {
            Next::Restart(pending(format!("{point} is there; the pod restarts to serve the restore")))
        }
        Err(error) if is_for_later(&error) => Next::Say(pending(error.chain())),
        Err(error) => match fail(asked, &request.id, &error) {
            Ok(ended) => Next::Say(ended),
            Err(error) => Next::Say(pending(error.chain())),
        },
    }
}

/// What a look found.
enum Ready {
    Served(status::Restore),
    Yes(String),
}

async fn can_serve(asked: &Asked<'_>, request: &settings::Restore, known: &mut Known) -> Result<Ready, Error> {
    match on_disk(asked, None).await? {
        init::Request::OpenEmpty => return Ok(Ready::Yes("an empty database".into())),
        init::Request::Open | init::Request::Undecided => {}
        init::Request::Served => return Ok(Ready::Served(ended(asked, &request.id)?)),
    }
    let identities = config::identities(asked.options, &config::process_environment)?;
    if identities.is_empty() && !asked.config.seals_for_nobody() {
        return Err(Error::NoIdentity { point: request.at.clone() });
    }
    let Some(found) = find(asked, request, known).await? else { return Ok(Ready::Served(ended(asked, &request.id)?)) };
    let point = found.chain.last().ok_or_else(|| Error::NoRepository { store: found.store.url().to_owned() })?;
    restore::can_open(&found.store, point, &identities).await?;
    Ok(Ready::Yes(format!("backup {}", point.manifest.id())))
}

fn ended(asked: &Asked<'_>, id: &str) -> Result<status::Restore, Error> {
    let ledger = Ledger::load(&asked.place.data_dir)?;
    Ok(ledger.outcome(id).map(|outcome| outcome.as_status(id)).unwrap_or_else(|| {
        // Only the status document knows it, and goes on saying so.
        status::Restore { id: id.to_owned(), phase: status::SUCCEEDED.into(), ..status::Restore::default() }
    }))
}

/// What is said of an open request.
#[must_use]
pub fn pending(id: &str, message: String) -> status::Restore {
    status::Restore { id: id.to_owned(), phase: status::PENDING.into(), message, ..status::Restore::default() }
}

/// What the init container says when something near at hand was in the way, and by what `run` knows not to restart the
/// pod for it at once again.
pub const NEXT_TRY: &str =
    "; the old database goes on meanwhile, another try comes within the hour, or at once when the pod is deleted";

/// What may be well at the next look: the store, the key, the disk, the settings, another program at work. Only what
/// the backup itself or its key leave no hope for is the outcome.
#[must_use]
pub fn is_for_later(error: &Error) -> bool {
    use rusqlite::ErrorCode as Code;
    match error {
        Error::NoSuchPoint { .. }
        | Error::WrongKey { .. }
        | Error::Untrusted { .. }
        | Error::Damaged { .. }
        | Error::ChainBroken { .. }
        | Error::Layout { .. }
        | Error::Store { fault: Fault::NotFound, .. } => false,
        // SQLite says no to what was restored, or the machine does to SQLite.
        Error::Database { source, .. } => matches!(
            source.sqlite_error_code(),
            Some(
                Code::DatabaseBusy
                    | Code::DatabaseLocked
                    | Code::DiskFull
                    | Code::SystemIoFailure
                    | Code::OutOfMemory
                    | Code::CannotOpen
                    | Code::ReadOnly
                    | Code::PermissionDenied
            )
        ),
        _ => true,
    }
}

/// How the init container says why a restore over a database waits.
#[must_use]
pub fn say_later(error: &Error, message: String) -> String {
    match error {
        Error::Store { .. } | Error::NoIdentity { .. } | Error::Interrupted | Error::Status { .. } => message,
        _ => message + NEXT_TRY,
    }
}

/// Writes a failure down: the request is not tried again under its id.
///
/// # Errors
/// The disk cannot be written.
pub fn fail(asked: &Asked<'_>, id: &str, error: &Error) -> Result<status::Restore, Error> {
    let message = format!("{}; the database stays as it is, a new request needs a new id", error.chain());
    let outcome = outcome("", false, message);
    Ledger::record(&asked.place.data_dir, id, &outcome)?;
    Ok(outcome.as_status(id))
}

/// Serves a request in the init container; nothing if it had been served before. What goes wrong is judged there.
///
/// # Errors
/// The database that was there is there still, and no outcome is recorded.
pub async fn serve(asked: &Asked<'_>, known: &mut Known, cancel: &Cancel) -> Result<Option<restore::Outcome>, Error> {
    let Asked { options, place, config, .. } = asked;
    let Some(request) = &config.restore else { return Ok(None) };
    let Some(found) = find(asked, request, known).await? else { return Ok(None) };
    let identities = config::identities(options, &config::process_environment)?;
    let chain: Vec<&Signed> = found.chain.iter().collect();
    let fetched = restore::fetch(&found.store, &chain, &identities, &place.spool_dir, cancel.clone()).await?;
    let mut seen = found.seen;
    if let Some(last) = last_backup(asked, &found).await? {
        seen = seen.max(last.manifest.revision);
    }
    let purpose = Purpose { seen, request: Some(request.id.clone()), clone: found.clone, served: found.served };
    let data_dir = place.data_dir.clone();
    let restored = crate::blocking(move || fetched.into_data_dir(&data_dir, &purpose)).await?;
    Ledger::record(&place.data_dir, &request.id, &succeeded(&restored))?;
    Ok(Some(restored))
}

/// A restore loses nothing: what is there is backed up once more. A database too broken for that is kept beside anyway,
/// as every replaced one is; only a store that does not take the backup holds the restore up.
async fn last_backup(asked: &Asked<'_>, found: &Found<'_>) -> Result<Option<Signed>, Error> {
    match sqlite::find(&asked.place.data_dir)? {
        None => return Ok(None),
        Some((path, _)) if !install::is_database(&path) => {
            tracing::warn!("{} is no database any more; it is kept beside as it is", path.display());
            return Ok(None);
        }
        Some(_) => {}
    }
    match backup::once(asked.config, found.own, &found.trust, &found.own_store, asked.place).await {
        Ok(signed) => {
            tracing::info!(id = %signed.manifest.id(), "backed up once more before the restore");
            Ok(Some(signed))
        }
        Err(error @ (Error::Store { .. } | Error::Interrupted | Error::Locked { .. })) => Err(error),
        Err(error) => {
            tracing::warn!("no last backup before the restore, the old database is kept beside: {}", error.chain());
            Ok(None)
        }
    }
}

/// Serves a request for an empty database: asks nobody, moves aside what is there.
///
/// # Errors
/// Somebody has it open, or the disk cannot be written; no outcome is recorded then.
pub fn serve_empty(asked: &Asked<'_>) -> Result<status::Restore, Error> {
    let Some(request) = &asked.config.restore else { return Ok(status::Restore::default()) };
    let _alone = crate::lock::Lock::take(&asked.place.data_dir)?;
    let moved = install::set_databases_aside(&asked.place.data_dir)?;
    let message = match moved.first() {
        Some(kept) => format!("started empty; the old database is kept as {}", kept.display()),
        None => "started empty".into(),
    };
    let outcome = outcome("", true, message);
    Ledger::record(&asked.place.data_dir, &request.id, &outcome)?;
    Ok(outcome.as_status(&request.id))
}

/// Forgets a request that was taken back before it was served.
pub fn forget_withdrawn(status: &mut Status, config: &Config) {
    let withdrawn = |told: &status::Restore| {
        let open = ![status::SUCCEEDED, status::FAILED].contains(&told.phase.as_str());
        open && config.restore.as_ref().is_none_or(|request| request.id != told.id)
    };
    status.restore.take_if(|told| withdrawn(told));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_backup_and_its_key_end_a_request() {
        let text = String::new;
        let file = |kind: std::io::ErrorKind| Error::file("write", Path::new("/x"))(kind.into());
        let sqlite = |code| {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            Error::Database { action: "check", path: "/x".into(), source }
        };
        let store = |fault| Error::Store { action: "get", object: text(), store: text(), fault };
        let open = [
            Error::Locked { data_dir: "/x".into() },
            Error::Busy { path: "/x".into() },
            file(std::io::ErrorKind::StorageFull),
            Error::Seal { action: "write", source: std::io::ErrorKind::StorageFull.into() },
            Error::Usage(text()),
            Error::NoIdentity { point: text() },
            Error::NoRepository { store: text() },
            Error::TwoWriters { store: text(), heads: text() },
            Error::RolledBack { store: text(), pinned: text() },
            Error::Interrupted,
            sqlite(rusqlite::ffi::SQLITE_FULL),
            sqlite(rusqlite::ffi::SQLITE_BUSY),
            store(Fault::NoBucket),
            store(Fault::Unreachable(text())),
        ];
        let ended = [
            Error::NoSuchPoint { at: text(), store: text(), window: text() },
            Error::WrongKey { point: text() },
            Error::Untrusted { point: text(), signer: text() },
            Error::Damaged { object: text(), why: text() },
            Error::ChainBroken { point: text(), missing: text() },
            Error::Layout { point: text(), data_dir: "/x".into() },
            sqlite(rusqlite::ffi::SQLITE_NOTADB),
            store(Fault::NotFound),
        ];
        for error in &open {
            assert!(is_for_later(error), "{error:?}");
        }
        for error in &ended {
            assert!(!is_for_later(error), "{error:?}");
        }
    }
}
