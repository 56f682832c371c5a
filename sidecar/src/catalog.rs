//! What is in a store, and what of it can be restored. Pure but for [`Catalog::load`], which only lists and reads.
//!
//! "Newest" follows the manifests' own chain (generation and sequence, `supersedes`), never clocks: a head is a manifest
//! that no other one follows. Two heads are two writers.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::Timestamp;

use crate::{
    error::Error,
    manifest::{self, Kind, Signed},
    signing::PublicKey,
    store::{Fault, Store},
};

/// Every manifest lives below this folder.
const ROOT: &str = "v1";

/// The longest chain: a full, a diff and this many deltas.
pub const MOST_DELTAS: usize = 59;

/// A manifest names at most this many generations that it follows: about 20 KiB.
pub const MOST_FOLLOWED: usize = 128;

/// Which backup is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Latest,
    /// The newest that is not younger.
    Time(Timestamp),
    /// This one.
    Id(String),
}

impl std::str::FromStr for At {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        if crate::legacy::is_name(text) {
            return Ok(Self::Id(text.to_owned()));
        }
        match text.split_once('/') {
            Some((generation, sequence)) if !generation.is_empty() && sequence.parse::<u64>().is_ok() => {
                Ok(Self::Id(manifest::id(generation, sequence.parse().unwrap_or_default())))
            }
            _ => Err(Error::Usage(format!(
                "{text:?} is no point in time: write latest, a time as 2026-11-22T08:00:00Z, or an id as `list` shows it"
            ))),
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("at all"),
            Self::Time(time) => write!(f, "as old as {time}"),
            Self::Id(id) => f.write_str(id),
        }
    }
}

/// Whose backups may be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those signed by one of these.
    Keys(BTreeSet<PublicKey>),
    /// Anybody's whose signature is good; the signer is printed.
    Any,
}

impl Trust {
    /// Whether this signer's backups may be restored.
    #[must_use]
    pub fn covers(&self, signer: &PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(signer),
            Self::Any => true,
        }
    }
}

/// The manifests of a store.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Those whose signature is good, by key.
    pub entries: Vec<Signed>,
    /// Those that cannot be read, and why.
    pub rejected: Vec<String>,
    /// Keys of data objects that a manifest names and the store does not list.
    missing: BTreeSet<String>,
    store: String,
}

impl Catalog {
    /// Lists a store and reads every manifest.
    ///
    /// # Errors
    /// The store fails. A broken manifest is no error: it is named in `rejected`.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let listed = store.list(ROOT).await?;
        Self::load_listed(store, listed, Self::default()).await
    }

    /// The same of a listing that is at hand; manifests that are known are not read again, since none ever changes.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn load_listed(
        store: &Store,
        listed: impl IntoIterator<Item = String>,
        known: Self,
    ) -> Result<Self, Error> {
        let (mut keys, data): (Vec<_>, BTreeSet<_>) = split(listed);
        let mut known: BTreeMap<_, _> = known.entries.into_iter().map(|e| (e.manifest.key(), e)).collect();
        known.retain(|key, _| keys.contains(key));
        keys.retain(|key| !known.contains_key(key));
        let mut entries = known;
        let mut rejected = BTreeSet::new();
        let mut objects = std::pin::pin!(store.get_many(keys));
        while let Some((key, bytes)) = objects.next().await {
            let verified = match bytes {
                // Pruned between listing and reading.
                Err(Error::Store { fault: Fault::NotFound, .. }) => continue,
                other => other.and_then(|bytes| manifest::verify(&bytes, &key)),
            };
            match verified {
                Ok(signed) => drop(entries.insert(key, signed)),
                Err(error @ Error::Damaged { .. }) => drop(rejected.insert(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        let mut catalog = Self::new(entries.into_values().collect(), rejected.into_iter().collect(), store.url());
        catalog.note_missing(&data);
        Ok(catalog)
    }

    pub(crate) fn note_missing(&mut self, listed: &BTreeSet<String>) {
        let named = self.entries.iter().map(|e| &e.manifest.data.key);
        self.missing = named.filter(|key| !listed.contains(*key)).cloned().collect();
    }

    /// Whether the store does not list this data object, which a manifest names.
    #[must_use]
    pub fn lacks(&self, key: &str) -> bool {
        self.missing.contains(key)
    }

    /// A catalog of these manifests.
    #[must_use]
    pub fn new(entries: Vec<Signed>, rejected: Vec<String>, store: &str) -> Self {
        Self { entries, rejected, missing: BTreeSet::new(), store: store.to_owned() }
    }

    /// Only what `keep` says.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Signed) -> bool) -> Self {
        let entries = self.entries.iter().filter(|e| keep(e)).cloned().collect();
        Self { entries, rejected: self.rejected.clone(), missing: self.missing.clone(), store: self.store.clone() }
    }

    /// Everything a restore of this backup reads, in that order: a full, at most one diff, at most [`MOST_DELTAS`]
    /// deltas. Parents are named by digest, so trust in the last is trust in all.
    ///
    /// # Errors
    /// [`Error::ChainBroken`] names what is not there, [`Error::Damaged`] a chain that no writer makes.
    pub fn chain<'a>(&'a self, point: &'a Signed) -> Result<Vec<&'a Signed>, Error> {
        let broken = |missing: String| Error::ChainBroken { point: point.manifest.id(), missing };
        let wrong = |why: &str| Error::Damaged { object: format!("backup {}", point.manifest.id()), why: why.into() };
        let mut links = vec![point];
        let mut link = point;
        while let Some(parent) = &link.manifest.parent {
            if links.len() == MOST_DELTAS + 2 {
                return Err(wrong("its chain is longer than any writer makes"));
            }
            let found = self.entries.iter().find(|e| e.digest == parent.digest);
            let found = found.ok_or_else(|| broken(format!("backup {}", parent.id())))?;
            if !may_follow(found, link) {
                return Err(wrong("its chain is none that a writer makes"));
            }
            links.push(found);
            link = found;
        }
        let deltas = links.iter().filter(|l| l.manifest.kind == Kind::Delta).count();
        if link.manifest.kind != Kind::Full || deltas > MOST_DELTAS {
            return Err(wrong("its chain is none that a writer makes"));
        }
        if let Some(gone) = links.iter().map(|l| &l.manifest.data.key).find(|key| self.missing.contains(*key)) {
            return Err(broken(format!("object {gone}")));
        }
        links.reverse();
        Ok(links)
    }

    /// Whether everything that a restore of this backup reads is there.
    #[must_use]
    pub fn complete(&self, point: &Signed) -> bool {
        self.chain(point).is_ok()
    }

    /// Manifests no other one follows. Of one writer's generation only the last can be a head, whatever is missing in
    /// between; it is followed when another generation names it or a later one of its generation.
    #[must_use]
    pub fn heads(&self) -> Vec<&Signed> {
        let mut last: BTreeMap<(&str, PublicKey), &Signed> = BTreeMap::new();
        for entry in &self.entries {
            let newest = last.entry((&entry.manifest.generation, entry.signer)).or_insert(entry);
            if newest.manifest.sequence < entry.manifest.sequence {
                *newest = entry;
            }
        }
        let follows = |entry: &Signed| {
            let named = self.entries.iter().flat_map(|e| &e.manifest.supersedes);
            let mut named = named.filter(|head| head.generation == entry.manifest.generation);
            named.any(|head| head.sequence >= entry.manifest.sequence)
        };
        last.into_values().filter(|entry| !follows(entry)).collect()
    }

    /// What a new generation says that it follows: every head, and the last of each other generation, the newest
    /// [`MOST_FOLLOWED`] of them. Heads alone would do while all generations are there; when one in the middle is pruned,
    /// those before it must still be followed by somebody.
    #[must_use]
    pub fn ends(&self) -> Vec<&Signed> {
        let mut last: BTreeMap<(&str, PublicKey), &Signed> = BTreeMap::new();
        for entry in &self.entries {
            let end = last.entry((&entry.manifest.generation, entry.signer)).or_insert(entry);
            if end.manifest.sequence < entry.manifest.sequence {
                *end = entry;
            }
        }
        let heads: BTreeSet<&str> = self.heads().into_iter().map(|head| head.digest.as_str()).collect();
        let mut ends: Vec<&Signed> = last.into_values().collect();
        ends.sort_by_key(|end| {
            let m = &end.manifest;
            (!heads.contains(&*end.digest), std::cmp::Reverse((m.time, m.generation.as_str())))
        });
        ends.truncate(MOST_FOLLOWED.max(heads.len()));
        ends
    }

    /// The highest kine revision of all trusted backups: a restore must go beyond every revision a client may have
    /// seen, and nobody else may push it to where no number is left.
    #[must_use]
    pub fn highest_revision(&self, trust: &Trust) -> i64 {
        self.entries.iter().filter(|e| trust.covers(&e.signer)).map(|e| e.manifest.revision).max().unwrap_or(0)
    }

    /// The backup that is meant, if it may be restored.
    ///
    /// # Errors
    /// Nothing there at all, no such point, two writers, or nobody we trust.
    pub fn select(&self, at: &At, trust: &Trust) -> Result<&Signed, Error> {
        if self.entries.is_empty() {
            return Err(Error::NoRepository { store: self.store.clone() });
        }
        if let At::Id(id) = at {
            // A planted manifest may bear our id under another kind; ours comes first.
            let found = || self.entries.iter().filter(|e| &e.manifest.id() == id);
            let any = found().next().ok_or_else(|| self.no_such_point(at))?;
            return found().find(|e| trust.covers(&e.signer)).ok_or_else(|| untrusted(any));
        }
        // A planted manifest must neither be chosen nor stand in the way of ours.
        let trusted = self.filter(|e| trust.covers(&e.signer));
        let heads = trusted.heads();
        let head = match heads[..] {
            [head] => head,
            [] => {
                let newest =
                    self.entries.iter().max_by_key(|e| e.manifest.time).ok_or_else(|| self.no_such_point(at))?;
                return Err(untrusted(newest));
            }
            _ => {
                let heads = heads.iter().map(|e| e.manifest.id()).collect::<Vec<_>>().join(", ");
                return Err(Error::TwoWriters { store: self.store.clone(), heads });
            }
        };
        let chosen = match at {
            At::Time(time) => trusted.ancestry(head).into_iter().find(|e| e.manifest.time <= *time),
            At::Latest | At::Id(_) => Some(head),
        };
        let digest = &chosen.ok_or_else(|| self.no_such_point(at))?.digest;
        self.entries.iter().find(|e| &e.digest == digest).ok_or_else(|| self.no_such_point(at))
    }

    /// Whether the manifest with this digest is there.
    #[must_use]
    pub fn contains(&self, digest: &str) -> bool {
        self.entries.iter().any(|e| e.digest == digest)
    }

    /// The oldest and the newest time.
    #[must_use]
    pub fn window(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || self.entries.iter().map(|e| e.manifest.time);
        Some((times().min()?, times().max()?))
    }

    /// From the head backwards, nearest first: down its generation, then down those that it follows. A generation
    /// names all before it, so one comes only after every other that follows it.
    fn ancestry<'a>(&'a self, head: &'a Signed) -> Vec<&'a Signed> {
        let mut generations: BTreeMap<&str, Vec<&Signed>> = BTreeMap::new();
        for entry in &self.entries {
            generations.entry(&entry.manifest.generation).or_default().push(entry);
        }
        for entries in generations.values_mut() {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.manifest.sequence));
        }
        let (mut seen, mut left) = (BTreeSet::new(), Vec::new());
        let mut stack = vec![(head.manifest.generation.as_str(), head.manifest.sequence, false)];
        while let Some((generation, sequence, below_is_done)) = stack.pop() {
            if below_is_done {
                left.push((generation, sequence));
            } else if seen.insert(generation) {
                stack.push((generation, sequence, true));
                let entries = generations.get(generation).into_iter().flatten();
                let entries = entries.filter(|entry| entry.manifest.sequence <= sequence);
                let followed = entries.flat_map(|entry| &entry.manifest.supersedes);
                stack.extend(followed.map(|head| (head.generation.as_str(), head.sequence, false)));
            }
        }
        let down = |(generation, sequence): (&str, u64)| {
            let entries = generations.get(generation).into_iter().flatten().copied();
            entries.filter(move |entry| entry.manifest.sequence <= sequence).collect::<Vec<_>>()
        };
        left.into_iter().rev().flat_map(down).collect()
    }

    fn no_such_point(&self, at: &At) -> Error {
        let window = match self.window() {
            Some((oldest, newest)) => format!("backups reach from {oldest} to {newest}"),
            None => "there are none".into(),
        };
        Error::NoSuchPoint { at: at.to_string(), store: self.store.clone(), window }
    }
}

/// Manifests, and everything else.
fn split(keys: impl IntoIterator<Item = String>) -> (Vec<String>, BTreeSet<String>) {
    let (mut manifests, mut others) = (Vec::new(), BTreeSet::new());
    for key in keys {
        if key.ends_with(".json") {
            manifests.push(key);
        } else {
            others.insert(key);
        }
    }
    (manifests, others)
}

/// A diff follows its full, a delta anything, a full nothing.
fn may_follow(parent: &Signed, child: &Signed) -> bool {
    let (parent, child) = (&parent.manifest, &child.manifest);
    let kinds = match child.kind {
        Kind::Full => false,
        Kind::Diff => parent.kind == Kind::Full,
        Kind::Delta => true,
    };
    kinds && parent.page_size == child.page_size
}

fn untrusted(signed: &Signed) -> Error {
    Error::Untrusted { point: signed.manifest.id(), signer: signed.signer.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifest::tests::{example, signer},
        signing::Signer,
    };

    /// A chain of `count` backups in one generation, after `supersedes`.
    fn chain(signer: &Signer, generation: &str, count: u64, supersedes: &[&Signed]) -> Vec<Signed> {
        let mut entries: Vec<Signed> = Vec::new();
        for sequence in 1..=count {
            let mut manifest = example(generation, sequence);
            manifest.previous = entries.last().map(|e| e.digest.clone());
            manifest.supersedes = supersedes.iter().map(|e| e.as_head()).collect();
            let bytes = manifest.sign(signer).expect("signed");
            entries.push(manifest::verify(&bytes, &manifest.key()).expect("verifies"));
        }
        entries
    }

    fn only(signer: &Signer) -> Trust {
        Trust::Keys(BTreeSet::from([signer.public()]))
    }

    #[test]
    fn the_newest_is_the_end_of_the_chain_whatever_clocks_say() {
        let (_dir, signer) = signer();
        let mut entries = chain(&signer, "g", 3, &[]);
        let restarted = chain(&signer, "a-name-that-sorts-first", 1, &[&entries[2]]);
        entries.extend(restarted);
        let catalog = Catalog::new(entries, vec![], "file:///x");
        let newest = catalog.select(&At::Latest, &only(&signer)).expect("one head");
        assert_eq!(newest.manifest.id(), "a-name-that-sorts-first/00000001");
    }

    #[test]
    fn a_time_selects_the_newest_that_is_not_younger() {
        let (_dir, signer) = signer();
        let catalog = Catalog::new(chain(&signer, "g", 5, &[]), vec![], "file:///x");
        let time = catalog.entries[2].manifest.time;
        assert_eq!(catalog.select(&At::Time(time), &only(&signer)).expect("there").manifest.sequence, 3);
        let error = catalog.select(&At::Time(Timestamp::UNIX_EPOCH), &only(&signer)).expect_err("too early");
        assert!(matches!(error, Error::NoSuchPoint { .. }), "{error}");
    }

    #[test]
    fn two_writers_are_named_and_an_id_gets_through() {
        let (_dir, signer) = signer();
        let mut entries = chain(&signer, "g", 2, &[]);
        entries.extend(chain(&signer, "h", 1, &[]));
        let catalog = Catalog::new(entries, vec![], "file:///x");
        let error = catalog.select(&At::Latest, &only(&signer)).expect_err("two heads");
        assert_eq!(error.exit_code(), 11);
        assert!(error.to_string().contains("g/00000002, h/00000001"), "{error}");
        assert!(catalog.select(&"g/1".parse().expect("an id"), &only(&signer)).is_ok());
    }

    #[test]
    fn a_forged_head_is_passed_over_and_alone_it_is_refused() {
        let ((_ours, signer), (_theirs, forger)) = (signer(), signer());
        let mut entries = chain(&signer, "g", 2, &[]);
        let forged = chain(&forger, "h", 1, &[&entries[1]]);
        entries.extend(forged.clone());
        let catalog = Catalog::new(entries, vec![], "file:///x");
        assert_eq!(catalog.select(&At::Latest, &only(&signer)).expect("ours").manifest.id(), "g/00000002");
        let alone = Catalog::new(forged, vec![], "file:///x");
        assert!(matches!(alone.select(&At::Latest, &only(&signer)), Err(Error::Untrusted { .. })));
        assert!(alone.select(&At::Latest, &Trust::Any).is_ok());
    }

    #[test]
    fn a_manifest_lost_in_the_middle_is_no_second_writer() {
        let (_dir, signer) = signer();
        let mut entries = chain(&signer, "g", 4, &[]);
        let lost = entries.remove(3);
        entries.extend(chain(&signer, "h", 2, &[&lost]));
        entries.remove(1);
        let catalog = Catalog::new(entries, vec![], "file:///x");
        assert_eq!(catalog.select(&At::Latest, &only(&signer)).expect("one head").manifest.id(), "h/00000002");
        let early = At::Time(catalog.entries[0].manifest.time);
        assert!(catalog.select(&early, &only(&signer)).is_ok(), "what is older than the gap is still there");
    }

    #[test]
    fn a_new_generation_follows_all_that_are_there_the_newest_first() {
        let (_dir, signer) = signer();
        let mut entries: Vec<Signed> = Vec::new();
        for generation in 0..150 {
            let newest = entries.last().cloned();
            entries.extend(chain(&signer, &format!("g{generation:03}"), 2, &newest.iter().collect::<Vec<_>>()));
        }
        let catalog = Catalog::new(entries, vec![], "file:///x");
        let ends = catalog.ends();
        assert_eq!(ends.len(), MOST_FOLLOWED);
        assert_eq!(ends[0].digest, catalog.heads()[0].digest);
        assert!(ends.iter().all(|end| end.manifest.sequence == 2));
        // With only the first and the newest left there is still one writer.
        let newest = chain(&signer, "h", 1, &ends);
        let entries = catalog.entries[290..292].iter().cloned().chain(newest).collect();
        assert_eq!(Catalog::new(entries, vec![], "file:///x").heads().len(), 1);
    }

    #[test]
    fn a_forgers_revision_does_not_count() {
        let ((_ours, signer), (_theirs, forger)) = (signer(), signer());
        let mut manifest = example("h", 1);
        manifest.revision = i64::MAX;
        let forged = manifest::verify(&manifest.sign(&forger).expect("signed"), &manifest.key()).expect("verifies");
        let entries = chain(&signer, "g", 1, &[]).into_iter().chain([forged]).collect();
        assert_eq!(Catalog::new(entries, vec![], "file:///x").highest_revision(&only(&signer)), 7);
    }

    /// A full, a diff if asked, then deltas, each naming its parent.
    fn incremental(signer: &Signer, generation: &str, with_diff: bool, deltas: u64) -> Vec<Signed> {
        let mut entries: Vec<Signed> = Vec::new();
        for sequence in 1..=1 + u64::from(with_diff) + deltas {
            let mut manifest = example(generation, sequence);
            manifest.kind = match sequence {
                1 => Kind::Full,
                2 if with_diff => Kind::Diff,
                _ => Kind::Delta,
            };
            manifest.parent = entries.last().map(Signed::as_head);
            manifest.data.key = format!("{}.x", manifest::stem(manifest.kind, generation, sequence));
            let bytes = manifest.sign(signer).expect("signed");
            entries.push(manifest::verify(&bytes, &manifest.key()).expect("verifies"));
        }
        entries
    }

    #[test]
    fn a_chain_is_a_full_a_diff_and_deltas_in_the_order_they_are_read() {
        let (_dir, signer) = signer();
        for (with_diff, deltas) in [(false, 0), (true, 0), (false, 59), (true, 59)] {
            let catalog = Catalog::new(incremental(&signer, "g", with_diff, deltas), vec![], "file:///x");
            let last = catalog.entries.last().expect("not empty");
            let chain: Vec<u64> =
                catalog.chain(last).expect("whole").iter().map(|link| link.manifest.sequence).collect();
            assert_eq!(chain, (1..=1 + u64::from(with_diff) + deltas).collect::<Vec<_>>());
        }
        let catalog = Catalog::new(incremental(&signer, "g", true, 60), vec![], "file:///x");
        assert!(matches!(catalog.chain(&catalog.entries[61]), Err(Error::Damaged { .. })), "no writer makes that");
    }

    #[test]
    fn what_is_missing_of_a_chain_is_named() {
        let (_dir, signer) = signer();
        let whole = Catalog::new(incremental(&signer, "g", true, 3), vec![], "file:///x");
        for gone in 0..4 {
            let mut catalog = whole.clone();
            let lost = catalog.entries.remove(gone).manifest.id();
            let error = catalog.chain(catalog.entries.last().expect("there")).expect_err("broken");
            assert!(error.to_string().contains(&lost), "{error}");
        }
        let mut catalog = whole.clone();
        let listed = whole.entries.iter().map(|e| e.manifest.data.key.clone()).filter(|key| !key.contains("/diff/"));
        catalog.note_missing(&listed.collect());
        assert!(catalog.complete(&catalog.entries[0]), "the full alone is there");
        let error = catalog.chain(&catalog.entries[4]).expect_err("broken");
        assert!(error.to_string().contains("v1/diff/g/00000002.x"), "{error}");
    }

    #[test]
    fn a_parent_of_the_same_name_but_other_content_is_none() {
        // Whoever may put into the bucket replaces what a delta builds on.
        let (_dir, signer) = signer();
        let mut entries = incremental(&signer, "g", false, 1);
        let mut planted = entries[0].manifest.clone();
        planted.root = "11".into();
        let bytes = planted.sign(&signer).expect("signed");
        entries[0] = manifest::verify(&bytes, &planted.key()).expect("verifies");
        let catalog = Catalog::new(entries, vec![], "file:///x");
        assert!(matches!(catalog.chain(&catalog.entries[1]), Err(Error::ChainBroken { .. })));
    }

    #[test]
    fn points_are_written_in_three_ways() {
        assert_eq!("latest".parse::<At>().expect("parses"), At::Latest);
        assert!(matches!("2026-11-22T08:00:00Z".parse().expect("parses"), At::Time(_)));
        assert_eq!("g/7".parse::<At>().expect("parses"), At::Id("g/00000007".into()));
        assert!("yesterday".parse::<At>().is_err());
    }
}
