//! What scripts rely on: the exit codes, and that a bar is drawn for people alone.

mod common;

use std::{io::Read, net::TcpListener, process::Command};

use common::{Pod, copy_folder};

/// A pod with one backup and nobody at its database.
fn backed_up() -> Pod {
    let pod = Pod::new();
    pod.database().write(5);
    pod.succeed(&["backup"]);
    pod
}

#[test]
fn each_ending_has_its_code() {
    let code = |pod: &Pod, arguments: &[&str]| {
        let output = pod.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let expect = |what: &str, want: i32, (code, said): (Option<i32>, String)| {
        assert_eq!(code, Some(want), "{what}: {said}");
    };
    let pod = backed_up();
    expect("ok", 0, code(&pod, &["list"]));
    expect("help", 0, code(&pod, &["--help"]));
    expect("usage", 2, code(&pod, &["restore", "--at", "yesterday"]));
    expect("an unknown flag", 2, code(&pod, &["backup", "--fast"]));
    expect("a database in the way", 1, code(&pod, &["restore", "--identity", &pod.text("identity")]));
    let other = Pod::new();
    expect("another key", 12, code(&pod, &["restore", "--force", "--identity", &other.text("identity")]));
    expect("no repository", 10, code(&other, &["restore", "--trust-any"]));

    // Two writers that have not seen each other: what each put is in one store now.
    let url = format!("file://{}", pod.text("elsewhere"));
    pod.succeed(&["backup", "--store", &url]);
    copy_folder(&pod.path("elsewhere"), &pod.path("store"));
    expect("two writers", 11, code(&pod, &["restore", "--force", "--identity", &pod.text("identity")]));

    let manifest = pod.objects(".json").remove(0);
    let bent = std::fs::read_to_string(&manifest).expect("read").replace("uid-1", "uid-2");
    std::fs::write(&manifest, bent).expect("written");
    expect("partial", 3, code(&pod, &["list"]));
}

#[test]
fn a_command_that_is_interrupted_says_so() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        // Accepts connections and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let pod = Pod::new();
        pod.write_settings(|settings| {
            settings.store.url = "s3://shop".into();
            settings.store.endpoint = Some(format!("http://{}", listener.local_addr().expect("an address")));
        });
        std::fs::create_dir_all(pod.path("config/s3")).expect("made");
        for name in ["s3accesskey", "s3secretkey"] {
            std::fs::write(pod.path("config/s3").join(name), "key").expect("written");
        }
        let mut running = pod.start(&["list"]);
        let (_held, _) = listener.accept().expect("it asks the store");
        running.signal(signal);
        assert_eq!(running.wait(), Some(130), "{}", running.log());
        assert!(running.log().contains("interrupted"), "{}", running.log());
    }
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    let pod = backed_up();
    let identity = pod.text("identity");
    let restore = |output: &str| -> Vec<String> {
        ["restore", "--identity", &identity, "--output", &pod.text(output)].map(str::to_owned).to_vec()
    };
    let quiet = pod.run(&restore("first.db").iter().map(String::as_str).collect::<Vec<_>>());
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", String::from_utf8_lossy(&quiet.stderr));

    let restored = on_a_terminal(&pod, &restore("second.db"));
    assert!(restored.0.contains("restoring"), "{restored:?}");
    assert!(restored.1.contains("is in place"), "the outcome is not part of it");
    let verify = ["verify", "--read-data", "--identity", &identity].map(str::to_owned);
    let verified = on_a_terminal(&pod, &verify);
    for step in ["reading manifests", "reading", "restoring"] {
        assert!(verified.0.contains(step), "{verified:?}");
    }
    assert!(verified.1.contains("proven by a restore"), "{verified:?}");
}

/// What a command draws on a terminal, and what it prints.
fn on_a_terminal(pod: &Pod, arguments: &[String]) -> (String, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("usable");
    let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("text");
    let screen = std::fs::File::options().read(true).write(true).open(name).expect("opens");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcluster-backup"));
    command.args(arguments).env_clear().env("TERM", "xterm").stderr(screen);
    for (flag, folder) in [("--config-dir", "config"), ("--data-dir", "data"), ("--spool-dir", "spool")] {
        command.args([flag, &pod.text(folder)]);
    }
    let output = command.output().expect("runs");
    assert!(output.status.success());
    // With the last writer gone a terminal reads to its end, or fails there.
    drop(command);
    let (mut reader, mut drawn) = (std::fs::File::from(terminal), Vec::new());
    let _ = reader.read_to_end(&mut drawn);
    (String::from_utf8_lossy(&drawn).into_owned(), String::from_utf8_lossy(&output.stdout).into_owned())
}
