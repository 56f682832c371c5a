//! What takes a minute because it is about a minute. Run by hand and by `.ci/run`:
//! `cargo test -p vcluster-backup --test patience -- --ignored`.

mod common;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use common::{NOBODY, Pod, on_s3};
use vcluster_proto::status::State;

#[test]
#[ignore = "waits as long as a store is waited for"]
fn a_command_whose_store_hangs_gives_up_with_a_sentence() {
    // Accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let hold = std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            held.push(connection);
            if held.len() == 64 {
                break;
            }
        }
    });
    let pod = Pod::on_s3(&address);
    let commands: Vec<&[&str]> = vec![&["list"], &["status"], &["verify"], &["backup"], &["restore", "--force"]];
    std::thread::scope(|scope| {
        for arguments in &commands {
            let pod = &pod;
            scope.spawn(move || {
                let output = pod.run(arguments);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
                assert!(said.contains("cannot list") && said.contains("s3://shop"), "{arguments:?}: {said}");
                assert!(output.stdout.is_empty());
            });
        }
    });
    drop(hold);
}

/// What is wrong, the reason the status gives for it, and whether the settings are what is mended.
type Trouble = (&'static str, fn(&Pod));

const TROUBLES: [Trouble; 8] = [
    ("BadSettings", |p| std::fs::remove_file(p.path("config/settings/settings.yaml")).expect("removed")),
    ("BadSettings", |p| p.write_settings(|s| s.store.url = "ftp://x".into())),
    ("BadSettings", |p| p.write_settings(|s| s.store.url.clear())),
    ("BadSettings", |p| p.write_settings(|s| s.backup.recipients = vec!["age1nobody".into()])),
    ("BadSettings", |p| std::fs::write(p.path("config/key/passphrase"), "beside recipients").expect("written")),
    ("NoKey", |p| p.write_settings(|s| s.backup.recipients.clear())),
    ("StoreUnavailable", |p| p.write_settings(|s| on_s3(s, NOBODY))),
    ("FileError", |p| std::fs::write(p.path("store"), "no folder").expect("written")),
];

#[test]
#[ignore = "a real minute with each bad setting, side by side"]
fn a_minute_with_each_bad_setting_ends_nothing_and_is_said_once() {
    let started = Instant::now();
    let mut all: Vec<_> = TROUBLES
        .iter()
        .map(|(reason, damage)| {
            let pod = Pod::new();
            pod.database().write(3);
            damage(&pod);
            let running = pod.start(&["run"]);
            (*reason, pod, running)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(60).saturating_sub(started.elapsed()));
    for (nth, (reason, pod, running)) in all.iter_mut().enumerate() {
        let trouble = format!("{nth}: {reason}");
        assert!(running.is_alive(), "{trouble}: {}", running.log());
        let status = pod.status().unwrap_or_else(|| panic!("{trouble}: no status\n{}", running.log()));
        assert_eq!((status.state, &*status.reason), (State::Failing, *reason), "{trouble}: {}", status.message);
        let log = running.log();
        let complaints = log.lines().filter(|line| line.contains("\"ERROR\"")).count();
        assert!((1..=2).contains(&complaints), "{trouble}: said {complaints} times\n{log}");
        assert!(pod.objects(".json").is_empty(), "{trouble}");
    }
    for (nth, (reason, pod, running)) in all.into_iter().enumerate() {
        for leftover in ["config/key/passphrase", "store"] {
            let path = pod.path(leftover);
            if path.is_file() {
                std::fs::remove_file(path).expect("removed");
            }
        }
        pod.write_settings(|_| {});
        pod.wait_for("health", |s| s.state == State::Healthy && s.newest.is_some());
        let (code, log) = running.terminate();
        assert_eq!(code, Some(0), "{nth}: {reason}: {log}");
    }
}
