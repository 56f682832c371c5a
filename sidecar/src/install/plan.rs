//! How the old database is replaced: a list of steps, so that each can fail or be the last before a crash, and what the
//! next start makes of that.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    database::close_old,
    files::{COMPANIONS, file_name, folder_of, remove_if_there, set_aside, sync_folder, with_suffix},
};
use crate::{error::Error, manifest::Layout};

pub(super) const KEPT_INFIX: &str = ".before-";
/// There while files are being moved.
pub(super) const INTENT_SUFFIX: &str = ".intent";

/// One change to a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The old database gets a second name.
    Link { from: PathBuf, to: PathBuf },
    /// A file is moved, if it is there.
    MoveAside { from: PathBuf, to: PathBuf },
    /// What is about to happen is written down, so that the next start can end it.
    WriteIntent { path: PathBuf, intent: Intent },
    /// The new database takes its place: the commit.
    Rename { from: PathBuf, to: PathBuf },
    /// It has happened.
    RemoveIntent { path: PathBuf },
    /// What was done so far survives a loss of power.
    Sync { folder: PathBuf },
}

/// A replacement as a list of steps: after each of them a program that is killed leaves the old database or the new
/// one, or an intent that [`roll_forward`] brings to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    target: PathBuf,
    kept: PathBuf,
}

/// A replacement that needs more than one rename: the names of the work file and of what is kept, beside the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    work: String,
    kept: String,
}

impl Plan {
    /// A sound database is one file, so one rename replaces it.
    pub(super) fn over_a_sound_one(target: &Path, work: &Path, kept: &Path) -> Self {
        let folder = folder_of(target).to_owned();
        let steps = vec![
            Step::Link { from: target.to_owned(), to: kept.to_owned() },
            Step::Sync { folder: folder.clone() },
            Step::Rename { from: work.to_owned(), to: target.to_owned() },
            Step::Sync { folder },
        ];
        Self { steps, target: target.to_owned(), kept: kept.to_owned() }
    }

    /// What SQLite cannot read may be up to four files that belong together, and so do those of a database that is gone.
    pub(super) fn aside(target: &Path, work: &Path, kept: &Path) -> Self {
        let folder = folder_of(target).to_owned();
        let intent = Intent { work: file_name(work), kept: file_name(kept) };
        let path = with_suffix(target, INTENT_SUFFIX);
        let mut steps = vec![Step::WriteIntent { path: path.clone(), intent }, Step::Sync { folder: folder.clone() }];
        steps.extend(Self::moves(target, kept));
        steps.extend([
            Step::Sync { folder: folder.clone() },
            Step::Rename { from: work.to_owned(), to: target.to_owned() },
            Step::Sync { folder: folder.clone() },
            Step::RemoveIntent { path },
            Step::Sync { folder },
        ]);
        Self { steps, target: target.to_owned(), kept: kept.to_owned() }
    }

    fn moves(target: &Path, kept: &Path) -> impl Iterator<Item = Step> {
        let companions = COMPANIONS.into_iter().chain([""]);
        companions.map(|suffix| Step::MoveAside { from: with_suffix(target, suffix), to: with_suffix(kept, suffix) })
    }

    /// Whether the new database has its place after this many steps.
    pub(super) fn is_committed_after(&self, count: usize) -> bool {
        self.steps.iter().take(count).any(|step| matches!(step, Step::Rename { .. }))
    }

    pub(super) fn carry_out(&self) -> Result<(), Error> {
        for (done, step) in self.steps.iter().enumerate() {
            match step.take() {
                Err(error) if self.is_committed_after(done) => {
                    tracing::warn!("the restore is in place, but: {}", error.chain());
                }
                Err(error) => {
                    self.undo(done);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        if let Err(error) = forget_older(&self.target, &self.kept) {
            tracing::warn!("the restore is in place, but: {}", error.chain());
        }
        Ok(())
    }

    /// Takes back what was done before a step that failed; what cannot be taken back is brought to its end by the next
    /// start.
    fn undo(&self, done: usize) {
        for step in self.steps.iter().take(done).rev() {
            let undone = match step {
                Step::Link { to, .. } => std::fs::remove_file(to),
                Step::MoveAside { from, to } if to.exists() => std::fs::rename(to, from),
                Step::WriteIntent { path, .. } => std::fs::remove_file(path),
                _ => Ok(()),
            };
            if let Err(error) = undone {
                tracing::error!("cannot take back a step of the restore: {error}");
                return;
            }
        }
    }
}

impl Step {
    pub(super) fn take(&self) -> Result<(), Error> {
        match self {
            Self::Link { from, to } => {
                std::fs::hard_link(from, to).map_err(Error::file("keep the old database as", to))
            }
            Self::MoveAside { from, to } => set_aside(from, to),
            Self::WriteIntent { path, intent } => write_intent(path, intent),
            Self::Rename { from, to } => std::fs::rename(from, to).map_err(Error::file("put in place", to)),
            Self::RemoveIntent { path } => remove_if_there(path),
            Self::Sync { folder } => sync_folder(folder),
        }
    }
}

fn write_intent(path: &Path, intent: &Intent) -> Result<(), Error> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
        serde_json::to_writer(&mut file, intent)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(Error::file("write down what is about to happen in", path))
}

/// Ends what a killed restore began, if it had begun to move files: at every start, before anybody looks for a database.
/// Gives the path of the database that is in place now.
///
/// # Errors
/// The data directory cannot be written, or an intent cannot be understood.
pub fn roll_forward(data_dir: &Path) -> Result<Option<PathBuf>, Error> {
    for layout in [Layout::K8s, Layout::K3s] {
        let target = data_dir.join(layout.database());
        let path = with_suffix(&target, INTENT_SUFFIX);
        let bytes = match std::fs::read(&path) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => continue,
            other => other.map_err(Error::file("read", &path))?,
        };
        let intent: Intent = serde_json::from_slice(&bytes)
            .map_err(|e| Error::file("understand (a restore was cut short)", &path)(std::io::Error::other(e)))?;
        let folder = folder_of(&target);
        // Names, not paths: an intent never leads out of its folder.
        let beside = |name: &str| folder.join(Path::new(name).file_name().unwrap_or_default());
        let (work, kept) = (beside(&intent.work), beside(&intent.kept));
        if work.is_file() {
            let rename = Step::Rename { from: work, to: target.clone() };
            let sync = Step::Sync { folder: folder.to_owned() };
            for step in Plan::moves(&target, &kept).chain([sync.clone(), rename, sync]) {
                step.take()?;
            }
        }
        remove_if_there(&path)?;
        sync_folder(folder)?;
        return Ok(Some(target));
    }
    Ok(None)
}

/// Moves every database of a data directory aside, with all that belongs to it, for an empty one to begin. Killed in
/// between, it is simply done again.
///
/// # Errors
/// [`Error::Busy`], or the data directory cannot be written.
pub fn set_databases_aside(data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let now = Timestamp::now();
    let suffix = format!("{KEPT_INFIX}{}-empty-{}", now.strftime("%Y%m%dT%H%M%SZ"), now.as_nanosecond());
    let mut moved = Vec::new();
    for target in [Layout::K8s, Layout::K3s].map(|layout| data_dir.join(layout.database())) {
        let kept = with_suffix(&target, &suffix);
        let there = target.is_file();
        if there {
            close_old(&target)?;
        }
        if folder_of(&target).is_dir() {
            for step in Plan::moves(&target, &kept) {
                step.take()?;
            }
            sync_folder(folder_of(&target))?;
        }
        if there {
            // Only now that there is a newer one: done again, it must not take what the first time kept.
            forget_older(&target, &kept)?;
            moved.push(kept);
        }
    }
    Ok(moved)
}

/// Older kept copies go only after the new one is in place, and only those that bear a name of ours.
fn forget_older(target: &Path, kept: &Path) -> Result<(), Error> {
    let folder = folder_of(target);
    let prefix = format!("{}{KEPT_INFIX}", file_name(target));
    for entry in std::fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let name = file_name(&path);
        let ours = name.strip_prefix(&prefix).is_some_and(is_backup_name);
        if ours && !name.starts_with(&file_name(kept)) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Whether this begins like a backup's id: a start time as `YYYYMMDDThhmmssZ-`. A person's own copies do not.
fn is_backup_name(rest: &str) -> bool {
    let digits = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    digits(rest.get(..8)) && rest.get(8..9) == Some("T") && digits(rest.get(9..15)) && rest.get(15..17) == Some("Z-")
}
