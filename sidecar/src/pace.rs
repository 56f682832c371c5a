//! When to look again. Pure: the time is an argument.

use std::time::Duration;

use crate::error::Error;

/// A cause on this machine costs nothing to look at again; one in the store does.
pub const LOCAL_RETRY: Duration = Duration::from_secs(5);
const STORE_RETRY_FIRST: Duration = Duration::from_secs(2);
const STORE_RETRY_MOST: Duration = Duration::from_secs(600);
/// A database that takes long to read is left alone for this many times as long.
const REST_PER_PASS: u32 = 20;

/// The time to the next point of the interval's grid, `now` being the time since 1970. Each cluster has its own phase,
/// so that not all of them come at once; a slow `pass` earns its rest.
#[must_use]
pub fn until_next(cluster: &str, interval: Duration, now: Duration, pass: Duration) -> Duration {
    let phase = share_of(interval, cluster);
    let since = (now.as_millis() + interval.as_millis() - phase.as_millis()) % interval.as_millis().max(1);
    let rest = interval.saturating_sub(Duration::from_millis(u64::try_from(since).unwrap_or(0)));
    rest.max(pass * REST_PER_PASS)
}

/// The time to the next try after the `failures`-th failure in a row: doubling while the store is to blame, and each
/// cluster a little apart from the others.
#[must_use]
pub fn until_retry(cluster: &str, error: &Error, failures: u32, pass: Duration) -> Duration {
    match error {
        // The longest wait for kine's writers: that is when rest matters most.
        Error::TooSlow { .. } => pass * REST_PER_PASS,
        Error::Store { .. } => {
            let doubled =
                STORE_RETRY_FIRST.saturating_mul(1 << failures.min(16).saturating_sub(1)).min(STORE_RETRY_MOST);
            doubled - share_of(doubled / 4, &format!("{cluster} {failures}"))
        }
        _ => LOCAL_RETRY,
    }
}

/// A part of `whole`, the same for the same text.
fn share_of(whole: Duration, text: &str) -> Duration {
    let digest = blake3::hash(text.as_bytes());
    let number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
    Duration::from_millis(number % u64::try_from(whole.as_millis()).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fault;

    const MINUTE: Duration = Duration::from_secs(60);
    const QUICK: Duration = Duration::from_millis(10);

    #[test]
    fn backups_come_once_an_interval_at_the_clusters_own_phase() {
        let start = Duration::from_secs(1_700_000_000);
        let first = start + until_next("shop", MINUTE, start, QUICK);
        assert!(first > start && first <= start + MINUTE);
        for late in [0, 1, 59_000].map(Duration::from_millis) {
            assert_eq!(first + late + until_next("shop", MINUTE, first + late, QUICK), first + MINUTE);
        }
        assert_ne!(until_next("shop", MINUTE, start, QUICK), until_next("blog", MINUTE, start, QUICK));
    }

    #[test]
    fn a_slow_disk_is_left_alone_for_longer() {
        let slow = Duration::from_secs(10);
        assert_eq!(until_next("shop", MINUTE, Duration::ZERO, slow), slow * REST_PER_PASS);
        let late = Error::TooSlow { path: "state.db".into(), limit_seconds: 10 };
        assert_eq!(until_retry("shop", &late, 1, slow), slow * REST_PER_PASS);
    }

    #[test]
    fn a_failing_store_is_asked_ever_less_often_but_never_forgotten() {
        let fault = Fault::Unreachable("silence".into());
        let error = Error::Store { action: "put", object: "x".into(), store: "s3://x".into(), fault };
        let pauses: Vec<_> = (1..40).map(|failures| until_retry("shop", &error, failures, QUICK)).collect();
        assert!(pauses[0] <= STORE_RETRY_FIRST && pauses[0] >= STORE_RETRY_FIRST / 2, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= STORE_RETRY_MOST));
        assert!(pauses[38] >= STORE_RETRY_MOST / 2);
        assert_eq!(until_retry("shop", &Error::NoKey, 30, QUICK), LOCAL_RETRY, "a mended file is seen at once");
    }
}
