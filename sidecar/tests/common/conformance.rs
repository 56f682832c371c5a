//! What the sidecar asks of a store. Each question is asked below a prefix of its own, and everything is removed again.
#![allow(unreachable_pub, reason = "a module of two tests")]

use std::{
    collections::BTreeSet,
    io::{Read, Seek, Write},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use vcluster_backup::{
    Error, check,
    seal::sha256,
    store::{Fault, Store},
};

/// More than any store gives in one page of a listing.
const MANY: usize = 1_005;
/// Three parts and a bit.
const LARGE: usize = 16_000_000;

/// Asks everything; gives whether the store refuses to create what is there, which it need not.
///
/// # Panics
/// When the store does not conform.
pub async fn conforms(store: &Store) -> bool {
    assert_eq!(store.list("v1").await.expect("an empty store can be listed"), Vec::<String>::new());
    missing(store).await;
    let conditional = create(store).await;
    ranges(store).await;
    large(store).await;
    many(store).await;
    probed(store, conditional).await;
    assert_eq!(store.list("v1").await.expect("listed"), Vec::<String>::new(), "something is left");
    conditional
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Store { fault: Fault::NotFound, .. })
}

/// What is not there is not there, in every way to ask; removing it is no error.
async fn missing(store: &Store) {
    let key = "v1/full/absent/00000001.json";
    let spool = tempfile::tempfile().expect("a file");
    for (how, outcome) in [
        ("get", store.get_small(key).await.map(drop)),
        ("range", store.get_start(key, 5).await.map(drop)),
        ("download", store.download(key, spool, 5).await.map(drop)),
        ("digest", store.digest(key, 5).await.map(drop)),
    ] {
        let error = outcome.expect_err("absent");
        assert!(is_missing(&error), "{how}: {}", error.chain());
    }
    store.delete(key).await.expect("is gone already");
}

/// A new object is there at once, whole and listed; whether a second creation is refused is told truly.
async fn create(store: &Store) -> bool {
    let key = "v1/full/new/00000001.json";
    store.put_new(key, Bytes::from_static(b"first")).await.expect("put");
    assert_eq!(&store.get_small(key).await.expect("got")[..], b"first");
    let listed = store.list_objects("v1/full/new").await.expect("listed");
    assert_eq!(listed.iter().map(|o| (&*o.key, o.size)).collect::<Vec<_>>(), [(key, 5)]);
    let conditional = match store.put_new(key, Bytes::from_static(b"second")).await {
        Ok(()) => false,
        Err(Error::Store { fault: Fault::Exists, .. }) => true,
        Err(other) => panic!("{}", other.chain()),
    };
    let there = store.get_small(key).await.expect("got");
    assert_eq!(&there[..], if conditional { &b"first"[..] } else { b"second" });
    store.delete(key).await.expect("deleted");
    assert!(is_missing(&store.get_small(key).await.expect_err("gone")));
    conditional
}

/// The beginning of an object, of which there may be less than was asked for.
async fn ranges(store: &Store) {
    let key = "v1/full/range/00000001.json";
    store.put_new(key, Bytes::from_static(b"0123456789")).await.expect("put");
    assert_eq!(&store.get_start(key, 4).await.expect("got")[..], b"0123");
    assert_eq!(&store.get_start(key, 1_000).await.expect("got")[..], b"0123456789");
    store.delete(key).await.expect("deleted");
}

/// A file that goes in parts comes back byte for byte, and one that is larger than it says is not read to its end.
async fn large(store: &Store) {
    let key = "v1/full/large/00000001.tar.zst.age";
    let bytes: Vec<u8> = (0..LARGE).map(|n| (n / 7 % 251) as u8).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("written");
    store.put_file(key, &mut file, LARGE as u64).await.expect("put");
    let digest = store.digest(key, LARGE as u64).await.expect("digested");
    assert_eq!((digest.size, digest.sha256), (LARGE as u64, sha256(&bytes)));
    let (mut got, digest) =
        store.download(key, tempfile::tempfile().expect("a file"), LARGE as u64).await.expect("got");
    assert_eq!(digest.sha256, sha256(&bytes));
    let mut back = Vec::new();
    got.rewind().and_then(|()| got.read_to_end(&mut back)).expect("read");
    assert!(back == bytes);
    let (_, digest) = store.download(key, tempfile::tempfile().expect("a file"), 5).await.expect("got");
    assert!(digest.size < LARGE as u64, "what is larger than it may be is not read to its end");
    store.delete(key).await.expect("deleted");
}

/// A listing is followed to its end.
async fn many(store: &Store) {
    let keys: BTreeSet<String> = (0..MANY).map(|n| format!("v1/delta/many/{n:08}.json")).collect();
    let put = stream::iter(&keys).map(|key| store.put_new(key, Bytes::from_static(b"x")));
    put.buffer_unordered(16).for_each(async |outcome| outcome.expect("put")).await;
    let listed: BTreeSet<String> = store.list("v1/delta").await.expect("listed").into_iter().collect();
    assert_eq!(listed.len(), MANY);
    assert_eq!(listed, keys);
    let removed = stream::iter(&keys).map(|key| store.delete(key));
    removed.buffer_unordered(16).for_each(async |outcome| outcome.expect("deleted")).await;
}

/// `check` comes to the same conclusions and leaves nothing behind.
async fn probed(store: &Store, conditional: bool) {
    let findings = check::probe(store, "v1/check/conformance").await;
    let verdict = |name: &str| findings.iter().find(|f| f.name == name).map(|f| f.verdict);
    for name in ["put", "get", "list", "delete"] {
        assert_eq!(verdict(name), Some(check::Verdict::Ok), "{findings:?}");
    }
    let expected = if conditional { check::Verdict::Ok } else { check::Verdict::Warning };
    assert_eq!(verdict("conditional put"), Some(expected), "{findings:?}");
}
