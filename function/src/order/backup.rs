//! What is ordered of backups: whether, how often, and for whom. Pure.

use std::time::Duration;

use vcluster_proto::{
    interval,
    settings::{DEFAULT_INTERVAL, MAX_INTERVAL},
};

use super::made::Made;
use crate::{
    error::Refusal,
    observed::{BACKUP_ANNOTATION, Observed, S3},
    platform::Platform,
    xr::Xr,
};

/// The platform's first, then the claim's, none twice.
pub(super) fn recipients(xr: &Xr, platform: &Platform) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for recipient in platform.encryption.recipients.iter().chain(&xr.spec.backup.recipients) {
        if !joined.contains(recipient) {
            joined.push(recipient.clone());
        }
    }
    joined
}

/// A limit that rises refuses new orders only; what runs is held to it without a word.
pub(super) fn interval_of(xr: &Xr, platform: &Platform, runs: bool) -> Result<Duration, Refusal> {
    let least = platform.limits.min_interval;
    let most = MAX_INTERVAL.max(least);
    match xr.spec.backup.interval {
        Some(wanted) if wanted > most && runs => Ok(most),
        Some(wanted) if wanted > most => {
            let (wanted, most) = (interval::print(wanted), interval::print(most));
            let problem = format!(
                "{wanted} is too long to tell a sidecar that is quiet from one that is dead; write at most {most}"
            );
            Err(Refusal::field("spec.backup.interval", problem))
        }
        Some(wanted) if wanted < least && runs => Ok(least),
        Some(wanted) if wanted < least => {
            let (wanted, least) = (interval::print(wanted), interval::print(least));
            let problem = format!("{wanted} is less than this platform gives; ask for at least {least}");
            Err(Refusal::field("spec.backup.interval", problem))
        }
        Some(wanted) => Ok(wanted),
        None => Ok(platform.defaults.backup.interval.unwrap_or(DEFAULT_INTERVAL).clamp(least, most)),
    }
}

/// A sidecar that is missing goes on missing only by a decision, which is remembered; an edit of the Release by hand is
/// none, and is healed.
pub(super) fn kept_sidecar(made: Option<Made<'_>>, observed: &Observed) -> Option<bool> {
    let made = made?;
    let decided_against = made.release.annotation(BACKUP_ANNOTATION) == Some("false");
    match (made.has_sidecar(), decided_against) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => observed.release(S3).map(|_| true),
    }
}
