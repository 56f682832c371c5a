//! What is kept and what goes. Pure: a catalog and rules in, a verdict with its reasons for each backup out; who removes
//! is `prune.rs`.
//!
//! The rules are restic's. Around them stand those that no rule can overrule: the newest backup and the newest that is
//! whole, what was proven last, what a kept one builds on, what joins a kept one to the newest, and whatever is not
//! certainly of this life of this cluster.
//!
//! A clock that was ahead must not cost history: ages count from the newest backup, and what is dated later than that
//! one, or later than it is now, is kept and stands outside the rules until its time has come.

mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use vcluster_proto::settings::Retention;

pub use self::rules::Rule;
use crate::{
    backup::Cluster,
    catalog::{Catalog, Trust},
    manifest::{Kind, Signed},
    signing::PublicKey,
    store::Listed,
};

/// Everything a plan rests on beside the rules.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// What is in the store.
    pub catalog: &'a Catalog,
    /// The listing that the catalog was loaded from.
    pub listed: &'a [Listed],
    /// By our own clock.
    pub now: Timestamp,
    /// Whose backups may be removed.
    pub cluster: &'a Cluster,
    /// Only what one of these signed may be removed.
    pub trust: &'a Trust,
    /// The ids of the backups that were proven last, in each way.
    pub proven: &'a [String],
    /// Keys of earlier lives that a person has given up to the rules.
    pub released: &'a BTreeSet<PublicKey>,
}

/// Why a backup is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A rule keeps it.
    Rule(Rule),
    /// There are no rules: everything is kept.
    NoRules,
    /// It is the newest of its writer.
    Newest,
    /// It is the newest that can be restored.
    NewestWhole,
    /// It was proven last.
    Proven,
    /// It is dated later than the newest, or than it is now: some clock was wrong, so the rules cannot judge it.
    Ahead,
    /// This one, which is kept, builds on it.
    NeededBy(String),
    /// Without it this one, which is kept, would look like the newest of a second writer.
    Joins(String),
    /// Something in the store cannot be read, so nobody can tell whether it is whole.
    Unclear,
    /// It is another cluster's, or of an earlier order of the same name.
    Foreign,
    /// It is signed by nobody we trust.
    Untrusted,
    /// The present database does not come from it: the volume was lost meanwhile.
    EarlierLife,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "{rule}"),
            Self::NoRules => f.write_str("no rules"),
            Self::Newest => f.write_str("newest"),
            Self::NewestWhole => f.write_str("newest that is whole"),
            Self::Proven => f.write_str("proven last"),
            Self::Ahead => f.write_str("dated later than the newest or than now"),
            Self::NeededBy(id) => write!(f, "{id} builds on it"),
            Self::Joins(id) => write!(f, "joins {id} to the newest"),
            Self::Unclear => f.write_str("cannot be judged"),
            Self::Foreign => f.write_str("another cluster's"),
            Self::Untrusted => f.write_str("not signed by a trusted key"),
            Self::EarlierLife => f.write_str("of an earlier life"),
        }
    }
}

/// What becomes of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The backup.
    pub signed: Signed,
    /// Why it is kept; none: it goes.
    pub reasons: Vec<Reason>,
    /// How many it builds on; what builds on others goes first.
    pub depth: usize,
}

impl Verdict {
    /// Whether it is kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// A verdict for each backup, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// See [`Verdict`].
    pub verdicts: Vec<Verdict>,
}

impl Plan {
    /// Those that go; what builds on another comes before it, and else what is older: a lock keeps the younger.
    #[must_use]
    pub fn going(&self) -> Vec<&Verdict> {
        let mut going: Vec<_> = self.verdicts.iter().filter(|verdict| !verdict.keeps()).collect();
        going.sort_by_key(|verdict| (std::cmp::Reverse(verdict.depth), verdict.signed.manifest.time));
        going
    }

    /// Who signed what is kept because it is of an earlier life, and how many that are.
    #[must_use]
    pub fn earlier_lives(&self) -> BTreeMap<PublicKey, usize> {
        let mut lives = BTreeMap::new();
        for verdict in self.verdicts.iter().filter(|verdict| verdict.reasons.contains(&Reason::EarlierLife)) {
            *lives.entry(verdict.signed.signer).or_default() += 1;
        }
        lives
    }
}

/// Applies the rules. Ages are counted from the newest backup, not from a clock: a stopped cluster keeps what it has.
#[must_use]
pub fn plan(view: &View<'_>, rules: &Retention) -> Plan {
    let history = History::of(view);
    let mut reasons = vec![BTreeSet::new(); history.entries.len()];
    for (at, class) in history.classes.iter().enumerate() {
        reasons[at].extend(match class {
            Class::Foreign => Some(Reason::Foreign),
            Class::Untrusted => Some(Reason::Untrusted),
            Class::EarlierLife => Some(Reason::EarlierLife),
            Class::Own => None,
        });
    }
    let own: Vec<usize> = (0..history.entries.len()).filter(|at| history.classes[*at] == Class::Own).collect();
    // One that cannot be restored must not take the place of one that can.
    let whole: Vec<usize> = own.iter().copied().filter(|at| history.whole[*at]).collect();
    if rules::are_none(rules) {
        for at in &own {
            reasons[*at].insert(Reason::NoRules);
        }
    }
    let time = |at: usize| history.entries[at].manifest.time;
    let end = history.end(view);
    let (counted, ahead): (Vec<usize>, Vec<usize>) = whole.iter().partition(|at| time(**at) <= end);
    for at in ahead {
        reasons[at].insert(Reason::Ahead);
    }
    let times: Vec<Timestamp> = counted.iter().map(|at| time(*at)).collect();
    for (nth, rule) in rules::picks(&times, rules) {
        reasons[counted[nth]].insert(Reason::Rule(rule));
    }
    if !view.catalog.rejected.is_empty() {
        for at in own.iter().filter(|at| !history.whole[**at]) {
            reasons[*at].insert(Reason::Unclear);
        }
    }
    for at in &own {
        let entry = history.entries[*at];
        if history.heads.contains(&entry.digest) {
            reasons[*at].insert(Reason::Newest);
        }
        if view.proven.contains(&entry.manifest.id()) {
            reasons[*at].insert(Reason::Proven);
        }
    }
    if let Some(newest) = counted.first() {
        reasons[*newest].insert(Reason::NewestWhole);
    }
    history.add_what_is_needed(&mut reasons);
    let verdicts = history.entries.iter().zip(reasons).enumerate().map(|(at, (entry, reasons))| Verdict {
        signed: (*entry).clone(),
        reasons: reasons.into_iter().collect(),
        depth: history.depth[at],
    });
    Plan { verdicts: verdicts.collect() }
}

/// Whether a backup may be removed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Own,
    EarlierLife,
    Foreign,
    Untrusted,
}

/// The catalog with what a plan asks of it, computed once.
struct History<'a> {
    /// Newest first.
    entries: Vec<&'a Signed>,
    classes: Vec<Class>,
    parents: Vec<Option<usize>>,
    depth: Vec<usize>,
    /// Everything that a restore reads is there, in full length.
    whole: Vec<bool>,
    /// Digests of the heads of this cluster's trusted backups.
    heads: BTreeSet<String>,
}

impl<'a> History<'a> {
    fn of(view: &View<'a>) -> Self {
        let catalog = view.catalog;
        let mut entries: Vec<&Signed> = catalog.entries.iter().collect();
        entries.sort_by_cached_key(|e| std::cmp::Reverse((e.manifest.time, e.manifest.id())));
        let own = |e: &Signed| view.trust.covers(&e.signer) && view.cluster.owns(&e.manifest);
        let own_catalog = catalog.filter(own);
        let heads = own_catalog.heads();
        let present: BTreeSet<PublicKey> = heads.iter().map(|head| head.signer).collect();
        // A database that was restored comes from what is there; one whose key is another and that was not begins anew.
        let goes_on = heads.iter().all(|head| head.manifest.restored_from.is_some());
        let classes = entries.iter().map(|e| match () {
            () if !view.trust.covers(&e.signer) => Class::Untrusted,
            () if !view.cluster.owns(&e.manifest) => Class::Foreign,
            () if goes_on || present.contains(&e.signer) || view.released.contains(&e.signer) => Class::Own,
            () => Class::EarlierLife,
        });
        let classes = classes.collect();
        let heads = heads.into_iter().map(|head| head.digest.clone()).collect();
        let by_digest: HashMap<&str, usize> = entries.iter().enumerate().map(|(at, e)| (&*e.digest, at)).collect();
        let parent_of = |e: &Signed| e.manifest.parent.as_ref().and_then(|p| by_digest.get(&*p.digest).copied());
        let parents = entries.iter().map(|e| parent_of(e)).collect();
        let count = entries.len();
        let mut history = Self { entries, classes, parents, depth: vec![0; count], whole: vec![false; count], heads };
        history.measure(view.listed);
        history
    }

    /// Up to when a backup's time can be true: the newest by the chain is dated, our clock says, and the store's clock
    /// has written down. A wrong one of the three can only make it earlier, which keeps more.
    fn end(&self, view: &View<'_>) -> Timestamp {
        let heads = self.entries.iter().filter(|entry| self.heads.contains(&entry.digest));
        let newest = heads.map(|head| head.manifest.time).max();
        let store = view.listed.iter().map(|object| object.modified).max();
        newest.into_iter().chain(store).fold(view.now, Timestamp::min)
    }

    /// Depth and wholeness, from the fulls upwards: a parent is measured before its children.
    fn measure(&mut self, listed: &[Listed]) {
        let sizes: HashMap<&str, u64> = listed.iter().map(|object| (&*object.key, object.size)).collect();
        let mut measured = vec![false; self.entries.len()];
        for start in 0..self.entries.len() {
            let mut path = Vec::new();
            let mut at = Some(start);
            // A digest names what came before it, so there are no circles; a forged one ends at the count.
            while let Some(here) = at.filter(|here| !measured[*here] && path.len() <= self.entries.len()) {
                path.push(here);
                at = self.parents[here];
            }
            for here in path.into_iter().rev() {
                let manifest = &self.entries[here].manifest;
                // One that was cut short is as good as gone.
                let there = sizes.get(&*manifest.data.key) == Some(&manifest.data.size);
                (self.depth[here], self.whole[here]) = match self.parents[here] {
                    Some(parent) => (self.depth[parent] + 1, there && self.whole[parent]),
                    None => (0, there && manifest.kind == Kind::Full),
                };
                measured[here] = true;
            }
        }
    }

    /// What kept ones build on, and what joins them to the newest, to the end.
    fn add_what_is_needed(&self, reasons: &mut [BTreeSet<Reason>]) {
        let joints = self.joints();
        let mut todo: Vec<usize> = (0..self.entries.len()).rev().filter(|at| !reasons[*at].is_empty()).collect();
        while let Some(at) = todo.pop() {
            let id = self.entries[at].manifest.id();
            let needs = [
                self.parents[at].map(|parent| (parent, Reason::NeededBy(id.clone()))),
                joints[at].map(|joint| (joint, Reason::Joins(id.clone()))),
            ];
            for (needed, reason) in needs.into_iter().flatten() {
                let first = reasons[needed].is_empty();
                // One name says it: a full carries sixty.
                if first {
                    reasons[needed].insert(reason);
                    todo.push(needed);
                }
            }
        }
    }

    /// For each backup the newest that follows its generation by name. Were that removed, the older one would be
    /// followed by nobody, and so look like the newest of a second writer. It must be visible wherever the older one
    /// is: to those who trust its signer, and to those who look at this cluster only.
    fn joints(&self) -> Vec<Option<usize>> {
        let rank = |at: usize| match self.classes[at] {
            Class::Own | Class::EarlierLife => 2,
            Class::Foreign => 1,
            Class::Untrusted => 0,
        };
        let mut followers: HashMap<&str, Vec<(u64, usize)>> = HashMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            for head in &entry.manifest.supersedes {
                followers.entry(&head.generation).or_default().push((head.sequence, at));
            }
        }
        let joint = |(at, entry): (usize, &&Signed)| {
            let named = followers.get(&*entry.manifest.generation)?.iter();
            let mut named = named.filter(|(sequence, _)| *sequence >= entry.manifest.sequence);
            // Newest first, as they stand.
            named.find(|(_, by)| rank(*by) >= rank(at) && *by != at).map(|(_, by)| *by)
        };
        self.entries.iter().enumerate().map(joint).collect()
    }
}

#[cfg(test)]
mod tests;
