//! Everything that can go wrong, in sentences that name the thing and the remedy.
//!
//! A [`Refusal`] becomes one fatal result: the RPC succeeds, nothing is applied and nothing is deleted. Its wording
//! never changes between reconciles and never repeats a value that could be a secret.

use crate::wire::Malformed;

/// Why a request cannot be answered with resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field holds what cannot be used.
    #[error("{path}: {problem}")]
    Field {
        /// Where: `spec...` is the XR, `input...` the Platform in the Composition's step.
        path: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Backups are on and nobody could open them.
    #[error(
        "spec.backup.recipients: empty, and so is input.encryption.recipients: nobody could open a backup; make a key \
         pair with `vcluster-backup keygen` and put its recipient (age1...) into one of the two"
    )]
    NoRecipients,
    /// Backups are sealed with a passphrase or for recipients, never both.
    #[error(
        "input.encryption.passphraseSecret: there are recipients, too, in input.encryption.recipients or \
         spec.backup.recipients; remove one of the two: a passphrase beside them would open what they alone shall open"
    )]
    TwoSecrecies,
    /// A composed resource of ours was made under another key.
    #[error(
        "observed resource {resource:?} belongs to key {found:?}, but this XR now derives key {key:?}: spec.id, \
         input.id, the XR's name or its owner changed; put it back, a vcluster is never renamed (one that another \
         Composition has made goes on under its names by input.adopt)"
    )]
    AnotherKey {
        /// The composed resource.
        resource: &'static str,
        /// The key it bears.
        found: String,
        /// The key it should bear.
        key: String,
    },
    /// A composed resource of ours was made from a value that cannot change any more.
    #[error("{path}: {wanted:?} differs from {found:?}, with which {resource:?} was made; put it back, {reason}")]
    Fixed {
        /// The field that changed.
        path: &'static str,
        /// What it says now.
        wanted: String,
        /// What it said then.
        found: String,
        /// The composed resource.
        resource: &'static str,
        /// Why it cannot move.
        reason: &'static str,
    },
    /// Something that is not what we make bears one of our names.
    #[error(
        "observed resource {resource:?} is {found}, not a {wanted}: going on would replace it; rename it in the step \
         that made it"
    )]
    NotOurs {
        /// The composed resource.
        resource: String,
        /// What is made under this name.
        wanted: String,
        /// Its API version and kind.
        found: String,
    },
    /// An earlier step wants a resource under one of our names.
    #[error(
        "desired resource {resource:?} comes from an earlier step, but the name is this function's; rename or remove it there"
    )]
    Taken {
        /// The composed resource.
        resource: String,
    },
    /// A Release of one of our charts that nobody wants any more.
    #[error(
        "observed resource {resource:?} is a Release of chart {chart:?} that no step desires: going on would uninstall \
         it; let an earlier step desire it, or name it in input.adopt when another Composition has made it"
    )]
    Orphan {
        /// The composed resource.
        resource: String,
        /// Its chart.
        chart: String,
    },
    /// What another Composition has made is there, but for the vcluster.
    #[error(
        "observed resource {found:?} was made by another Composition or beside what it made (input.adopt), but its vcluster \
         {missing:?} is not there: going on would make another one, with an empty disk; put its Release back under its \
         old name, or let that Composition make it first"
    )]
    HalfAdopted {
        /// The composed resource that is there.
        found: String,
        /// The one that is not.
        missing: String,
    },
    /// The registration is there, the platform registers no more.
    #[error(
        "input.rancher.mode: {mode}, but resource \"rancher\" is registered: going on would remove the cluster from \
         Rancher; restore mode chart, or set spec.rancher.enabled: false in the claim to remove it"
    )]
    RancherGone {
        /// What the platform says now.
        mode: &'static str,
    },
    /// An object of the request cannot be read.
    #[error("{what} cannot be read: {malformed}; see what wrote it, or the steps before this one")]
    Unreadable {
        /// The object.
        what: String,
        /// Why.
        malformed: Malformed,
    },
}

impl Refusal {
    /// A field and what is wrong with it.
    pub fn field(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { path: path.into(), problem: problem.into() }
    }
}

/// What stops the program itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A document given to `render` cannot be used.
    #[error("cannot use {what}: {problem}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// The function refused.
    #[error("pipeline step {step:?} returned a fatal result: {message}")]
    Fatal {
        /// The step of the Composition.
        step: String,
        /// The function's sentence.
        message: String,
    },
    /// A document cannot be printed.
    #[error("cannot print YAML: {0}")]
    Print(String),
    /// No certificates and no word that none are wanted.
    #[error("cannot serve without credentials: give --tls-certs-dir (tls.crt, tls.key, ca.crt), or --insecure")]
    NoCredentials,
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error("cannot serve gRPC")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors that reflection serves are damaged.
    #[error("cannot serve gRPC reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The process cannot start its threads.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The process cannot listen for signals.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] std::io::Error),
}

impl Error {
    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }
}
