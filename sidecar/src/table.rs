//! Page tables: the leaves of a database as it was backed up. The next backup holds what has another leaf.
//!
//! ```text
//! line 1   JSON: what else the backup had, see Head
//! then     leaf(1), leaf(2), ...   16 bytes each
//! ```
//!
//! Two of them are kept on the data volume, of the newest backup and of the last full, so that a restarted sidecar goes
//! on with a delta. Nothing is believed of them: a table counts only if its root is the one that a signed manifest names.
//! While they are made they lie in the spool, since nothing may be written to the database's disk inside its transaction.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    lock, owner,
    pages::{LEAF_BYTES, Leaf, Root},
    signing::OWN_FOLDER,
};

const MAGIC: &str = "vcluster-backup page table 1";
const PREPARED_SUFFIX: &str = ".next";
/// A longer first line is none of ours.
const HEAD_BYTES: u64 = 4096;

/// Which backup a table is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The newest.
    Newest,
    /// The last full.
    Full,
}

impl Of {
    fn path(self, data_dir: &Path) -> PathBuf {
        data_dir.join(OWN_FOLDER).join(match self {
            Self::Newest => "pages.newest",
            Self::Full => "pages.full",
        })
    }

    fn prepared(self, data_dir: &Path) -> PathBuf {
        let mut name = self.path(data_dir).into_os_string();
        name.push(PREPARED_SUFFIX);
        name.into()
    }
}

/// Line 1 of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Tells a table from other files.
    magic: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub page_count: u32,
    /// Digest of PKI and token files.
    pub pki: String,
    /// Digest of the recipients.
    pub sealed_for: String,
}

impl Head {
    /// The first line of the table of such a database.
    #[must_use]
    pub fn new(page_size: u32, page_count: u32, pki: &str, sealed_for: &str) -> Self {
        Self { magic: MAGIC.into(), page_size, page_count, pki: pki.into(), sealed_for: sealed_for.into() }
    }
}

/// A table whose root is known.
#[derive(Debug)]
pub struct Table {
    file: File,
    head: Head,
    head_bytes: u64,
    root: String,
}

impl Table {
    /// The table on the data volume, if there is one that has this root. One that was prepared for a manifest counts,
    /// too: the program may have been killed between the manifest and the renaming.
    #[must_use]
    pub fn load(data_dir: &Path, of: Of, root: &str) -> Option<Self> {
        let vouched = |path: &Path| match Self::read(path) {
            Ok(table) if table.root == root => Some(table),
            Ok(_) => None,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("page table {} is not used: {error}", path.display());
                }
                None
            }
        };
        vouched(&of.path(data_dir)).or_else(|| vouched(&of.prepared(data_dir)))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let file = File::open(path)?;
        let mut start = Vec::new();
        At { file: &file, offset: 0 }.take(HEAD_BYTES).read_to_end(&mut start)?;
        let end = start.iter().position(|b| *b == b'\n').ok_or_else(|| wrong("it has no first line"))?;
        let head: Head = serde_json::from_slice(&start[..end]).map_err(|_| wrong("its first line is none of ours"))?;
        if head.magic != MAGIC {
            return Err(wrong("it is of another version"));
        }
        let head_bytes = end as u64 + 1;
        if file.metadata()?.len() != head_bytes + u64::from(head.page_count) * LEAF_BYTES as u64 {
            return Err(wrong("it has not the size it claims"));
        }
        let mut root = Root::new(head.page_size, head.page_count);
        let mut leaves = Leaves::new(&file, head_bytes, head.page_count);
        while let Some(leaf) = leaves.next()? {
            root.push_leaf(&leaf);
        }
        let root = root.finish().ok_or_else(|| wrong("leaves are missing"))?;
        Ok(Self { file, head, head_bytes, root })
    }

    /// Its first line.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The root of its leaves.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Its leaves from the first on.
    #[must_use]
    pub fn leaves(&self) -> Leaves<'_> {
        Leaves::new(&self.file, self.head_bytes, self.head.page_count)
    }

    /// Copies it to the data volume, before the manifest that will vouch for it is put.
    ///
    /// # Errors
    /// The data volume cannot be written.
    pub fn prepare(&self, data_dir: &Path, of: Of) -> Result<(), Error> {
        let folder = lock::make_own_folder(data_dir)?;
        let path = of.prepared(data_dir);
        let copy = || {
            // Never over the old content: a table that was loaded from there may still be in use.
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut to = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            io::copy(&mut At { file: &self.file, offset: 0 }, &mut to)?;
            owner::take_from(&path, &folder)
        };
        copy().map_err(Error::file("keep the page table in", &path))
    }

    /// Removes both tables, so that the next backup is a full even after a restart: what is in the store is not what
    /// they vouch for.
    ///
    /// # Errors
    /// The data volume cannot be written.
    pub fn forget(data_dir: &Path) -> Result<(), Error> {
        for path in [Of::Newest, Of::Full].into_iter().flat_map(|of| [of.path(data_dir), of.prepared(data_dir)]) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::file("remove", &path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a prepared table in its place, after the manifest was put. No fsync: what a loss of power takes costs a full.
    ///
    /// # Errors
    /// The data volume cannot be written.
    pub fn keep(data_dir: &Path, of: Of) -> Result<(), Error> {
        let path = of.path(data_dir);
        std::fs::rename(of.prepared(data_dir), &path).map_err(Error::file("keep the page table as", &path))
    }
}

/// Reads leaves in order, without holding them.
pub struct Leaves<'a> {
    reader: BufReader<At<'a>>,
    left: u32,
}

impl<'a> Leaves<'a> {
    fn new(file: &'a File, offset: u64, count: u32) -> Self {
        Self { reader: BufReader::with_capacity(1 << 15, At { file, offset }), left: count }
    }

    /// The next leaf; nothing after the last.
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and is read in step with something else")]
    pub fn next(&mut self) -> io::Result<Option<Leaf>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut leaf = [0; LEAF_BYTES];
        self.reader.read_exact(&mut leaf)?;
        Ok(Some(leaf))
    }
}

/// Reads a file from an offset of its own, so that several readers share one handle.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A table in the making.
pub struct Writer {
    file: BufWriter<File>,
    head: Head,
    head_bytes: u64,
    root: Root,
}

impl Writer {
    /// Begins a table in an empty file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(file: File, head: Head) -> io::Result<Self> {
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        let mut file = BufWriter::with_capacity(1 << 15, file);
        file.write_all(&line)?;
        let root = Root::new(head.page_size, head.page_count);
        Ok(Self { file, head, head_bytes: line.len() as u64, root })
    }

    /// Takes the next leaf.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, leaf: &Leaf) -> io::Result<()> {
        self.root.push_leaf(leaf);
        self.file.write_all(leaf)
    }

    /// The table, once every page has given its leaf.
    ///
    /// # Errors
    /// Pages are missing, or the file cannot be written.
    pub fn finish(self) -> io::Result<Table> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let root = self.root.finish().ok_or_else(|| io::Error::other("leaves are missing"))?;
        Ok(Table { file, head: self.head, head_bytes: self.head_bytes, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::leaf;

    fn table(pages: &[&[u8]]) -> Table {
        let head = Head::new(4, pages.len() as u32, "pki", "keys");
        let mut writer = Writer::new(tempfile::tempfile().expect("a file"), head).expect("begun");
        for (index, page) in pages.iter().enumerate() {
            writer.push(&leaf(index as u32 + 1, page)).expect("written");
        }
        writer.finish().expect("complete")
    }

    fn leaves(table: &Table) -> Vec<Leaf> {
        let mut leaves = table.leaves();
        std::iter::from_fn(|| leaves.next().expect("readable")).collect()
    }

    #[test]
    fn a_table_comes_back_from_the_volume_by_its_root_and_only_then() {
        let dir = tempfile::tempdir().expect("tempdir");
        let made = table(&[b"aaaa", b"bbbb"]);
        made.prepare(dir.path(), Of::Newest).expect("prepared");
        // Killed before the renaming: what was prepared counts if its manifest is there.
        assert!(Table::load(dir.path(), Of::Newest, made.root()).is_some());
        Table::keep(dir.path(), Of::Newest).expect("kept");
        let loaded = Table::load(dir.path(), Of::Newest, made.root()).expect("vouched for");
        assert_eq!((loaded.head(), leaves(&loaded)), (made.head(), leaves(&made)));
        assert!(Table::load(dir.path(), Of::Newest, table(&[b"aaaa", b"bbbc"]).root()).is_none(), "of another backup");
        assert!(Table::load(dir.path(), Of::Full, made.root()).is_none(), "there is none");
    }

    #[test]
    fn a_table_that_was_touched_is_not_used() {
        type Damage = fn(&mut Vec<u8>);
        let damage: [(&str, Damage); 6] = [
            ("a bent leaf", |b| *b.last_mut().expect("not empty") ^= 1),
            ("a leaf missing", |b| b.truncate(b.len() - LEAF_BYTES)),
            ("a leaf too many", |b| b.extend_from_slice(&[0; LEAF_BYTES])),
            ("no first line", |b| b.retain(|byte| *byte != b'\n')),
            ("another first line", |b| b[0] = b'['),
            ("empty", Vec::clear),
        ];
        for (name, change) in damage {
            let dir = tempfile::tempdir().expect("tempdir");
            let made = table(&[b"aaaa", b"bbbb", b"cccc"]);
            made.prepare(dir.path(), Of::Newest).expect("prepared");
            Table::keep(dir.path(), Of::Newest).expect("kept");
            let path = Of::Newest.path(dir.path());
            let mut bytes = std::fs::read(&path).expect("read");
            change(&mut bytes);
            std::fs::write(&path, bytes).expect("written");
            assert!(Table::load(dir.path(), Of::Newest, made.root()).is_none(), "{name}");
        }
    }
}
