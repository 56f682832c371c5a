//! What the running sidecar shows and takes from outside: metrics and health, the control socket, the trigger token,
//! its log, and mounted files that change as kubelet changes them.

mod common;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use common::{NOBODY, PATIENCE, Pod, Running, on_s3};
use vcluster_proto::status::State;

const HOUR: Duration = Duration::from_secs(3600);

/// A sidecar with endpoints on a port of their own, and where they are.
fn start_with_endpoints(pod: &Pod) -> (Running, String) {
    let running = pod.start(&["run", "--metrics-address", "127.0.0.1:0"]);
    let until = Instant::now() + PATIENCE;
    loop {
        let log = running.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut addresses = lines.filter_map(|line| Some(line.get("address")?.as_str()?.to_owned()));
        if let Some(address) = addresses.next() {
            return (running, address);
        }
        assert!(Instant::now() < until, "it says no address: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Status and body of one request.
fn ask(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
}

/// Samples by name and labels.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (code, text) = ask(address, "GET", "/metrics");
    assert_eq!(code, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        (name.trim_start_matches("vcluster_backup_").to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn metrics_tell_what_was_done_and_a_restart_forgets_no_time() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = HOUR);
    let database = pod.database();
    database.write(3);
    let (running, address) = start_with_endpoints(&pod);
    let status = pod.wait_for("a backup", |s| s.newest.is_some());
    let newest = status.newest.and_then(|point| point.time).expect("a time").as_second();
    wait_until("a turn of the loop", || scrape(&address)["healthy"] > 0.5);
    let seen = scrape(&address);
    for (name, value) in [
        ("attempts_total{outcome=\"backed_up\"}", 1.0),
        ("attempts_total{outcome=\"failed\"}", 0.0),
        ("newest_revision", 3.0),
        ("newest_timestamp_seconds", newest as f64),
        ("interval_seconds", 3600.0),
        ("store_requests_total{operation=\"put\",outcome=\"ok\"}", 2.0),
        ("capture_duration_seconds_count", 1.0),
    ] {
        assert!((seen[name] - value).abs() < 0.5, "{name} is {}, not {value}: {seen:#?}", seen[name]);
    }
    let stored: u64 = pod.objects("").iter().map(|path| path.metadata().expect("there").len()).sum();
    assert!((seen["sent_bytes_total"] - stored as f64).abs() < 0.5, "{seen:#?}");
    assert!(seen["spool_available_bytes"] > 0.0);
    running.terminate();

    // The next start finds the store broken: the age of the last success is still that of the newest backup.
    pod.write_settings(|settings| {
        settings.backup.interval = HOUR;
        settings.backup.recipients.clear();
    });
    let (running, address) = start_with_endpoints(&pod);
    pod.wait_for("a failure", |s| s.reason == "NoKey");
    wait_until("a turn of the loop", || scrape(&address).contains_key("failures_total{reason=\"NoKey\"}"));
    let seen = scrape(&address);
    assert!(seen["last_success_timestamp_seconds"] >= newest as f64, "{seen:#?}");
    assert!(seen["healthy"].abs() < 0.5 && seen["newest_timestamp_seconds"] >= newest as f64, "{seen:#?}");
    running.terminate();
}

#[test]
fn health_is_for_probes_and_readiness_for_people() {
    let pod = Pod::new();
    let (running, address) = start_with_endpoints(&pod);
    pod.wait_for("a failure", |s| s.reason == "NoDatabase");
    wait_until("a turn of the loop", || ask(&address, "GET", "/readyz").1.contains("cannot find a database"));
    assert_eq!(ask(&address, "GET", "/healthz"), (200, "ok\n".into()), "trouble is no reason to restart it");
    assert_eq!(ask(&address, "GET", "/readyz").0, 503);
    pod.database().write(1);
    wait_until("readiness", || ask(&address, "GET", "/readyz").0 == 200);
    assert_eq!(ask(&address, "GET", "/").0, 404);
    assert_eq!(ask(&address, "POST", "/metrics").0, 405);
    running.terminate();
}

#[test]
fn a_port_that_is_taken_is_said_once_and_ends_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let pod = Pod::new();
    pod.database().write(1);
    let running = pod.start(&["run", "--metrics-address", &address]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    wait_until("a word", || running.log().contains("no metrics for now"));
    let (code, log) = running.terminate();
    assert_eq!((code, log.matches("no metrics for now").count()), (Some(0), 1), "{log}");
}

#[test]
fn visitors_that_say_nothing_keep_nobody_out_for_ever() {
    let pod = Pod::new();
    pod.database().write(1);
    let (running, address) = start_with_endpoints(&pod);
    let _silent: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(&address).expect("connects")).collect();
    assert_eq!(ask(&address, "GET", "/healthz").0, 200);
    running.terminate();
}

#[test]
fn a_single_backup_is_made_by_the_sidecar_that_runs() {
    let pod = Pod::new();
    pod.write_settings(|settings| settings.backup.interval = HOUR);
    let database = pod.database();
    database.write(10);
    let running = pod.start(&["run"]);
    pod.wait_for("the first backup", |s| s.newest.is_some());
    let revision = database.write(5);
    let said: serde_json::Value = serde_json::from_str(&pod.succeed(&["backup", "--json"])).expect("JSON");
    assert_eq!((said["revision"].as_i64(), said["unchanged"].as_bool()), (Some(revision), Some(false)), "{said}");
    let newest = pod.status().and_then(|s| s.newest).expect("a backup");
    assert_eq!(said["id"], newest.id.as_str(), "it is in the sidecar's own chain");
    // Asked again it is in the store already, and no second copy is made.
    let again = pod.succeed(&["backup"]);
    assert!(again.contains(&newest.id) && again.contains("nothing has changed since"), "{again}");
    assert_eq!(pod.objects(".json").len(), 2);
    // Another store, or another database, is not what it backs up.
    let output = pod.run(&["backup", "--store", "file:///elsewhere"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("leave --store out"), "{said}");
    let output = pod.run(&["backup", "--data-dir", &pod.text("spool")]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!pod.path("spool/control.sock").exists());
}

#[test]
fn whoever_asks_a_sidecar_in_trouble_is_told_the_trouble() {
    let pod = Pod::new();
    pod.database().write(1);
    pod.write_settings(|settings| settings.backup.recipients.clear());
    let running = pod.start(&["run"]);
    pod.wait_for("a failure", |s| s.reason == "NoKey");
    let output = pod.run(&["backup"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot back up without a key") && output.stdout.is_empty(), "{said}");
    running.terminate();
}

#[test]
fn a_sidecar_that_was_killed_leaves_no_socket_in_the_way() {
    let pod = Pod::new();
    pod.database().write(1);
    let running = pod.start(&["run"]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    // Dropped, it is killed.
    drop(running);
    assert!(pod.path("spool/control.sock").exists());
    pod.succeed(&["backup"]);
    let before = pod.objects(".json").len();
    pod.database().write(1);
    let running = pod.start(&["run"]);
    wait_until("its answer", || pod.path("spool/control.sock").exists() && pod.run(&["backup"]).status.success());
    assert!(pod.objects(".json").len() > before);
    running.terminate();
}

#[test]
fn a_new_trigger_is_served_at_once_and_reported() {
    let pod = Pod::new();
    let write = |trigger: Option<&str>| {
        pod.write_settings(|settings| {
            settings.backup.interval = HOUR;
            settings.backup.trigger = trigger.map(str::to_owned);
        });
    };
    write(None);
    let database = pod.database();
    database.write(1);
    let running = pod.start(&["run"]);
    let first = pod.wait_for("the first backup", |s| s.newest.is_some());
    assert_eq!(first.last_trigger, "");
    let revision = database.write(3);
    write(Some("before the upgrade"));
    let status = pod.wait_for("the trigger", |s| s.last_trigger == "before the upgrade");
    assert_eq!(status.newest.map(|point| point.revision), Some(revision), "it holds what was there when it was asked");
    // Not served while it fails.
    pod.write_settings(|settings| {
        settings.backup.trigger = Some("second".into());
        settings.backup.recipients.clear();
    });
    let status = pod.wait_for("a failure", |s| s.state == State::Failing);
    assert_eq!(status.last_trigger, "before the upgrade");
    write(Some("second"));
    pod.wait_for("the second", |s| s.last_trigger == "second");
    running.terminate();
}

#[test]
fn strictly_the_first_failure_ends_it_with_its_code() {
    let pod = Pod::new();
    pod.database().write(1);
    pod.write_settings(|settings| settings.backup.recipients.clear());
    let mut running = pod.start(&["run", "--strict"]);
    assert_eq!(running.wait(), Some(2), "{}", running.log());
    assert!(running.log().contains("cannot back up without a key"), "{}", running.log());
    pod.write_settings(|_| {});
    let running = pod.start(&["run", "--strict"]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    assert_eq!(running.terminate().0, Some(0));
}

#[test]
fn the_log_is_json_where_nobody_reads_along() {
    let pod = Pod::new();
    pod.database().write(1);
    let running = pod.start(&["run"]);
    pod.wait_for("a backup", |s| s.newest.is_some());
    let (_, log) = running.terminate();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    let backed_up = lines.iter().find(|line| line["message"] == "backed up").expect("one line a backup");
    assert!(backed_up["id"].is_string() && backed_up["size_bytes"].is_u64() && backed_up["seconds"].is_f64());
}

/// Files as kubelet mounts them: in a folder of their own that one rename makes the current one.
fn mount(folder: &Path, version: &str, name: &str, content: &str) {
    std::fs::create_dir_all(folder.join(version)).expect("made");
    std::fs::write(folder.join(version).join(name), content).expect("written");
    symlink(version, folder.join("..next")).expect("linked");
    std::fs::rename(folder.join("..next"), folder.join("..data")).expect("swapped");
    if !folder.join(name).exists() {
        symlink(Path::new("..data").join(name), folder.join(name)).expect("linked");
    }
}

#[test]
fn settings_that_kubelet_swaps_are_followed_through_good_and_bad() {
    let pod = Pod::new();
    let folder = pod.path("config/settings");
    std::fs::remove_file(folder.join("settings.yaml")).expect("removed");
    let yaml = |change: &dyn Fn(&mut vcluster_proto::settings::Settings)| {
        let mut settings = pod.settings();
        settings.backup.interval = Duration::from_secs(1);
        change(&mut settings);
        settings.to_yaml().expect("YAML")
    };
    let database = pod.database();
    let mut running = pod.start(&["run"]);
    pod.wait_for("a word", |s| s.reason == "BadSettings");
    type Break = fn(&mut vcluster_proto::settings::Settings);
    let bad: [(&str, Break); 4] = [
        ("NoKey", |s| s.backup.recipients.clear()),
        ("BadSettings", |s| s.store.url = "s3:///".into()),
        ("StoreUnavailable", |s| on_s3(s, NOBODY)),
        ("BadSettings", |s| s.store.url.clear()),
    ];
    for (number, (reason, damage)) in bad.into_iter().enumerate() {
        mount(&folder, &format!("..v{number}-bad"), "settings.yaml", &yaml(&damage));
        let status = pod.wait_for(reason, |s| s.reason == reason);
        assert_eq!(status.state, State::Failing);
        let revision = database.write(1);
        mount(&folder, &format!("..v{number}-good"), "settings.yaml", &yaml(&|_| {}));
        pod.wait_for("health", |s| {
            s.state == State::Healthy && s.newest.as_ref().is_some_and(|point| point.revision == revision)
        });
        assert!(running.is_alive());
    }
    running.terminate();
}
