//! Carries a retention plan out: manifests first, then the data they named, then what nobody names any more. A crash
//! leaves data without a manifest, which the next prune finds; never a manifest without its data.

mod command;
mod released;

use std::{collections::HashSet, time::Instant};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

pub(crate) use self::command::command;
pub use self::{command::PruneArgs, released::Released};
use crate::{
    error::Error,
    retention::{Plan, Verdict},
    store::{Fault, Listed, Store},
};

/// An upload may be this old and still be under way; data without a manifest that is older is nobody's.
const ORPHAN_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Among the probes of `check`; never there.
const NOTHING: &str = "v1/check/nothing";
/// Removals under way at once.
const AT_ONCE: usize = 8;

/// What was removed, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Backups that are gone.
    pub backups: usize,
    /// Objects without a manifest that are gone.
    pub orphans: usize,
    /// Bytes of both.
    pub bytes: u64,
    /// Backups that a lock or hold of the bucket keeps, and those they build on.
    pub held: usize,
    /// We may not remove anything; the store's sentence.
    pub refused: Option<String>,
    /// There was no time for all of it; another prune does the rest.
    pub unfinished: bool,
}

/// The keys of a listing.
pub fn keys(listed: &[Listed]) -> impl Iterator<Item = String> + '_ {
    listed.iter().map(|object| object.key.clone())
}

/// What a store without the right to delete means.
#[must_use]
pub fn no_right(refused: &str) -> String {
    format!(
        "{refused}: nothing can be removed with these credentials; give the right to delete, or let lifecycle rules of \
         the bucket expire v1/delta/, v1/diff/ and v1/full/, the last one latest"
    )
}

/// What is kept although no rule keeps it, for people to decide about.
#[must_use]
pub fn say_earlier_lives(plan: &Plan) -> Option<String> {
    let lives = plan.earlier_lives();
    if lives.is_empty() {
        return None;
    }
    let count: usize = lives.values().sum();
    let signers = lives.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(format!(
        "{count} backups of an earlier life (signed by {signers}) are kept whatever the rules say: the present database \
         does not come from them; restore one of them, or let the rules have them by `vcluster-backup prune --earlier-lives`"
    ))
}

/// Why nothing may be removed, asked by the removal of what is not there: before thousands of manifests are read for
/// nothing.
///
/// # Errors
/// The store fails in another way than by refusing.
pub async fn refusal(store: &Store) -> Result<Option<String>, Error> {
    match gone(store.delete(NOTHING).await)? {
        Gone::Refused(refused) => Ok(Some(refused)),
        Gone::Yes | Gone::Held => Ok(None),
    }
}

/// Removes what the plan lets go, and the orphans. A store that refuses is asked no further. Nothing new is begun after
/// `until`, but the data of a manifest that is gone goes with it.
///
/// # Errors
/// The store fails in another way than by refusing.
pub async fn carry_out(
    store: &Store,
    plan: &Plan,
    orphans: &[Listed],
    until: Option<Instant>,
) -> Result<Removed, Error> {
    let is_over = || until.is_some_and(|until| Instant::now() >= until);
    let mut removed = Removed::default();
    let mut data = Vec::new();
    let mut stays: HashSet<&str> = HashSet::new();
    for verdict in plan.going() {
        let Verdict { signed, .. } = verdict;
        let outcome = match stays.contains(&*signed.digest) {
            true => Gone::Held,
            false => gone(store.delete(&signed.manifest.key()).await)?,
        };
        match outcome {
            Gone::Yes => data.push(&signed.manifest.data),
            Gone::Refused(refused) => {
                removed.refused = Some(refused);
                break;
            }
            Gone::Held => {
                removed.held += 1;
                // What it builds on comes later, and stays with it.
                stays.extend(signed.manifest.parent.as_ref().map(|parent| &*parent.digest));
            }
        }
        if is_over() {
            break;
        }
    }
    removed.backups = data.len();
    if removed.refused.is_some() {
        return Ok(removed);
    }
    let data = data.into_iter().map(|data| (data.key.as_str(), data.size, false));
    let rest = orphans.iter().take_while(|_| !is_over()).map(|orphan| (orphan.key.as_str(), orphan.size, true));
    let mut removals = futures::stream::iter(data.chain(rest))
        .map(|(key, size, orphan)| async move { (gone(store.delete(key).await), size, orphan) })
        .buffer_unordered(AT_ONCE);
    while let Some((outcome, size, orphan)) = removals.next().await {
        match outcome? {
            Gone::Yes => {
                removed.orphans += usize::from(orphan);
                removed.bytes += size;
            }
            // Data that is held is an orphan from now on, and looked at again.
            Gone::Held => {}
            Gone::Refused(refused) => removed.refused = Some(refused),
        }
    }
    removed.unfinished = is_over();
    Ok(removed)
}

enum Gone {
    Yes,
    Held,
    Refused(String),
}

fn gone(outcome: Result<(), Error>) -> Result<Gone, Error> {
    match outcome {
        Ok(()) => Ok(Gone::Yes),
        Err(Error::Store { fault: Fault::Held(_), .. }) => Ok(Gone::Held),
        Err(Error::Store { fault, action, object, store }) if fault.is_lack_of_rights() => {
            Ok(Gone::Refused(Error::Store { action, object, store, fault }.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Objects of our naming that nothing names: the rest of interrupted backups and prunes, identities of generations that
/// are gone, probes of `check`. While an earlier life is kept for people to decide about, nothing counts as one; nor does
/// anything of the generation that is being written, whose first manifest may have been refused for a day.
#[must_use]
pub fn orphans(listed: &[Listed], plan: &Plan, running: Option<&str>, now: Timestamp) -> Vec<Listed> {
    if !plan.earlier_lives().is_empty() {
        return Vec::new();
    }
    // A manifest that cannot be read names its data all the same.
    let stems: HashSet<&str> = listed.iter().filter_map(|object| object.key.strip_suffix(".json")).collect();
    let generations: HashSet<&str> = stems.iter().filter_map(|stem| stem.split('/').nth(2)).collect();
    let identities: HashSet<&str> =
        plan.verdicts.iter().filter_map(|verdict| verdict.signed.manifest.identity.as_deref()).collect();
    let is_running = |key: &str| running.is_some() && key.split('/').nth(2) == running;
    let is_orphan = |key: &str| match key.split('/').collect::<Vec<_>>()[..] {
        ["v1", "check", _] => true,
        ["v1", "full", generation, "identity.age"] => !generations.contains(generation) && !identities.contains(key),
        ["v1", "full" | "diff" | "delta", _, name] => match name.split_once('.') {
            Some((sequence, ending)) => {
                let ours = sequence.len() == 8 && sequence.bytes().all(|byte| byte.is_ascii_digit());
                // What an upload into a folder has left when it was killed is nobody's, whoever came after it.
                let named = ending == "json" || stems.contains(key.split('.').next().unwrap_or(key));
                ours && (ending.contains('#') || !named)
            }
            None => false,
        },
        _ => false,
    };
    let old = |object: &&Listed| now.duration_since(object.modified) > ORPHAN_AFTER;
    listed.iter().filter(old).filter(|object| is_orphan(&object.key) && !is_running(&object.key)).cloned().collect()
}

#[cfg(test)]
mod tests;
