//! What is in a store, and what of it can be restored. Pure but for its loading, which only lists and reads.
//!
//! "Newest" follows the manifests' own chain (generation and sequence, `supersedes`), never clocks: a head is a manifest
//! that no other one follows. Two heads are two writers.

mod load;
mod select;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use self::select::{At, Trust};
use crate::{
    error::Error,
    manifest::{Kind, Signed},
    signing::PublicKey,
};

/// The longest chain: a full, a diff and this many deltas.
pub const MOST_DELTAS: usize = 59;

/// A manifest names at most this many generations that it follows: about 20 KiB.
pub const MOST_FOLLOWED: usize = 128;

/// The manifests of a store.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Those whose signature is good, by key.
    pub entries: Vec<Signed>,
    /// Those that cannot be read, and why.
    pub rejected: Vec<String>,
    /// Keys of data objects that a manifest names and the store does not list.
    missing: BTreeSet<String>,
    /// Keys of those that turned out to be no manifests, and why, while a [`Catalog::refresh`] is not at its end.
    bent: BTreeMap<String, String>,
    store: String,
}

impl Catalog {
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
        Self { entries, rejected, store: store.to_owned(), ..Self::default() }
    }

    /// Only what `keep` says.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Signed) -> bool) -> Self {
        let entries = self.entries.iter().filter(|e| keep(e)).cloned().collect();
        let (rejected, missing, store) = (self.rejected.clone(), self.missing.clone(), self.store.clone());
        Self { entries, rejected, missing, bent: BTreeMap::new(), store }
    }

    /// Everything a restore of this backup reads, in that order: a full, at most one diff, at most [`MOST_DELTAS`]
    /// deltas. Parents are named by digest, so trust in the last is trust in all.
    ///
    /// # Errors
    /// [`Error::ChainBroken`] names what is not there, [`Error::Damaged`] a chain that no writer makes.
    pub fn chain<'a>(&'a self, point: &'a Signed) -> Result<Vec<&'a Signed>, Error> {
        self.chains().of(point)
    }

    /// For whoever asks for the chains of many backups.
    #[must_use]
    pub fn chains(&self) -> Chains<'_> {
        Chains { catalog: self, by_digest: self.entries.iter().map(|e| (e.digest.as_str(), e)).collect() }
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
        let mut followed: HashMap<&str, u64> = HashMap::new();
        for head in self.entries.iter().flat_map(|e| &e.manifest.supersedes) {
            let highest = followed.entry(&head.generation).or_default();
            *highest = head.sequence.max(*highest);
        }
        let is_followed = |entry: &Signed| followed.get(&*entry.manifest.generation) >= Some(&entry.manifest.sequence);
        self.last().filter(|entry| !is_followed(entry)).collect()
    }

    /// What a new generation says that it follows: every head, and the last of each other generation, the newest
    /// [`MOST_FOLLOWED`] of them. Heads alone would do while all generations are there; when one in the middle is pruned,
    /// those before it must still be followed by somebody.
    #[must_use]
    pub fn ends(&self) -> Vec<&Signed> {
        let heads: BTreeSet<&str> = self.heads().into_iter().map(|head| head.digest.as_str()).collect();
        let mut ends: Vec<&Signed> = self.last().collect();
        ends.sort_by_key(|end| {
            let m = &end.manifest;
            (!heads.contains(&*end.digest), std::cmp::Reverse((m.time, m.generation.as_str())))
        });
        // Anybody may plant heads; they must not make our own manifests too large to be read.
        ends.truncate(MOST_FOLLOWED);
        ends
    }

    /// Of each writer's generation the last.
    fn last(&self) -> impl Iterator<Item = &Signed> {
        let mut last: BTreeMap<(&str, PublicKey), &Signed> = BTreeMap::new();
        for entry in &self.entries {
            let newest = last.entry((&entry.manifest.generation, entry.signer)).or_insert(entry);
            if newest.manifest.sequence < entry.manifest.sequence {
                *newest = entry;
            }
        }
        last.into_values()
    }

    /// The highest kine revision of all trusted backups: a restore must go beyond every revision a client may have
    /// seen, and nobody else may push it to where no number is left.
    #[must_use]
    pub fn highest_revision(&self, trust: &Trust) -> i64 {
        self.entries.iter().filter(|e| trust.covers(&e.signer)).map(|e| e.manifest.revision).max().unwrap_or(0)
    }

    /// Whether the manifest with this digest is there.
    #[must_use]
    pub fn contains(&self, digest: &str) -> bool {
        self.entries.iter().any(|e| e.digest == digest)
    }
}

/// The backups of a catalog by their digests.
pub struct Chains<'a> {
    catalog: &'a Catalog,
    by_digest: HashMap<&'a str, &'a Signed>,
}

impl<'a> Chains<'a> {
    /// See [`Catalog::chain`].
    ///
    /// # Errors
    /// As there.
    pub fn of(&self, point: &'a Signed) -> Result<Vec<&'a Signed>, Error> {
        let broken = |missing: String| Error::ChainBroken { point: point.manifest.id(), missing };
        let wrong = |why: &str| Error::Damaged { object: format!("backup {}", point.manifest.id()), why: why.into() };
        let mut links = vec![point];
        let mut link = point;
        while let Some(parent) = &link.manifest.parent {
            if links.len() == MOST_DELTAS + 2 {
                return Err(wrong("its chain is longer than any writer makes"));
            }
            let found = self.by_digest.get(&*parent.digest).copied();
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
        if let Some(gone) = links.iter().map(|l| &l.manifest.data.key).find(|key| self.catalog.lacks(key)) {
            return Err(broken(format!("object {gone}")));
        }
        links.reverse();
        Ok(links)
    }
}

/// A diff follows its full, a delta anything, a full nothing.
fn may_follow(parent: &Signed, child: &Signed) -> bool {
    let (parent, child) = (&parent.manifest, &child.manifest);
    let kinds = match child.kind {
        Kind::Full => false,
        Kind::Diff => parent.kind == Kind::Full,
        Kind::Delta => true,
    };
    kinds && parent.page_size == child.page_size && parent.unencrypted == child.unencrypted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifest::{
            self,
            tests::{example, signer},
        },
        signing::Signer,
    };

    /// A chain of `count` backups in one generation, after `supersedes`.
    pub(super) fn chain(signer: &Signer, generation: &str, count: u64, supersedes: &[&Signed]) -> Vec<Signed> {
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

    pub(super) fn only(signer: &Signer) -> Trust {
        Trust::Keys(BTreeSet::from([signer.public()]))
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
}
