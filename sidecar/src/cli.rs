//! Flags and their environment twins. Secrets have no flag: a command line is read by everybody on the machine.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    catalog::At, check::CheckArgs, listen::Address, overview::StatusArgs, prune::PruneArgs, signing::PublicKey,
    verify::VerifyArgs,
};

/// Consistent, encrypted, signed backups of a vcluster's database, and their restore.
///
/// Everything is read from flags, then the environment, then --config-dir. Secrets come from files or the environment
/// only: ACCESS_KEY and SECRET_KEY (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), ENC_KEY, AGE_IDENTITY; each also
/// as NAME_FILE.
#[derive(Debug, Parser)]
#[command(name = "vcluster-backup", version, max_term_width = 110)]
pub struct Cli {
    /// What to do; without, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Log as for debugging.
    #[arg(long, global = true, env = "TRACE", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub debug: bool,
    /// Settings of `run`, which needs no name.
    #[command(flatten)]
    pub options: Options,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up at once, then every interval, once more when told to stop; ends only on a signal.
    Run(RunArgs),
    /// Back up once; where `run` is at work on the same data directory it is asked to.
    Backup {
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what is in the store.
    List {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Bring a backup back.
    Restore(RestoreArgs),
    /// Show the oldest and the newest backup, what there is of each kind, and what was proven last.
    Status(StatusArgs),
    /// Try everything the store is needed for, and say in plain words what will not work. Exit code 0: all of it works,
    /// 3: backups work and something around them does not, 1: they do not.
    Check(CheckArgs),
    /// Prove the backups: manifests and sizes, digests with --read-data, and with an identity a timed restore into scratch
    /// space. Exit code 0: sound, 3: something else than the backup asked about is not, 1: that one is not.
    Verify(VerifyArgs),
    /// Remove what no rule keeps; the newest backup and what it builds on always stay.
    Prune(PruneArgs),
    /// Make an age key pair.
    Keygen {
        /// Write the identity here (0600) and print the recipient only.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// How to stay.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where /metrics, /healthz and /readyz are: `:9090`, `127.0.0.1:9090`, or `off`.
    #[arg(long, env = "VCLUSTER_BACKUP_METRICS_ADDRESS", value_name = "ADDRESS", default_value = DEFAULT_ADDRESS, value_parser = parse_address)]
    pub metrics_address: Address,
    /// End with the exit code of the first failure instead of trying again; for tests and shells, never in a pod.
    #[arg(long)]
    pub strict: bool,
}

fn parse_address(text: &str) -> Result<Address, crate::Error> {
    if text.is_empty() { DEFAULT_ADDRESS.parse() } else { text.parse() }
}

const DEFAULT_ADDRESS: &str = ":9090";

impl RunArgs {
    /// Of a command line that names no command: what the environment says.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn of_environment() -> Result<Self, clap::Error> {
        #[derive(Parser)]
        struct Nameless {
            #[command(flatten)]
            run: RunArgs,
        }
        Nameless::try_parse_from(["vcluster-backup"]).map(|nameless| nameless.run)
    }
}

/// How to restore.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// As the pod's init container: restore an empty disk if there is something to restore, wait while that is in doubt.
    #[arg(long, conflicts_with_all = ["at", "output", "force", "if_db_not_exists", "if_replica_exists", "dry_run", "json", "request_id"])]
    pub init: bool,
    /// latest, a time (2026-11-22T08:00:00Z), or an id as `list` shows it.
    #[arg(long, default_value = "latest", value_name = "POINT", visible_alias = "timestamp")]
    pub at: At,
    /// Write the database to this file instead of the data directory, as it was.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a database that is there; it is kept beside, as `state.db.before-...`.
    #[arg(long)]
    pub force: bool,
    /// Do nothing, successfully, if a database is there.
    #[arg(long)]
    pub if_db_not_exists: bool,
    /// Do nothing, successfully, if there are no backups.
    #[arg(long)]
    pub if_replica_exists: bool,
    /// Serve this request: remembered by its id, and never served again.
    #[arg(long, value_name = "ID", conflicts_with = "output")]
    pub request_id: Option<String>,
    /// With --init: time between two looks.
    #[arg(long, value_name = "INTERVAL", default_value = "10s", value_parser = vcluster_proto::interval::parse)]
    pub look_every: Duration,
    /// With --init: how long a silent store is waited for when there is a database to go on with.
    #[arg(long, value_name = "INTERVAL", default_value = "5m", value_parser = vcluster_proto::interval::parse)]
    pub store_patience: Duration,
    /// Show what would be restored, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Settings that every command shares.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub struct Options {
    /// Folder with settings/settings.yaml, s3/, key/ and status/, as the pod mounts them; read again when it changes. Default
    /// /etc/vcluster-backup, where that is there.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// S3 endpoint, as http(s)://host:port; a bare host is https unless INSECURE is set.
    #[arg(long, global = true, env = "ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// S3 region.
    #[arg(long, global = true, env = "REGION")]
    pub region: Option<String>,
    /// Bucket in the host name instead of the path.
    #[arg(long, global = true)]
    pub virtual_host_style: bool,
    /// PEM certificates to trust beside the system's.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Whom to seal for; may be given several times.
    #[arg(long = "recipient", global = true, env = "AGE_RECIPIENTS", value_delimiter = ',', value_name = "AGE1...")]
    pub recipients: Vec<String>,
    /// Without any key, back up all the same: whoever can read the store then reads the cluster's Secrets, keys and
    /// tokens. For clusters that hold none, and stores that are encrypted and closed by other means.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_INSECURE_NO_ENCRYPTION", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub insecure_no_encryption: bool,
    /// Recipients, one a line.
    #[arg(long, global = true, env = "AGE_RECIPIENTS_FILE", value_name = "FILE")]
    pub recipients_file: Option<PathBuf>,
    /// age identity that opens backups.
    #[arg(long, global = true, env = "AGE_IDENTITY_FILE", value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Time between two backups, as 30s, 1m, 2h; a bare number is minutes.
    #[arg(long, global = true, env = "BACKUP_INTERVAL")]
    pub interval: Option<String>,
    /// How often `run` reads the newest backup with all that it builds on back and compares its digests, as 24h; 0s or off:
    /// never. Default 24h.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_PROVE_EVERY", value_name = "INTERVAL")]
    pub prove_every: Option<String>,
    /// The vcluster's data directory; default that of BACKUP_FILE, or /data.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder for the sealed copy on its way; never a folder of the data volume. `backup` finds the running sidecar by it.
    /// Default /var/spool/vcluster-backup, where that is there, else the system's folder for temporary files.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// The status document; default status/status.yaml in the config folder.
    #[arg(long, global = true, env = "VCLUSTER_BACKUP_STATUS_FILE", value_name = "FILE")]
    pub status_file: Option<PathBuf>,
    /// Public signing key (ed25519:...) whose backups may be restored; may be given several times.
    #[arg(long = "trust-key", global = true, value_name = "KEY")]
    pub trust_keys: Vec<PublicKey>,
    /// Restore whatever carries a good signature; its signer is printed.
    #[arg(long, global = true)]
    pub trust_any: bool,
    /// The vcluster's name in manifests and status.
    #[arg(long, global = true, env = "CLUSTERNAME", value_name = "NAME")]
    pub cluster: Option<String>,
}

impl Options {
    /// Without what the environment holds but leaves empty, which counts as unset.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        let texts = [
            &mut self.store,
            &mut self.endpoint,
            &mut self.region,
            &mut self.interval,
            &mut self.prove_every,
            &mut self.cluster,
        ];
        for text in texts {
            text.take_if(|text| text.is_empty());
        }
        let paths = [
            &mut self.config_dir,
            &mut self.ca_file,
            &mut self.recipients_file,
            &mut self.identity,
            &mut self.data_dir,
            &mut self.spool_dir,
            &mut self.status_file,
        ];
        for path in paths {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}
