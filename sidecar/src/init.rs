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

/// What the settings ask to be restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// Nothing, or something that was served before.
    #[default]
    Served,
    /// A point that was not served yet.
    Open,
    /// A beginning with an empty database.
    OpenEmpty,
    /// Nothing on the disk says that it was served; a manifest may.
    Undecided,
}

/// Everything the decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A database is in its place.
    pub database: bool,
    /// Settings are there and readable; otherwise the sentence that says why not.
    pub settings: Result<(), String>,
    /// What is asked for.
    pub request: Request,
    /// There is something to open backups with.
    pub key: bool,
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
    /// A database is there and a request is open, but nothing to open a backup with: start, `run` sees to the rest.
    LeaveToSidecar,
    /// Serve the open request; a database that is there is backed up once more, and stays if that fails.
    Serve,
    /// Serve the open request for an empty database; what is there is moved aside.
    ServeEmpty,
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
        return with_database(facts);
    }
    if let Err(why) = &facts.settings {
        return wait("WaitingForSettings", why.clone());
    }
    match (facts.request, &facts.store) {
        (Request::OpenEmpty, _) => return Action::ServeEmpty,
        (Request::Open | Request::Undecided, StoreFact::NotAsked) => return Action::AskStore,
        (Request::Open | Request::Undecided, StoreFact::Unavailable(why)) => {
            return wait("WaitingForStore", why.clone());
        }
        (Request::Open | Request::Undecided, _) => return Action::Serve,
        (Request::Served, _) => {}
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

/// Doubt never holds up a cluster that has its database.
fn with_database(facts: &Facts) -> Action {
    match (&facts.settings, facts.request) {
        (Err(_), _) | (Ok(()), Request::Served) => Action::Present,
        (Ok(()), Request::OpenEmpty) => Action::ServeEmpty,
        (Ok(()), Request::Open | Request::Undecided) if facts.key => Action::Serve,
        (Ok(()), Request::Open | Request::Undecided) => Action::LeaveToSidecar,
    }
}

fn wait(reason: &'static str, message: String) -> Action {
    Action::Wait { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            database: false,
            settings: Ok(()),
            request: Request::Served,
            key: false,
            bootstrap: None,
            lived: false,
            store: StoreFact::Empty,
        }
    }

    /// The action in a word, waits by their reason.
    fn decided(facts: &Facts) -> String {
        match decide(facts) {
            Action::Wait { reason, .. } => reason.to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_table_row_by_row() {
        use Bootstrap::{Empty, Latest};
        use Request::{Open, OpenEmpty, Undecided};
        use StoreFact::{Backups, NotAsked};
        let silent = || StoreFact::Unavailable("no answer".into());
        let no_settings = || Err("absent".into());
        let there = || Facts { database: true, store: NotAsked, ..facts() };
        let asked = |store: StoreFact| Facts { store, ..facts() };
        let rows: [(&str, Facts, &str); 26] = [
            ("a database, no request", there(), "Present"),
            ("a database of an earlier life", Facts { bootstrap: Some(Empty), ..there() }, "Present"),
            ("a database, no settings", Facts { settings: no_settings(), request: Open, ..there() }, "Present"),
            ("a request without a key", Facts { request: Open, ..there() }, "LeaveToSidecar"),
            ("the same, perhaps served", Facts { request: Undecided, ..there() }, "LeaveToSidecar"),
            ("a request with its key", Facts { request: Open, key: true, ..there() }, "Serve"),
            ("a request for nothing", Facts { request: OpenEmpty, ..there() }, "ServeEmpty"),
            ("no settings", Facts { settings: no_settings(), ..facts() }, "WaitingForSettings"),
            (
                "no settings to hold a request",
                Facts { settings: no_settings(), request: Open, ..facts() },
                "WaitingForSettings",
            ),
            ("an empty disk, a request", Facts { request: Open, ..asked(NotAsked) }, "AskStore"),
            ("an empty disk, perhaps served", Facts { request: Undecided, ..asked(NotAsked) }, "AskStore"),
            ("perhaps served, a silent store", Facts { request: Undecided, ..asked(silent()) }, "WaitingForStore"),
            (
                "perhaps served, an empty start wanted",
                Facts { request: Undecided, bootstrap: Some(Empty), ..asked(silent()) },
                "WaitingForStore",
            ),
            ("an empty disk, a request, an answer", Facts { request: Open, ..asked(Backups { own: false }) }, "Serve"),
            (
                "an empty disk, a request, no key",
                Facts { request: Open, key: false, ..asked(Backups { own: true }) },
                "Serve",
            ),
            (
                "an empty disk, a request for nothing",
                Facts { request: OpenEmpty, lived: true, ..asked(NotAsked) },
                "ServeEmpty",
            ),
            ("a beginning by order", Facts { bootstrap: Some(Empty), ..asked(NotAsked) }, "StartEmpty"),
            (
                "no beginning by order over a life",
                Facts { bootstrap: Some(Empty), lived: true, ..asked(NotAsked) },
                "AskStore",
            ),
            ("a silent store", asked(silent()), "WaitingForStore"),
            ("own backups", asked(Backups { own: true }), "Restore { own: true }"),
            (
                "own backups, another's order",
                Facts { bootstrap: Some(Latest), ..asked(Backups { own: true }) },
                "Restore { own: true }",
            ),
            (
                "an earlier life, latest",
                Facts { bootstrap: Some(Latest), ..asked(Backups { own: false }) },
                "Restore { own: false }",
            ),
            (
                "an earlier life, empty",
                Facts { bootstrap: Some(Empty), lived: true, ..asked(Backups { own: false }) },
                "StartEmpty",
            ),
            ("an earlier life, no word", asked(Backups { own: false }), "PreviousBackupFound"),
            ("nothing at all", facts(), "StartEmpty"),
            ("a bucket that was full", Facts { lived: true, ..facts() }, "BucketLost"),
        ];
        for (name, facts, want) in rows {
            assert_eq!(decided(&facts), want, "{name}");
        }
    }

    #[test]
    fn no_doubt_ever_starts_an_empty_cluster_over_a_life() {
        // Whatever the store says, a cluster that has lived never silently begins anew: only an open order for that does.
        for store in [StoreFact::Unavailable(String::new()), StoreFact::Empty, StoreFact::Backups { own: true }] {
            for bootstrap in [None, Some(Bootstrap::Latest), Some(Bootstrap::Empty)] {
                for request in [Request::Served, Request::Open, Request::Undecided] {
                    let facts = Facts { lived: true, bootstrap, request, store: store.clone(), ..facts() };
                    assert!(!matches!(decide(&facts), Action::StartEmpty | Action::ServeEmpty), "{facts:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_makes_a_pod_wait_that_has_its_database() {
        for store in [StoreFact::NotAsked, StoreFact::Unavailable(String::new()), StoreFact::Empty] {
            for request in [Request::Served, Request::Open, Request::OpenEmpty, Request::Undecided] {
                for settings in [Ok(()), Err(String::new())] {
                    let facts = Facts { database: true, settings, request, store: store.clone(), ..facts() };
                    assert!(!matches!(decide(&facts), Action::Wait { .. } | Action::AskStore), "{facts:?}");
                }
            }
        }
    }
}
