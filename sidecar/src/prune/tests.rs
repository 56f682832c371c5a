//! Carrying a plan out over a store in memory: whole, without the right to, under locks, and cut short anywhere.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, memory::InMemory, path::Path,
};
use vcluster_proto::settings::Retention;

use super::*;
use crate::{
    backup::Cluster,
    catalog::{Catalog, Trust},
    manifest::{
        self, Data, Kind, Signed,
        tests::{example, signer},
    },
    retention::{self, View},
    signing::Signer,
};

/// Memory that refuses to remove what it is told to.
#[derive(Debug, Default)]
struct Stubborn {
    inner: InMemory,
    /// Keys that a lock holds; `*` for all by lack of right.
    holds: Mutex<Vec<String>>,
    /// After so many removals nothing answers any more.
    patience: AtomicUsize,
}

impl std::fmt::Display for Stubborn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stubborn")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Stubborn {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let left = self.patience.fetch_sub(1, Ordering::SeqCst);
        let holds = self.holds.lock().expect("holds").clone();
        let answer = |code: &str| {
            let source = format!("<Error><Code>{code}</Code></Error>").into();
            object_store::Error::Generic { store: "S3", source }
        };
        let failure = if left == 0 {
            self.patience.store(0, Ordering::SeqCst);
            Some(answer("SlowDown"))
        } else if holds.iter().any(|held| held == "*") {
            Some(answer("AccessDenied"))
        } else {
            None
        };
        if let Some(failure) = failure {
            return futures::stream::once(async { Err(failure) }).boxed();
        }
        let (held, free): (Vec<_>, Vec<_>) = futures::executor::block_on(locations.collect::<Vec<_>>())
            .into_iter()
            .partition(|at| at.as_ref().is_ok_and(|at| holds.iter().any(|held| held == at.as_ref())));
        let held = held.into_iter().map(move |_| Err(answer("ObjectLocked"))).collect::<Vec<_>>();
        self.inner.delete_stream(futures::stream::iter(free).boxed()).chain(futures::stream::iter(held)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn stubborn() -> (Arc<Stubborn>, Store) {
    let inner = Arc::new(Stubborn { patience: AtomicUsize::new(usize::MAX), ..Stubborn::default() });
    (inner.clone(), Store::over(inner, "memory:///"))
}

/// Chains of a full and two deltas in one generation, with their data.
async fn fill(store: &Store, signer: &Signer, chains: u64) {
    let mut parent: Option<Signed> = None;
    for sequence in 1..=chains * 3 {
        let mut manifest = example("g", sequence);
        manifest.kind = if sequence % 3 == 1 { Kind::Full } else { Kind::Delta };
        manifest.parent = parent.filter(|_| manifest.kind == Kind::Delta).map(|p| p.as_head());
        let ending = if manifest.kind == Kind::Full { "tar.zst.age" } else { "pages.zst.age" };
        let key = format!("{}.{ending}", manifest::stem(manifest.kind, "g", sequence));
        manifest.data = Data { key: key.clone(), sha256: "00".into(), size: 5 };
        store.put_new(&key, Bytes::from_static(b"state")).await.expect("put");
        let bytes = manifest.sign(signer).expect("signed");
        store.put_new(&manifest.key(), bytes.clone().into()).await.expect("put");
        parent = Some(manifest::verify(&bytes, &manifest.key()).expect("verifies"));
    }
}

async fn planned(store: &Store, signer: &Signer) -> (Plan, Vec<Listed>, Catalog) {
    let listed = store.list_objects("v1").await.expect("listed");
    let catalog = Catalog::load_listed(store, keys(&listed), Catalog::default()).await.expect("loaded");
    let (cluster, released) = (Cluster { uid: "uid-1".into(), ..Cluster::default() }, BTreeSet::new());
    let trust = Trust::Keys(BTreeSet::from([signer.public()]));
    let view = View {
        catalog: &catalog,
        listed: &listed,
        now: Timestamp::now(),
        cluster: &cluster,
        trust: &trust,
        proven: &[],
        released: &released,
    };
    let plan = retention::plan(&view, &Retention { keep_last: Some(1), ..Retention::default() });
    (plan, listed, catalog)
}

async fn names(store: &Store) -> BTreeSet<String> {
    store.list("v1").await.expect("listed").into_iter().collect()
}

#[tokio::test]
async fn old_chains_go_whole_and_the_newest_stays_whole() {
    let ((_dir, signer), (_, store)) = (signer(), stubborn());
    fill(&store, &signer, 3).await;
    let (plan, _, _) = planned(&store, &signer).await;
    let removed = carry_out(&store, &plan, &[], None).await.expect("carried out");
    assert_eq!((removed.backups, removed.bytes, removed.held), (6, 30, 0));
    let left = names(&store).await;
    assert_eq!(left.len(), 6, "three manifests with their data: {left:?}");
    let (plan, _, catalog) = planned(&store, &signer).await;
    assert!(plan.going().is_empty());
    assert!(catalog.entries.iter().all(|e| catalog.complete(e)));
}

#[tokio::test]
async fn whatever_is_listed_can_be_restored_wherever_a_prune_is_cut_short() {
    for patience in 0..12 {
        let ((_dir, signer), (inner, store)) = (signer(), stubborn());
        fill(&store, &signer, 3).await;
        let (plan, _, _) = planned(&store, &signer).await;
        inner.patience.store(patience, Ordering::SeqCst);
        carry_out(&store, &plan, &[], None).await.expect_err("cut short");
        let (again, listed, catalog) = planned(&store, &signer).await;
        for entry in &catalog.entries {
            assert!(catalog.complete(entry), "{} after {patience} removals", entry.manifest.id());
        }
        // The next one finds the rest: manifests by the rules, data that nothing names a day later.
        inner.patience.store(usize::MAX, Ordering::SeqCst);
        let tomorrow = Timestamp::now() + SignedDuration::from_hours(25);
        carry_out(&store, &again, &orphans(&listed, &again, None, tomorrow), None).await.expect("carried out");
        assert_eq!(names(&store).await.len(), 6, "after {patience} removals");
    }
}

#[tokio::test]
async fn a_prune_without_time_does_a_little_and_says_that_there_is_more() {
    let ((_dir, signer), (_, store)) = (signer(), stubborn());
    fill(&store, &signer, 3).await;
    let past = Some(std::time::Instant::now());
    let mut turns = 0;
    while !planned(&store, &signer).await.0.going().is_empty() {
        let (plan, listed, _) = planned(&store, &signer).await;
        let orphans = orphans(&listed, &plan, None, Timestamp::now() + SignedDuration::from_hours(25));
        assert!(orphans.is_empty(), "data goes with its manifest: {orphans:?}");
        let removed = carry_out(&store, &plan, &orphans, past).await.expect("carried out");
        assert_eq!((removed.backups, removed.bytes, removed.unfinished), (1, 5, true));
        turns += 1;
    }
    assert_eq!((turns, names(&store).await.len()), (6, 6));
}

#[tokio::test]
async fn without_the_right_to_delete_one_sentence_is_said_and_nothing_is_lost() {
    let ((_dir, signer), (inner, store)) = (signer(), stubborn());
    fill(&store, &signer, 2).await;
    let before = names(&store).await;
    inner.holds.lock().expect("holds").push("*".into());
    let (plan, _, _) = planned(&store, &signer).await;
    let removed = carry_out(&store, &plan, &[], None).await.expect("no error");
    assert_eq!(removed.backups, 0);
    let said = no_right(&removed.refused.expect("said"));
    assert!(said.contains("the right to delete") && said.contains("AccessDenied"), "{said}");
    assert_eq!(names(&store).await, before);
}

#[tokio::test]
async fn what_a_lock_holds_keeps_what_it_builds_on() {
    let ((_dir, signer), (inner, store)) = (signer(), stubborn());
    fill(&store, &signer, 3).await;
    // The delta in the middle of the first chain: its full must stay, its own child may go.
    inner.holds.lock().expect("holds").push("v1/delta/g/00000002.json".into());
    let (plan, _, _) = planned(&store, &signer).await;
    let removed = carry_out(&store, &plan, &[], None).await.expect("carried out");
    assert_eq!((removed.backups, removed.held), (4, 2));
    let (_, _, catalog) = planned(&store, &signer).await;
    assert_eq!(catalog.entries.len(), 5);
    assert!(catalog.entries.iter().all(|e| catalog.complete(e)));
}

#[tokio::test]
async fn only_old_objects_of_our_naming_that_nothing_names_are_orphans() {
    let ((_dir, signer), (_, store)) = (signer(), stubborn());
    fill(&store, &signer, 1).await;
    let nobodys = [
        "v1/full/g/00000099.tar.zst.age",
        "v1/delta/h/00000001.pages.zst.age",
        "v1/full/h/identity.age",
        "v1/check/abc",
    ];
    let others = [
        "v1/full/g/notes.txt",
        "v1/full/g/identity.age",
        "v1/other/h/00000001.x",
        "backup_20240304143145.db.enc",
        "v1/full/i/00000001.tar.zst.age",
    ];
    for key in nobodys.iter().chain(&others) {
        store.put_new(key, Bytes::from_static(b"x")).await.expect("put");
    }
    // A manifest that cannot be read names its data all the same.
    store.put_new("v1/full/i/00000001.json", Bytes::from_static(b"bent")).await.expect("put");
    let (plan, listed, _) = planned(&store, &signer).await;
    let all = store.list_objects("").await.expect("listed");
    assert!(orphans(&all, &plan, None, Timestamp::now()).is_empty(), "all of them may be under way");
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(25);
    let found: BTreeSet<String> = keys(&orphans(&all, &plan, None, tomorrow)).collect();
    assert_eq!(found, nobodys.map(str::to_owned).into());
    // Its first manifest may have been refused for a day, and then come with what was put before.
    let found: BTreeSet<String> = keys(&orphans(&all, &plan, Some("h"), tomorrow)).collect();
    assert_eq!(found, [nobodys[0], nobodys[3]].map(str::to_owned).into());
    assert_eq!(listed.len(), 6 + 4 + 4 + 1);
}

#[test]
fn a_word_is_remembered_where_the_data_is() {
    let (dir, signer) = signer();
    let released = Released(BTreeSet::from([signer.public()]));
    released.save(dir.path()).expect("written");
    assert_eq!(Released::load(dir.path()).expect("read"), released);
    assert_eq!(Released::load(std::path::Path::new("/nowhere")).expect("nothing"), Released::default());
}
