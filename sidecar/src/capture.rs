//! What is copied, and how: one read transaction, every page looked at once, those that are needed straight through zstd
//! and age into an unlinked spool file.
//!
//! No network inside the transaction, no plaintext on disk, nothing written to the database's disk, memory that does not
//! grow with the database.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::{
    backup::Place,
    changes,
    error::Error,
    lineage::{Base, Lineage},
    manifest::{self, Head, Kind, Layout},
    pages::{self, LEAF_BYTES},
    payload::{self, PkiFile},
    plan::{self, Frame, Why},
    requests::Ledger,
    seal::{Digest, Effort, Sealer, sha256},
    sqlite::{Live, Pages, Snapshot},
    store,
    table::{self, Table},
};

/// A kine database is a third of its size when it is sealed.
const USUAL_SHARE: u64 = 3;

/// A sealed copy that is not in the store yet.
pub struct Captured {
    pub(crate) spool: File,
    pub(crate) digest: Digest,
    pub(crate) time: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) parent: Option<Head>,
    pub(crate) changed: Option<u32>,
    pub(crate) layout: Layout,
    pub(crate) page_size: u32,
    pub(crate) page_count: u32,
    pub(crate) revision: i64,
    pub(crate) restored_from: Option<String>,
    pub(crate) requests: Vec<manifest::Request>,
    pub(crate) table: Arc<Table>,
    /// Why it is of its kind.
    pub why: Why,
    /// What was copied; equal marks mean that nothing has changed since.
    pub mark: Mark,
}

impl Captured {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the newest backup of this lineage holds all of this already.
    #[must_use]
    pub fn is_known(&self, lineage: &Lineage) -> bool {
        let Some(newest) = lineage.base().map(|base| &base.newest().manifest) else { return false };
        self.why.is_routine() && newest.root == self.table.root() && newest.requests == self.requests
    }
}

/// Tells whether anything has changed since a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    version: i64,
    pki: String,
}

impl Mark {
    /// The mark of the present state; equal to a capture's if that capture is still everything there is.
    ///
    /// # Errors
    /// The database or PKI cannot be read.
    pub fn now(live: &Live, data_dir: &Path, layout: Layout) -> Result<Self, Error> {
        Ok(Self { version: live.version()?, pki: fingerprint(&payload::read_pki(data_dir, layout)?) })
    }
}

/// Copies what the next backup of this lineage has to hold into the spool, sealed; `time` is now.
///
/// # Errors
/// The database cannot be read within its time, or the spool is full.
pub fn capture(
    live: &mut Live,
    layout: Layout,
    lineage: &Lineage,
    place: &Place,
    time: Timestamp,
) -> Result<Captured, Error> {
    let pki = payload::read_pki(&place.data_dir, layout)?;
    let requests = Ledger::load(&place.data_dir)?.to_manifest();
    let snapshot = live.snapshot()?;
    if snapshot.page_count == 0 {
        return Err(Error::NoDatabase { data_dir: place.data_dir.clone(), tried: vec![layout.database().into()] });
    }
    let frame = Frame {
        page_size: snapshot.page_size,
        layout,
        pki: fingerprint(&pki),
        sealed_for: sha256(lineage.fingerprint().as_bytes()),
    };
    let pass = Pass { snapshot: &snapshot, lineage, spool_dir: &place.spool_dir, frame: &frame, pki: &pki, time };
    let (body, why) = pass.copy()?;
    let (page_size, page_count, revision) = (snapshot.page_size, snapshot.page_count, snapshot.revision);
    let mark = Mark { version: snapshot.version, pki: frame.pki };
    let restored_from = snapshot.restored_from.clone();
    // The writers wait no longer; the rest of the sealing is ours alone.
    drop(snapshot);
    let failed = |source| spool_failed(&place.spool_dir, source);
    let (mut spool, digest) = body.sealer.finish().map_err(failed)?;
    spool.flush().map_err(failed)?;
    let parent = match (body.kind, lineage.base()) {
        (Kind::Diff, Some(base)) => Some(base.full().as_head()),
        (Kind::Delta, Some(base)) => Some(base.newest().as_head()),
        _ => None,
    };
    Ok(Captured {
        spool,
        digest,
        time,
        kind: body.kind,
        parent,
        changed: body.changed,
        layout,
        page_size,
        page_count,
        revision,
        restored_from,
        requests,
        table: Arc::new(body.table),
        why,
        mark,
    })
}

/// One way through the pages.
struct Pass<'a> {
    snapshot: &'a Snapshot<'a>,
    lineage: &'a Lineage,
    spool_dir: &'a Path,
    frame: &'a Frame,
    pki: &'a [PkiFile],
    time: Timestamp,
}

/// What a pass has made.
struct Body {
    kind: Kind,
    changed: Option<u32>,
    sealer: Sealer<File>,
    table: Table,
}

impl Pass<'_> {
    fn copy(&self) -> Result<(Body, Why), Error> {
        let base = self.lineage.base();
        let plan = plan::plan(base.map(Base::standing).as_ref(), self.frame, self.time);
        match (plan.kind, base) {
            (Kind::Diff | Kind::Delta, Some(base)) => match self.changes(plan.kind, base)? {
                Some(body) => Ok((body, plan.why)),
                // Within the same transaction: the pages are the same.
                None => Ok((self.full()?, Why::MostlyChanged)),
            },
            _ => Ok((self.full()?, plan.why)),
        }
    }

    /// Everything.
    fn full(&self) -> Result<Body, Error> {
        let failed = |source| spool_failed(self.spool_dir, source);
        // What the last full took tells; the usual share of a database is a guess, and a guess refuses nothing.
        let last = self.lineage.base().map(|base| base.full().manifest.data.size);
        let table = u64::from(self.snapshot.page_count) * LEAF_BYTES as u64;
        let needed = last.unwrap_or(self.snapshot.size() / USUAL_SHARE) + table;
        match check_spool(&rustix::fs::statvfs(self.spool_dir).map_err(|e| failed(e.into()))?, needed) {
            Err(why) if last.is_some() => return Err(failed(why)),
            Err(why) => tracing::warn!("{} may be too small for the sealed copy: {why}", self.spool_dir.display()),
            Ok(()) => {}
        }
        let (mut sealer, mut table) = self.begin(Effort::Quick)?;
        let modified = u64::try_from(self.time.as_second()).unwrap_or(0);
        self.snapshot.pages(|pages| {
            let mut database = Stream { pages, table: &mut table, offset: 0, failure: None };
            let size = self.snapshot.size();
            let layout = self.frame.layout;
            let written = payload::write_full(&mut sealer, self.pki, layout, &mut database, size, modified);
            match (database.failure, written) {
                (Some(failure), _) => Err(failure),
                (None, written) => written.map_err(failed),
            }
        })?;
        Ok(Body { kind: Kind::Full, changed: None, sealer, table: table.finish().map_err(failed)? })
    }

    /// What has changed since the parent; nothing if that is so much that a full costs less.
    fn changes(&self, kind: Kind, base: &Base) -> Result<Option<Body>, Error> {
        let failed = |source| spool_failed(self.spool_dir, source);
        let (mut sealer, mut table) = self.begin(Effort::Usual)?;
        let parent = base.table(kind);
        let mut before = parent.leaves();
        let mut changed = 0;
        let mut writer = changes::Writer::new(&mut sealer, self.snapshot.page_size, parent.root()).map_err(failed)?;
        let all = self.snapshot.pages(|pages| {
            while pages.advance()? {
                let leaf = pages::leaf(pages.number(), pages.page());
                table.push(&leaf).map_err(failed)?;
                if before.next().map_err(failed)? != Some(leaf) {
                    changed += 1;
                    if plan::is_mostly_changed(changed, self.snapshot.page_count) {
                        return Ok(false);
                    }
                    writer.page(pages.number(), pages.page()).map_err(failed)?;
                }
            }
            Ok(true)
        })?;
        if !all {
            return Ok(None);
        }
        let table = table.finish().map_err(failed)?;
        let changed = writer.finish(self.snapshot.page_count, table.root()).map_err(failed)?;
        Ok(Some(Body { kind, changed: Some(changed), sealer, table }))
    }

    fn begin(&self, effort: Effort) -> Result<(Sealer<File>, table::Writer), Error> {
        let Frame { page_size, pki, sealed_for, .. } = self.frame;
        let head = table::Head::new(*page_size, self.snapshot.page_count, pki, sealed_for);
        let failed = |source| spool_failed(self.spool_dir, source);
        let spool = store::spool(self.spool_dir)?;
        let sealer = Sealer::new(self.lineage.sealed_for(), spool, effort).map_err(failed)?;
        let table = table::Writer::new(store::spool(self.spool_dir)?, head).map_err(failed)?;
        Ok((sealer, table))
    }
}

/// Pages as one stream of bytes, each told to the table on its way.
struct Stream<'a, 's> {
    pages: &'a mut Pages<'s>,
    table: &'a mut table::Writer,
    offset: usize,
    /// What was wrong; an `io::Error` could not tell.
    failure: Option<Error>,
}

impl Read for Stream<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offset == self.pages.page().len() {
            match self.pages.advance() {
                Ok(true) => {
                    self.offset = 0;
                    self.table.push(&pages::leaf(self.pages.number(), self.pages.page()))?;
                }
                Ok(false) => return Ok(0),
                Err(failure) => {
                    self.failure = Some(failure);
                    return Err(io::Error::other("the database could not be read to its end"));
                }
            }
        }
        let rest = &self.pages.page()[self.offset..];
        let count = buffer.len().min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.offset += count;
        Ok(count)
    }
}

/// Half a copy is of no use, and a full disk is everybody's: better not begun.
fn check_spool(room: &rustix::fs::StatVfs, needed: u64) -> io::Result<()> {
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    match free < needed {
        true => Err(io::Error::other(format!("about {needed} bytes are needed, {free} are free; make room first"))),
        false => Ok(()),
    }
}

fn fingerprint(pki: &[PkiFile]) -> String {
    HEXLOWER.encode(&payload::fingerprint(pki))
}

fn spool_failed(spool_dir: &Path, source: io::Error) -> Error {
    Error::File { action: "write the sealed copy in", path: spool_dir.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_does_not_fit_is_not_begun() {
        let here = || rustix::fs::statvfs(".").expect("a disk");
        let free = here().f_bavail * here().f_frsize;
        assert!(check_spool(&here(), 1 << 20).is_ok());
        let error = check_spool(&here(), free.saturating_mul(2)).expect_err("too much").to_string();
        assert!(error.contains("are free; make room first"), "{error}");
    }
}
