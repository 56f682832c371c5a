//! A vcluster's folders, a kine-shaped database, and the real program to act on them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod line;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;
use vcluster_proto::{
    settings::{Settings, Store},
    status::Status,
};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Folders as the pod has them, on this machine.
pub struct Pod {
    pub folder: TempDir,
    pub recipient: String,
}

impl Pod {
    /// A pod with a key pair, settings and an empty data directory.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut pod = Self { folder, recipient: String::new() };
        for name in ["data", "spool", "config/settings", "config/key"] {
            std::fs::create_dir_all(pod.path(name)).expect("folder");
        }
        let made = pod.plain(&["keygen", "--output", &pod.text("identity")]);
        pod.recipient = String::from_utf8(made.stdout).expect("text").trim().to_owned();
        pod.write_settings(|_| {});
        pod
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.cluster.key = "shop".into();
        settings.cluster.uid = "uid-1".into();
        settings.store = Store { url: format!("file://{}", self.text("store")), ..Store::default() };
        settings.backup.recipients = vec![self.recipient.clone()];
        settings
    }

    pub fn write_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings();
        change(&mut settings);
        std::fs::write(self.path("config/settings/settings.yaml"), settings.to_yaml().expect("YAML")).expect("written");
    }

    /// A pod with a database whose store is an S3 at this address.
    pub fn on_s3(address: &str) -> Self {
        let pod = Self::new();
        pod.database().write(10);
        pod.write_settings(|settings| on_s3(settings, address));
        std::fs::create_dir_all(pod.path("config/s3")).expect("made");
        for (name, value) in [("s3accesskey", "user"), ("s3secretkey", "password")] {
            std::fs::write(pod.path("config/s3").join(name), value).expect("written");
        }
        pod
    }

    /// Mounts the identity, as a person's Secret would.
    pub fn give_identity(&self) {
        std::fs::copy(self.path("identity"), self.path("config/key/identity")).expect("copied");
    }

    pub fn database(&self) -> Database {
        Database::open(&self.path("data/state.db"))
    }

    /// The volume is lost.
    pub fn lose_data(&self) {
        std::fs::remove_dir_all(self.path("data")).expect("removed");
        std::fs::create_dir(self.path("data")).expect("made");
    }

    pub fn status(&self) -> Option<Status> {
        let text = std::fs::read_to_string(self.path("config/status/status.yaml")).ok()?;
        Some(Status::from_yaml(&text).expect("a status document"))
    }

    /// Waits until the status document is as wanted.
    pub fn wait_for(&self, what: &str, look: impl Fn(&Status) -> bool) -> Status {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.status()
                && look(&status)
            {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited in vain for {what}; the status is {:?}", self.status());
    }

    /// Waits until it is so.
    pub fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "waited in vain for {what}; the status is {:?}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vcluster-backup"));
        // Tests run side by side; the few that want the endpoints ask for a port of their own.
        command.args(arguments).env_clear().env("VCLUSTER_BACKUP_METRICS_ADDRESS", "off").stdin(Stdio::null());
        command
    }

    /// Runs the program as it is.
    pub fn plain(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    /// Runs a command of the program on this pod's folders, with further environment.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(arguments).args(self.places()).envs(environment.iter().copied()).output().expect("runs")
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts a command that stays.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let log = self.path(&format!("log-{}", arguments.join("")));
        let stderr = std::fs::File::create(&log).expect("log");
        Running { child: self.command(arguments).args(self.places()).stderr(stderr).spawn().expect("starts"), log }
    }

    fn places(&self) -> Vec<String> {
        [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")]
            .iter()
            .flat_map(|(flag, name)| [(*flag).to_owned(), self.text(name)])
            .collect()
    }

    /// Every object in the store, by name.
    pub fn objects(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.path("store"), &mut found);
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found.sort();
        found
    }

    /// What is on the data volume, in digests: to show that nothing was changed.
    pub fn data_files(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        walk(&self.path("data"), &mut found);
        // Taken while a command is at work; it holds nothing.
        found.retain(|path| !path.ends_with(".vcluster-backup/lock"));
        found.sort();
        found
            .into_iter()
            .map(|path| (path.clone(), vcluster_backup::seal::sha256(&std::fs::read(path).expect("read"))))
            .collect()
    }
}

/// An S3 at this address.
pub fn on_s3(settings: &mut Settings, address: &str) {
    settings.store.url = "s3://shop".into();
    settings.store.endpoint = Some(format!("http://{address}"));
}

/// Nobody listens there.
pub const NOBODY: &str = "127.0.0.1:9";

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("entry").path()) {
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// Copies a folder with all below it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A command that stays; ended by its id.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("log")
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("waits").is_none()
    }

    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        (self.wait(), self.log())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    pub fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failed test is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kine-shaped database, opened as kine does.
pub struct Database {
    pub connection: Connection,
}

impl Database {
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open(path).expect("SQLite");
        connection.busy_timeout(Duration::from_secs(30)).expect("timeout");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE IF NOT EXISTS kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER,
                   deleted INTEGER, create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
                 CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);",
            )
            .expect("schema");
        Self { connection }
    }

    /// Writes rows one by one and gives the last revision; each is acknowledged when its call returns.
    pub fn write(&self, count: usize) -> i64 {
        for _ in 0..count {
            self.connection
                .execute(
                    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
                     VALUES ('/registry/' || hex(randomblob(8)), 1, 0, 0, 0, 0, randomblob(300), '')",
                    [],
                )
                .expect("written");
        }
        self.connection.last_insert_rowid()
    }

    pub fn count(&self) -> i64 {
        self.connection
            .query_row("SELECT COUNT(*) FROM kine WHERE name LIKE '/registry/%'", [], |row| row.get(0))
            .expect("read")
    }
}
