//! Lists a store and reads its manifests: all of them, or only those that a writer needs to go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;

use super::{Catalog, MOST_DELTAS, Trust};
use crate::{
    backup::Cluster,
    error::Error,
    manifest::{self, Head, Kind, Signed},
    store::{Fault, Store},
};

/// Every manifest lives below this folder.
const ROOT: &str = "v1";

impl Catalog {
    /// Lists a store and reads every manifest.
    ///
    /// # Errors
    /// The store fails. A broken manifest is no error: it is named in `rejected`.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let mut catalog = Self::default();
        catalog.refresh(store).await?;
        Ok(catalog)
    }

    /// The same of a listing that is at hand; manifests that are known are not read again, since none ever changes.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn load_listed(
        store: &Store,
        listed: impl IntoIterator<Item = String>,
        mut known: Self,
    ) -> Result<Self, Error> {
        known.refresh_listed(store, listed).await?;
        Ok(known)
    }

    /// Makes it what the store holds now. When this fails or is given up in the middle, what was read stays, and the next
    /// call goes on from there: so a store of any size is read to its end, however short each look at it is. Until then
    /// it is no catalog to judge by.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn refresh(&mut self, store: &Store) -> Result<(), Error> {
        let listed = store.list(ROOT).await?;
        self.refresh_listed(store, listed).await
    }

    /// The same of a listing that is at hand.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn refresh_listed(
        &mut self,
        store: &Store,
        listed: impl IntoIterator<Item = String>,
    ) -> Result<(), Error> {
        if self.store != store.url() {
            *self = Self::new(Vec::new(), Vec::new(), store.url());
        }
        let (mut keys, data) = split(listed);
        self.entries.retain(|entry| keys.remove(&entry.manifest.key()));
        keys.retain(|key| !self.bent.contains_key(key));
        let (entries, bent) = (&mut self.entries, &mut self.bent);
        read(store, keys.into_iter().collect(), |key, found| match found {
            Ok(signed) => entries.push(signed),
            Err(why) => drop(bent.insert(key, why)),
        })
        .await?;
        self.entries.sort_by_cached_key(|entry| entry.manifest.key());
        // What is bent may be mended, so the next call reads it again.
        self.rejected = std::mem::take(&mut self.bent).into_values().collect();
        self.note_missing(&data);
        Ok(())
    }

    /// What a writer has to know to go on, and no more: of each generation the first and the last manifest and the
    /// fulls, which name what it follows, and the chain of this cluster's newest backup. What lies in between tells
    /// nothing else as long as one trusted key wrote the generation. If not, or if two bear one number, it is read
    /// whole: whoever may put into the bucket may put a first and a last around ours, or one beside ours.
    ///
    /// It does not see a stranger's manifest where one of ours in the middle has gone, or has been replaced. No later
    /// generation says that it follows that one, so to those who trust anybody it looks like a second writer. Those who
    /// trust our keys never see it.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn load_for_writer(store: &Store, trust: &Trust, cluster: &Cluster) -> Result<Self, Error> {
        let (keys, data) = split(store.list(ROOT).await?);
        let generations = by_generation(keys);
        let mut reading = Reading::default();
        reading.read(store, generations.values().flat_map(telling)).await?;
        let doubtful = generations
            .values()
            .filter(|named| has_two_of_one_number(named) || !reading.is_of_one_writer(telling(named), trust));
        reading.read(store, doubtful.flatten().map(|named| named.key.clone()).collect::<Vec<_>>()).await?;
        while let Some(Head { generation, sequence, .. }) = reading.missing_link(trust, cluster) {
            let near = sequence.saturating_sub(MOST_DELTAS as u64)..=sequence;
            let named = generations.get(&generation).into_iter().flatten();
            let named = named.filter(|named| near.contains(&named.sequence)).map(|named| named.key.clone());
            if reading.read(store, named.collect::<Vec<_>>()).await? == 0 {
                break;
            }
        }
        Ok(reading.into_catalog(store, &data))
    }
}

/// Manifests that were read so far.
#[derive(Default)]
struct Reading {
    entries: BTreeMap<String, Signed>,
    rejected: BTreeSet<String>,
}

impl Reading {
    /// Reads those that are not known yet; gives how many turned out to be manifests.
    async fn read(&mut self, store: &Store, keys: impl IntoIterator<Item = String>) -> Result<usize, Error> {
        let keys = keys.into_iter().filter(|key| !self.entries.contains_key(key)).collect();
        let mut count = 0;
        read(store, keys, |key, found| match found {
            Ok(signed) => {
                count += 1;
                self.entries.insert(key, signed);
            }
            Err(why) => drop(self.rejected.insert(why)),
        })
        .await?;
        Ok(count)
    }

    fn is_of_one_writer(&self, keys: impl IntoIterator<Item = String>, trust: &Trust) -> bool {
        let read: Option<Vec<&Signed>> = keys.into_iter().map(|key| self.entries.get(&key)).collect();
        // One that cannot be read is nobody's.
        let Some(read) = read else { return false };
        read.iter().all(|e| trust.covers(&e.signer))
            && read.windows(2).all(|two| {
                let [a, b] = [&two[0].manifest, &two[1].manifest];
                two[0].signer == two[1].signer && a.uid == b.uid && a.cluster == b.cluster
            })
    }

    /// What is not known yet of the chain of the newest backup.
    fn missing_link(&self, trust: &Trust, cluster: &Cluster) -> Option<Head> {
        let own = self.entries.values().filter(|e| trust.covers(&e.signer) && cluster.owns(&e.manifest));
        let own = Catalog::new(own.cloned().collect(), Vec::new(), "");
        let by_digest: HashMap<&str, &Signed> = self.entries.values().map(|e| (e.digest.as_str(), e)).collect();
        let [mut link] = own.heads()[..] else { return None };
        // A digest names what came before it, so there are no circles.
        while let Some(parent) = &link.manifest.parent {
            match by_digest.get(&*parent.digest) {
                Some(found) => link = found,
                None => return Some(parent.clone()),
            }
        }
        None
    }

    fn into_catalog(self, store: &Store, data: &BTreeSet<String>) -> Catalog {
        let rejected = self.rejected.into_iter().collect();
        let mut catalog = Catalog::new(self.entries.into_values().collect(), rejected, store.url());
        catalog.note_missing(data);
        catalog
    }
}

/// Reads manifests and tells each as it comes: what it says, or why it is none.
async fn read(
    store: &Store,
    keys: Vec<String>,
    mut tell: impl FnMut(String, Result<Signed, String>),
) -> Result<(), Error> {
    let mut objects = std::pin::pin!(store.get_many(keys));
    while let Some((key, bytes)) = objects.next().await {
        let verified = match bytes {
            // Pruned between listing and reading.
            Err(Error::Store { fault: Fault::NotFound, .. }) => continue,
            other => other.and_then(|bytes| manifest::verify(&bytes, &key)),
        };
        match verified {
            Ok(signed) => tell(key, Ok(signed)),
            Err(error @ Error::Damaged { .. }) => tell(key, Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A manifest's key and what it says.
struct Named {
    key: String,
    sequence: u64,
    is_full: bool,
}

/// What a listing tells of manifests; those of no name of ours are together under none.
fn by_generation(keys: impl IntoIterator<Item = String>) -> BTreeMap<String, Vec<Named>> {
    let mut generations: BTreeMap<String, Vec<Named>> = BTreeMap::new();
    for key in keys {
        let named = match key.split('/').collect::<Vec<_>>()[..] {
            [_, kind, generation, name] => {
                let sequence = name.strip_suffix(".json").and_then(|sequence| sequence.parse().ok());
                sequence.map(|sequence| (generation.to_owned(), sequence, kind == Kind::Full.as_str()))
            }
            _ => None,
        };
        let (generation, sequence, is_full) = named.unwrap_or_default();
        generations.entry(generation).or_default().push(Named { key, sequence, is_full });
    }
    generations
}

/// Those of a generation that name what it follows, or are its ends.
#[expect(clippy::ptr_arg, reason = "it is handed to iterators over them")]
fn telling(generation: &Vec<Named>) -> Vec<String> {
    let sequences = || generation.iter().map(|named| named.sequence);
    let ends = [sequences().min(), sequences().max()];
    let tells = |named: &&Named| named.is_full || ends.contains(&Some(named.sequence));
    generation.iter().filter(tells).map(|named| named.key.clone()).collect()
}

/// No writer makes two of one number.
fn has_two_of_one_number(generation: &[Named]) -> bool {
    let mut seen = BTreeSet::new();
    !generation.iter().all(|named| seen.insert(named.sequence))
}

/// Manifests, and everything else.
fn split(keys: impl IntoIterator<Item = String>) -> (BTreeSet<String>, BTreeSet<String>) {
    keys.into_iter().partition(|key| key.ends_with(".json"))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use object_store::{
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };
    use proptest::prelude::*;

    use super::{super::tests::only, *};
    use crate::{
        manifest::{
            Manifest,
            tests::{example, signer},
        },
        signing::Signer,
    };

    /// Puts manifests of a generation as a writer does; the parent goes on across generations.
    struct Writer {
        store: Store,
        signer: Signer,
        newest: Option<Head>,
    }

    impl Writer {
        async fn put(&mut self, generation: &str, kinds: &[Kind]) {
            let before = Catalog::load(&self.store).await.expect("loaded");
            let ends: Vec<Head> = before.ends().into_iter().map(Signed::as_head).collect();
            for (nth, kind) in kinds.iter().enumerate() {
                let mut manifest = example(generation, nth as u64 + 1);
                manifest.kind = *kind;
                manifest.parent = self.newest.clone().filter(|_| *kind != Kind::Full);
                manifest.data.key = format!("{}.x", manifest::stem(*kind, generation, manifest.sequence));
                let tells_all = nth == 0 || *kind == Kind::Full;
                manifest.supersedes = if tells_all { ends.clone() } else { ends.iter().take(1).cloned().collect() };
                self.newest = Some(put(&self.store, &self.signer, &manifest).await.as_head());
            }
        }
    }

    async fn put(store: &Store, signer: &Signer, manifest: &Manifest) -> Signed {
        let bytes = manifest.sign(signer).expect("signed");
        store.put_new(&manifest.data.key, "x".into()).await.expect("put");
        store.put_new(&manifest.key(), bytes.clone().into()).await.expect("put");
        manifest::verify(&bytes, &manifest.key()).expect("verifies")
    }

    fn cluster() -> Cluster {
        Cluster { uid: "uid-1".into(), ..Cluster::default() }
    }

    fn heads(catalog: &Catalog) -> Vec<String> {
        catalog.heads().into_iter().map(|head| head.manifest.id()).collect()
    }

    #[tokio::test]
    async fn a_writer_reads_no_more_than_it_has_to() {
        let (_dir, signer) = signer();
        let store = Store::over(Arc::new(InMemory::new()), "memory:");
        let trust = only(&signer);
        let mut writer = Writer { store: store.clone(), signer, newest: None };
        let with_full = |deltas| [vec![Kind::Full], vec![Kind::Delta; deltas]].concat();
        for generation in ["a", "b", "c"] {
            writer.put(generation, &with_full(59)).await;
        }
        // The chain of the last begins in the generation before.
        writer.put("d", &with_full(20)).await;
        writer.put("e", &[Kind::Delta; 30]).await;
        let all = Catalog::load(&store).await.expect("loaded");
        let read = Catalog::load_for_writer(&store, &trust, &cluster()).await.expect("loaded");
        assert_eq!(all.entries.len(), 231);
        assert_eq!(read.entries.len(), 3 * 2 + 21 + 30, "two of each old one, and the chain");
        assert_eq!((heads(&read), heads(&all)), (vec!["e/00000030".to_owned()], vec!["e/00000030".to_owned()]));
        let digests = |signed: Vec<&Signed>| signed.into_iter().map(|e| e.digest.clone()).collect::<Vec<_>>();
        assert_eq!(digests(read.ends()), digests(all.ends()));
        assert_eq!(digests(read.chain(read.heads()[0]).expect("whole")).len(), 51);
    }

    #[tokio::test]
    async fn what_is_planted_around_ours_does_not_hide_it() {
        let ((_ours, signer), (_theirs, forger)) = (signer(), signer());
        let store = Store::over(Arc::new(InMemory::new()), "memory:");
        let trust = only(&signer);
        let mut writer = Writer { store: store.clone(), signer, newest: None };
        writer.put("a", &[Kind::Full]).await;
        writer.put("b", &[Kind::Delta; 5]).await;
        for sequence in [0, 99_999_999] {
            let mut manifest = example("b", sequence);
            (manifest.time, manifest.data.key) = (jiff::Timestamp::UNIX_EPOCH, format!("v1/full/b/{sequence:08}.x"));
            put(&store, &forger, &manifest).await;
        }
        store.put_new("v1/full/a/00000000.json", "no manifest".into()).await.expect("put");
        let read = Catalog::load_for_writer(&store, &trust, &cluster()).await.expect("loaded");
        let trusted = read.filter(|e| trust.covers(&e.signer));
        assert_eq!(heads(&trusted), ["b/00000005"]);
        assert_eq!(read.rejected.len(), 1);
        assert_eq!(trusted.chain(trusted.heads()[0]).expect("whole").len(), 6);
    }

    #[tokio::test]
    async fn what_is_planted_beside_ours_in_the_middle_is_followed_too() {
        let ((_ours, signer), (_theirs, forger)) = (signer(), signer());
        let store = Store::over(Arc::new(InMemory::new()), "memory:");
        let trust = only(&signer);
        let mut writer = Writer { store: store.clone(), signer, newest: None };
        writer.put("a", &[Kind::Full, Kind::Delta, Kind::Delta, Kind::Delta]).await;
        writer.put("b", &[Kind::Delta]).await;
        let mut manifest = example("a", 3);
        (manifest.kind, manifest.data.key) = (Kind::Diff, "v1/diff/a/00000003.x".into());
        let planted = put(&store, &forger, &manifest).await;
        let read = Catalog::load_for_writer(&store, &trust, &cluster()).await.expect("loaded");
        assert!(read.ends().iter().any(|end| end.digest == planted.digest), "nobody would follow it");
    }

    /// A store of so many manifests whose answers take their time.
    async fn slow_store(count: u64, bent: u64) -> Store {
        let (_dir, signer) = signer();
        let inner = Arc::new(InMemory::new());
        let store = Store::over(inner.clone(), "memory:");
        for sequence in 1..=count {
            put(&store, &signer, &example("g", sequence)).await;
        }
        for nth in 1..=bent {
            store.put_new(&format!("v1/full/bent/{nth:08}.json"), "no manifest".into()).await.expect("put");
        }
        let wait_get_per_call = Duration::from_millis(5);
        let config = ThrottleConfig { wait_get_per_call, ..ThrottleConfig::default() };
        Store::over(Arc::new(ThrottledStore::new(inner, config)), "memory:")
    }

    #[tokio::test]
    async fn what_a_look_has_read_before_it_was_given_up_is_not_read_again() {
        // At sixteen at once some 600 ms; a look has 100.
        let store = slow_store(1000, 1000).await;
        let mut catalog = Catalog::default();
        let mut looks = 0;
        while tokio::time::timeout(Duration::from_millis(100), catalog.refresh(&store)).await.is_err() {
            looks += 1;
            assert!(looks < 200, "each look begins anew: {} are known", catalog.entries.len());
        }
        assert!(looks > 0, "it was given up at least once");
        assert_eq!((catalog.entries.len(), catalog.rejected.len()), (1000, 1000));
        let sequences: Vec<u64> = catalog.entries.iter().map(|e| e.manifest.sequence).collect();
        assert!(sequences.is_sorted(), "as if it had been read at once");
        // The next look finds what has changed since, and only that.
        store.delete("v1/full/g/00000001.json").await.expect("deleted");
        catalog.refresh(&store).await.expect("loaded");
        assert_eq!((catalog.entries.len(), catalog.rejected.len()), (999, 1000));
        let (empty, elsewhere) = (Arc::new(InMemory::new()), "memory:///elsewhere");
        catalog.refresh(&Store::over(empty, elsewhere)).await.expect("loaded");
        assert!(catalog.entries.is_empty(), "what another store holds is not here");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_writer_learns_what_it_would_from_everything(
            steps in proptest::collection::vec((0..5_usize, 1..8_usize, any::<bool>()), 1..7),
            holes in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let ((_dir, signer), (_theirs, forger)) = (signer(), signer());
            let trust = only(&signer);
            let store = Store::over(Arc::new(InMemory::new()), "memory:");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let mut writer = Writer { store: store.clone(), signer, newest: None };
                for (nth, (full, count, planted)) in steps.iter().enumerate() {
                    let generation = format!("g{nth}");
                    let mut kinds = vec![Kind::Delta; *count];
                    if let Some(kind) = kinds.get_mut(if nth == 0 { 0 } else { *full }) {
                        *kind = Kind::Full;
                    }
                    writer.put(&generation, &kinds).await;
                    if *planted {
                        let mut manifest = example(&generation, 9);
                        manifest.data.key = format!("v1/full/{generation}/00000009.x");
                        put(&store, &forger, &manifest).await;
                    }
                }
                let mut keys: Vec<String> = store.list(ROOT).await.expect("listed");
                keys.retain(|key| key.ends_with(".json"));
                keys.sort();
                for hole in &holes {
                    store.delete(hole.get(keys.as_slice()).as_str()).await.expect("deleted");
                }
                let all = Catalog::load(&store).await.expect("loaded");
                let read = Catalog::load_for_writer(&store, &trust, &cluster()).await.expect("loaded");
                let views = |catalog: &Catalog| {
                    let own = catalog.filter(|e| trust.covers(&e.signer));
                    let ids = |entries: Vec<&Signed>| entries.iter().map(|e| e.manifest.id()).collect::<Vec<_>>();
                    let chain = match own.heads()[..] {
                        [head] => catalog.chain(head).map(ids).map_err(|e| e.to_string()),
                        _ => Ok(Vec::new()),
                    };
                    let oldest = own.entries.iter().map(|e| e.manifest.time).min();
                    (ids(catalog.ends()), ids(own.ends()), ids(own.heads()), chain, oldest)
                };
                assert_eq!(views(&read), views(&all));
            });
        }
    }
}
