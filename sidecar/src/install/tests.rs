//! Whatever is in the way and wherever it is cut short: the old database or the new one, never a mix.

use std::io::Write;

use rusqlite::Connection;

use super::{files::file_name, plan::Step, *};
use crate::manifest::Layout;

fn database(path: &Path, rows: i64) -> Connection {
    let connection = Connection::open(path).expect("SQLite");
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("WAL");
    connection.execute_batch("CREATE TABLE t (n)").expect("table");
    for n in 0..rows {
        connection.execute("INSERT INTO t VALUES (?1)", [n]).expect("row");
    }
    connection
}

fn work(target: &Path, rows: i64) -> Work {
    let dir = tempfile::tempdir().expect("tempdir");
    let source = dir.path().join("x.db");
    database(&source, rows).close().expect("closed");
    let mut work = Work::create(target, 1).expect("work file");
    work.file.write_all(&std::fs::read(source).expect("read")).expect("written");
    work
}

fn rows(path: &Path) -> i64 {
    Connection::open(path).expect("opens").query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).expect("reads")
}

const FIRST: &str = "20261122T080000Z-aaaaaaaaaaaaaaaa/00000001";
const SECOND: &str = "20261122T080000Z-aaaaaaaaaaaaaaaa/00000002";

fn recipe(id: &str) -> Recipe {
    Recipe { marker: kine::Marker { backup: id.into(), request: None }, ..Recipe::default() }
}

fn commit(work: Work, id: &str) -> Result<(), Error> {
    work.finish(&recipe(id)).expect("sound");
    let plan = work.plan(id)?;
    work.commit(&plan, || Ok(())).map(drop)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).expect("lists").map(|e| file_name(&e.expect("entry").path())).collect();
    names.sort();
    names
}

#[test]
fn an_open_database_is_not_replaced() {
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("state.db");
    let owner = database(&target, 3);
    let work = work(&target, 5);
    work.finish(&recipe(FIRST)).expect("sound");
    assert!(matches!(work.plan(FIRST), Err(Error::Busy { .. })), "an idle connection counts");
    drop(work);
    assert_eq!(owner.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).expect("reads"), 3);
    assert!(!names(dir.path()).iter().any(|name| name.contains("restoring")), "no plaintext is left behind");
}

#[test]
fn the_old_database_is_kept_whole_and_only_the_last_one() {
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("state.db");
    database(&target, 3).close().expect("closed");
    std::fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).expect("mode");
    std::fs::write(dir.path().join("state.db.before-upgrade"), "a person's own").expect("written");
    for (id, count) in [(FIRST, 5), (SECOND, 6)] {
        commit(work(&target, count), id).expect("committed");
    }
    assert_eq!((rows(&target), target.metadata().expect("there").mode() & 0o777), (6, 0o640));
    let kept: Vec<_> = names(dir.path()).into_iter().filter(|name| name.contains("before-2026")).collect();
    assert!(kept.len() == 1 && kept[0].contains("00000002"), "{kept:?}");
    assert_eq!(rows(&dir.path().join(&kept[0])), 5);
    assert!(dir.path().join("state.db.before-upgrade").exists());
}

#[test]
fn a_wal_without_its_database_is_set_aside() {
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("state.db");
    std::fs::write(dir.path().join("state.db-wal"), b"from another life").expect("written");
    commit(work(&target, 2), FIRST).expect("committed");
    assert_eq!(rows(&target), 2);
    assert!(names(dir.path()).iter().any(|name| name.contains("before-") && name.ends_with("-wal")));
}

#[test]
fn a_restored_database_is_in_the_mode_it_was_backed_up_in_and_alone() {
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("state.db");
    commit(work(&target, 2), FIRST).expect("committed");
    assert_eq!(names(dir.path()), ["state.db"]);
    assert_eq!(std::fs::read(&target).expect("read")[18..20], [2, 2], "the header says WAL");
}

#[test]
fn a_broken_database_never_gets_to_the_rename() {
    use std::io::{Seek, SeekFrom};
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("state.db");
    let mut work = work(&target, 2_000);
    work.file.seek(SeekFrom::Start(4096 * 3)).expect("seek");
    work.file.write_all(&[0xAA; 4096]).expect("written");
    assert!(matches!(work.finish(&recipe(FIRST)), Err(Error::Damaged { .. })));
    drop(work);
    assert!(names(dir.path()).is_empty());
}

/// What is in place after `count` steps and the next start: the number of rows, or that it is what SQLite cannot read.
fn after(target: &Path) -> Option<i64> {
    roll_forward(target.parent().expect("a folder")).expect("rolled forward");
    if !target.exists() || std::fs::read(target).expect("read").starts_with(b"not a database") {
        return None;
    }
    let connection = Connection::open(target).expect("opens");
    check_integrity(&connection, FIRST).expect("sound");
    Some(rows(target))
}

#[test]
fn killed_after_any_step_it_leaves_the_old_database_or_the_new_one() {
    // The folder as each step leaves it, with no chance to clean up, then the next start.
    for readable in [true, false] {
        let mut seen = Vec::new();
        for count in 0.. {
            let dir = tempfile::tempdir().expect("tempdir");
            let target = dir.path().join("state.db");
            if readable {
                database(&target, 3).close().expect("closed");
            } else {
                for suffix in ["", "-wal", "-shm"] {
                    std::fs::write(with_suffix(&target, suffix), "not a database").expect("written");
                }
            }
            let work = work(&target, 5);
            work.finish(&recipe(FIRST)).expect("sound");
            let plan = work.plan(FIRST).expect("may be replaced");
            if count > plan.steps.len() {
                break;
            }
            plan.steps.iter().take(count).for_each(|step| step.take().expect("taken"));
            std::mem::forget(work);
            let found = after(&target);
            assert_eq!(after(&target), found, "a second start changes nothing");
            assert!(!with_suffix(&target, INTENT_SUFFIX).exists());
            let old = readable.then_some(3);
            assert!(found == Some(5) || found == old, "step {count} of {:?}: {found:?}", plan.steps);
            assert!(found == Some(5) || !plan.is_committed_after(count), "what was committed stands");
            if found == Some(5) && !readable {
                assert!(!with_suffix(&target, "-wal").exists(), "the old WAL is not the new database's");
                let kept = names(dir.path()).into_iter().filter(|name| name.contains(KEPT_INFIX)).count();
                assert_eq!(kept, 3, "the old files are kept together");
            }
            seen.push(found == Some(5));
        }
        assert!(seen.iter().any(|new| *new) && seen.iter().any(|new| !new), "{seen:?}");
    }
}

#[test]
fn a_step_that_fails_is_taken_back_with_all_before_it() {
    for failing in 0.. {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("state.db");
        std::fs::write(&target, "not a database").expect("written");
        std::fs::write(with_suffix(&target, "-wal"), "its WAL").expect("written");
        let work = work(&target, 5);
        work.finish(&recipe(FIRST)).expect("sound");
        let mut plan = work.plan(FIRST).expect("may be replaced");
        if plan.is_committed_after(failing) {
            break;
        }
        // A rename of what is not there.
        let nothing = dir.path().join("nothing");
        plan.steps.insert(failing, Step::Rename { from: nothing.clone(), to: nothing.join("x") });
        let before: Vec<_> = names(dir.path()).into_iter().filter(|name| !name.contains("restoring")).collect();
        assert!(work.commit(&plan, || Ok(())).is_err());
        assert_eq!(names(dir.path()), before, "step {failing}");
    }
}

#[test]
fn databases_of_both_layouts_are_moved_aside_for_an_empty_one() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::create_dir_all(dir.path().join("server/db")).expect("made");
    for layout in [Layout::K8s, Layout::K3s] {
        database(&dir.path().join(layout.database()), 3).close().expect("closed");
    }
    assert_eq!(set_databases_aside(dir.path()).expect("moved").len(), 2);
    assert!([Layout::K8s, Layout::K3s].iter().all(|layout| !dir.path().join(layout.database()).exists()));
    let first = names(dir.path()).into_iter().find(|name| name.contains(KEPT_INFIX)).expect("kept");
    let earlier = first.replace("-empty-", "-empty-1");
    std::fs::rename(dir.path().join(first), dir.path().join(earlier)).expect("renamed");
    assert!(set_databases_aside(dir.path()).expect("again").is_empty(), "killed in between, it is done again");
    let kept = names(dir.path()).into_iter().find(|name| name.contains(KEPT_INFIX)).expect("kept");
    assert_eq!(rows(&dir.path().join(kept)), 3);
}
