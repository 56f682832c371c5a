//! Which restore requests were served, on the disk: `.vcluster-backup/requests.json`. A request is served once, whatever
//! happens; so its outcome is written here before the vcluster starts, goes from here into every manifest, and comes
//! back from the manifests after a volume was lost.

use std::{collections::BTreeMap, io::Write, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vcluster_proto::status;

use crate::{error::Error, lock, manifest, owner, signing::OWN_FOLDER};

const FILE: &str = "requests.json";

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// The backup it was served from; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it was restored.
    pub succeeded: bool,
}

impl Outcome {
    /// As the status document shows it.
    #[must_use]
    pub fn as_status(&self, id: &str) -> status::Restore {
        status::Restore {
            id: id.to_owned(),
            phase: if self.succeeded { status::SUCCEEDED } else { status::FAILED }.to_owned(),
            from: self.from.clone(),
            at: Some(self.at),
            message: self.message.clone(),
        }
    }
}

/// The requests served so far, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(BTreeMap<String, Outcome>);

impl Ledger {
    /// What the data directory knows; nothing on a new disk.
    ///
    /// # Errors
    /// The file cannot be read or understood: then nobody knows what was served, and nothing may be served again.
    pub fn load(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(OWN_FOLDER).join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::file("understand (mend or remove it)", &path)(std::io::Error::other(e))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::file("read", &path)(e)),
        }
    }

    /// The outcome of a request, if it has one.
    #[must_use]
    pub fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.0.get(id)
    }

    /// As a manifest tells it, oldest first.
    #[must_use]
    pub fn to_manifest(&self) -> Vec<manifest::Request> {
        let mut requests: Vec<_> = self
            .iter()
            .map(|(id, outcome)| manifest::Request {
                from: outcome.from.clone(),
                id: id.clone(),
                outcome: if outcome.succeeded { status::SUCCEEDED } else { status::FAILED }.to_owned(),
                time: outcome.at,
            })
            .collect();
        requests.sort_by_key(|request| request.time);
        requests
    }

    /// Adds what a manifest tells.
    pub fn learn_from(&mut self, requests: &[manifest::Request]) {
        for manifest::Request { from, id, outcome, time } in requests {
            // A later version's word counts as served.
            let succeeded = outcome != status::FAILED;
            self.0.entry(id.clone()).or_insert_with(|| Outcome {
                at: *time,
                from: from.clone(),
                message: String::new(),
                succeeded,
            });
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Outcome)> {
        self.0.iter()
    }

    /// Adds what is not there yet, and says whether that was anything. The first outcome of an id stands.
    pub fn learn<'a>(&mut self, others: impl IntoIterator<Item = (&'a String, &'a Outcome)>) -> bool {
        let before = self.0.len();
        for (id, outcome) in others {
            self.0.entry(id.clone()).or_insert_with(|| outcome.clone());
        }
        self.0.len() > before
    }

    /// Writes an outcome down for good: durable when this returns.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn record(data_dir: &Path, id: &str, outcome: &Outcome) -> Result<(), Error> {
        let mut ledger = Self::load(data_dir)?;
        if ledger.learn([(&id.to_owned(), outcome)]) { ledger.save(data_dir) } else { Ok(()) }
    }

    /// Writes all of it: the old file or the new one, whatever happens.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn save(&self, data_dir: &Path) -> Result<(), Error> {
        let folder = lock::make_own_folder(data_dir)?;
        let path = folder.join(FILE);
        let write = || {
            let mut part = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer(&mut part, self)?;
            part.flush()?;
            owner::take_from(part.path(), &folder)?;
            part.as_file().sync_all()?;
            part.persist(&path).map_err(|e| e.error)?;
            std::fs::File::open(&folder)?.sync_all()
        };
        write().map_err(Error::file("write down the outcome in", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(from: &str, succeeded: bool) -> Outcome {
        Outcome { at: Timestamp::UNIX_EPOCH, from: from.into(), message: String::new(), succeeded }
    }

    #[test]
    fn the_first_outcome_of_a_request_stands() {
        let dir = tempfile::tempdir().expect("tempdir");
        Ledger::record(dir.path(), "a", &outcome("g/1", true)).expect("written");
        Ledger::record(dir.path(), "a", &outcome("", false)).expect("written");
        Ledger::record(dir.path(), "b", &outcome("", false)).expect("written");
        let ledger = Ledger::load(dir.path()).expect("readable");
        assert_eq!(ledger.outcome("a"), Some(&outcome("g/1", true)));
        assert_eq!(ledger.iter().count(), 2);
        assert_eq!(ledger.outcome("b").expect("there").as_status("b").phase, status::FAILED);
    }

    #[test]
    fn manifests_carry_it_over_the_loss_of_a_volume() {
        let mut ledger = Ledger::default();
        ledger.learn([(&"b".to_owned(), &outcome("g/1", true)), (&"a".to_owned(), &outcome("", false))]);
        let mut learned = Ledger::default();
        learned.learn_from(&ledger.to_manifest());
        assert_eq!(learned, ledger);
    }

    #[test]
    fn a_ledger_nobody_understands_is_no_empty_one() {
        // Else everything would be served once more.
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(Ledger::load(dir.path()).expect("a new disk"), Ledger::default());
        std::fs::create_dir(dir.path().join(OWN_FOLDER)).expect("made");
        std::fs::write(dir.path().join(OWN_FOLDER).join(FILE), "{").expect("written");
        assert!(Ledger::load(dir.path()).is_err());
    }
}
