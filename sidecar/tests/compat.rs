//! What was ever written stays readable. `tests/data/v1` holds chains of format 1 as this program wrote them when the
//! format was new; they are never made again, only read. The keys beside them open nothing else.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use common::line::{Line, pages};
use vcluster_backup::{
    catalog::{At, Catalog, Trust},
    install::Cancel,
    keys::Identities,
    manifest::{Kind, Manifest},
    restore,
    seal::sha256,
    store::{self, Access, Store},
};

/// What a folder of fixtures says of itself: what opens it, who signed, and the digest of each backup's pages.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Told {
    passphrase: Option<String>,
    signer: String,
    latest: String,
    sha256: BTreeMap<String, String>,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1").join(name)
}

#[tokio::test]
async fn format_1_is_restored() {
    for (name, kinds) in [("keys", [1, 1, 3]), ("passphrase", [1, 0, 2]), ("unencrypted", [1, 1, 3])] {
        let folder = data(name);
        let told: Told = serde_json::from_slice(&std::fs::read(folder.join("told.json")).expect("read")).expect("told");
        let url = format!("file://{}", folder.join("store").display());
        let store = Store::open(&store::Config { url, ..store::Config::default() }, Access::Read).expect("a store");
        let mut identities = Identities::default();
        match &told.passphrase {
            Some(passphrase) => identities.add_passphrase(passphrase.as_str().into()),
            // Nobody's seal needs none.
            None if name == "unencrypted" => {}
            None => {
                let text = std::fs::read_to_string(folder.join("identity")).expect("read");
                identities.add_file(&text, "identity").expect("an identity");
            }
        }
        let catalog = Catalog::load(&store).await.expect("listed");
        assert_eq!(catalog.rejected, Vec::<String>::new());
        let of_kind = |kind| catalog.entries.iter().filter(|e| e.manifest.kind == kind).count();
        assert_eq!([Kind::Full, Kind::Diff, Kind::Delta].map(of_kind), kinds, "{name}");
        let trust = Trust::Keys(BTreeSet::from([told.signer.parse().expect("a key")]));
        assert_eq!(catalog.select(&At::Latest, &trust).expect("one head").manifest.id(), told.latest);
        let mut found = BTreeMap::new();
        for entry in &catalog.entries {
            let scratch = tempfile::tempdir().expect("tempdir");
            let chain = catalog.chain(entry).expect("whole");
            let fetched = restore::fetch(&store, &chain, &identities, scratch.path(), Cancel::default()).await;
            let file = scratch.path().join("state.db");
            fetched.expect("fetched").into_file(&file).expect("restored");
            found.insert(entry.manifest.id(), sha256(&std::fs::read(&file).expect("read")));
        }
        assert_eq!(found, told.sha256, "{name}");
    }
}

/// Made once: `VCLUSTER_BACKUP_FIXTURES=folder cargo test -p vcluster-backup --test compat -- --ignored`. A later format
/// gets a folder of its own.
#[test]
#[ignore = "writes fixtures, which is done once for each version of the format"]
fn write_fixtures() {
    let target = PathBuf::from(std::env::var_os("VCLUSTER_BACKUP_FIXTURES").expect("names a folder"));
    const PASSPHRASE: &str = "correct horse battery staple";
    for (name, mut line, passphrase) in [
        ("keys", Line::new(), None),
        ("passphrase", Line::under_passphrase(PASSPHRASE), Some(PASSPHRASE)),
        ("unencrypted", Line::unencrypted(), None),
    ] {
        std::fs::create_dir_all(line.path("data/pki")).expect("made");
        std::fs::write(line.path("data/pki/ca.crt"), "a certificate\n").expect("written");
        let source = line.source();
        let run = |sql: &str| source.execute_batch(sql).expect("run");
        run("PRAGMA page_size = 512; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
               create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);");
        let insert =
            "INSERT INTO kine (name, created, value) VALUES ('/registry/' || hex(randomblob(4)), 1, randomblob(300));";
        run(&insert.repeat(30));
        let mut told = Told {
            passphrase: passphrase.map(str::to_owned),
            signer: line.signer().public().to_string(),
            latest: String::new(),
            sha256: BTreeMap::new(),
        };
        let mut keep = |manifest: Manifest, pages: Vec<u8>| {
            told.latest = manifest.id();
            told.sha256.insert(manifest.id(), sha256(&pages));
        };
        keep(line.back_up(), pages(&source));
        run(insert);
        keep(line.back_up(), pages(&source));
        if passphrase.is_some() {
            // The same passphrase, and another generation's identity.
            line.restart();
            run(insert);
            keep(line.back_up(), pages(&source));
        } else {
            line.pass(60);
            run(insert);
            keep(line.back_up(), pages(&source));
            run("DELETE FROM kine WHERE id > 28");
            source.query_row("PRAGMA incremental_vacuum", [], |_| Ok(())).unwrap_or(());
            keep(line.back_up(), pages(&source));
            line.restart();
            run(insert);
            keep(line.back_up(), pages(&source));
        }
        let folder = target.join(name);
        common::copy_folder(&line.path("store"), &folder.join("store"));
        if name == "keys" {
            std::fs::copy(line.path("identity"), folder.join("identity")).expect("copied");
        }
        let text = serde_json::to_string_pretty(&told).expect("JSON") + "\n";
        std::fs::write(folder.join("told.json"), text).expect("written");
    }
}
