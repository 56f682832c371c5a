//! restic's keep rules over times alone: which of them, newest first, does each rule keep?

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use vcluster_proto::settings::Retention;

/// A rule that keeps a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One of the newest so many.
    Last,
    /// The newest of an hour.
    Hourly,
    /// The newest of a day.
    Daily,
    /// The newest of a week.
    Weekly,
    /// The newest of a month.
    Monthly,
    /// The newest of a year.
    Yearly,
    /// Young enough.
    Within,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
        })
    }
}

/// Whether nothing is asked for, which keeps everything.
pub(super) fn are_none(rules: &Retention) -> bool {
    *rules == Retention::default()
}

/// The places in `times`, which are newest first, that each rule keeps. Hours, days and so on are those of UTC.
pub(super) fn picks(times: &[Timestamp], rules: &Retention) -> Vec<(usize, Rule)> {
    let mut picks = Vec::new();
    let last = usize::try_from(rules.keep_last.unwrap_or(0)).unwrap_or(usize::MAX);
    picks.extend((0..times.len().min(last)).map(|nth| (nth, Rule::Last)));
    for (count, rule, period) in [
        (rules.keep_hourly, Rule::Hourly, hour as fn(Timestamp) -> i64),
        (rules.keep_daily, Rule::Daily, day),
        (rules.keep_weekly, Rule::Weekly, week),
        (rules.keep_monthly, Rule::Monthly, month),
        (rules.keep_yearly, Rule::Yearly, year),
    ] {
        let mut left = count.unwrap_or(0);
        let mut seen = None;
        for (nth, time) in times.iter().enumerate() {
            let here = Some(period(*time));
            if left > 0 && here != seen {
                picks.push((nth, rule));
                left -= 1;
                seen = here;
            }
        }
    }
    let young = rules.keep_within.and_then(|within| SignedDuration::try_from(within).ok());
    if let (Some(within), Some(newest)) = (young, times.first()) {
        let since = newest.checked_sub(within).unwrap_or(Timestamp::MIN);
        picks.extend((0..times.len()).take_while(|nth| times[*nth] >= since).map(|nth| (nth, Rule::Within)));
    }
    picks
}

fn hour(time: Timestamp) -> i64 {
    time.as_second().div_euclid(3600)
}

fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(24 * 3600)
}

/// Weeks begin on Monday; 1970 began on a Thursday.
fn week(time: Timestamp) -> i64 {
    (day(time) + 3).div_euclid(7)
}

fn month(time: Timestamp) -> i64 {
    let date = time.to_zoned(TimeZone::UTC).date();
    i64::from(date.year()) * 12 + i64::from(date.month())
}

fn year(time: Timestamp) -> i64 {
    i64::from(time.to_zoned(TimeZone::UTC).date().year())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(texts: &[&str]) -> Vec<Timestamp> {
        texts.iter().map(|text| text.parse().expect("a time")).collect()
    }

    fn kept(times: &[Timestamp], rules: Retention) -> Vec<usize> {
        let mut kept: Vec<usize> = picks(times, &rules).into_iter().map(|(nth, _)| nth).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        // Sunday the 1st of March 2026, and back.
        let times = times(&[
            "2026-03-01T10:30:00Z",
            "2026-03-01T10:00:00Z",
            "2026-03-01T09:59:59Z",
            "2026-02-28T23:59:59Z",
            "2026-02-28T00:00:00Z",
            "2026-02-22T12:00:00Z",
            "2025-12-31T23:59:59Z",
            "2024-02-29T00:00:00Z",
        ]);
        let rules = Retention::default;
        let cases = [
            ("last", Retention { keep_last: Some(2), ..rules() }, vec![0, 1]),
            ("hourly", Retention { keep_hourly: Some(3), ..rules() }, vec![0, 2, 3]),
            ("daily", Retention { keep_daily: Some(3), ..rules() }, vec![0, 3, 5]),
            ("weekly", Retention { keep_weekly: Some(2), ..rules() }, vec![0, 5]),
            ("monthly", Retention { keep_monthly: Some(3), ..rules() }, vec![0, 3, 6]),
            ("yearly", Retention { keep_yearly: Some(9), ..rules() }, vec![0, 6, 7]),
            ("within", Retention { keep_within: Some(std::time::Duration::from_secs(1800)), ..rules() }, vec![0, 1]),
            ("none of it", rules(), vec![]),
        ];
        for (name, rules, expected) in cases {
            assert_eq!(kept(&times, rules), expected, "{name}");
        }
    }
}
