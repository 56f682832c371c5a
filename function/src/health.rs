//! Health on the claim: from the sidecar's report to conditions and facts. Pure; the time is an argument.
//!
//! A report that grows old is no fact any more, so the verdict needs a clock; but it never says how old something is:
//! what is said changes only when the verdict does, else every reconcile would write the claim anew. Age is that of the
//! report, not of the newest backup: a database nobody writes to needs no new one.

mod facts;
mod report;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vcluster_proto::{
    interval,
    settings::Settings,
    status::{FAILED, PENDING, Point, SUCCEEDED, State, Status, WAITING_FOR_IDENTITY},
};

use facts::{facts, outcome};
pub use report::{KEY_LABEL, Report, Source};

use crate::{
    forms,
    observed::{Observed, S3},
    order::Order,
    render::Condition,
    restore,
    xr::Xr,
};

/// Intervals after which a report is stale.
const PATIENCE: u32 = 3;
/// The sidecar waits up to this long between two tries of a store that fails.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// What is said of a request as long as the sidecar says nothing.
const ASKED: &str = "the restore is asked for; the sidecar takes it up with its next look at its settings";
/// Signing keys the status pins; each lost volume adds one.
const MAX_TRUSTED_KEYS: usize = 32;
/// Reasons that speak of the backups which are there, not of the next one.
const DOUBTS: [&str; 5] = ["Damaged", "NoBucket", "NoRepository", "RolledBack", "Untrusted"];

/// What the claim is told of its backups.
#[derive(Clone, Debug)]
pub struct Health {
    /// `BackupReady`, `Recoverable`, `RestoreSucceeded`.
    pub conditions: [Condition; 3],
    /// What goes into `status.backup`, over what is remembered.
    pub backup: Map<String, Value>,
    /// `status.restore`; empty without a restore.
    pub restore: Map<String, Value>,
    /// There has been a backup.
    pub recovery_point: bool,
    /// The first one is awaited.
    pub awaiting: bool,
}

/// What can be said of the next backup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: Option<bool>,
    reason: String,
    message: String,
    /// The same in one word, for cores that show no conditions of functions.
    state: &'static str,
}

impl Verdict {
    fn new(state: &'static str, status: Option<bool>, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), state }
    }

    fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self::new("Unknown", None, reason, message)
    }

    fn condition(&self, kind: &'static str) -> Condition {
        Condition { kind, status: self.status, reason: self.reason.clone(), message: self.message.clone() }
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Whose vcluster it is.
    pub xr: &'a Xr,
    /// What is ordered.
    pub order: &'a Order,
    /// What is there: the settings the sidecar may still follow are among it.
    pub observed: &'a Observed,
    /// What the sidecar says.
    pub report: &'a Report,
    /// What to do for an identity that is waited for.
    pub advice: Option<&'a str>,
}

impl Health {
    /// Judges a report at a time.
    pub fn judge(Case { xr, order, observed, report, advice }: Case<'_>, now: Timestamp) -> Self {
        if !order.backup {
            return Self::disabled(xr);
        }
        let status = report.known();
        let trusted = trusted_keys(xr, status);
        let ready = match status {
            Some(status) => advised(verdict(status, due(status, order.interval, observed), now), advice),
            None => unread(report, &Source::of(&order.names)),
        };
        let recoverable = match status {
            Some(status) => recoverable(status, &ready, &trusted),
            None => Verdict::unknown(&ready.reason, ready.message.as_str()),
        };
        let mut restore = restore::status(xr, status, outcome);
        if text_of(&restore, "phase") == Some(PENDING) && text_of(&restore, "message").is_none() {
            restore.insert("message".to_owned(), json!(advice.unwrap_or(ASKED)));
        }
        let recovery_point = xr.lived() || status.is_some_and(|status| newest(status).is_some());
        Self {
            conditions: [
                ready.condition("BackupReady"),
                recoverable.condition("Recoverable"),
                restored(&restore).condition("RestoreSucceeded"),
            ],
            backup: facts(status, &ready, trusted),
            restore,
            recovery_point,
            awaiting: !recovery_point && *report != Report::NotRead,
        }
    }

    fn disabled(xr: &Xr) -> Self {
        let verdict = Verdict::new("Disabled", None, "Disabled", "backup is disabled (spec.backup.enabled)");
        Self {
            conditions: ["BackupReady", "Recoverable", "RestoreSucceeded"].map(|kind| verdict.condition(kind)),
            backup: Map::from_iter([("state".to_owned(), json!(verdict.state))]),
            restore: restore::status(xr, None, outcome),
            recovery_point: xr.lived(),
            awaiting: false,
        }
    }
}

/// What is said beside a refusal: nobody looks at the report meanwhile, and the last word on it would grow old unnoticed.
pub(crate) fn refused() -> [Condition; 2] {
    let message = "the order is refused, so nobody looks at its backups; the event of the refusal says what to mend";
    let verdict = Verdict::unknown("Refused", message);
    ["BackupReady", "Recoverable"].map(|kind| verdict.condition(kind))
}

/// Without a report nobody can say; in whose words, depends on why there is none.
fn unread(report: &Report, Source { name, namespace, .. }: &Source) -> Verdict {
    let place = format!("ConfigMap {name} of namespace {namespace}");
    match report {
        Report::NotRead => {
            let why = "Crossplane has not handed it over (it does from 1.15 on)";
            Verdict::unknown("ReportNotRead", format!("the sidecar reports in {place}; {why}"))
        }
        Report::Unreadable => Verdict::unknown(
            "ReportUnreadable",
            format!("{place} cannot be read; the sidecar does not write over it: mend or empty it"),
        ),
        Report::Foreign => {
            let why = "it speaks of another XR; the sidecar writes it anew when it runs";
            Verdict::unknown("ReportOfAnother", format!("{place} is not believed: {why}"))
        }
        Report::Missing | Report::Known(_) => {
            Verdict::unknown("NoReport", format!("{place} holds no report yet; the sidecar writes it when it runs"))
        }
    }
}

/// The time between two reports. A shorter interval that has just been ordered may not have reached the sidecar yet, so
/// the one it reports counts, but never beyond what the settings say that are there: else one long word in a report that
/// nobody writes any more would hide that.
fn due(status: &Status, ordered: Duration, observed: &Observed) -> Duration {
    match interval::parse(&status.interval) {
        Ok(reported) if reported > ordered => ordered.max(reported.min(told(observed).unwrap_or_default())),
        _ => ordered,
    }
}

/// The interval of the settings that are there.
fn told(observed: &Observed) -> Option<Duration> {
    let settings = observed.release(S3)?.value_text("/settings")?;
    Some(Settings::from_yaml(settings).ok()?.backup.interval)
}

/// Whether backups work, as far as a report of this age can tell.
fn verdict(status: &Status, interval: Duration, now: Timestamp) -> Verdict {
    let Some(observed_at) = status.observed_at else {
        return Verdict::unknown("Undecided", "the sidecar runs; its first try has not ended yet");
    };
    let interval = if status.state == State::Failing { interval.max(LONGEST_RETRY) } else { interval };
    let age = now.duration_since(observed_at);
    if age.unsigned_abs() > interval.saturating_mul(PATIENCE) {
        return match age.is_positive() {
            true => Verdict::new(
                "Stale",
                Some(false),
                "Stale",
                "the last report is older than three intervals: the sidecar does not run, or cannot write it",
            ),
            false => Verdict::unknown("ClockSkew", "the report is dated in the future: set the clocks of both nodes"),
        };
    }
    let said = |or: &str| text::sentence(&status.message).unwrap_or_else(|| or.to_owned());
    let failed = |state: &'static str| {
        let reason = text::word(&status.reason).unwrap_or(state);
        Verdict::new(state, Some(false), reason, said("the sidecar gives no reason; see its log"))
    };
    match status.state {
        State::Healthy if newest(status).is_some() => {
            Verdict::new("Healthy", Some(true), "BackedUp", "backups are up to date")
        }
        State::Healthy => Verdict::unknown("NoBackup", "the sidecar is healthy; its first backup is awaited"),
        State::Failing => failed("Failing"),
        State::Waiting => failed("Waiting"),
        State::Stopped => {
            Verdict::new("Stopped", Some(false), "Stopped", "the sidecar was told to stop; it goes on with its pod")
        }
        State::Unknown => Verdict::unknown("Undecided", "the report says neither that backups work nor that they fail"),
    }
}

/// Whether there is something to restore. What was in the store stays there when the sidecar falls silent, and that is
/// when it matters; but then it is said to be the last word.
fn recoverable(status: &Status, ready: &Verdict, trusted: &[Value]) -> Verdict {
    let verdict = |status, reason, message: &str| Verdict::new("", status, reason, message);
    if newest(status).is_none() {
        return verdict(Some(false), "NoBackup", "no backup is in the store yet");
    }
    // A key beyond the bound is not pinned, and a restore believes no other.
    let pinned = |key: &&str| trusted.iter().any(|known| known == key);
    let mut keys = signing_keys(status).peekable();
    if keys.peek().is_none() || !keys.all(|key| pinned(&key)) {
        let message = "a backup is in the store, but its signing key is not pinned: a restore would not believe it";
        return verdict(Some(false), "KeyNotPinned", message);
    }
    if ready.status == Some(false) && DOUBTS.contains(&ready.reason.as_str()) {
        return verdict(None, &ready.reason, &ready.message);
    }
    match ready.state {
        "Stale" => verdict(Some(true), "LastReported", "a backup was in the store when the sidecar last reported"),
        _ => verdict(Some(true), "RecoveryPoint", "a backup is in the store and its signing key is pinned"),
    }
}

/// Who waits for an identity is told where to bring it.
fn advised(verdict: Verdict, advice: Option<&str>) -> Verdict {
    match advice {
        Some(advice) if verdict.reason == WAITING_FOR_IDENTITY => {
            let message = format!("{}; {advice}", verdict.message);
            Verdict { message, ..verdict }
        }
        _ => verdict,
    }
}

fn text_of<'a>(fields: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    fields.get(field).and_then(Value::as_str)
}

/// An outcome is history: it stays true however old the report is.
fn restored(restore: &Map<String, Value>) -> Verdict {
    let message = text_of(restore, "message");
    let ended = message.unwrap_or("the restore has ended");
    match text_of(restore, "phase") {
        Some(SUCCEEDED) => Verdict::new("", Some(true), SUCCEEDED, ended),
        Some(FAILED) => Verdict::new("", Some(false), FAILED, ended),
        Some(_) => Verdict::unknown(PENDING, message.unwrap_or("the restore has not ended yet")),
        None => Verdict::unknown("NotRequested", "no restore is asked for"),
    }
}

fn newest(status: &Status) -> Option<&Point> {
    text::point(status.newest.as_ref())
}

/// Keys of the report that have the form of one.
fn signing_keys(status: &Status) -> impl Iterator<Item = &str> {
    status.trusted_keys.iter().map(String::as_str).filter(|key| forms::signing_key(key).is_ok())
}

/// What the XR has pinned, then what the report adds: only ever longer.
fn trusted_keys(xr: &Xr, status: Option<&Status>) -> Vec<Value> {
    let mut keys: Vec<Value> = xr.trusted_keys().map(Value::from).collect();
    for key in status.into_iter().flat_map(signing_keys) {
        if keys.len() < MAX_TRUSTED_KEYS && !keys.iter().any(|known| known == key) {
            keys.push(json!(key));
        }
    }
    keys
}

#[cfg(test)]
mod tests;
