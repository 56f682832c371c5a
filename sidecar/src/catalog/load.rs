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
        let listed = store.list(ROOT).await?;
        Self::load_listed(store, listed, Self::default()).await
    }

    /// The same of a listing that is at hand; manifests that are known are not read again, since none ever changes.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn load_listed(
        store: &Store,
        listed: impl IntoIterator<Item = String>,
        known: Self,
    ) -> Result<Self, Error> {
        let (keys, data) = split(listed);
        let known = known.entries.into_iter().map(|e| (e.manifest.key(), e)).filter(|(key, _)| keys.contains(key));
        let mut reading = Reading { entries: known.collect(), rejected: BTreeSet::new() };
        reading.read(store, keys).await?;
        Ok(reading.into_catalog(store, &data))
    }

    /// What a writer has to know to go on, and no more: of each generation the first and the last manifest and the
    /// fulls, which name what it follows, and the chain of this cluster's newest backup. What lies in between tells
    /// nothing else as long as one trusted key wrote the generation. If not, it is read whole: whoever may put into the
    /// bucket may put a first and a last around ours.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub async fn load_for_writer(store: &Store, trust: &Trust, cluster: &Cluster) -> Result<Self, Error> {
        let (keys, data) = split(store.list(ROOT).await?);
        let generations = by_generation(keys);
        let mut reading = Reading::default();
        reading.read(store, generations.values().flat_map(telling)).await?;
        let doubtful = generations.values().filter(|named| !reading.is_of_one_writer(telling(named), trust));
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
        let mut found = 0;
        let mut objects = std::pin::pin!(store.get_many(keys));
        while let Some((key, bytes)) = objects.next().await {
            let verified = match bytes {
                // Pruned between listing and reading.
                Err(Error::Store { fault: Fault::NotFound, .. }) => continue,
                other => other.and_then(|bytes| manifest::verify(&bytes, &key)),
            };
            match verified {
                Ok(signed) => {
                    found += 1;
                    self.entries.insert(key, signed);
                }
                Err(error @ Error::Damaged { .. }) => drop(self.rejected.insert(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
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

/// Manifests, and everything else.
fn split(keys: impl IntoIterator<Item = String>) -> (BTreeSet<String>, BTreeSet<String>) {
    keys.into_iter().partition(|key| key.ends_with(".json"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
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
