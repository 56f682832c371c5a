//! Whatever an opened diff or delta holds: pages that do not belong there are refused, and what a writer has written
//! gives the database that it was written from.
#![no_main]

use std::{collections::BTreeMap, os::unix::fs::FileExt as _};

use libfuzzer_sys::fuzz_target;
use vcluster_backup::{
    changes::{self, Restored},
    install::Cancel,
    manifest::Manifest,
    pages,
};

const PAGE: usize = 512;
/// Of the parent; the child may have fewer or more.
const PAGES: u32 = 4;
const MOST_PAGES: u32 = 8;

fn manifest(page_count: u32, root: &str, changed: Option<u32>) -> Manifest {
    let body = r#"{"cluster":"c","data":{"key":"v1/delta/g/00000002.pages.zst.age","sha256":"00","size":1},"format":1,
        "generation":"g","kind":"delta","layout":"k8s","page_count":4,"page_size":512,"revision":1,"root":"00",
        "sequence":2,"time":"2026-11-22T08:00:00Z","tool":"t","uid":"u"}"#;
    let manifest: Manifest = serde_json::from_str(body).expect("a manifest");
    Manifest { page_count, root: root.to_owned(), changed, ..manifest }
}

fn leaves(database: &[u8]) -> Vec<pages::Leaf> {
    (1..).zip(database.chunks(PAGE)).map(|(number, page)| pages::leaf(number, page)).collect()
}

fn root(database: &[u8]) -> String {
    pages::root_of(PAGE as u32, &leaves(database)).expect("whole pages")
}

/// What applying it to the parent gives: the database, unless it is refused.
fn applied(payload: &[u8], parent: &[u8], child: &Manifest) -> Option<Vec<u8>> {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(parent, 0).expect("written");
    let mut restored = Restored { file: &file, leaves: leaves(parent) };
    let of_parent = manifest(PAGES, &root(parent), None);
    let outcome = changes::apply(payload, child, &of_parent, &mut restored, &Cancel::default());
    assert!(file.metadata().expect("there").len() <= u64::from(MOST_PAGES) * PAGE as u64);
    outcome.ok()?;
    let mut all = vec![0; file.metadata().expect("there").len() as usize];
    file.read_exact_at(&mut all, 0).expect("read");
    Some(all)
}

fuzz_target!(|bytes: &[u8]| {
    let parent = vec![7; PAGES as usize * PAGE];
    let count = 1 + u32::from(bytes.first().copied().unwrap_or(0)) % MOST_PAGES;
    // Behind a good header, as somebody with a signing key but no such database would write it.
    let forged = [b"vcbpage1", &512_u32.to_le_bytes()[..], &hex(&root(&parent)), bytes].concat();
    for payload in [bytes, &forged] {
        assert_eq!(applied(payload, &parent, &manifest(count, &"00".repeat(32), Some(1))), None, "no pages have that root");
    }

    // As a writer makes it: pages that are gained are always among the entries.
    let mut child = parent.clone();
    child.resize(count as usize * PAGE, 0);
    let mut entries: BTreeMap<u32, u8> = (PAGES + 1..=count).map(|number| (number, 0)).collect();
    entries.extend(bytes.chunks_exact(2).map(|pair| (1 + u32::from(pair[0]) % count, pair[1])));
    let mut payload = Vec::new();
    let mut writer = changes::Writer::new(&mut payload, PAGE as u32, &root(&parent)).expect("written");
    for (number, content) in &entries {
        let place = (*number as usize - 1) * PAGE;
        child[place..place + PAGE].fill(*content);
        writer.page(*number, &[*content; PAGE]).expect("written");
    }
    let changed = writer.finish(count, &root(&child)).expect("written");
    let told = manifest(count, &root(&child), Some(changed));
    assert_eq!(applied(&payload, &parent, &told).expect("applied"), child);
    payload.pop();
    assert_eq!(applied(&payload, &parent, &told), None, "cut");
});

fn hex(root: &str) -> Vec<u8> {
    (0..root.len()).step_by(2).map(|at| u8::from_str_radix(&root[at..at + 2], 16).expect("hex")).collect()
}
