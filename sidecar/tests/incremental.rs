//! Whatever happens to a database between two backups, the next one is right: it is restored with its whole chain and
//! compared, page by page, with what SQLite saw when it was taken.

mod common;

use std::path::Path;

use common::{
    copy_folder,
    line::{Line, open, pages},
};
use rusqlite::Connection;
use vcluster_backup::{catalog::At, manifest::Kind};

/// A database of some two hundred pages, as kine keeps them, that can give pages back.
fn grown() -> (Line, Connection) {
    let line = Line::new();
    let source = line.source();
    source
        .execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, value BLOB);
             CREATE TABLE last (value BLOB);",
        )
        .expect("schema");
    insert(&source, 200);
    (line, source)
}

fn insert(source: &Connection, rows: usize) {
    source.execute_batch("BEGIN").expect("begun");
    for _ in 0..rows {
        let insert = "INSERT INTO kine (name, value) VALUES (hex(randomblob(8)), randomblob(3000))";
        source.execute(insert, []).expect("written");
    }
    source.execute_batch("COMMIT").expect("committed");
}

fn run(source: &Connection, sql: &str) {
    source.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// What is done between two backups, and the kind of the second.
type Case = (&'static str, fn(&mut Line, &mut Connection), Kind);

const CASES: [Case; 21] = [
    (
        "a clock set back a little",
        |l, s| {
            l.pass(-30);
            insert(s, 1);
        },
        Kind::Delta,
    ),
    (
        "a clock set back by hours",
        |l, s| {
            l.pass(-180);
            insert(s, 1);
        },
        Kind::Full,
    ),
    ("nothing", |_, _| {}, Kind::Delta),
    ("a row", |_, s| insert(s, 1), Kind::Delta),
    ("some rows change", |_, s| run(s, "UPDATE kine SET value = randomblob(3000) WHERE id % 20 = 0"), Kind::Delta),
    ("it doubles and more", |_, s| insert(s, 300), Kind::Full),
    ("VACUUM", |_, s| run(s, "DELETE FROM kine WHERE id % 3 = 0; VACUUM"), Kind::Full),
    (
        "another page size",
        |l, s| {
            // SQLite does that outside of WAL mode only, and alone.
            l.restart();
            run(s, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = WAL");
        },
        Kind::Full,
    ),
    ("it shrinks", |_, s| shrink(s, "DELETE FROM kine WHERE id > 180"), Kind::Delta),
    ("a passive checkpoint", |l, _| checkpoint(l, "PASSIVE"), Kind::Delta),
    ("a full checkpoint", |l, _| checkpoint(l, "FULL"), Kind::Delta),
    ("a checkpoint that truncates", |l, _| checkpoint(l, "TRUNCATE"), Kind::Delta),
    (
        "the WAL begins anew",
        |l, s| {
            checkpoint(l, "RESTART");
            insert(s, 3);
        },
        Kind::Delta,
    ),
    (
        "another journal mode",
        |l, s| {
            // Nobody else may have it open for that.
            l.restart();
            run(s, "PRAGMA journal_mode = DELETE");
            insert(s, 2);
        },
        Kind::Delta,
    ),
    (
        "replaced by another database",
        |l, s| {
            let other = l.path("other.db");
            let built = open(&other);
            run(&built, "PRAGMA journal_mode = WAL; CREATE TABLE kine (id INTEGER PRIMARY KEY, name, value)");
            insert(&built, 40);
            drop(built);
            replace(l, s, &other);
        },
        Kind::Full,
    ),
    (
        "replaced by an older copy of itself",
        |l, s| {
            let copy = l.path("copy.db");
            run(s, &format!("VACUUM INTO '{}'", copy.display()));
            replace(l, s, &copy);
            run(s, "PRAGMA journal_mode = WAL; DELETE FROM kine WHERE id = 7");
        },
        Kind::Delta,
    ),
    (
        "moved from k3s to k8s",
        |l, s| {
            *s = open(&l.path("aside.db"));
            l.restart();
            std::fs::create_dir_all(l.path("data/server/db")).expect("made");
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::rename(
                    l.path(&format!("data/state.db{suffix}")),
                    l.path(&format!("data/server/db/state.db{suffix}")),
                );
            }
            assert_eq!(l.back_up().kind, Kind::Full, "to k3s");
            l.restart();
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::rename(
                    l.path(&format!("data/server/db/state.db{suffix}")),
                    l.path(&format!("data/state.db{suffix}")),
                );
            }
            *s = l.source();
        },
        Kind::Full,
    ),
    (
        "PKI changes",
        |l, _| {
            std::fs::create_dir_all(l.path("data/pki")).expect("made");
            std::fs::write(l.path("data/pki/ca.crt"), "renewed").expect("written");
        },
        Kind::Full,
    ),
    (
        "an hour passes",
        |l, s| {
            l.pass(60);
            insert(s, 1);
        },
        Kind::Diff,
    ),
    (
        "a day passes",
        |l, s| {
            l.pass(24 * 60);
            insert(s, 1);
        },
        Kind::Full,
    ),
    ("emptied", |_, s| shrink(s, "DELETE FROM kine"), Kind::Full),
];

/// Deletes, and gives the free pages at the end back: the file is shorter then.
fn shrink(source: &Connection, sql: &str) {
    let count = || source.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).expect("counted");
    let before = count();
    run(source, sql);
    let mut vacuum = source.prepare("PRAGMA incremental_vacuum").expect("prepared");
    let mut steps = vacuum.query([]).expect("begun");
    while steps.next().expect("a step").is_some() {}
    drop(steps);
    assert!(count() < before, "{sql}");
}

fn checkpoint(line: &Line, mode: &str) {
    run(&line.source(), &format!("PRAGMA wal_checkpoint({mode})"));
}

/// Another file under the database's name, as a person copies one back.
fn replace(line: &Line, source: &mut Connection, by: &Path) {
    *source = open(&line.path("aside.db"));
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(line.path(&format!("data/state.db{suffix}")));
    }
    std::fs::rename(by, line.path("data/state.db")).expect("moved");
    *source = line.source();
}

/// Every case by a program that stays, and by one that starts anew and has only its page tables.
#[test]
fn whatever_happens_the_next_backup_is_right() {
    for restarted in [false, true] {
        for (name, change, kind) in CASES {
            let (mut line, mut source) = grown();
            let first = (line.back_up(), pages(&source));
            insert(&source, 2);
            let second = (line.back_up(), pages(&source));
            assert_eq!((first.0.kind, second.0.kind), (Kind::Full, Kind::Delta), "{name}");
            if restarted {
                line.restart();
            }
            change(&mut line, &mut source);
            let third = (line.back_up(), pages(&source));
            assert_eq!(third.0.kind, kind, "{name}, restarted: {restarted}");
            insert(&source, 1);
            let fourth = (line.back_up(), pages(&source));
            for (manifest, want) in [first, second, third, fourth] {
                let found = line.restore_id(&manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(found == want, "{name}, restarted: {restarted}: backup {} is another", manifest.id());
            }
        }
    }
}

#[test]
fn a_day_of_backups_is_few_fulls_hourly_diffs_and_bounded_chains() {
    let (mut line, source) = grown();
    let mut kinds = Vec::new();
    // Six hours at two a minute, then on to the next day.
    for tick in 0..150 {
        run(&source, "UPDATE kine SET value = randomblob(3000) WHERE id = 5");
        if tick % 40 == 0 {
            line.restart();
        }
        let made = line.back_up();
        assert!(line.chain(&made).len() <= 61);
        kinds.push(made.kind);
        line.clock = line.clock.saturating_add(jiff::SignedDuration::from_secs(30)).expect("in range");
    }
    let count = |kind| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count(Kind::Full), count(Kind::Diff)), (1, 2), "{kinds:?}");
    assert_eq!((kinds[60], kinds[120]), (Kind::Diff, Kind::Diff), "after 59 deltas");
    assert!(line.restore(&At::Latest).expect("restored") == pages(&source));
    line.pass(24 * 60);
    run(&source, "UPDATE kine SET value = randomblob(3000) WHERE id = 5");
    assert_eq!(line.back_up().kind, Kind::Full);
}

/// What a delta costs is what has changed, not what there is.
#[test]
fn only_fulls_and_the_first_of_a_generation_name_all_that_it_follows() {
    let (mut line, source) = grown();
    let back_up = |line: &mut Line| {
        insert(&source, 1);
        let made = line.back_up();
        let follows: Vec<String> = made.supersedes.iter().map(|head| head.generation.clone()).collect();
        (made.kind, made.generation, follows)
    };
    let mut before = Vec::new();
    for _ in 0..4 {
        before.push(back_up(&mut line).1);
        line.restart();
    }
    let newest = before[3].clone();
    before.sort();
    let sorted = |(kind, _, mut follows): (Kind, String, Vec<String>)| {
        follows.sort();
        (kind, follows)
    };
    assert_eq!(sorted(back_up(&mut line)), (Kind::Delta, before.clone()));
    assert_eq!(sorted(back_up(&mut line)), (Kind::Delta, vec![newest]));
    line.pass(24 * 60);
    assert_eq!(sorted(back_up(&mut line)), (Kind::Full, before));
    assert_eq!(line.catalog().heads().len(), 1);
}

#[test]
fn a_database_that_has_changed_bit_by_bit_gets_a_full_when_a_diff_is_due_and_not_before() {
    // kine's history alone changes half of a small database within minutes: a full each time cost more than the deltas.
    let (mut line, source) = grown();
    assert_eq!(line.back_up().kind, Kind::Full);
    for part in 0..4 {
        run(&source, &format!("UPDATE kine SET value = randomblob(3000) WHERE (id - 1) / 50 = {part}"));
        line.pass(1);
        assert_eq!(line.back_up().kind, Kind::Delta, "quarter {part}");
    }
    line.pass(60);
    assert_eq!(line.back_up().kind, Kind::Full, "a diff would hold all of it");
    assert_eq!(line.restore(&At::Latest).expect("restored"), pages(&source));
}

#[test]
fn a_delta_is_small() {
    let (mut line, source) = grown();
    let full = line.back_up();
    insert(&source, 1);
    let delta = line.back_up();
    assert!(delta.changed.expect("pages") <= 6, "{:?} pages", delta.changed);
    assert!(delta.data.size * 10 < full.data.size, "{} of {}", delta.data.size, full.data.size);
    line.restart();
    let nothing = line.back_up();
    assert_eq!((nothing.kind, nothing.changed), (Kind::Delta, Some(0)));
    assert_eq!(nothing.parent.expect("a parent").id(), delta.id(), "across generations");
}

/// What is written meanwhile is not in it, and in the next.
#[test]
fn a_copy_that_the_store_did_not_take_is_offered_again_as_it_was() {
    let (mut line, source) = grown();
    line.back_up();
    insert(&source, 1);
    let want = pages(&source);
    let late = line.back_up_through(Some(("delta", &|| insert(&source, 2))));
    assert_eq!((late.kind, late.sequence), (Kind::Delta, 2));
    assert!(line.restore_id(&late).expect("restored") == want);
    assert_eq!(line.back_up().parent.expect("a parent").id(), late.id());
    assert!(line.restore(&At::Latest).expect("restored") == pages(&source));
}

/// What makes a page table worth nothing; each time everything is backed up again.
#[test]
fn a_page_table_that_nothing_vouches_for_is_not_used() {
    type Damage = fn(&Line);
    let damage: [(&str, Damage); 9] = [
        ("the newest is lost", |l| std::fs::remove_file(l.table("pages.newest")).expect("removed")),
        ("the full is lost", |l| std::fs::remove_file(l.table("pages.full")).expect("removed")),
        ("bent", |l| bend(&l.table("pages.newest"))),
        ("the full is bent", |l| bend(&l.table("pages.full"))),
        ("older than the newest backup", |l| {
            std::fs::copy(l.table("pages.full"), l.table("pages.newest")).expect("copied");
        }),
        ("of another database", |l| {
            let (mut other, _source) = grown();
            other.back_up();
            for name in ["pages.newest", "pages.full"] {
                std::fs::copy(other.table(name), l.table(name)).expect("copied");
            }
        }),
        ("the newest manifest is gone", |l| std::fs::remove_file(newest(l, ".json")).expect("removed")),
        ("its data is gone", |l| std::fs::remove_file(newest(l, ".pages.zst.age")).expect("removed")),
        ("the newest manifest is bent", |l| bend(&newest(l, ".json"))),
    ];
    for (name, change) in damage {
        let (mut line, source) = grown();
        line.back_up();
        insert(&source, 1);
        line.back_up();
        insert(&source, 1);
        line.restart();
        change(&line);
        let made = line.back_up();
        assert_eq!(made.kind, Kind::Full, "{name}");
        assert!(line.restore_id(&made).expect("restored") == pages(&source), "{name}");
    }
}

/// Whoever may put into the bucket names our newest and calls himself newer.
#[test]
fn a_forged_manifest_neither_ends_a_chain_nor_leads_it() {
    let (mut line, source) = grown();
    line.back_up();
    insert(&source, 1);
    let ours = line.back_up();
    let (mut forger, _) = grown();
    forger.back_up();
    copy_folder(&forger.object("v1/full"), &line.object("v1/full"));
    insert(&source, 1);
    line.restart();
    let made = line.back_up();
    assert_eq!((made.kind, made.parent.as_ref().map(|p| p.id())), (Kind::Delta, Some(ours.id())));
    assert!(line.restore(&At::Latest).expect("restored") == pages(&source));
}

/// An object of a chain that is not what it was: named, refused, and what does not need it is restored all the same.
#[test]
fn a_chain_with_a_bad_link_is_refused_in_words() {
    type Damage = fn(&Path, &Path);
    let damage: [(&str, Damage, &str); 5] = [
        ("missing", |object, _| std::fs::remove_file(object).expect("removed"), "which is not in the store"),
        ("swapped", |object, other| assert!(std::fs::copy(other, object).expect("copied") > 0), "its manifest names"),
        ("bit-flipped", |object, _| bend(object), "its bytes are not those its manifest names"),
        ("truncated", |object, _| cut(object), "its manifest names"),
        ("enlarged", |object, _| enlarge(object), "its manifest names"),
    ];
    for (name, change, words) in damage {
        for bad in 0..4 {
            let (mut line, source) = grown();
            let mut made = Vec::new();
            for minutes in [0, 60, 1, 1] {
                insert(&source, 2);
                line.pass(minutes);
                made.push((line.back_up(), pages(&source)));
            }
            let kinds: Vec<_> = made.iter().map(|(m, _)| m.kind).collect();
            assert_eq!(kinds, [Kind::Full, Kind::Diff, Kind::Delta, Kind::Delta]);
            let object = |index: usize| line.object(&made[index].0.data.key);
            change(&object(bad), &object((bad + 1) % 4));
            for (index, (manifest, want)) in made.iter().enumerate() {
                match line.restore_id(manifest) {
                    Ok(found) => assert!(index < bad && found == *want, "{name}: {index} with bad {bad}"),
                    Err(error) => {
                        let said = error.to_string();
                        assert!(index >= bad && said.contains(words), "{name}: {index} with bad {bad}: {said}");
                    }
                }
            }
        }
    }
}

fn newest(line: &Line, ending: &str) -> std::path::PathBuf {
    let catalog = line.catalog();
    let newest = catalog.heads()[0].manifest.clone();
    let stem = newest.key().trim_end_matches(".json").to_owned();
    line.object(&format!("{stem}{ending}"))
}

fn bend(path: &Path) {
    let mut bytes = std::fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).expect("read");
    std::fs::write(path, &bytes[..bytes.len() - 1]).expect("written");
}

fn enlarge(path: &Path) {
    let bytes = std::fs::read(path).expect("read");
    std::fs::write(path, [&bytes[..], b"x"].concat()).expect("written");
}

/// Lifecycle rules of a bucket go by age, and under a passphrase every backup of a generation needs one object.
#[test]
fn the_sealed_identity_of_a_generation_is_never_older_than_its_newest_full() {
    use std::time::{Duration, SystemTime};
    let mut line = Line::under_passphrase("hunter2");
    let source = line.source();
    run(&source, "PRAGMA journal_mode = WAL; CREATE TABLE kine (id INTEGER PRIMARY KEY, name INTEGER, value BLOB)");
    insert(&source, 200);
    let first = line.back_up();
    let identity = line.object(first.identity.as_ref().expect("under a passphrase"));
    let sealed = std::fs::read(&identity).expect("read");
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    let age = || std::fs::metadata(&identity).expect("there").modified().expect("a time");
    std::fs::File::options().write(true).open(&identity).and_then(|f| f.set_modified(long_ago)).expect("aged");

    insert(&source, 1);
    assert_eq!(line.back_up().kind, Kind::Delta);
    assert_eq!(age(), long_ago, "a delta is no reason");
    line.pass(25 * 60);
    insert(&source, 1);
    let second = line.back_up();
    assert_eq!((second.kind, &second.generation), (Kind::Full, &first.generation));
    assert!(age() > long_ago);
    assert_eq!(std::fs::read(&identity).expect("read"), sealed);
}
