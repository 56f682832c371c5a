//! What the restore init container does with what it finds. Pure: facts in, action out; read from the top.

use vcluster_proto::settings::Bootstrap;

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFact {
    /// It was not asked, or there is nobody to ask.
    NotAsked,
    /// No credentials, no answer, a refusal, no bucket yet. Holds the sentence.
    Unavailable(String),
    /// It holds nothing.
    Empty,
    /// It holds backups.
    Backups {
        /// Some are of this XR uid.
        own: bool,
    },
}

/// Everything the decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A database is in its place.
    pub database: bool,
    /// Settings are there and readable; otherwise the sentence that says why not.
    pub settings: Result<(), String>,
    /// What an empty disk does when only an earlier life is in the store.
    pub bootstrap: Option<Bootstrap>,
    /// This XR has had a backup before.
    pub lived: bool,
    /// The store.
    pub store: StoreFact,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A database is there: start, without touching the network.
    Present,
    /// Start with an empty database.
    StartEmpty,
    /// The store has to be asked first.
    AskStore,
    /// Restore the newest backup; `own`: of this XR uid only.
    Restore {
        /// Only backups of this XR uid count.
        own: bool,
    },
    /// Stay, say why, look again later.
    Wait {
        /// A word for programs.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// The decision table of the init container.
#[must_use]
pub fn decide(facts: &Facts) -> Action {
    if facts.database {
        return Action::Present;
    }
    if let Err(why) = &facts.settings {
        return wait("WaitingForSettings", why.clone());
    }
    if facts.bootstrap == Some(Bootstrap::Empty) && !facts.lived {
        return Action::StartEmpty;
    }
    match &facts.store {
        StoreFact::NotAsked => Action::AskStore,
        StoreFact::Unavailable(why) => wait("WaitingForStore", why.clone()),
        StoreFact::Backups { own: true } => Action::Restore { own: true },
        StoreFact::Backups { own: false } => match facts.bootstrap {
            Some(Bootstrap::Latest) => Action::Restore { own: false },
            Some(Bootstrap::Empty) => Action::StartEmpty,
            None => wait(
                "PreviousBackupFound",
                "the store holds backups of an earlier cluster of this name: set spec.bootstrap to Latest to restore \
                 the newest of them, or to Empty to begin with an empty cluster"
                    .into(),
            ),
        },
        StoreFact::Empty if facts.lived => wait(
            "BucketLost",
            "this cluster has had backups, and now neither its disk nor its bucket holds anything: bring the bucket \
             back, or order the cluster anew"
                .into(),
        ),
        StoreFact::Empty => Action::StartEmpty,
    }
}

fn wait(reason: &'static str, message: String) -> Action {
    Action::Wait { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { database: false, settings: Ok(()), bootstrap: None, lived: false, store: StoreFact::Empty }
    }

    fn reason(facts: &Facts) -> &'static str {
        match decide(facts) {
            Action::Wait { reason, .. } => reason,
            other => panic!("{other:?} is no wait"),
        }
    }

    #[test]
    fn a_database_that_is_there_needs_no_network_and_no_settings() {
        let facts = Facts { database: true, settings: Err("absent".into()), store: StoreFact::NotAsked, ..facts() };
        assert_eq!(decide(&facts), Action::Present);
    }

    #[test]
    fn the_table_row_by_row() {
        use Bootstrap::{Empty, Latest};
        let earlier = StoreFact::Backups { own: false };
        let silent = StoreFact::Unavailable("no answer".into());
        assert_eq!(reason(&Facts { settings: Err("absent".into()), ..facts() }), "WaitingForSettings");
        assert_eq!(
            decide(&Facts { bootstrap: Some(Empty), store: StoreFact::NotAsked, ..facts() }),
            Action::StartEmpty
        );
        assert_eq!(reason(&Facts { store: silent, ..facts() }), "WaitingForStore");
        assert_eq!(
            decide(&Facts { store: StoreFact::Backups { own: true }, ..facts() }),
            Action::Restore { own: true }
        );
        assert_eq!(
            decide(&Facts { bootstrap: Some(Latest), store: earlier.clone(), ..facts() }),
            Action::Restore { own: false }
        );
        assert_eq!(
            decide(&Facts { bootstrap: Some(Empty), lived: true, store: earlier.clone(), ..facts() }),
            Action::StartEmpty
        );
        assert_eq!(reason(&Facts { store: earlier, ..facts() }), "PreviousBackupFound");
        assert_eq!(decide(&facts()), Action::StartEmpty);
        assert_eq!(reason(&Facts { lived: true, ..facts() }), "BucketLost");
        assert_eq!(decide(&Facts { store: StoreFact::NotAsked, ..facts() }), Action::AskStore);
    }

    #[test]
    fn no_doubt_ever_starts_an_empty_cluster_over_a_life() {
        // Whatever the store says, a cluster that has lived never silently begins anew.
        for store in [StoreFact::Unavailable(String::new()), StoreFact::Empty, StoreFact::Backups { own: true }] {
            for bootstrap in [None, Some(Bootstrap::Latest), Some(Bootstrap::Empty)] {
                let facts = Facts { lived: true, bootstrap, store: store.clone(), ..facts() };
                assert_ne!(decide(&facts), Action::StartEmpty, "{facts:?}");
            }
        }
    }
}
