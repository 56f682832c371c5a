//! Which backup is meant, and whose may be restored. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Catalog;
use crate::{
    error::Error,
    manifest::{self, Signed},
    signing::PublicKey,
};

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

impl Catalog {
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

fn untrusted(signed: &Signed) -> Error {
    Error::Untrusted { point: signed.manifest.id(), signer: signed.signer.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{chain, only},
        *,
    };
    use crate::manifest::tests::signer;

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
    fn among_backups_of_one_second_the_newest_of_the_chain_is_meant() {
        // A pod that is restarted at once; random names must not decide.
        let (_dir, signer) = signer();
        for order in [["x", "m", "a"], ["a", "m", "x"], ["m", "a", "x"]] {
            let mut entries: Vec<Signed> = Vec::new();
            for generation in order {
                let before = entries.last().cloned();
                let made = chain(&signer, generation, 1, &before.iter().collect::<Vec<_>>());
                entries.extend(made);
            }
            let time = entries[0].manifest.time;
            assert!(entries.iter().all(|e| e.manifest.time == time));
            let catalog = Catalog::new(entries, vec![], "file:///x");
            let chosen = catalog.select(&At::Time(time), &only(&signer)).expect("there");
            assert_eq!(chosen.manifest.generation, order[2]);
        }
    }

    #[test]
    fn a_clock_that_went_backwards_changes_neither_the_newest_nor_what_a_time_means() {
        let (_dir, signer) = signer();
        let mut entries = chain(&signer, "g", 3, &[]);
        // Of the time of the first, after all of them.
        entries.extend(chain(&signer, "h", 1, &[&entries[2]]));
        let (first, third) = (entries[0].manifest.time, entries[2].manifest.time);
        let catalog = Catalog::new(entries, vec![], "file:///x");
        let at = |at| catalog.select(&at, &only(&signer)).expect("there").manifest.id();
        assert_eq!(at(At::Latest), "h/00000001");
        // What was written last among those that are not younger.
        assert_eq!((at(At::Time(first)), at(At::Time(third))), ("h/00000001".into(), "h/00000001".into()));
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
    fn points_are_written_in_three_ways() {
        assert_eq!("latest".parse::<At>().expect("parses"), At::Latest);
        assert!(matches!("2026-11-22T08:00:00Z".parse().expect("parses"), At::Time(_)));
        assert_eq!("g/7".parse::<At>().expect("parses"), At::Id("g/00000007".into()));
        assert!("yesterday".parse::<At>().is_err());
    }
}
