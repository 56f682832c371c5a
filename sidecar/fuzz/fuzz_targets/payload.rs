//! Whatever an opened full backup holds: never a panic, never a file that does not belong there, never more bytes than
//! the manifest names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcluster_backup::{install::Cancel, manifest::Manifest, payload};

fn manifest() -> Manifest {
    let body = r#"{"cluster":"c","data":{"key":"v1/full/g/00000001.tar.zst.age","sha256":"00","size":1},"format":1,
        "generation":"g","kind":"full","layout":"k8s","page_count":2,"page_size":512,"requests":[],"revision":1,
        "root":"00","sequence":1,"supersedes":[],"time":"2026-11-22T08:00:00Z","tool":"t","uid":"u"}"#;
    serde_json::from_str(body).expect("a manifest")
}

fuzz_target!(|bytes: &[u8]| {
    let mut work = tempfile::tempfile().expect("a file");
    let outcome = payload::read_full(bytes, &manifest(), &mut work, &Cancel::default());
    assert!(outcome.is_err(), "its root is none that pages have");
    assert!(work.metadata().expect("there").len() <= 1024);
});
