//! The product in one minute, on one machine: a claim becomes manifests, a sidecar backs up a live database with
//! exactly the arguments of the rendered container, the volume is lost, and the rendered init container brings every
//! acknowledged row back. No network, no containers; the parts are the real ones, substitutions are printed.

mod order;
mod stage;
mod tenant;

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use order::Order;
use stage::Stage;
use tenant::Tenant;

/// Under this name the demo's own executable is the sidecar: one build gives both, with the sidecar's own entry.
const SIDECAR: &str = "vcluster-backup";
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == SIDECAR) {
        return vcluster_backup::program::main(std::env::args_os());
    }
    match play(&Stage::new()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(stage: &Stage) -> Result<(), Failure> {
    let begun = Instant::now();
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);

    stage.act(1, "A tenant orders a cluster", "examples/claim-v1, rendered in process");
    let order = Order::render()?;
    stage.fact("claim", &order.claim);
    for release in &order.releases {
        stage.fact("Release", release);
    }
    stage.fact("sidecar", &format!("{SIDECAR} {}", order.sidecar.join(" ")));
    stage.fact("init", &format!("{SIDECAR} {}", order.init.join(" ")));

    stage.act(2, "A person makes a key pair", "the pod gets the public half only");
    let recipient = sidecar(&["keygen", "--output", text(&at("identity"))?], &at("keygen.log"))?.wait_for_output()?;
    stage.fact("recipient", &recipient);
    order.write_config(&at("config"), &at("store"), &recipient)?;
    for line in order.substitutions() {
        stage.fact("instead", &line);
    }

    stage.act(
        3,
        "The cluster lives, the sidecar follows",
        "a kine-shaped SQLite database in WAL mode, written all the time",
    );
    let tenant = Tenant::start(&at("data"))?;
    let mut running = sidecar(&order.arguments(&order.sidecar, folder.path())?, &at("run.log"))?;
    let status = at("config/status/status.yaml");
    stage.fact("first backup", &tenant::wait_for_backup(&status, PATIENCE)?);
    std::thread::sleep(Duration::from_secs(2));
    stage.fact("meanwhile", &format!("{} rows acknowledged since the start, and counting", tenant.acknowledged()));
    running.terminate()?;
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = tenant.stop()?;
    running.wait_for_success()?;
    stage.fact(
        "SIGTERM",
        &format!("the API server wrote on for 0.3 s; last backup {}", tenant::wait_for_backup(&status, PATIENCE)?),
    );
    stage.fact("store", &order::describe_store(&at("store"))?);

    stage.act(4, "The volume is lost", "database, WAL, PKI, signing key: everything");
    std::fs::remove_dir_all(at("data"))?;
    std::fs::create_dir(at("data"))?;
    stage.fact("left", "the bucket, the settings, the status document");

    stage.act(5, "The init container brings it back", "and waits for the key, since the pod never had it");
    let mut init = sidecar(&order.arguments(&order.init, folder.path())?, &at("init.log"))?;
    stage.fact("says", &tenant::wait_for_reason(&status, "WaitingForIdentity", PATIENCE)?);
    std::fs::create_dir_all(at("config/key"))?;
    std::fs::copy(at("identity"), at("config/key/identity"))?;
    let handed = Instant::now();
    init.wait_for_success()?;
    stage.fact("restored", &format!("{:.1} s after the key was there", handed.elapsed().as_secs_f64()));

    stage.act(6, "Is it all there?", "every row the API server had an answer for");
    for line in tenant::prove(&at("data"), &acknowledged)? {
        stage.fact("proved", &line);
    }
    stage.end(begun.elapsed());
    Ok(())
}

/// A child process that is the sidecar.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

fn sidecar<S: AsRef<std::ffi::OsStr>>(arguments: &[S], log: &Path) -> Result<Running, Failure> {
    let child = Command::new(std::env::current_exe()?)
        .arg0(SIDECAR)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(log)?)
        .spawn()?;
    Ok(Running { child, log: log.to_owned() })
}

impl Running {
    fn terminate(&self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    fn wait_for_success(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the sidecar ended with {status}: {}", self.said()).into()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(format!("the sidecar did not end: {}", self.said()).into())
    }

    fn wait_for_output(mut self) -> Result<String, Failure> {
        self.wait_for_success()?;
        let mut output = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut output)?;
        }
        Ok(output.trim().to_owned())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failure is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| "the temporary folder's name is no text".into())
}
