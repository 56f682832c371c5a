//! `verify`: proves what a restore rests on, as far as it is asked to. Without an identity: signatures, chains, sizes, and
//! the digests of as much ciphertext as shall be read. With one: a true restore into scratch space, timed, with SQLite's
//! integrity check and the rules a restored kine database must obey.

mod command;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::{Duration, Instant},
};

use futures::StreamExt;
use rusqlite::Connection;
use secrecy::SecretString;

pub(crate) use self::command::command;
pub use self::command::{Subset, VerifyArgs};
use crate::{
    backup::Cluster,
    catalog::{Catalog, Trust},
    error::Error,
    install::Cancel,
    keys::{self, Identities},
    kine,
    manifest::{self, Signed},
    restore::{self, Purpose},
    store::{Fault, Listed, Store},
};

/// Objects that are read at once.
const AT_ONCE: usize = 4;
/// So many times as long as an object took to read the store is left alone.
const RESTS: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The backup or object.
    pub of: String,
    /// What does not fit.
    pub why: String,
}

/// What the listing and the manifests alone tell. Pure.
#[must_use]
pub fn look(catalog: &Catalog, listed: &[Listed]) -> Vec<Problem> {
    let sizes: HashMap<&str, u64> = listed.iter().map(|object| (object.key.as_str(), object.size)).collect();
    let names: BTreeMap<(&str, u64), &Signed> =
        catalog.entries.iter().map(|e| ((e.manifest.generation.as_str(), e.manifest.sequence), e)).collect();
    let chains = catalog.chains();
    let mut problems = Vec::new();
    let mut found = |of: String, why: String| problems.push(Problem { of, why });
    for entry in &catalog.entries {
        let m = &entry.manifest;
        if let Err(error) = chains.of(entry) {
            found(m.id(), error.to_string());
        }
        if let Some(size) = sizes.get(&*m.data.key).filter(|size| **size != m.data.size) {
            found(m.id(), format!("{} has {size} bytes, its manifest names {}", m.data.key, m.data.size));
        }
        // One that was pruned is no gap; one that is another is a forgery or a second writer.
        let before = names.get(&(m.generation.as_str(), m.sequence.wrapping_sub(1)));
        if let (Some(before), Some(previous)) = (before, &m.previous)
            && before.signer == entry.signer
            && before.digest != *previous
        {
            found(
                m.id(),
                format!("the manifest before it is another than the one it names ({})", before.manifest.id()),
            );
        }
    }
    problems
}

/// What the backups of a catalog name as their data, each once, with size and digest.
#[must_use]
pub fn objects(catalog: &Catalog) -> BTreeSet<(String, u64, String)> {
    let data = catalog.entries.iter().map(|e| &e.manifest.data);
    data.filter(|data| !catalog.lacks(&data.key)).map(|d| (d.key.clone(), d.size, d.sha256.clone())).collect()
}

/// Reads objects and compares their digests; gives those that fit, and the problems of the others.
///
/// # Errors
/// The store fails in another way than by not having an object.
pub async fn read(
    store: &Store,
    objects: impl IntoIterator<Item = (String, u64, String)>,
    cancel: &Cancel,
) -> Result<(BTreeSet<String>, Vec<Problem>), Error> {
    let mut digests = futures::stream::iter(objects)
        .map(|(key, size, sha256)| async move {
            let digest = store.digest(&key, size).await;
            (key, size, sha256, digest)
        })
        .buffer_unordered(AT_ONCE);
    let (mut fit, mut problems) = (BTreeSet::new(), Vec::new());
    while let Some((key, size, sha256, digest)) = digests.next().await {
        cancel.check()?;
        match digest {
            Ok(digest) if digest.size == size && digest.sha256 == sha256 => drop(fit.insert(key)),
            Ok(digest) if digest.size != size => {
                problems
                    .push(Problem { of: key, why: format!("it does not have the {size} bytes its manifest names") });
            }
            Ok(_) => problems.push(Problem { of: key, why: "its bytes are not those its manifest names".into() }),
            Err(error @ Error::Store { fault: Fault::NotFound, .. }) => {
                problems.push(Problem { of: key, why: error.to_string() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((fit, problems))
}

/// Reads a chain back as it is in the store now, one object at a time with rests between, so that nobody else is held
/// up; gives the first that is not what was written, by its digest, and why. Of sealed identities no manifest holds a
/// digest: `identities` says what they are known by.
///
/// # Errors
/// The store fails in another way than by not having an object.
pub async fn reread(store: &Store, chain: &[Signed], identities: &Sealed) -> Result<Option<(String, String)>, Error> {
    let mut opened = BTreeSet::new();
    for signed in chain {
        let begun = Instant::now();
        let mut outcome = reread_one(store, signed).await;
        if let (Ok(()), Some(key)) = (&outcome, &signed.manifest.identity)
            && opened.insert(key)
        {
            outcome = identities.look_at(store, key, &signed.manifest.id()).await;
        }
        match outcome {
            Ok(()) => {}
            Err(error @ (Error::Damaged { .. } | Error::Store { fault: Fault::NotFound, .. })) => {
                return Ok(Some((signed.digest.clone(), error.chain())));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep((begun.elapsed() * RESTS).min(LONGEST_REST)).await;
    }
    Ok(None)
}

async fn reread_one(store: &Store, signed: &Signed) -> Result<(), Error> {
    let manifest = &signed.manifest;
    let damaged = |object: &str, why: &str| Error::Damaged { object: object.to_owned(), why: why.to_owned() };
    let key = manifest.key();
    if manifest::verify(&store.get_small(&key).await?, &key)?.digest != signed.digest {
        return Err(damaged(&key, "it is another manifest than was written there"));
    }
    let digest = store.digest(&manifest.data.key, manifest.data.size).await?;
    if digest.size == manifest.data.size && digest.sha256 == manifest.data.sha256 {
        return Ok(());
    }
    Err(damaged(&manifest.data.key, "its bytes are not those its manifest names"))
}

/// By what the sealed identities of generations are known. One that is bent closes every backup of its generation.
#[derive(Clone, Default)]
pub struct Sealed {
    /// That of the running generation: its key below the store's prefix, and its bytes.
    pub own: Option<(String, Vec<u8>)>,
    /// What opens those of others.
    pub passphrase: Option<SecretString>,
}

impl Sealed {
    /// Compares or opens one; without either it has to be there.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the store fails.
    pub async fn look_at(&self, store: &Store, key: &str, point: &str) -> Result<(), Error> {
        let there = store.get_small(key).await?;
        let damaged = |why: &str| Err(Error::Damaged { object: key.to_owned(), why: why.to_owned() });
        match (&self.own, &self.passphrase) {
            (Some((own, bytes)), _) if own == key => match there == *bytes {
                true => Ok(()),
                false => damaged("its bytes are not those that were put there, so nothing of its generation opens"),
            },
            (_, Some(passphrase)) => match keys::open_generation_key(&there, passphrase, point) {
                Err(Error::WrongKey { .. }) => damaged("the passphrase does not open it"),
                other => other.map(drop),
            },
            _ => Ok(()),
        }
    }
}

/// What a trial restore has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// From the first byte asked for to the database in its place.
    pub took: Duration,
    /// Bytes of the database.
    pub size_bytes: u64,
    /// The kine revision it would begin at; nothing if it has no kine table.
    pub revision: Option<i64>,
}

/// Restores a backup as on the day it is needed, into a folder of its own, and looks at what has come of it.
///
/// # Errors
/// Whatever would stop that restore, and a database that breaks kine's rules.
pub async fn restore(
    store: &Store,
    catalog: &Catalog,
    trust: &Trust,
    point: &Signed,
    trial: Trial<'_>,
) -> Result<Restored, Error> {
    let Trial { identities, scratch, cancel } = trial;
    let begun = Instant::now();
    let chain = catalog.chain(point)?;
    let fetched = restore::fetch(store, &chain, identities, scratch, cancel.clone()).await?;
    let purpose = Purpose { seen: catalog.highest_revision(trust), ..Purpose::default() };
    let data_dir = scratch.join("data");
    std::fs::create_dir(&data_dir).map_err(Error::file("make the folder", &data_dir))?;
    let outcome = crate::blocking(move || fetched.into_data_dir(&data_dir, &purpose)).await?;
    let took = begun.elapsed();
    if let Some(revision) = outcome.revision {
        obeys_kine(&outcome.path, revision, &point.manifest.id())?;
    }
    Ok(Restored { took, size_bytes: outcome.size_bytes, revision: outcome.revision })
}

/// What a trial restore works with.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// What opens the backup.
    pub identities: &'a Identities,
    /// An empty folder of its own.
    pub scratch: &'a Path,
    /// Asked now and then.
    pub cancel: &'a Cancel,
}

/// The rules a restore must leave behind, read back from the file it has put in place.
fn obeys_kine(path: &Path, revision: i64, point: &str) -> Result<(), Error> {
    let failed = |e| Error::database("look at the restored database", path)(e);
    let connection = Connection::open(path).map_err(failed)?;
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, Option<i64>>(0)).map_err(failed);
    let rules = [
        (
            "its newest row is not the restore's marker",
            kine::revision(&connection).map(Some).map_err(failed)?,
            revision,
        ),
        (
            "its sequence does not continue there",
            number("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'kine'")?,
            revision,
        ),
        (
            "its compaction mark is not right below",
            number("SELECT prev_revision FROM kine WHERE name = 'compact_rev_key' ORDER BY id DESC LIMIT 1")?,
            revision - 1,
        ),
        ("rows lie above the marker", number(&format!("SELECT COUNT(*) FROM kine WHERE id > {revision}"))?, 0),
    ];
    match rules.into_iter().find(|(_, found, wanted)| *found != Some(*wanted)) {
        Some((why, ..)) => {
            Err(Error::Damaged { object: format!("the database restored from {point}"), why: why.into() })
        }
        None => Ok(()),
    }
}

/// This cluster's backups that may be restored.
#[must_use]
pub fn own(catalog: &Catalog, cluster: &Cluster, trust: &Trust) -> Catalog {
    catalog.filter(|e| cluster.owns(&e.manifest) && trust.covers(&e.signer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::{example, signer};

    #[tokio::test]
    async fn an_identity_that_is_bent_proves_nothing() {
        let store = Store::over(std::sync::Arc::new(object_store::memory::InMemory::new()), "memory:///");
        let passphrase = SecretString::from("correct horse");
        let sealed = keys::make_generation_key(&passphrase).expect("made").sealed;
        let mut bent = sealed.clone();
        *bent.last_mut().expect("not empty") ^= 1;
        let other = keys::make_generation_key(&SecretString::from("battery")).expect("made").sealed;
        let own = Sealed { own: Some(("v1/full/g/identity.age".into(), sealed.clone())), passphrase: None };
        let opened = Sealed { own: None, passphrase: Some(passphrase) };
        for (bytes, sound) in [(&sealed, true), (&bent, false), (&other, false)] {
            store.renew("v1/full/g/identity.age", bytes).await.expect("put");
            for by in [&own, &opened] {
                let outcome = by.look_at(&store, "v1/full/g/identity.age", "g/00000001").await;
                assert_eq!(outcome.is_ok(), sound);
                assert!(sound || matches!(outcome, Err(Error::Damaged { .. })), "{outcome:?}");
            }
        }
    }

    #[test]
    fn a_manifest_that_was_replaced_by_another_of_its_name_is_noticed_by_the_next() {
        let (_dir, signer) = signer();
        let sign = |manifest: &crate::manifest::Manifest| {
            manifest::verify(&manifest.sign(&signer).expect("signed"), &manifest.key()).expect("verifies")
        };
        let first = sign(&example("g", 1));
        let mut second = example("g", 2);
        second.previous = Some(first.digest.clone());
        let second = sign(&second);
        let listed = |size: u64| {
            let of = |e: &Signed| Listed { key: e.manifest.data.key.clone(), size, modified: jiff::Timestamp::MIN };
            [&first, &second].map(of)
        };
        let catalog = Catalog::new(vec![first.clone(), second.clone()], vec![], "file:///x");
        assert!(look(&catalog, &listed(1)).is_empty());
        assert_eq!(look(&catalog, &listed(2)).len(), 2, "sizes");
        let mut planted = example("g", 1);
        planted.revision = 1;
        let catalog = Catalog::new(vec![sign(&planted), second.clone()], vec![], "file:///x");
        assert_eq!(look(&catalog, &listed(1)).len(), 1);
        let catalog = Catalog::new(vec![second.clone()], vec![], "file:///x");
        assert!(look(&catalog, &listed(1)).is_empty(), "one that was pruned is no gap");
    }
}
