//! Bad input and bad luck, for commands that run once: a sentence that names the thing and the remedy, the exit code
//! that scripts rely on, nothing changed on disk, no secret in any output.

mod common;

use common::Pod;

/// Runs a command that must fail, on a data volume that must not change, and gives its sentence.
fn refused(pod: &Pod, code: i32, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let before = pod.data_files();
    let output = pod.run_with(arguments, environment);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(pod.data_files(), before, "{arguments:?} changed the data volume");
    said.trim().replace(pod.folder.path().to_str().expect("text"), "DIR")
}

/// A pod with three backups and a database that could be replaced.
fn backed_up() -> Pod {
    let pod = Pod::new();
    let database = pod.database();
    for _ in 0..3 {
        database.write(5);
        pod.succeed(&["backup"]);
    }
    drop(database);
    pod
}

#[test]
fn without_a_key_nothing_is_backed_up() {
    let pod = Pod::new();
    pod.database().write(1);
    pod.write_settings(|settings| settings.backup.recipients.clear());
    insta::assert_snapshot!(refused(&pod, 2, &["backup"], &[]), @"vcluster-backup: cannot back up without a key: give an age recipient by --recipient, AGE_RECIPIENTS or backup.recipients in settings.yaml (`vcluster-backup keygen` makes a pair), or a passphrase in ENC_KEY");
    assert!(pod.objects("").is_empty(), "not one byte left the machine");
}

#[test]
fn a_missing_database_is_named() {
    let pod = Pod::new();
    insta::assert_snapshot!(refused(&pod, 1, &["backup"], &[]), @"vcluster-backup: cannot find a database below DIR/data: looked for state.db, server/db/state.db; is the vcluster started?");
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let pod = Pod::new();
    std::fs::write(pod.path("data/state.db"), "this is not SQLite, it only has the name of it").expect("written");
    insta::assert_snapshot!(refused(&pod, 1, &["backup"], &[]), @"vcluster-backup: cannot open the database DIR/data/state.db: file is not a database");
}

#[test]
fn a_store_that_does_not_answer_is_named() {
    let pod = Pod::new();
    pod.database().write(1);
    // A port that was free a moment ago; nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    pod.write_settings(|settings| {
        settings.store.url = "s3://shop".into();
        settings.store.endpoint = Some(format!("http://127.0.0.1:{port}"));
    });
    let keys = [("ACCESS_KEY", "AKIAEXAMPLE"), ("SECRET_KEY", "wJalrXUtnFEMI")];
    let said = refused(&pod, 1, &["list"], &keys);
    insta::assert_snapshot!(said, @"vcluster-backup: cannot list v1 in s3://shop: the store does not answer (Connection refused (os error 111)); check its endpoint and the network");
    for secret in ["AKIA", "wJal"] {
        assert!(!said.contains(secret), "{said}");
    }
    insta::assert_snapshot!(refused(&pod, 1, &["list"], &[]), @"vcluster-backup: cannot use objects in s3://shop: there are no credentials; give ACCESS_KEY and SECRET_KEY, or s3/s3accesskey and s3/s3secretkey in the config folder, or what AWS itself reads (AWS_WEB_IDENTITY_TOKEN_FILE and the like)");
}

#[test]
fn an_empty_store_has_its_own_exit_code() {
    let pod = Pod::new();
    insta::assert_snapshot!(refused(&pod, 10, &["list"], &[]), @"vcluster-backup: there are no backups in file://DIR/store");
    insta::assert_snapshot!(refused(&pod, 10, &["restore", "--trust-any"], &[]), @"vcluster-backup: there are no backups in file://DIR/store");
    assert_eq!(pod.succeed(&["restore", "--if-replica-exists"]), "there are no backups; nothing to do\n");
}

#[test]
fn a_wrong_or_missing_key_changes_nothing() {
    let pod = backed_up();
    let other = Pod::new();
    insta::assert_snapshot!(mask(&refused(&pod, 12, &["restore", "--force", "--identity", &other.text("identity")], &[])), @"vcluster-backup: cannot open backup ID with the key given: it was sealed for another; nothing was changed");
    insta::assert_snapshot!(mask(&refused(&pod, 2, &["restore", "--force"], &[])), @"vcluster-backup: cannot open backup ID without its key: give the age identity by --identity FILE, AGE_IDENTITY_FILE or key/identity in the config folder, or the passphrase in ENC_KEY");
}

#[test]
fn a_database_is_never_replaced_silently_nor_while_it_is_open() {
    let pod = backed_up();
    let restore = ["restore", "--identity", &pod.text("identity")];
    insta::assert_snapshot!(refused(&pod, 1, &restore, &[]), @"vcluster-backup: DIR/data/state.db exists; nothing was changed: add --force to replace it (it is kept beside), or --output FILE");
    let open = pod.database();
    let output = pod.run(&[&restore[..], &["--force"]].concat());
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr).trim().replace(pod.folder.path().to_str().expect("text"), "DIR"), @"vcluster-backup: cannot replace DIR/data/state.db: somebody has it open; stop the vcluster first");
    assert_eq!(open.write(1), 16, "its owner goes on");
    assert_eq!(pod.succeed(&["restore", "--if-db-not-exists"]).lines().count(), 1);
}

#[test]
fn a_damaged_object_is_named_and_never_restored() {
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 3] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() - 1)),
        ("bit-flipped", |bytes| *bytes.last_mut().expect("not empty") ^= 1),
        ("enlarged", |bytes| bytes.push(0)),
    ];
    for (name, change) in damage {
        let pod = backed_up();
        let newest = newest_data(&pod).expect("an object");
        let mut bytes = std::fs::read(&newest).expect("read");
        change(&mut bytes);
        std::fs::write(&newest, bytes).expect("written");
        let said = refused(&pod, 1, &["restore", "--force", "--identity", &pod.text("identity")], &[]);
        assert!(said.contains("is damaged") && said.contains("nothing was changed"), "{name}: {said}");
    }
}

#[test]
fn a_missing_object_is_named() {
    let pod = backed_up();
    std::fs::remove_file(newest_data(&pod).expect("an object")).expect("removed");
    let said = refused(&pod, 1, &["restore", "--force", "--identity", &pod.text("identity")], &[]);
    assert!(said.contains("it builds on object v1/") && said.contains("which is not in the store"), "{said}");
}

#[test]
fn a_forged_backup_is_neither_chosen_nor_in_the_way() {
    // Whoever may put into the bucket plants a database, sealed for the right recipient, signed by himself.
    let pod = backed_up();
    let forger = Pod::new();
    forger.database().write(999);
    forger.write_settings(|settings| {
        settings.store.url = format!("file://{}", pod.text("store"));
        settings.backup.recipients = vec![pod.recipient.clone()];
    });
    let forged = forger.succeed(&["backup"]).split(' ').next().expect("an id").to_owned();
    let identity = pod.text("identity");
    let said = refused(&pod, 1, &["restore", "--force", "--at", &forged, "--identity", &identity], &[]);
    assert!(said.contains("cannot trust backup") && said.contains("--trust-key"), "{said}");
    pod.succeed(&["restore", "--force", "--identity", &identity]);
    assert_eq!(pod.database().count(), 15, "our newest, not the forger's");
    // The next of ours follows our own head, not only the forger's, and stays the only one.
    pod.database().write(1);
    pod.succeed(&["backup"]);
    pod.succeed(&["restore", "--force", "--identity", &identity]);
    assert_eq!(pod.database().count(), 16);
    // Without any key to trust, nothing gets through.
    pod.lose_data();
    let said = refused(&pod, 1, &["restore", "--identity", &identity], &[]);
    assert!(said.contains("cannot trust"), "{said}");
}

#[test]
fn a_forged_revision_does_not_exhaust_the_cluster() {
    let (pod, forger) = (backed_up(), Pod::new());
    let database = forger.database();
    database.connection.execute("INSERT INTO kine (id, name) VALUES (9223372036853000000, 'x')", []).expect("written");
    forger.write_settings(|settings| {
        settings.store.url = format!("file://{}", pod.text("store"));
        settings.cluster.uid = "uid-9".into();
    });
    forger.succeed(&["backup"]);
    let said = pod.succeed(&["restore", "--force", "--identity", &pod.text("identity")]);
    assert!(said.contains("begins at revision 1000015;"), "{said}");
}

#[test]
fn another_clusters_backup_is_not_taken_for_ones_own() {
    let pod = backed_up();
    pod.write_settings(|settings| settings.cluster.uid = "uid-2".into());
    let said = refused(&pod, 1, &["restore", "--force", "--trust-any"], &[]);
    assert!(said.contains("it holds backups of other lives or clusters (shop); name one by --at ID"), "{said}");
}

#[test]
fn pki_is_not_touched_when_the_database_cannot_be_replaced() {
    let pod = backed_up();
    std::fs::create_dir(pod.path("data/pki")).expect("made");
    std::fs::write(pod.path("data/pki/ca.key"), "key").expect("written");
    pod.succeed(&["backup"]);
    std::fs::remove_dir_all(pod.path("data/pki")).expect("removed");
    let open = pod.database();
    open.count();
    let output = pod.run(&["restore", "--force", "--identity", &pod.text("identity")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!pod.path("data/pki").exists());
    let left = pod.data_files();
    assert!(!left.iter().any(|(path, _)| path.to_string_lossy().contains("restoring")), "{left:?}");
}

#[test]
fn a_k8s_backup_does_not_go_into_a_k3s_vcluster() {
    let pod = backed_up();
    std::fs::create_dir_all(pod.path("data/server/db")).expect("made");
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::rename(pod.path("data").join(name), pod.path("data/server/db").join(name));
    }
    let said = refused(&pod, 1, &["restore", "--force", "--identity", &pod.text("identity")], &[]);
    assert!(said.contains("which holds a k3s one"), "{said}");
}

#[test]
fn empty_variables_count_as_unset() {
    let pod = Pod::new();
    pod.database().write(1);
    let empty =
        ["BACKUP_INTERVAL", "VCLUSTER_BACKUP_STORE", "CLUSTERNAME", "ENDPOINT", "ENC_KEY"].map(|name| (name, ""));
    assert!(pod.run_with(&["backup"], &empty).status.success());
}

#[test]
fn a_bent_manifest_is_shown_and_the_rest_still_listed() {
    let pod = backed_up();
    let manifest = pod.objects(".json").remove(0);
    let text = std::fs::read_to_string(&manifest).expect("read").replace("uid-1", "uid-2");
    std::fs::write(&manifest, text).expect("written");
    let output = pod.run(&["list"]);
    assert_eq!(output.status.code(), Some(3), "partial");
    assert_eq!(String::from_utf8(output.stdout).expect("text").lines().count(), 1 + 2);
    assert!(String::from_utf8(output.stderr).expect("text").contains("its signature does not fit"));
}

#[test]
fn a_rolled_back_store_is_noticed() {
    let pod = backed_up();
    let mut running = pod.start(&["run"]);
    pod.wait_for("a backup", |status| status.newest.is_some());
    assert!(running.is_alive());
    running.terminate();
    let pinned = pod.status().expect("status").newest.expect("newest").id;
    let newest = pod.objects(&format!("{pinned}.json")).pop().expect("its manifest");
    std::fs::remove_file(newest).expect("removed");
    let restore = ["restore", "--force", "--identity", &pod.text("identity")];
    let said = refused(&pod, 1, &restore, &[]);
    assert!(said.contains("has been rolled back"), "{said}");
}

#[test]
fn flags_and_settings_that_cannot_be_used_are_named() {
    let pod = Pod::new();
    pod.database().write(1);
    let cases: [(&[&str], &str); 7] = [
        (&["backup", "--store", "ftp://x"], "ftp is not one of s3, gs, az, file"),
        (&["backup", "--interval", "often"], "is not a duration"),
        (&["backup", "--recipient", "age1nonsense"], "is not an age recipient"),
        (&["restore", "--at", "yesterday"], "is no point in time"),
        (&["backup", "--store", "s3://user:hunter2@bucket"], "credentials in it"),
        (&["backup", "--store", "user:hunter2@bucket/x"], "credentials in it"),
        (&["restore", "--init", "--dry-run"], "cannot be used with"),
    ];
    for (arguments, words) in cases {
        let said = refused(&pod, 2, arguments, &[]);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn an_identity_in_the_place_of_a_recipient_is_not_repeated() {
    let pod = Pod::new();
    pod.database().write(1);
    let secret = std::fs::read_to_string(pod.path("identity")).expect("read");
    let secret = secret.lines().last().expect("a line").to_owned();
    let said = refused(&pod, 2, &["backup", "--recipient", &secret], &[]);
    assert!(!said.contains(&secret[..20]), "{said}");
    assert!(said.contains("give its public half"), "{said}");
}

/// The data object of the newest backup by time.
fn newest_data(pod: &Pod) -> Option<std::path::PathBuf> {
    let rows = pod.succeed(&["list", "--json"]);
    let row: serde_json::Value = serde_json::from_str(rows.lines().last()?).ok()?;
    let id = row["id"].as_str()?;
    pod.objects(".age").into_iter().find(|path| path.to_string_lossy().contains(id))
}

/// Ids differ from run to run.
fn mask(said: &str) -> String {
    let words: Vec<&str> = said.split(' ').map(|w| if w.contains("/00000001") { "ID" } else { w }).collect();
    words.join(" ")
}

#[test]
fn a_stranger_s_backup_cannot_fill_the_disk() {
    // Into a file of its own anybody's backup may be restored, so nothing it claims is believed.
    use vcluster_backup::{manifest, signing::Signer};
    let pod = backed_up();
    let path = &pod.objects(".json")[0];
    let key = path.strip_prefix(pod.path("store")).expect("below").display().to_string();
    let ours = manifest::verify(&std::fs::read(path).expect("read"), &key).expect("verifies").manifest;
    let forged = manifest::Manifest { generation: "forged".into(), page_count: u32::MAX, page_size: 65_536, ..ours };
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let forger = Signer::load_or_make(elsewhere.path()).expect("a signer");
    let at = pod.path("store").join(forged.key());
    std::fs::create_dir_all(at.parent().expect("a folder")).expect("made");
    std::fs::write(at, forged.sign(&forger).expect("signed")).expect("written");
    let (id, identity, copy) = (forged.id(), pod.text("identity"), pod.text("copy.db"));
    let said = refused(&pod, 1, &["restore", "--at", &id, "--output", &copy, "--identity", &identity], &[]);
    assert!(said.contains("the database needs 281474976645120 bytes") && said.ends_with("make room first"), "{said}");
    assert!(!pod.path("copy.db").exists());
}
