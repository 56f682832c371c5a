//! Random lives of a database under backup. Whatever a program may do to it between two backups, in whatever order, with
//! restarts and losses in between: each backup restores to exactly the pages that SQLite saw when it was taken.

mod common;

use common::line::{Line, pages};
use proptest::prelude::*;
use rusqlite::Connection;
use vcluster_backup::{
    catalog::At,
    manifest::{Kind, Manifest},
};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Insert(u8),
    Update(u8),
    Delete(u8),
    Vacuum,
    GivePagesBack,
    Checkpoint(&'static str),
    Journal(&'static str),
    /// Minutes pass.
    Time(u8),
    BackUp,
    Restart,
    /// A page table is lost, or bent at this place.
    LoseTable(&'static str),
    BendTable(&'static str, prop::sample::Index),
    RenewPki(u8),
    /// An object of the newest chain is lost: no restore needs to get through that, but the next backup must be whole.
    LoseObject(prop::sample::Index),
    /// A backup made so far is restored and compared.
    Restore(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    let table = || prop::sample::select(vec!["pages.newest", "pages.full"]);
    prop_oneof![
        6 => (1..20_u8).prop_map(Event::Insert),
        4 => any::<u8>().prop_map(Event::Update),
        2 => any::<u8>().prop_map(Event::Delete),
        1 => Just(Event::Vacuum),
        2 => Just(Event::GivePagesBack),
        3 => prop::sample::select(vec!["PASSIVE", "FULL", "RESTART", "TRUNCATE"]).prop_map(Event::Checkpoint),
        1 => prop::sample::select(vec!["WAL", "DELETE"]).prop_map(Event::Journal),
        3 => (1..120_u8).prop_map(Event::Time),
        9 => Just(Event::BackUp),
        3 => Just(Event::Restart),
        1 => table().prop_map(Event::LoseTable),
        1 => (table(), any::<prop::sample::Index>()).prop_map(|(name, at)| Event::BendTable(name, at)),
        1 => any::<u8>().prop_map(Event::RenewPki),
        1 => any::<prop::sample::Index>().prop_map(Event::LoseObject),
        2 => any::<prop::sample::Index>().prop_map(Event::Restore),
    ]
}

/// A database under backup, and what is known of it.
struct Life {
    line: Line,
    source: Connection,
    /// Each backup, and the pages it was taken of; nothing of those that lost an object.
    made: Vec<(Manifest, Option<Vec<u8>>)>,
}

impl Life {
    fn begin() -> Self {
        let line = Line::new();
        let source = line.source();
        source
            .execute_batch(
                "PRAGMA page_size = 512; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
                 CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, value BLOB);",
            )
            .expect("schema");
        let mut life = Self { line, source, made: Vec::new() };
        life.happens(&Event::Insert(120));
        life
    }

    fn sql(&self, sql: &str) {
        self.source.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Insert(rows) => {
                let row = "INSERT INTO kine (name, value) VALUES (hex(randomblob(8)), randomblob(300));";
                self.sql(&format!("BEGIN; {} COMMIT", row.repeat((*rows).into())));
            }
            Event::Update(rest) => {
                self.sql(&format!("UPDATE kine SET value = randomblob(300) WHERE id % 40 = {}", rest % 40));
            }
            Event::Delete(rest) => self.sql(&format!("DELETE FROM kine WHERE id % 8 = {}", rest % 8)),
            Event::Vacuum => self.sql("VACUUM"),
            Event::GivePagesBack => self.sql("PRAGMA incremental_vacuum(20)"),
            Event::Checkpoint(mode) => {
                let other = self.line.source();
                let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
                other.query_row(&checkpoint, [], |_| Ok(())).expect("a checkpoint");
            }
            Event::Journal(mode) => {
                // Leaving WAL wants nobody else to have it open, the backup program included.
                self.line.restart();
                self.sql(&format!("PRAGMA journal_mode = {mode}"));
            }
            Event::Time(minutes) => self.line.pass((*minutes).into()),
            Event::BackUp => {
                let manifest = self.line.back_up();
                // By eyes of its own: a writer's cache may hold free pages that SQLite never wrote.
                self.made.push((manifest, Some(pages(&self.line.source()))));
            }
            Event::Restart => self.line.restart(),
            Event::LoseTable(name) => drop(std::fs::remove_file(self.line.table(name))),
            Event::BendTable(name, at) => {
                // Only a program that starts looks at them again.
                self.line.restart();
                let Ok(mut bytes) = std::fs::read(self.line.table(name)) else { return };
                let at = at.index(bytes.len());
                bytes[at] ^= 1;
                std::fs::write(self.line.table(name), bytes).expect("written");
            }
            Event::RenewPki(content) => {
                std::fs::create_dir_all(self.line.path("data/pki")).expect("made");
                std::fs::write(self.line.path("data/pki/ca.crt"), [*content]).expect("written");
            }
            Event::LoseObject(which) => {
                let Some((newest, _)) = self.made.last().filter(|(_, pages)| pages.is_some()) else { return };
                let chain = self.line.chain(newest);
                let lost = which.get(&chain);
                std::fs::remove_file(self.line.object(&lost.data.key)).expect("removed");
                let needs = |manifest: &Manifest| self.line.restore_id(manifest).is_err();
                let broken: Vec<bool> = self.made.iter().map(|(manifest, _)| needs(manifest)).collect();
                for ((_, pages), broken) in self.made.iter_mut().zip(broken) {
                    if broken {
                        *pages = None;
                    }
                }
                // As `run` notices it, hourly or after a failure.
                self.line.restart();
            }
            Event::Restore(which) => {
                if !self.made.is_empty() {
                    self.compare(which.index(self.made.len()));
                }
            }
        }
    }

    fn compare(&self, index: usize) {
        let (manifest, want) = &self.made[index];
        match (self.line.restore_id(manifest), want) {
            (Ok(found), Some(want)) => assert!(found == *want, "backup {} is another", manifest.id()),
            (Err(error), Some(_)) => panic!("backup {} does not restore: {error}", manifest.id()),
            (Ok(_), None) => panic!("backup {} restores without one of its objects", manifest.id()),
            (Err(_), None) => {}
        }
    }

    fn end(mut self) {
        self.happens(&Event::BackUp);
        for index in 0..self.made.len() {
            self.compare(index);
        }
        let (last, want) = self.made.last().expect("one at least");
        assert!(self.line.restore(&At::Latest).expect("the newest is always whole") == *want.as_ref().expect("whole"));
        let chain = self.line.chain(last);
        assert_eq!(chain.iter().filter(|link| link.kind == Kind::Full).count(), 1);
        assert!(chain.len() <= 61);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn each_backup_restores_to_what_was_there_when_it_was_taken(events in prop::collection::vec(event(), 1..60)) {
        let mut life = Life::begin();
        for event in &events {
            life.happens(event);
        }
        life.end();
    }
}

/// More of them at night: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12)
}
