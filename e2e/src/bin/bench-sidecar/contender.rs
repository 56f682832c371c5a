//! The programs that back up, each with a kine, a folder and a way to the store of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    minio::{ADMIN_PASSWORD, ADMIN_USER},
    process::{self, Running, Said},
    tools,
};
use vcluster_proto::status::Status;

use crate::proxy::{Proxy, Seen};

/// The bucket of both.
pub(crate) const BUCKET: &str = "bench";

/// Which program.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    Ours { file: PathBuf, interval: String, recipient: String },
    Litestream { file: PathBuf },
}

/// A program on its database.
pub(crate) struct Contender {
    program: Program,
    folder: PathBuf,
    proxy: Proxy,
    running: Option<Running>,
    /// Of the runs that have ended.
    cpu_before: Duration,
    peak_before: u64,
}

/// What a program has cost so far.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) seen: Seen,
    pub(crate) cpu: Duration,
    pub(crate) at: Instant,
}

impl Cost {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { seen: self.seen.since(&before.seen), cpu: self.cpu.saturating_sub(before.cpu), at: self.at }
    }
}

impl Contender {
    /// Its database is `<folder>/data/state.db`.
    pub(crate) fn new(program: Program, folder: &Path, store: &str) -> Self {
        std::fs::create_dir_all(folder.join("spool")).expect("writable");
        let proxy = Proxy::start(store);
        if let Program::Litestream { .. } = program {
            let database = folder.join("data/state.db").display().to_string();
            let endpoint = format!("http://{}", proxy.address);
            let config = format!(
                "dbs:\n- path: {database}\n  replica:\n    type: s3\n    bucket: {BUCKET}\n    path: litestream\n    \
                 endpoint: {endpoint}\n    region: us-east-1\n    force-path-style: true\n"
            );
            std::fs::write(folder.join("litestream.yml"), config).expect("writable");
        }
        Self { program, folder: folder.to_owned(), proxy, running: None, cpu_before: Duration::ZERO, peak_before: 0 }
    }

    pub(crate) fn start(&mut self) {
        let command = match &self.program {
            Program::Ours { interval, recipient, .. } => &["run", "--interval", interval, "--recipient", recipient],
            Program::Litestream { .. } => &["replicate"][..],
        };
        self.running = Some(Running::start("backup", &self.folder, &mut self.command(command)));
    }

    /// By a signal, with as much time as it wants.
    pub(crate) fn stop(&mut self) {
        self.note();
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// As when the machine is lost.
    pub(crate) fn kill(&mut self) {
        self.note();
        self.running = None;
    }

    fn note(&mut self) {
        let cost = self.cost();
        self.peak_before = self.peak_bytes();
        self.cpu_before = cost.cpu;
    }

    pub(crate) fn cost(&self) -> Cost {
        let running = self.running.as_ref().map_or(Duration::ZERO, |running| process::cpu(running.id()));
        Cost { seen: self.proxy.seen(), cpu: self.cpu_before + running, at: Instant::now() }
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| process::peak_bytes(running.id())).max(self.peak_before)
    }

    /// The newest backup of ours; of litestream nobody is told.
    pub(crate) fn newest(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("status.yaml")).ok()?;
        Some(Status::from_yaml(&text).ok()?.newest?.id)
    }

    /// What is in the store becomes a file, checked by `PRAGMA integrity_check`; also gives the time.
    pub(crate) fn restore(&self, output: &Path, identity: &Path) -> Duration {
        let (output, identity) = (output.display().to_string(), identity.display().to_string());
        let mut command = match &self.program {
            Program::Ours { .. } => {
                self.command(&["restore", "--trust-any", "--identity", &identity, "--output", &output])
            }
            Program::Litestream { .. } => {
                let database = self.folder.join("data/state.db").display().to_string();
                self.command(&["restore", "-integrity-check", "full", "-o", &output, &database])
            }
        };
        let begun = Instant::now();
        let said = process::run(&mut command, "");
        let took = begun.elapsed();
        let _ = said.ok();
        took
    }

    /// One command of ours to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Said {
        process::run(&mut self.command(arguments), "")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        match &self.program {
            Program::Ours { file, .. } => {
                let mut command = ours(file, &self.folder);
                command.args(arguments).args(["--store", &format!("s3://{BUCKET}/ours")]);
                command.args(["--endpoint", &format!("http://{}", self.proxy.address)]);
                command.env("ACCESS_KEY", ADMIN_USER).env("SECRET_KEY", ADMIN_PASSWORD);
                command
            }
            Program::Litestream { file } => {
                let mut command = Command::new(file);
                let (name, arguments) = arguments.split_first().expect("a command");
                command.arg(name).arg("-config").arg(self.folder.join("litestream.yml")).args(arguments);
                command.env_clear().env("HOME", &self.folder).current_dir(&self.folder);
                command.env("AWS_ACCESS_KEY_ID", ADMIN_USER).env("AWS_SECRET_ACCESS_KEY", ADMIN_PASSWORD);
                command
            }
        }
    }
}

/// Our program on the folders `data` and `spool`, with nothing from the outside.
pub(crate) fn ours(file: &Path, folder: &Path) -> Command {
    let mut command = Command::new(file);
    command.env_clear().env("VCLUSTER_BACKUP_METRICS_ADDRESS", format!("127.0.0.1:{}", tools::free_port()));
    command.args(["--cluster", "shop", "--data-dir"]).arg(folder.join("data"));
    command.arg("--spool-dir").arg(folder.join("spool")).arg("--status-file").arg(folder.join("status.yaml"));
    command
}

/// A key pair: the file of the identity, and the recipient.
pub(crate) fn keys(file: &Path, folder: &Path) -> (PathBuf, String) {
    let identity = folder.join("identity");
    let made = process::run(Command::new(file).env_clear().arg("keygen").arg("--output").arg(&identity), "");
    (identity, made.ok().trim().to_owned())
}
