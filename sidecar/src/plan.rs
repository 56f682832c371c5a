//! Which kind of backup comes next. Pure: what stands in the store and on the disk comes in as values, and so does the
//! time.
//!
//! ```text
//! full    nothing to build on, or 24 h after the last, or after a change that no diff can tell
//! diff    an hour after the last diff or full, or after 59 deltas
//! delta   everything else
//! ```

use jiff::{SignedDuration, Timestamp};

use crate::{
    catalog::MOST_DELTAS,
    manifest::{Kind, Layout},
};

const DIFF_EVERY: SignedDuration = SignedDuration::from_hours(1);
const FULL_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// A clock that was set back by more than this says nothing about ages any more.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// What the next backup can build on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the last full was taken.
    pub full: Timestamp,
    /// When the last full or diff was taken.
    pub step: Timestamp,
    /// Deltas since then.
    pub deltas: usize,
    /// What cannot change within a chain.
    pub frame: Frame,
}

/// What a chain has in common. Diffs and deltas hold pages only, so whatever else changes asks for a full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of a page.
    pub page_size: u32,
    /// Which distro's paths.
    pub layout: Layout,
    /// Digest of PKI and token files.
    pub pki: String,
    /// Digest of the recipients.
    pub sealed_for: String,
}

/// What comes next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kind.
    pub kind: Kind,
    /// A reason for people.
    pub why: Why,
}

/// Why a backup is of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No backup and page table that vouch for each other.
    NothingToBuildOn,
    /// The size of pages is another.
    PageSize,
    /// The database has moved to the other distro's path.
    Layout,
    /// PKI or token have changed.
    Pki,
    /// It is sealed for others now.
    Recipients,
    /// More than half of the pages have changed since the parent.
    MostlyChanged,
    /// The last of its kind is old enough.
    Age,
    /// No more deltas fit into the chain.
    ManyDeltas,
    /// The usual.
    Usual,
}

impl Why {
    /// Whether there would be nothing to back up if no page had changed.
    #[must_use]
    pub fn is_routine(self) -> bool {
        matches!(self, Self::Usual | Self::Age | Self::ManyDeltas)
    }

    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingToBuildOn => "no page table and newest backup that vouch for each other",
            Self::PageSize => "another page size",
            Self::Layout => "moved to the other distro's path",
            Self::Pki => "PKI or token have changed",
            Self::Recipients => "sealed for others now",
            Self::MostlyChanged => "more than half of the pages have changed",
            Self::Age => "it is time",
            Self::ManyDeltas => "no more deltas fit into the chain",
            Self::Usual => "what has changed since the last",
        }
    }
}

/// What comes next, as far as that can be known before the pages are read.
#[must_use]
pub fn plan(standing: Option<&Standing>, frame: &Frame, now: Timestamp) -> Plan {
    let (kind, why) = match standing {
        None => (Kind::Full, Why::NothingToBuildOn),
        Some(s) if s.frame.page_size != frame.page_size => (Kind::Full, Why::PageSize),
        Some(s) if s.frame.layout != frame.layout => (Kind::Full, Why::Layout),
        Some(s) if s.frame.pki != frame.pki => (Kind::Full, Why::Pki),
        Some(s) if s.frame.sealed_for != frame.sealed_for => (Kind::Full, Why::Recipients),
        Some(s) if is_due(s.full, FULL_EVERY, now) => (Kind::Full, Why::Age),
        Some(s) if is_due(s.step, DIFF_EVERY, now) => (Kind::Diff, Why::Age),
        Some(s) if s.deltas >= MOST_DELTAS => (Kind::Diff, Why::ManyDeltas),
        Some(_) => (Kind::Delta, Why::Usual),
    };
    Plan { kind, why }
}

/// Whether so many pages have changed since the parent that a full costs less. For a delta what has changed since the last
/// full does not count: kine's history alone changes half of a small database in a quarter of an hour, and a full each
/// time costs more than all the deltas between. The hourly diff is where it is looked at.
#[must_use]
pub fn is_mostly_changed(changed: u32, page_count: u32) -> bool {
    u64::from(changed) * 2 > u64::from(page_count)
}

fn is_due(last: Timestamp, every: SignedDuration, now: Timestamp) -> bool {
    let age = now.duration_since(last);
    age >= every || age < -CLOCK_SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { page_size: 4096, layout: Layout::K8s, pki: "p".into(), sealed_for: "s".into() }
    }

    /// A full `full` minutes ago, the last full or diff `step` minutes ago, `deltas` since.
    fn kind_after(full: i64, step: i64, deltas: usize) -> (Kind, Why) {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let before = |minutes| now - SignedDuration::from_mins(minutes);
        let standing = Standing { full: before(full), step: before(step), deltas, frame: frame() };
        let plan = plan(Some(&standing), &frame(), now);
        (plan.kind, plan.why)
    }

    #[test]
    fn the_kind_follows_age_and_length_of_the_chain() {
        let cases = [
            ("at once", (0, 0, 0), (Kind::Delta, Why::Usual)),
            ("within the hour", (59, 59, 58), (Kind::Delta, Why::Usual)),
            ("the sixtieth", (59, 59, 59), (Kind::Diff, Why::ManyDeltas)),
            ("hourly", (60, 60, 3), (Kind::Diff, Why::Age)),
            ("after a diff", (120, 59, 0), (Kind::Delta, Why::Usual)),
            ("the last of the day", (24 * 60 - 1, 59, 0), (Kind::Delta, Why::Usual)),
            ("daily", (24 * 60, 0, 0), (Kind::Full, Why::Age)),
            ("a clock set back a little", (-1, -1, 0), (Kind::Delta, Why::Usual)),
            ("a clock set back a lot", (-61, -61, 0), (Kind::Full, Why::Age)),
        ];
        for (name, (full, step, deltas), want) in cases {
            assert_eq!(kind_after(full, step, deltas), want, "{name}");
        }
    }

    #[test]
    fn what_no_diff_can_tell_makes_a_full() {
        let now = Timestamp::UNIX_EPOCH;
        let standing = Standing { full: now, step: now, deltas: 0, frame: frame() };
        let changed = [
            (Frame { page_size: 8192, ..frame() }, Why::PageSize),
            (Frame { layout: Layout::K3s, ..frame() }, Why::Layout),
            (Frame { pki: "q".into(), ..frame() }, Why::Pki),
            (Frame { sealed_for: "t".into(), ..frame() }, Why::Recipients),
        ];
        for (frame, why) in changed {
            assert_eq!(plan(Some(&standing), &frame, now), Plan { kind: Kind::Full, why });
        }
        assert_eq!(plan(None, &frame(), now), Plan { kind: Kind::Full, why: Why::NothingToBuildOn });
    }

    #[test]
    fn half_is_not_yet_most() {
        for (since, count, want) in [(0, 0, false), (5, 10, false), (6, 10, true), (1, 1, true), (u32::MAX, 1, true)] {
            assert_eq!(is_mostly_changed(since, count), want, "{since} of {count}");
        }
    }
}
