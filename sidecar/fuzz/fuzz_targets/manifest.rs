//! Whatever lies where a manifest should: it is refused, or it is one that was signed, and a catalog of it answers
//! every question.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vcluster_backup::{
    catalog::{At, Catalog, Trust},
    manifest::{self, Manifest},
    signing::Signer,
};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    Signer::load_or_make(folder.path()).expect("a signer")
});

fuzz_target!(|bytes: &[u8]| {
    assert!(manifest::verify(bytes, "v1/full/g/00000001.json").is_err(), "nobody signs by chance");
    // Behind a good signature, as an attacker with a key of his own would put it.
    let Ok(body) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let Ok(signed) = body.sign(&SIGNER) else { return };
    let Ok(found) = manifest::verify(&signed, &body.key()) else { return };
    assert_eq!(found.manifest, body);
    let catalog = Catalog::new(vec![found.clone(), found.clone()], Vec::new(), "file:///x");
    let trusted = Trust::Keys([SIGNER.public()].into());
    for at in [At::Latest, At::Time(body.time), At::Id(body.id())] {
        let _ = catalog.select(&at, &trusted);
    }
    let _ = (catalog.chain(&found), catalog.heads(), catalog.highest_revision(&trusted), catalog.window());
});
