//! One error enum. A variant is something the reader can act on; every sentence names the thing and the remedy, none
//! holds a secret. The cause stands in `source()` only; [`Error::chain`] prints both at the edge.

use std::path::{Path, PathBuf};

use crate::{manifest::Layout, store::Fault};

/// What went wrong, for people and for exit codes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Flags or settings cannot be used as they are.
    #[error("{0}")]
    Usage(String),
    /// No key to seal with.
    #[error(
        "cannot back up without a key: give an age recipient by --recipient, AGE_RECIPIENTS or backup.recipients in \
         settings.yaml (`vcluster-backup keygen` makes a pair), or a passphrase in ENC_KEY"
    )]
    NoKey,
    /// No key to open with.
    #[error(
        "cannot open backup {point} without its key: give the age identity by --identity FILE, AGE_IDENTITY_FILE or \
         key/identity in the config folder, or the passphrase in ENC_KEY"
    )]
    NoIdentity {
        /// The backup.
        point: String,
    },
    /// The key given is not the one the backup was sealed for.
    #[error("cannot open backup {point} with the key given: it was sealed for another; nothing was changed")]
    WrongKey {
        /// The backup.
        point: String,
    },
    /// There is no database where one is expected.
    #[error("cannot find a database below {}: looked for {}; is the vcluster started?", .data_dir.display(), .tried.join(", "))]
    NoDatabase {
        /// The data directory.
        data_dir: PathBuf,
        /// The paths that were tried.
        tried: Vec<String>,
    },
    /// SQLite refused.
    #[error("cannot {action} {}", .path.display())]
    Database {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The copy held its read transaction for too long.
    #[error("cannot copy {} within {limit_seconds} s: the disk is too slow; the API server must not wait longer", .path.display())]
    TooSlow {
        /// The database.
        path: PathBuf,
        /// The cap.
        limit_seconds: u64,
    },
    /// The object store refused or did not answer.
    #[error("cannot {action} {object} in {store}: {fault}")]
    Store {
        /// A verb.
        action: &'static str,
        /// The object's key.
        object: String,
        /// The store's URL.
        store: String,
        /// Why, and what to do.
        fault: Fault,
    },
    /// Nothing was ever backed up there.
    #[error("there are no backups in {store}")]
    NoRepository {
        /// The store's URL.
        store: String,
    },
    /// The point asked for is not there.
    #[error("there is no backup {at} in {store}: {window}")]
    NoSuchPoint {
        /// What was asked for.
        at: String,
        /// The store's URL.
        store: String,
        /// From when to when there are backups.
        window: String,
    },
    /// Two programs wrote into one store.
    #[error(
        "{store} holds backups of two writers ({heads}): name the one you mean by --at ID, and stop the other; the next \
         start of `run` heals it"
    )]
    TwoWriters {
        /// The store's URL.
        store: String,
        /// Their ids.
        heads: String,
    },
    /// A signature of nobody we trust.
    #[error(
        "cannot trust backup {point}: it is signed by {signer}, which is not among the trusted keys; if that is the \
         cluster's own key, give it by --trust-key"
    )]
    Untrusted {
        /// The backup.
        point: String,
        /// The public key.
        signer: String,
    },
    /// An object is not what its manifest says.
    #[error("{object} is damaged: {why}; nothing was changed, `vcluster-backup list` shows what else there is")]
    Damaged {
        /// The object or file.
        object: String,
        /// What does not fit.
        why: String,
    },
    /// A diff or delta without what it builds on.
    #[error(
        "cannot restore backup {point}: it builds on {missing}, which is not in the store; name another point by --at, \
         `vcluster-backup list` shows what there is"
    )]
    ChainBroken {
        /// The backup.
        point: String,
        /// The backup or object that is gone.
        missing: String,
    },
    /// The store is older than what the status document pins.
    #[error(
        "{store} has been rolled back: the newest backup known here is {pinned}, the store does not have it; name the \
         backup you want by --at"
    )]
    RolledBack {
        /// The store's URL.
        store: String,
        /// Its id.
        pinned: String,
    },
    /// Another of these programs is at work on the same data directory.
    #[error(
        "cannot go on in {}: another vcluster-backup is at work there; `run` backs up by itself, stop it first", .data_dir.display()
    )]
    Locked {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The backup's layout does not fit the disk.
    #[error("cannot restore {point}, a backup of a k8s vcluster, into {}, which holds a k3s one", .data_dir.display())]
    Layout {
        /// The backup.
        point: String,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There was no time left for a last backup.
    #[error("the last backup was not done within the time a pod has after its signal; the one before it stands")]
    TooLate,
    /// Somebody has the database open.
    #[error("cannot replace {}: somebody has it open; stop the vcluster first", .path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// Restoring would replace something.
    #[error("{} exists; nothing was changed: {remedy}", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// How to say that it is meant.
        remedy: &'static str,
    },
    /// A file system call failed.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Sealing or opening failed for a reason that is neither the key nor a file.
    #[error("cannot {action}")]
    Seal {
        /// A verb and thing.
        action: &'static str,
        /// The library's words.
        source: std::io::Error,
    },
    /// The status ConfigMap cannot be read or written.
    #[error(
        "cannot {action} ConfigMap {namespace}/{name}; is it there (chart s3-register makes it), and may this pod's \
         service account write it?{}", if source.is_none() { " the API server did not answer" } else { "" }
    )]
    Status {
        /// A verb.
        action: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's words; none if it did not answer.
        source: Option<Box<kube::Error>>,
    },
    /// The own pod cannot be deleted.
    #[error(
        "cannot restart this pod to serve the restore: {why}; delete the vcluster's pod by hand, and it is served then"
    )]
    OwnPod {
        /// The API server's words, or ours.
        why: String,
    },
    /// A Secret that vcluster keeps in its host namespace cannot be brought back.
    #[error(
        "cannot bring back Secret {namespace}/{name} from the backup's files; vcluster makes one by itself{}",
        if source.is_none() { ": the API server did not answer" } else { "" }
    )]
    HostSecret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's words; none if it did not answer.
        source: Option<Box<kube::Error>>,
    },
    /// An Event cannot be written.
    #[error(
        "cannot write an Event in namespace {namespace}; may this pod's service account create Events?{}",
        if source.is_none() { " the API server did not answer" } else { "" }
    )]
    Event {
        /// Its namespace.
        namespace: String,
        /// The API server's words; none if it did not answer.
        source: Option<Box<kube::Error>>,
    },
    /// The running sidecar was asked and says no.
    #[error("{message}")]
    Sidecar {
        /// Its exit code for that.
        code: u8,
        /// Its words.
        message: String,
    },
    /// A signal ended a one-shot command.
    #[error("interrupted; nothing was changed")]
    Interrupted,
}

impl Error {
    /// The exit code of a one-shot command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::NoKey | Self::NoIdentity { .. } => 2,
            Self::NoRepository { .. } => 10,
            Self::TwoWriters { .. } | Self::Locked { .. } => 11,
            Self::WrongKey { .. } => 12,
            Self::Sidecar { code, .. } => *code,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// A word for programs; stable, in CamelCase.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Usage(_) => "BadSettings",
            Self::NoKey => "NoKey",
            Self::NoIdentity { .. } => "WaitingForIdentity",
            Self::WrongKey { .. } => "WrongKey",
            Self::NoDatabase { .. } => "NoDatabase",
            Self::Database { .. } => "DatabaseUnreadable",
            Self::TooSlow { .. } => "TooSlow",
            Self::Store { fault: Fault::Refused(..), .. } => "StoreRefused",
            Self::Store { fault: Fault::NoBucket, .. } => "NoBucket",
            Self::Store { fault: Fault::Full(_), .. } => "StoreFull",
            Self::Store { .. } => "StoreUnavailable",
            Self::NoRepository { .. } => "NoRepository",
            Self::NoSuchPoint { .. } => "NoSuchPoint",
            Self::TwoWriters { .. } => "TwoWriters",
            Self::Untrusted { .. } => "Untrusted",
            Self::Damaged { .. } => "Damaged",
            Self::ChainBroken { .. } => "ChainBroken",
            Self::RolledBack { .. } => "RolledBack",
            Self::Busy { .. } => "DatabaseBusy",
            Self::Locked { .. } => "Locked",
            Self::Layout { .. } => "WrongLayout",
            Self::TooLate => "StoppedTooSoon",
            Self::Exists { .. } => "DatabaseExists",
            Self::Status { .. } => "StatusUnwritable",
            Self::OwnPod { .. } => "CannotRestart",
            Self::HostSecret { .. } => "HostSecret",
            Self::Event { .. } => "EventUnwritable",
            Self::Sidecar { .. } => "Sidecar",
            Self::File { .. } | Self::Seal { .. } => "FileError",
            Self::Interrupted => "Interrupted",
        }
    }

    /// The sentence and its causes, joined by colons.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut last = String::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let words = error.to_string();
            // Some libraries repeat their cause; once is enough.
            if last.is_empty() || !words.contains(&last) {
                text.push_str(": ");
                text.push_str(&words);
            }
            last = words;
            cause = error.source();
        }
        text
    }

    /// There is no database of either layout.
    pub(crate) fn no_database(data_dir: &Path) -> Self {
        let tried = [Layout::K8s, Layout::K3s].map(|layout| layout.database().to_owned()).to_vec();
        Self::NoDatabase { data_dir: data_dir.to_owned(), tried }
    }

    /// For `map_err` on file system calls.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on SQLite calls.
    pub(crate) fn database(action: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Database { action, path, source }
    }
}
