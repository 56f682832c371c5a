//! Whoever comes from the Go program finds his backups, his variables and his flags.

mod common;

use common::{Database, Pod};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
};

const NAME: &str = "backup_20240304143345.db.enc";

/// As that program seals.
fn seal(bytes: &[u8], passphrase: &str) -> Vec<u8> {
    let key = UnboundKey::new(&AES_256_GCM, digest(&SHA256, passphrase.as_bytes()).as_ref()).expect("a key");
    let nonce = [7; 12];
    let mut sealed = bytes.to_vec();
    let tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("sealed");
    [&nonce[..], &sealed, tag.as_ref()].concat()
}

/// A bucket as that program leaves it, of a database with so many rows.
fn left_behind(rows: usize) -> Pod {
    let pod = Pod::new();
    let path = pod.path("old.db");
    let database = Database::open(&path);
    database.write(rows);
    drop(database);
    std::fs::create_dir_all(pod.path("store")).expect("made");
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(pod.path("store").join(NAME), seal(&bytes, "12345")).expect("written");
    pod
}

#[test]
fn its_backups_are_listed_and_restored_beside_ours() {
    let pod = left_behind(7);
    let listed = pod.succeed(&["list"]);
    assert!(listed.contains(NAME) && listed.contains("2024-03-04T14:33:45Z"), "{listed}");

    // Into the place of a cluster that has lost its disk.
    let key = [("ENC_KEY", "12345")];
    let said = pod.run_with(&["restore", "--at", NAME], &key);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).expect("text");
    assert!(said.contains("begins at revision 1000007;"), "{said}");
    let database = Database::open(&pod.path("data/server/db/state.db"));
    assert_eq!(database.count(), 7);

    // Both live in one bucket, and no prune takes the old ones.
    database.write(1);
    pod.succeed(&["backup"]);
    let listed = pod.succeed(&["list", "--json"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    pod.succeed(&["prune", "--keep-last", "1"]);
    assert!(pod.path("store").join(NAME).exists());
    pod.succeed(&["restore", "--output", &pod.text("copy.db"), "--identity", &pod.text("identity")]);
    assert_eq!(Database::open(&pod.path("copy.db")).count(), 8);
}

#[test]
fn its_flags_do_what_they_did() {
    let pod = left_behind(3);
    let store = format!("file://{}", pod.text("store"));
    let store = [("VCLUSTER_BACKUP_STORE", &*store)];
    let listed = pod.run_with(&["-list", "-bucketName", "vc1", "-accessKey", "vc1", "-secretKey", "hunter2"], &store);
    let (out, err) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    assert!(listed.status.success() && out.contains(NAME), "{err}");
    assert!(err.contains("-secretKey has a secret on the command line") && !err.contains("hunter2"), "{err}");

    // The file lands where it did: beside, under the object's name.
    let restored = std::process::Command::new(env!("CARGO_BIN_EXE_vcluster-backup"))
        .args(["-restore", "-backupFile", NAME, "-encKey", "12345", "--spool-dir", &pod.text("spool")])
        .env_clear()
        .envs(store)
        .current_dir(pod.folder.path())
        .output()
        .expect("runs");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(Database::open(&pod.path(&format!("{NAME}.restore"))).count(), 3);
}

#[test]
fn a_wrong_passphrase_a_torn_copy_and_a_bent_one_are_told_apart_from_a_good_one() {
    let pod = left_behind(200);
    let restore = |arguments: &[&str], key: &str| {
        pod.run_with(&[&["restore", "--at", NAME], arguments].concat(), &[("ENC_KEY", key)])
    };
    assert_eq!(restore(&[], "54321").status.code(), Some(12));
    assert_eq!(pod.run(&["restore", "--at", NAME]).status.code(), Some(2), "no passphrase");
    let absent = pod.run_with(&["restore", "--at", "backup_20200101000000.db.enc"], &[("ENC_KEY", "12345")]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("there is no such object"));

    // Torn: half of the pages are of another moment.
    let mut bytes = std::fs::read(pod.path("old.db")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(pod.path("store").join(NAME), seal(&bytes, "12345")).expect("written");
    let torn = restore(&[], "12345");
    assert_eq!(torn.status.code(), Some(1), "{}", String::from_utf8_lossy(&torn.stderr));
    assert!(!pod.path("data/server/db/state.db").exists(), "never into the place of a database");
    let copy = restore(&["--output", &pod.text("torn.db")], "12345");
    assert_eq!(copy.status.code(), Some(3), "{}", String::from_utf8_lossy(&copy.stderr));
    assert_eq!(std::fs::read(pod.path("torn.db")).expect("written").len(), bytes.len());

    let mut sealed = seal(&bytes, "12345");
    sealed[100] ^= 1;
    std::fs::write(pod.path("store").join(NAME), sealed).expect("written");
    assert_eq!(restore(&["--output", &pod.text("bent.db")], "12345").status.code(), Some(12));
    assert!(!pod.path("bent.db").exists());
}
