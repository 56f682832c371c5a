//! A program that runs until it is stopped or dropped, and the output of one that ends by itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running program with its log.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How long anything may take to become ready: generous, for two busy cores.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
/// How much of a log a failing story shows.
const TAIL_LINES: usize = 40;

impl Running {
    /// Starts `command` with both outputs in `<folder>/<name>.log`, after what an earlier program left there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file can be opened");
        let err = out.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the program ends before, or patience does.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("{} ended ({status}) before {what}", self.name);
            }
            assert!(start.elapsed() < PATIENCE, "{} did not come to: {what}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{} did not end by itself", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end by SIGTERM and waits for it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(mut self) -> ExitStatus {
        let start = Instant::now();
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("our child can be told");
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(start.elapsed() < GRACE, "{} did not end within {GRACE:?} of SIGTERM", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- end of the log of {} ---\n{tail}\n---", self.name);
        }
    }
}

/// Time of a running program on a CPU since its start, in user and in kernel mode.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu(id: u32) -> Duration {
    let stat = proc(id, "stat");
    // The second field, its name, may hold anything; it ends with the last bracket.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The most memory a running program has had so far, in bytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn peak_bytes(id: u32) -> u64 {
    let status = proc(id, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kilobytes") * 1024
}

fn proc(id: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{id}/{file}")).expect("the program still runs")
}

/// What a program that ended by itself has said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; 128 + n for signal n, as shells count.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Both outputs of a program that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "exit code {}\n{}{}", self.code, self.out, self.err);
        self.out
    }

    /// Both outputs, for a search.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs `command` to its end with `input` on its standard input.
///
/// # Panics
/// When it cannot be run.
pub fn run(command: &mut Command, input: &str) -> Said {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_owned();
    // A thread of its own: a program that prints before it has read everything would wait for us for ever.
    let writer = std::thread::spawn(move || {
        // A program that reads nothing closes the pipe, which is no error here.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().expect("a child can be waited for");
    writer.join().expect("writing does not panic");
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Said {
        code,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
