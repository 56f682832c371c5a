//! One server under load: what the load generator says of the answers, and what /proc says of the server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{self, run};
use e2e::tools;
use serde::Deserialize;

/// A running server of the function protocol, ended when dropped.
pub(crate) struct Server {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// Its file.
    pub(crate) program: PathBuf,
    /// `host:port`.
    pub(crate) address: String,
    child: Child,
}

/// What one phase has shown.
pub(crate) struct Load {
    /// Half of the answers came in less.
    pub(crate) p50_ms: f64,
    /// Answers a second.
    pub(crate) requests_per_second: f64,
    /// Time of the server on a CPU, per answer.
    pub(crate) cpu_ms: f64,
}

/// The part of ghz's report that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    count: u32,
    rps: f64,
    status_code_distribution: std::collections::BTreeMap<String, u32>,
    latency_distribution: Vec<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    percentage: u32,
    /// In nanoseconds.
    latency: f64,
}

impl Server {
    /// Starts a program without TLS and waits until it listens; Crossplane's functions share these flags.
    pub(crate) fn start(name: &'static str, program: &Path, folder: &Path) -> Self {
        let address = format!("127.0.0.1:{}", tools::free_port());
        let log = File::create(folder.join(format!("{name}.log"))).expect("writable");
        let mut command = Command::new(program);
        command.args(["--insecure", "--address", &address]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let start = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "{name} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { name, program: program.to_owned(), address, child }
    }

    /// Has `connections` callers ask as fast as they are answered.
    pub(crate) fn load(&self, ghz: &Path, folder: &Path, request: &[u8], connections: u32, seconds: u32) -> Load {
        let file = folder.join("request");
        fs::write(&file, request).expect("writable");
        let proto = tools::repository().join("proto/run_function.proto");
        let mut command = Command::new(ghz);
        command
            .args(["--insecure", "--call", "apiextensions.fn.proto.v1.FunctionRunnerService.RunFunction", "--proto"])
            .arg(&proto)
            .arg("--binary-file")
            .arg(&file)
            .args(["--disable-template-functions", "--disable-template-data", "--format", "json"])
            .args(["--duration-stop", "wait", "--duration", &format!("{seconds}s")])
            .args(["--concurrency", &connections.to_string(), "--connections", &connections.to_string()])
            .arg(&self.address);
        let before = self.cpu();
        let text = run(&mut command, "").ok();
        let used = self.cpu() - before;
        let report: Report = serde_json::from_str(&text).expect("ghz prints JSON");
        let answered = report.status_code_distribution.get("OK").copied().unwrap_or_default();
        assert_eq!(answered, report.count, "{}: {:?}", self.name, report.status_code_distribution);
        let p50 = report.latency_distribution.iter().find(|latency| latency.percentage == 50);
        Load {
            p50_ms: p50.expect("enough answers for a median").latency / 1e6,
            requests_per_second: report.rps,
            cpu_ms: used.as_secs_f64() * 1e3 / f64::from(report.count),
        }
    }

    /// Time on a CPU since its start.
    fn cpu(&self) -> Duration {
        process::cpu(self.child.id())
    }

    /// The most memory it has had so far.
    pub(crate) fn peak_bytes(&self) -> f64 {
        // Far below where a float loses a byte.
        u32::try_from(process::peak_bytes(self.child.id())).map_or(f64::INFINITY, f64::from)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
