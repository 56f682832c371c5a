//! Whatever objects are called and hold: nothing there is believed, nothing that is not certainly ours is removed, and no
//! name leads out of its folder.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use vcluster_backup::{
    backup::Cluster,
    catalog::{At, Catalog, Trust},
    legacy, prune,
    retention::Plan,
    store::{Listed, Store},
    verify,
};

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(|text: &str| {
    let names: Vec<&str> = text.lines().take(20).collect();
    let listed: Vec<Listed> = names
        .iter()
        .map(|name| Listed { key: (*name).to_owned(), size: 1, modified: jiff::Timestamp::UNIX_EPOCH })
        .collect();
    for orphan in prune::orphans(&listed, &Plan::default(), None, jiff::Timestamp::MAX) {
        assert!(orphan.key.starts_with("v1/") && !orphan.key.ends_with(".json"), "{orphan:?}");
    }

    let store = Store::over(Arc::new(InMemory::new()), "memory:");
    RUNTIME.block_on(async {
        for name in &names {
            // As they are, and where a manifest could be.
            for key in [(*name).to_owned(), format!("v1/delta/{name}/00000001.json"), format!("v1/full/g/{name}.json")] {
                let _ = store.put_new(&key, "{}\n".into()).await;
            }
        }
        let listed = store.list_objects("v1").await.expect("listed");
        assert!(listed.iter().all(|object| object.key.starts_with("v1/")), "{listed:?}");
        for catalog in [
            Catalog::load(&store).await.expect("loaded"),
            Catalog::load_for_writer(&store, &Trust::Any, &Cluster::default()).await.expect("loaded"),
        ] {
            assert!(catalog.entries.is_empty(), "{:?}", catalog.entries);
            assert!(catalog.select(&At::Latest, &Trust::Any).is_err());
            let _ = verify::look(&catalog, &listed);
        }
        for copy in legacy::copies(&store).await.expect("listed") {
            assert!(names.contains(&&*copy.name) && !copy.row().is_empty());
        }
    });
});
