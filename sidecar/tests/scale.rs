//! What grows with the years. Run by hand and by `.ci/run`: `cargo test -p vcluster-backup --test scale -- --ignored`.

mod common;

use std::time::Duration;

use common::Pod;
use jiff::SignedDuration;
use vcluster_backup::{
    manifest::{self, Data, Kind, Signed},
    signing::Signer,
};

/// A week at one backup a minute.
const BACKUPS: u64 = 10_000;

/// A pod whose store holds so many backups of its own, made up from one real full: nothing but their data is missing.
fn old_pod() -> Pod {
    let pod = Pod::new();
    pod.database().write(10);
    pod.succeed(&["backup"]);
    let path = &pod.objects(".json")[0];
    let bytes = std::fs::read(path).expect("read");
    let key = path.strip_prefix(pod.path("store")).expect("below").display().to_string();
    let mut newest: Signed = manifest::verify(&bytes, &key).expect("verifies");
    let full = newest.manifest.clone();
    let signer = Signer::load_or_make(&pod.path("data")).expect("a signer");
    for nth in 0..BACKUPS {
        let mut next = full.clone();
        (next.sequence, next.generation) = (nth % 2000 + 1, format!("g{:02}", nth / 2000));
        next.kind = if nth % 60 == 0 { Kind::Full } else { Kind::Delta };
        next.parent = (next.kind == Kind::Delta).then(|| newest.as_head());
        let follows = next.generation != newest.manifest.generation;
        next.supersedes = if follows { vec![newest.as_head()] } else { newest.manifest.supersedes.clone() };
        next.previous = (!follows).then(|| newest.digest.clone());
        let stem = manifest::stem(next.kind, &next.generation, next.sequence);
        next.data = Data { key: format!("{stem}.{}", next.kind.ending(false)), ..full.data.clone() };
        next.time = full.time.saturating_sub(SignedDuration::from_mins((BACKUPS - nth) as i64)).expect("a time");
        let bytes = next.sign(&signer).expect("signed");
        for (key, bytes) in [(next.data.key.clone(), &b"x"[..]), (next.key(), &bytes)] {
            let path = pod.path("store").join(key);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        newest = manifest::verify(&bytes, &next.key()).expect("verifies");
    }
    pod
}

/// The most memory a process has had, in bytes.
fn peak(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("read");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
#[ignore = "writes 20,000 files"]
fn ten_thousand_backups_are_no_burden_for_the_running_sidecar() {
    let pod = old_pod();
    let young = Pod::new();
    young.database().write(10);
    let mut peaks = [0, 0];
    pod.database().write(1);
    for (pod, peak_of) in [&young, &pod].into_iter().zip(&mut peaks) {
        pod.write_settings(|settings| settings.backup.interval = Duration::from_secs(1));
        let running = pod.start(&["run"]);
        pod.wait_for("a backup and its size", |s| s.newest.is_some() && s.stored_bytes.is_some());
        *peak_of = peak(running.id());
        running.terminate();
    }
    println!("peak memory: {} KiB with one backup, {} KiB with {BACKUPS}", peaks[0] >> 10, peaks[1] >> 10);
    // The listing itself is what remains.
    assert!(peaks[1] < peaks[0] + (16 << 20), "{peaks:?}");
}
