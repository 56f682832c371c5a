//! What a full backup holds: a tar archive, PKI and token files first, then the database. [`write_full`] and
//! [`read_full`] mirror each other. Paths are those below the data directory, so that
//! `age -d | zstd -d | tar -x` in an empty folder is a working restore with stock tools.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use crate::{
    error::Error,
    install::Cancel,
    manifest::{Layout, Manifest},
    owner,
    pages::{self, Leaf},
};

/// A certificate or key is a few KiB; an archive that claims more is not ours.
const PKI_FILE_BYTES: u64 = 1 << 20;
const PKI_FILES: usize = 1_000;

/// A file of PKI or token, small enough to hold.
#[derive(Clone, PartialEq, Eq)]
pub struct PkiFile {
    /// Below the data directory.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Content; secret.
    pub bytes: Vec<u8>,
}

/// Reads PKI and token of a layout, sorted by path; what is not there is left out.
///
/// # Errors
/// A file that is there cannot be read.
pub fn read_pki(data_dir: &Path, layout: Layout) -> Result<Vec<PkiFile>, Error> {
    let mut files = Vec::new();
    for entry in layout.pki() {
        collect(data_dir, Path::new(entry), &mut files)?;
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Something that changes when PKI or token do.
#[must_use]
pub fn fingerprint(files: &[PkiFile]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(file.path.as_os_str().as_encoded_bytes());
        context.update(&(file.bytes.len() as u64).to_le_bytes());
        context.update(&file.bytes);
    }
    context.finish().as_ref().to_vec()
}

/// Writes the archive; `database` gives exactly `size` bytes.
///
/// # Errors
/// The writer or reader fails.
pub fn write_full(
    writer: impl Write,
    files: &[PkiFile],
    layout: Layout,
    database: &mut dyn Read,
    size: u64,
    modified_seconds: u64,
) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(writer);
    for file in files {
        let mut header = header(file.bytes.len() as u64, file.mode, modified_seconds);
        archive.append_data(&mut header, &file.path, &file.bytes[..])?;
    }
    archive.append_data(&mut header(size, 0o600, modified_seconds), layout.database(), database)?;
    archive.finish()
}

fn header(size: u64, mode: u32, modified_seconds: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(modified_seconds);
    header
}

/// Reads the archive back: the database goes to `work`, PKI and token are returned, and a leaf for each page. Nothing is
/// written anywhere else.
///
/// # Errors
/// [`Error::Damaged`] when names, sizes or the root of the pages are not those the manifest names.
pub fn read_full(
    reader: impl Read,
    manifest: &Manifest,
    work: &mut File,
    cancel: &Cancel,
) -> Result<(Vec<PkiFile>, Vec<Leaf>), Error> {
    let damaged = |why: &str| Error::Damaged { object: format!("backup {}", manifest.id()), why: why.to_owned() };
    let cut = |_| damaged("it ends too early or is bent");
    let mut archive = tar::Archive::new(reader);
    let mut files = Vec::new();
    let mut leaves = None;
    for entry in archive.entries().map_err(cut)? {
        let mut entry = entry.map_err(cut)?;
        let path = entry.path().map_err(cut)?.into_owned();
        if leaves.is_some() || !entry.header().entry_type().is_file() {
            return Err(damaged("it holds something after the database, or something that is no file"));
        }
        if path == Path::new(manifest.layout.database()) {
            leaves = Some(copy_database(&mut entry, manifest, work, cancel)?);
        } else if is_pki(&path, manifest.layout) && entry.size() <= PKI_FILE_BYTES && files.len() < PKI_FILES {
            let mode = entry.header().mode().map_err(cut)? & 0o777;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(cut)?;
            files.push(PkiFile { path, mode, bytes });
        } else {
            return Err(damaged("it holds a file that does not belong there"));
        }
    }
    let leaves = leaves.unwrap_or_default();
    if pages::root_of(manifest.page_size, &leaves).as_ref() != Some(&manifest.root) {
        return Err(damaged("its pages are not those the manifest names"));
    }
    Ok((files, leaves))
}

/// Copies page by page, so that the leaves are those of what was written.
fn copy_database(
    entry: &mut impl Read,
    manifest: &Manifest,
    work: &mut File,
    cancel: &Cancel,
) -> Result<Vec<Leaf>, Error> {
    let damaged = |why: &str| Error::Damaged { object: format!("backup {}", manifest.id()), why: why.to_owned() };
    let page_size = manifest.page_size;
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Err(damaged("its page size is none of SQLite's"));
    }
    let mut page = vec![0; page_size as usize];
    let mut leaves = Vec::new();
    let mut writer = std::io::BufWriter::with_capacity(1 << 18, work);
    for number in 1..=manifest.page_count {
        cancel.check()?;
        entry.read_exact(&mut page).map_err(|_| damaged("it ends too early or is bent"))?;
        leaves.push(pages::leaf(number, &page));
        writer.write_all(&page).map_err(|source| Error::Seal { action: "write the restored database", source })?;
    }
    writer.flush().map_err(|source| Error::Seal { action: "write the restored database", source })?;
    if entry.read(&mut [0]).map_err(|_| damaged("it is bent"))? != 0 {
        return Err(damaged("its database is larger than the manifest says"));
    }
    Ok(leaves)
}

/// Writes PKI and token files that are absent, whole or not at all; those that are there stay. They belong to whom the
/// data directory belongs to.
///
/// # Errors
/// The data directory cannot be written.
pub fn write_pki(data_dir: &Path, files: &[PkiFile]) -> Result<usize, Error> {
    let mut written = 0;
    for file in files {
        let path = data_dir.join(&file.path);
        let folder = path.parent().unwrap_or(data_dir);
        make_folders(data_dir, folder)?;
        written += usize::from(write_if_absent(&path, folder, file).map_err(Error::file("write", &path))?);
    }
    Ok(written)
}

fn make_folders(data_dir: &Path, folder: &Path) -> Result<(), Error> {
    if folder == data_dir || folder.is_dir() {
        return Ok(());
    }
    make_folders(data_dir, folder.parent().unwrap_or(data_dir))?;
    let made = std::fs::DirBuilder::new().mode(0o755).create(folder);
    made.and_then(|()| owner::take_from(folder, data_dir)).map_err(Error::file("make the folder", folder))
}

/// A link fails where the name is taken, so nothing that is there is ever replaced, and no half file gets the name.
fn write_if_absent(path: &Path, folder: &Path, file: &PkiFile) -> std::io::Result<bool> {
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(&file.bytes)?;
    part.as_file().set_permissions(PermissionsExt::from_mode(file.mode))?;
    owner::take_from(part.path(), folder)?;
    part.as_file().sync_all()?;
    match std::fs::hard_link(part.path(), path) {
        Ok(()) => File::open(folder)?.sync_all().map(|()| true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_pki(path: &Path, layout: Layout) -> bool {
    path.components().all(|c| matches!(c, Component::Normal(_))) && layout.pki().iter().any(|pki| path.starts_with(pki))
}

fn collect(data_dir: &Path, below: &Path, files: &mut Vec<PkiFile>) -> Result<(), Error> {
    let path = data_dir.join(below);
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::file("look at", &path)(e)),
    };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(&path).map_err(Error::file("list", &path))? {
            let entry = entry.map_err(Error::file("list", &path))?;
            collect(data_dir, &below.join(entry.file_name()), files)?;
        }
    } else if metadata.is_file() && metadata.len() <= PKI_FILE_BYTES && files.len() < PKI_FILES {
        let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
        files.push(PkiFile { path: below.to_owned(), mode: metadata.mode() & 0o777, bytes });
    } else {
        tracing::warn!("{} is neither a small file nor a folder, and is left out of the backup", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::example;

    const PAGE: usize = 4096;

    type Entries<'a> = &'a [(&'a str, &'a [u8])];

    /// An archive of these entries, and what reading it for a database of one page with this root gives.
    fn read(entries: Entries<'_>, root: &str) -> Result<Vec<PkiFile>, Error> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in entries {
            let mut header = header(bytes.len() as u64, 0o600, 0);
            // As an attacker would: `append_data` refuses the paths that matter here.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(&header, *bytes).expect("appended");
        }
        let mut manifest = example("g", 1);
        root.clone_into(&mut manifest.root);
        let mut work = tempfile::tempfile().expect("a file");
        let archive = archive.into_inner().expect("an archive");
        read_full(&archive[..], &manifest, &mut work, &Cancel::default()).map(|(files, _)| files)
    }

    fn root(page: &[u8]) -> String {
        let mut root = pages::Root::new(PAGE as u32, 1);
        root.push(page);
        root.finish().expect("complete")
    }

    #[test]
    fn what_belongs_there_is_read() {
        let page = [7; PAGE];
        let files = read(&[("pki/ca.key", b"key"), ("state.db", &page)], &root(&page)).expect("ours");
        assert_eq!(
            (files.len(), files[0].path.as_path(), &files[0].bytes[..]),
            (1, Path::new("pki/ca.key"), &b"key"[..])
        );
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        let (page, good) = ([7; PAGE], root(&[7; PAGE]));
        let long = [7; PAGE + 1];
        let cases: [(&str, Entries<'_>, &str); 8] = [
            ("a way out", &[("../evil", b"x"), ("state.db", &page)], &good),
            ("a way out below", &[("pki/../../evil", b"x"), ("state.db", &page)], &good),
            ("an absolute path", &[("/etc/passwd", b"x"), ("state.db", &page)], &good),
            ("a foreign file", &[("bin/sh", b"x"), ("state.db", &page)], &good),
            ("something after the database", &[("state.db", &page), ("pki/late", b"x")], &good),
            ("no database", &[("pki/ca.key", b"key")], &good),
            ("a larger database", &[("state.db", &long)], &good),
            ("other pages", &[("state.db", &page)], "00"),
        ];
        for (name, entries, root) in cases {
            assert!(matches!(read(entries, root), Err(Error::Damaged { .. })), "{name}");
        }
    }

    #[test]
    fn a_restore_that_is_cancelled_stops_between_pages() {
        let (cancel, mut work) = (Cancel::default(), tempfile::tempfile().expect("a file"));
        cancel.ask();
        let mut database = &[0; PAGE][..];
        let outcome = copy_database(&mut database, &example("g", 1), &mut work, &cancel);
        assert!(matches!(outcome, Err(Error::Interrupted)));
    }
}
