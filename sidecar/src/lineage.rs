//! One writer's line of backups: its generation, what the next one builds on, and the commit. Each start of the program
//! opens a generation of its own, so two writers never write one name; the chain goes on across generations, since
//! parents are named by digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use age::x25519;
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    backup::{Cluster, TOOL},
    capture::Captured,
    catalog::{Catalog, MOST_FOLLOWED, Trust},
    error::Error,
    keys::{self, GenerationKey, Recipients},
    manifest::{self, Data, FORMAT, Head, Kind, Manifest, Signed},
    plan::{Frame, Standing},
    seal::For,
    signing::Signer,
    store::{Fault, Store},
    table::{Of, Table},
};

/// What the next diff or delta builds on: a chain that is in the store, and the page tables of its two ends.
pub struct Base {
    /// A full, a diff if there is one, deltas; never empty.
    chain: Vec<Signed>,
    newest: Arc<Table>,
    full: Arc<Table>,
}

impl Base {
    /// What is on the data volume and what is in the store, if they vouch for each other: `head` is the newest backup
    /// with a signature that counts, and a table is believed only if its root is that manifest's.
    fn load(catalog: &Catalog, head: &Signed, data_dir: &Path) -> Option<Self> {
        let chain: Vec<Signed> = catalog.chain(head).ok()?.into_iter().cloned().collect();
        let newest = Table::load(data_dir, Of::Newest, &head.manifest.root)?;
        let full = Table::load(data_dir, Of::Full, &chain.first()?.manifest.root)?;
        let fits = |table: &Table, manifest: &Manifest| table.head().page_size == manifest.page_size;
        let fit = fits(&newest, &head.manifest) && fits(&full, &head.manifest);
        fit.then(|| Self { chain, newest: Arc::new(newest), full: Arc::new(full) })
    }

    /// The newest backup: a delta's parent.
    #[must_use]
    pub fn newest(&self) -> &Signed {
        self.chain.last().unwrap_or(&self.chain[0])
    }

    /// The last full: a diff's parent.
    #[must_use]
    pub fn full(&self) -> &Signed {
        &self.chain[0]
    }

    /// Everything that a restore of the newest backup reads, in that order.
    #[must_use]
    pub fn chain(&self) -> &[Signed] {
        &self.chain
    }

    /// The pages of a kind's parent.
    #[must_use]
    pub fn table(&self, kind: Kind) -> &Table {
        if kind == Kind::Delta { &self.newest } else { &self.full }
    }

    /// For the plan.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let deltas = self.chain.iter().rev().take_while(|link| link.manifest.kind == Kind::Delta).count();
        let step = &self.chain[self.chain.len().saturating_sub(deltas + 1)];
        let (head, manifest) = (self.newest.head(), &self.newest().manifest);
        Standing {
            full: self.full().manifest.time,
            step: step.manifest.time,
            deltas,
            frame: Frame {
                page_size: manifest.page_size,
                layout: manifest.layout,
                pki: head.pki.clone(),
                sealed_for: head.sealed_for.clone(),
            },
        }
    }

    /// The base of what follows `signed`.
    fn after(before: Option<Self>, signed: Signed, table: Arc<Table>) -> Option<Self> {
        match (signed.manifest.kind, before) {
            (Kind::Full, _) => Some(Self { chain: vec![signed], newest: Arc::clone(&table), full: table }),
            (kind, Some(mut base)) => {
                if kind == Kind::Diff {
                    base.chain.truncate(1);
                }
                base.chain.push(signed);
                Some(Self { newest: table, ..base })
            }
            (_, None) => None,
        }
    }
}

/// One writer's line of backups.
pub struct Lineage {
    generation: String,
    sequence: u64,
    previous: Option<String>,
    /// Everything that this generation follows.
    ends: Vec<Head>,
    /// What it follows right away.
    heads: Vec<Head>,
    base: Option<Base>,
    /// Only with a passphrase.
    key: Option<GenerationKey>,
    /// Nobody, if there are none; never of an empty list.
    recipients: Option<Vec<x25519::Recipient>>,
    fingerprint: String,
}

impl Lineage {
    /// Begins a generation that follows every end a reader may see ([`Catalog::ends`]): of all manifests, of those he
    /// trusts, of those of this cluster. A planted manifest that follows ours must not hide ours from the next of ours. If the data volume
    /// has the page tables of this cluster's one newest backup, the chain goes on; else it begins with a full.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn begin(
        catalog: &Catalog,
        trust: &Trust,
        cluster: &Cluster,
        recipients: &Recipients,
        data_dir: &Path,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let trusted = catalog.filter(|e| trust.covers(&e.signer));
        let own = trusted.filter(|e| cluster.owns(&e.manifest));
        let base = match own.heads()[..] {
            [head] => Base::load(catalog, head, data_dir),
            _ => None,
        };
        let ends: BTreeSet<Head> =
            [catalog, &trusted, &own].iter().flat_map(|view| view.ends()).map(Signed::as_head).collect();
        let heads: BTreeSet<Head> =
            [&trusted, &own].iter().flat_map(|view| view.heads()).take(MOST_FOLLOWED).map(Signed::as_head).collect();
        let (key, list) = match recipients {
            Recipients::Keys(list) => (None, Some(list.clone())),
            Recipients::Nobody => (None, None),
            Recipients::Passphrase(passphrase) => {
                let key = keys::make_generation_key(passphrase)?;
                let recipient = key.recipient.clone();
                (Some(key), Some(vec![recipient]))
            }
        };
        Ok(Self {
            generation: generation(now)?,
            sequence: 0,
            previous: None,
            ends: ends.into_iter().collect(),
            heads: heads.into_iter().collect(),
            base,
            key,
            recipients: list,
            fingerprint: recipients.fingerprint(),
        })
    }

    /// Whom this generation seals for.
    #[must_use]
    pub fn sealed_for(&self) -> For<'_> {
        self.recipients.as_deref().map_or(For::Nobody, For::Recipients)
    }

    /// Whether these recipients are the ones this generation seals for; if not, a new one begins.
    #[must_use]
    pub fn seals_for(&self, recipients: &Recipients) -> bool {
        self.fingerprint == recipients.fingerprint()
    }

    /// See [`Recipients::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What the next backup builds on, unless it has to be a full.
    #[must_use]
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// Whether this generation has no backup yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.sequence == 0
    }

    /// Its name.
    #[must_use]
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// Puts the data, then the manifest; the manifest is the commit. May be called again with the same capture after a
    /// failure: it puts the same bytes under the same names.
    ///
    /// # Errors
    /// The store fails, or another writer has put a manifest under this name.
    pub async fn commit(
        &mut self,
        store: &Store,
        signer: &Signer,
        cluster: &Cluster,
        captured: &mut Captured,
        data_dir: &Path,
    ) -> Result<Signed, Error> {
        let sequence = self.sequence + 1;
        let unencrypted = matches!(self.sealed_for(), For::Nobody);
        let stem = manifest::stem(captured.kind, &self.generation, sequence);
        let data_key = format!("{stem}.{}", captured.kind.ending(unencrypted));
        store.put_file(&data_key, &mut captured.spool, captured.digest.size).await?;
        let identity = self.store_key(store, captured.kind).await?;
        let manifest = Manifest {
            changed: captured.changed,
            cluster: cluster.key.clone(),
            data: Data { key: data_key, sha256: captured.digest.sha256.clone(), size: captured.digest.size },
            format: FORMAT,
            generation: self.generation.clone(),
            identity,
            kind: captured.kind,
            layout: captured.layout,
            page_count: captured.page_count,
            page_size: captured.page_size,
            parent: captured.parent.clone(),
            previous: self.previous.clone(),
            requests: captured.requests.clone(),
            restored_from: captured.restored_from.clone(),
            revision: captured.revision,
            root: captured.table.root().to_owned(),
            sequence,
            supersedes: self.followed(captured.kind).to_vec(),
            time: captured.time,
            tool: TOOL.to_owned(),
            uid: cluster.uid.clone(),
            unencrypted,
        };
        let tables = Tables::prepare(captured, data_dir);
        let signed = put_manifest(store, &manifest, &manifest.sign(signer)?).await?;
        tables.keep(data_dir);
        self.sequence = sequence;
        self.previous = Some(signed.digest.clone());
        self.base = Base::after(self.base.take(), signed.clone(), Arc::clone(&captured.table));
        Ok(signed)
    }

    /// What the next manifest says that it follows: in the first of a generation and in fulls, which live longest,
    /// everything; in the others no more than what keeps the generation before from looking like a second writer.
    fn followed(&self, kind: Kind) -> &[Head] {
        if self.is_new() || kind == Kind::Full { &self.ends } else { &self.heads }
    }

    async fn store_key(&self, store: &Store, kind: Kind) -> Result<Option<String>, Error> {
        let Some(key) = &self.key else { return Ok(None) };
        let object = self.identity_key();
        if self.is_new() {
            // With each try of the first backup: nothing names it yet, and what nobody names is removed after a day.
            put_same(store, &object, &key.sealed).await?;
        } else if kind == Kind::Full {
            // A bucket's rules go by age, and it must outlive every full of its generation.
            store.renew(&object, &key.sealed).await?;
            if store.get_small(&object).await? != key.sealed {
                // Offered again, it is put again.
                let fault = Fault::Other("it gives back other bytes than were put".into());
                return Err(Error::Store { action: "put", object, store: store.url().to_owned(), fault });
            }
        }
        Ok(Some(object))
    }

    /// This generation's sealed identity: its key below the store's prefix, and its bytes.
    #[must_use]
    pub fn sealed_identity(&self) -> Option<(String, Vec<u8>)> {
        self.key.as_ref().map(|key| (self.identity_key(), key.sealed.clone()))
    }

    fn identity_key(&self) -> String {
        format!("v1/full/{}/identity.age", self.generation)
    }

    /// Whether the store still has everything that a restore of the newest backup reads. Nothing is missing of a chain
    /// that has not begun.
    ///
    /// # Errors
    /// The store fails.
    pub async fn is_whole(&self, store: &Store) -> Result<bool, Error> {
        let Some(base) = &self.base else { return Ok(true) };
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Signed { manifest, .. } in &base.chain {
            let keys = [Some(manifest.key()), Some(manifest.data.key.clone()), manifest.identity.clone()];
            for key in keys.into_iter().flatten() {
                let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                folders.entry(folder).or_default().insert(key);
            }
        }
        for (folder, mut keys) in folders {
            for there in store.list(&folder).await? {
                keys.remove(&there);
            }
            if let Some(gone) = keys.first() {
                tracing::error!("{gone} is gone from {}; everything is backed up again", store.url());
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Which page tables lie prepared on the data volume.
struct Tables(Vec<Of>);

impl Tables {
    /// A table that cannot be kept costs a full after the next restart, and no backup.
    fn prepare(captured: &Captured, data_dir: &Path) -> Self {
        let of: &[Of] = if captured.kind == Kind::Full { &[Of::Full, Of::Newest] } else { &[Of::Newest] };
        let prepared = of.iter().try_for_each(|of| captured.table.prepare(data_dir, *of));
        Self(say(prepared).map_or_else(Vec::new, |()| of.to_vec()))
    }

    fn keep(self, data_dir: &Path) {
        say(self.0.into_iter().try_for_each(|of| Table::keep(data_dir, of)));
    }
}

fn say(outcome: Result<(), Error>) -> Option<()> {
    outcome.map_err(|error| tracing::warn!("the next start will make a full backup: {}", error.chain())).ok()
}

/// Puts the manifest; it is the commit.
async fn put_manifest(store: &Store, manifest: &Manifest, bytes: &[u8]) -> Result<Signed, Error> {
    let key = manifest.key();
    put_same(store, &key, bytes).await?;
    manifest::verify(bytes, &key)
}

/// Puts an object that nobody else may put under this name. After any failure it is read back, since the answer may have
/// been lost and not the object.
async fn put_same(store: &Store, key: &str, bytes: &[u8]) -> Result<(), Error> {
    let Err(error) = store.put_new(key, bytes.to_vec().into()).await else { return Ok(()) };
    match store.get_small(key).await {
        Ok(there) if there == bytes => Ok(()),
        Ok(_) => Err(Error::TwoWriters { store: store.url().to_owned(), heads: key.to_owned() }),
        Err(_) => Err(error),
    }
}

/// Start time for people, 80 random bits for uniqueness.
fn generation(now: Timestamp) -> Result<String, Error> {
    let mut random = [0; 10];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::Usage("the system has no random numbers".into()))?;
    Ok(format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn an_identity_is_put_with_each_try_until_a_manifest_names_it() {
        let store = Store::over(Arc::new(InMemory::new()), "memory:");
        let (catalog, cluster, dir) = (Catalog::default(), Cluster::default(), tempfile::tempdir().expect("tempdir"));
        let passphrase = Recipients::Passphrase("a passphrase".to_owned().into());
        let begun = Lineage::begin(&catalog, &Trust::Any, &cluster, &passphrase, dir.path(), Timestamp::UNIX_EPOCH);
        let lineage = begun.expect("begun");
        let key = lineage.store_key(&store, Kind::Full).await.expect("put").expect("a key");
        let sealed = store.get_small(&key).await.expect("there");
        // The manifest is refused for a day, and a prune elsewhere removes what nobody names.
        store.delete(&key).await.expect("deleted");
        for _ in 0..2 {
            lineage.store_key(&store, Kind::Full).await.expect("put");
            assert_eq!(store.get_small(&key).await.expect("there again"), sealed);
        }
    }
}
