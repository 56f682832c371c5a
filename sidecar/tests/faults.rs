//! One call of the store fails, whichever: what is listed afterwards restores, what was promised is there, and the next
//! backup is as good as ever.

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use std::{collections::BTreeSet, sync::Arc};

use common::{Database, Pod};
use faulty::{Faulty, When};
use vcluster_backup::{
    Error,
    backup::{self, Place},
    catalog::{At, Catalog, Trust},
    cli::Options,
    config::{self, Config},
    install::Cancel,
    keys::{Identities, Recipients},
    manifest::Signed,
    prune,
    restore::{self, Purpose},
    retention::{self, View},
    signing::Signer,
    store::Store,
};
use vcluster_proto::settings::Retention;

/// What the commands know, over a store that can be told to fail.
struct Bench {
    pod: Pod,
    faulty: Faulty,
    store: Store,
    config: Config,
    place: Place,
    identities: Identities,
}

impl Bench {
    fn new() -> Self {
        let pod = Pod::new();
        pod.give_identity();
        let faulty = Faulty::new();
        let store = Store::over(Arc::new(faulty.clone()), "memory:///");
        let options = Options { config_dir: Some(pod.path("config")), ..Options::default() };
        let config = Config::load(&options, &|_| None).expect("settings");
        let identities = config::identities(&options, &|_| None).expect("an identity");
        let place = Place { data_dir: pod.path("data"), spool_dir: pod.path("spool") };
        Self { pod, faulty, store, config, place, identities }
    }

    fn trust(&self) -> Trust {
        let signer = Signer::load(&self.place.data_dir).expect("readable");
        Trust::Keys(signer.map(|signer| signer.public()).into_iter().collect())
    }

    async fn back_up(&self) -> Result<Signed, Error> {
        let trust = self.trust();
        let catalog = Catalog::load_for_writer(&self.store, &trust, &self.config.cluster).await?;
        backup::once(&self.config, &catalog, &trust, &self.store, &self.place).await
    }

    async fn catalog(&self) -> Catalog {
        Catalog::load(&self.store).await.expect("a store that works")
    }

    /// How many rows a backup holds, restored to a file of its own.
    async fn rows(&self, catalog: &Catalog, signed: &Signed) -> i64 {
        let fetched =
            self.fetch(catalog, signed).await.unwrap_or_else(|e| panic!("{}: {}", signed.manifest.id(), e.chain()));
        let path = self.pod.path("copy.db");
        let _ = std::fs::remove_file(&path);
        fetched.into_file(&path).unwrap_or_else(|e| panic!("{}: {}", signed.manifest.id(), e.chain()));
        let database = Database::open(&path);
        let sound: String =
            database.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("asked");
        assert_eq!(sound, "ok");
        database.count()
    }

    async fn fetch(&self, catalog: &Catalog, signed: &Signed) -> Result<restore::Fetched, Error> {
        let chain = catalog.chain(signed)?;
        restore::fetch(&self.store, &chain, &self.identities, &self.place.spool_dir, Cancel::default()).await
    }

    /// Every backup the store lists restores, and the newest holds one of these numbers of rows.
    async fn all_restore(&self, what: &str, newest: &[i64]) {
        let catalog = self.catalog().await;
        assert!(catalog.rejected.is_empty(), "{what}: {:?}", catalog.rejected);
        for signed in &catalog.entries {
            self.rows(&catalog, signed).await;
        }
        let latest = catalog.select(&At::Latest, &self.trust()).unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
        let rows = self.rows(&catalog, latest).await;
        assert!(newest.contains(&rows), "{what}: the newest has {rows} rows, not one of {newest:?}");
    }
}

/// Rows that do not compress: more than is put in one piece.
fn write_large(pod: &Pod) {
    let database = pod.database();
    database
        .connection
        .execute("INSERT INTO kine (name, value) VALUES ('large', randomblob(12000000))", [])
        .expect("written");
}

async fn backups_get_through(large: bool) {
    for when in [When::Before, When::After] {
        for calls in 0.. {
            let what = format!("call {calls} fails {when:?}");
            let bench = Bench::new();
            bench.pod.database().write(5);
            bench.back_up().await.expect("a store that works");
            bench.pod.database().write(5);
            if large {
                write_large(&bench.pod);
            }
            bench.faulty.fail_after(calls, when);
            let outcome = bench.back_up().await;
            let failed = bench.faulty.mend();
            let expected: &[i64] = if outcome.is_ok() { &[10] } else { &[5, 10] };
            bench.all_restore(&what, expected).await;
            // Whatever is left of it is in nobody's way.
            bench.pod.database().write(1);
            bench.back_up().await.unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
            bench.all_restore(&format!("after {what}"), &[11]).await;
            if !failed {
                assert!(outcome.is_ok() && calls > 2, "{what}: none was left to fail, and it did not get through");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_of_a_backup_fails_nothing_that_is_listed_is_lost() {
    backups_get_through(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_part_of_a_large_backup_fails_nothing_that_is_listed_is_lost() {
    backups_get_through(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_of_a_restore_fails_the_old_database_stays() {
    let bench = Bench::new();
    bench.pod.database().write(5);
    bench.back_up().await.expect("a store that works");
    bench.pod.database().write(5);
    let before = bench.pod.data_files();
    for calls in 0.. {
        bench.faulty.fail_after(calls, When::Before);
        let restored = async {
            let catalog = Catalog::load(&bench.store).await?;
            let chosen = catalog.select(&At::Latest, &bench.trust())?.clone();
            let fetched = bench.fetch(&catalog, &chosen).await?;
            fetched.into_data_dir(&bench.place.data_dir, &Purpose::default())
        };
        let outcome = restored.await;
        if !bench.faulty.mend() {
            assert_eq!(outcome.expect("it gets through").path, bench.pod.path("data/state.db"));
            assert!(calls > 2, "a restore asks more than {calls} times");
            break;
        }
        let error = outcome.expect_err("a call failed");
        assert_eq!(error.reason(), "StoreUnavailable", "call {calls}: {}", error.chain());
        assert_eq!(bench.pod.data_files(), before, "call {calls}");
    }
    assert_eq!(bench.pod.database().count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_of_a_prune_fails_what_is_listed_restores_and_the_next_one_ends_it() {
    const BACKUPS: i64 = 5;
    let stranger = Pod::new().recipient;
    for when in [When::Before, When::After] {
        for calls in 0.. {
            let what = format!("call {calls} fails {when:?}");
            let mut bench = Bench::new();
            for number in 0..BACKUPS {
                // Others than before: each is a full, which the rules may remove.
                let mut sealed_for = [bench.pod.recipient.clone(), stranger.clone()];
                sealed_for.rotate_left(usize::from(number % 2 == 1));
                bench.config.recipients = Some(Recipients::parse(&sealed_for).expect("recipients"));
                bench.pod.database().write(1);
                bench.back_up().await.expect("a store that works");
            }
            bench.faulty.fail_after(calls, when);
            let outcome = prune(&bench).await;
            let failed = bench.faulty.mend();
            bench.all_restore(&what, &[BACKUPS]).await;
            prune(&bench).await.unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
            bench.all_restore(&format!("after {what}"), &[BACKUPS]).await;
            assert_eq!(bench.catalog().await.entries.len(), 2, "{what}: the rules keep the last two");
            if !failed {
                assert!(outcome.is_ok() && calls > 6, "{what}: none was left to fail, and it did not get through");
                break;
            }
        }
    }
}

/// Keeps the last two.
async fn prune(bench: &Bench) -> Result<(), Error> {
    let listed = bench.store.list_objects("v1").await?;
    let catalog = Catalog::load_listed(&bench.store, prune::keys(&listed), Catalog::default()).await?;
    let (trust, released) = (bench.trust(), BTreeSet::new());
    let view = View {
        catalog: &catalog,
        listed: &listed,
        now: jiff::Timestamp::now(),
        cluster: &bench.config.cluster,
        trust: &trust,
        proven: &[],
        released: &released,
    };
    let plan = retention::plan(&view, &Retention { keep_last: Some(2), ..Retention::default() });
    prune::carry_out(&bench.store, &plan, &[], None).await.map(drop)
}
