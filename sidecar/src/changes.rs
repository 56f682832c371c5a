//! What a diff or delta holds: the pages that have changed since its parent. [`Writer`] and [`apply`] mirror each other.
//!
//! ```text
//! header    "vcbpage1", page size as u32, root of the parent (32 bytes)
//! entries   page number as u32, page; ascending, each number at most once
//! end       0 as u32
//! trailer   number of entries as u32, page count as u32, root (32 bytes)
//! ```
//!
//! All numbers are little endian. The page count is that of the database afterwards: pages beyond it are gone, and every
//! page beyond the parent's count is among the entries.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
};

use data_encoding::HEXLOWER;

use crate::{
    error::Error,
    install::Cancel,
    manifest::Manifest,
    pages::{self, LEAF_BYTES, Leaf},
};

const MAGIC: &[u8; 8] = b"vcbpage1";
const ROOT_BYTES: usize = 32;
/// Stands where a page number would.
const END: u32 = 0;

/// Writes the payload of a diff or delta.
pub struct Writer<W: Write> {
    inner: W,
    changed: u32,
}

impl<W: Write> Writer<W> {
    /// Begins with the header; `parent_root` in hex.
    ///
    /// # Errors
    /// The writer fails.
    pub fn new(mut inner: W, page_size: u32, parent_root: &str) -> io::Result<Self> {
        inner.write_all(MAGIC)?;
        inner.write_all(&page_size.to_le_bytes())?;
        inner.write_all(&bytes_of(parent_root)?)?;
        Ok(Self { inner, changed: 0 })
    }

    /// Adds a page; numbers ascend.
    ///
    /// # Errors
    /// The writer fails.
    pub fn page(&mut self, number: u32, page: &[u8]) -> io::Result<()> {
        self.changed += 1;
        self.inner.write_all(&number.to_le_bytes())?;
        self.inner.write_all(page)
    }

    /// Ends with the trailer; gives the number of pages written.
    ///
    /// # Errors
    /// The writer fails.
    pub fn finish(mut self, page_count: u32, root: &str) -> io::Result<u32> {
        for number in [END, self.changed, page_count] {
            self.inner.write_all(&number.to_le_bytes())?;
        }
        self.inner.write_all(&bytes_of(root)?)?;
        Ok(self.changed)
    }
}

/// A restored database as far as it has come: the file, and the leaves of what was written to it.
pub struct Restored<'a> {
    /// The work file.
    pub file: &'a File,
    /// A leaf for each page.
    pub leaves: Vec<Leaf>,
}

/// Writes the pages of a diff or delta over a database that was restored from its chain so far. Whatever does not fit is
/// refused; the work file is then good for nothing.
///
/// # Errors
/// [`Error::Damaged`] when the payload is not the one that its manifest names, or belongs to another parent.
pub fn apply(
    mut reader: impl Read,
    manifest: &Manifest,
    parent: &Manifest,
    restored: &mut Restored<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let damaged = |why: &str| Error::Damaged { object: format!("backup {}", manifest.id()), why: why.to_owned() };
    let cut = |_| damaged("it ends too early or is bent");
    let write = |source| Error::Seal { action: "write the restored database", source };
    let mut header = [0; MAGIC.len() + 4 + ROOT_BYTES];
    reader.read_exact(&mut header).map_err(cut)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let (page_size, parent_root) = rest.split_at(4);
    if magic != MAGIC {
        return Err(damaged("it holds no pages"));
    }
    if page_size != manifest.page_size.to_le_bytes() || manifest.page_size != parent.page_size {
        return Err(damaged("its page size is not the one of its manifest and its parent"));
    }
    if HEXLOWER.encode(parent_root) != parent.root {
        return Err(damaged("its pages belong to another parent"));
    }
    let page_count = manifest.page_count;
    restored.file.set_len(manifest.size()).map_err(write)?;
    restored.leaves.resize(page_count as usize, [0; LEAF_BYTES]);
    let mut page = vec![0; manifest.page_size as usize];
    let (mut last, mut changed) = (0, 0_u32);
    loop {
        cancel.check()?;
        let number = number(&mut reader).map_err(cut)?;
        if number == END {
            break;
        }
        // Ascending and within the database, so there is an end to it, too.
        if number <= last || number > page_count {
            return Err(damaged("it holds a page that does not belong there"));
        }
        reader.read_exact(&mut page).map_err(cut)?;
        let place = u64::from(number - 1) * u64::from(manifest.page_size);
        restored.file.write_all_at(&page, place).map_err(write)?;
        restored.leaves[number as usize - 1] = pages::leaf(number, &page);
        last = number;
        changed += 1;
    }
    let mut root = [0; ROOT_BYTES];
    let told = [number(&mut reader).map_err(cut)?, number(&mut reader).map_err(cut)?];
    reader.read_exact(&mut root).map_err(cut)?;
    if reader.read(&mut [0]).map_err(cut)? != 0 {
        return Err(damaged("it goes on after its end"));
    }
    if told != [changed, page_count] || manifest.changed != Some(changed) {
        return Err(damaged("it holds another number of pages than its manifest says"));
    }
    if HEXLOWER.encode(&root) != manifest.root
        || pages::root_of(manifest.page_size, &restored.leaves).as_ref() != Some(&manifest.root)
    {
        return Err(damaged("its pages are not those the manifest names"));
    }
    Ok(())
}

fn number(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn bytes_of(root: &str) -> io::Result<Vec<u8>> {
    let bytes = HEXLOWER.decode(root.as_bytes()).map_err(io::Error::other)?;
    if bytes.len() == ROOT_BYTES { Ok(bytes) } else { Err(io::Error::other("a root has 32 bytes")) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::manifest::{Kind, tests::example};

    const PAGE: usize = 512;

    fn page(content: u8) -> Vec<u8> {
        vec![content; PAGE]
    }

    fn leaves(database: &[u8]) -> Vec<Leaf> {
        database.chunks(PAGE).zip(1..).map(|(page, number)| pages::leaf(number, page)).collect()
    }

    fn manifest(sequence: u64, database: &[u8], changed: Option<u32>) -> Manifest {
        let mut manifest = example("g", sequence);
        manifest.kind = if changed.is_some() { Kind::Delta } else { Kind::Full };
        manifest.changed = changed;
        manifest.page_size = PAGE as u32;
        manifest.page_count = (database.len() / PAGE) as u32;
        manifest.root = pages::root_of(PAGE as u32, &leaves(database)).expect("a root");
        manifest
    }

    /// The payload that leads from one database to another, and both manifests.
    fn payload(old: &[u8], new: &[u8]) -> (Vec<u8>, Manifest, Manifest) {
        let parent = manifest(1, old, None);
        let (mut bytes, root) = (Vec::new(), manifest(2, new, Some(0)).root);
        let mut writer = Writer::new(&mut bytes, PAGE as u32, &parent.root).expect("begun");
        let before = leaves(old);
        for (page, number) in new.chunks(PAGE).zip(1..) {
            if before.get(number as usize - 1) != Some(&pages::leaf(number, page)) {
                writer.page(number, page).expect("written");
            }
        }
        let changed = writer.finish((new.len() / PAGE) as u32, &root).expect("ended");
        (bytes, parent, manifest(2, new, Some(changed)))
    }

    /// What a reader makes of it.
    fn applied(bytes: &[u8], old: &[u8], parent: &Manifest, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(old).expect("written");
        let mut restored = Restored { file: &file, leaves: leaves(old) };
        apply(bytes, manifest, parent, &mut restored, &Cancel::default())?;
        let mut found = Vec::new();
        io::Seek::rewind(&mut file).expect("rewound");
        file.read_to_end(&mut found).expect("read");
        Ok(found)
    }

    fn database(contents: &[u8]) -> Vec<u8> {
        contents.iter().flat_map(|content| page(*content)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn apply_undoes_what_was_written(
            old in proptest::collection::vec(0_u8..4, 1..20),
            new in proptest::collection::vec(0_u8..4, 1..20),
        ) {
            let (old, new) = (database(&old), database(&new));
            let (bytes, parent, manifest) = payload(&old, &new);
            prop_assert_eq!(applied(&bytes, &old, &parent, &manifest).expect("fits"), new);
        }

        #[test]
        fn whatever_was_bent_is_refused(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
            let (old, new) = (database(&[1, 2, 3, 4]), database(&[1, 9, 3, 8, 7]));
            let (mut bytes, parent, manifest) = payload(&old, &new);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let outcome = applied(&bytes, &old, &parent, &manifest);
            prop_assert!(matches!(outcome, Err(Error::Damaged { .. })), "byte {}", at);
        }

        #[test]
        fn whatever_was_cut_is_refused(at in any::<proptest::sample::Index>()) {
            let (old, new) = (database(&[1, 2, 3, 4]), database(&[1, 9]));
            let (bytes, parent, manifest) = payload(&old, &new);
            let at = at.index(bytes.len());
            let outcome = applied(&bytes[..at], &old, &parent, &manifest);
            prop_assert!(matches!(outcome, Err(Error::Damaged { .. })), "{} bytes", at);
        }
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        let (old, new) = (database(&[1, 2, 3]), database(&[1, 9, 3]));
        let (bytes, parent, manifest) = payload(&old, &new);
        let refused = |name: &str, bytes: &[u8], parent: &Manifest, manifest: &Manifest, why: &str| {
            let error = applied(bytes, &old, parent, manifest).expect_err(name).to_string();
            assert!(error.contains(why), "{name}: {error}");
        };
        let longer = [&bytes[..], b"x"].concat();
        refused("something after it", &longer, &parent, &manifest, "goes on after its end");
        let other = Manifest { root: "00".into(), ..parent.clone() };
        refused("another parent", &bytes, &other, &manifest, "belong to another parent");
        let other = Manifest { page_size: 1024, ..parent.clone() };
        refused("another page size", &bytes, &other, &manifest, "page size");
        let other = Manifest { changed: Some(2), ..manifest.clone() };
        refused("fewer pages", &bytes, &parent, &other, "another number of pages");
        refused("a tar archive", &[0; 600], &parent, &manifest, "holds no pages");

        let mut twice = Vec::new();
        let mut writer = Writer::new(&mut twice, PAGE as u32, &parent.root).expect("begun");
        for number in [2, 2] {
            writer.page(number, &page(9)).expect("written");
        }
        writer.finish(3, &manifest.root).expect("ended");
        refused("a page twice", &twice, &parent, &manifest, "does not belong there");
        let mut beyond = Vec::new();
        let mut writer = Writer::new(&mut beyond, PAGE as u32, &parent.root).expect("begun");
        writer.page(4, &page(9)).expect("written");
        writer.finish(3, &manifest.root).expect("ended");
        refused("a page beyond the end", &beyond, &parent, &manifest, "does not belong there");
    }

    #[test]
    fn a_page_that_nobody_sent_is_no_page_of_zeros() {
        // A database that has grown by a page which is not in the payload.
        let (old, new) = (database(&[1, 2]), database(&[1, 2, 0]));
        let (_, parent, mut manifest) = payload(&old, &new);
        manifest.changed = Some(0);
        let mut bytes = Vec::new();
        let writer = Writer::new(&mut bytes, PAGE as u32, &parent.root).expect("begun");
        writer.finish(3, &manifest.root).expect("ended");
        assert!(matches!(applied(&bytes, &old, &parent, &manifest), Err(Error::Damaged { .. })));
    }
}
