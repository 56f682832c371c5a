//! How the loop stands, for the endpoints: it writes, they read. Pure but for its lock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A large first backup over a slow line takes its time; a loop that has not come round for longer hangs.
const STUCK_AFTER: Duration = Duration::from_secs(3600);

/// Alive: the loop comes round. Ready: everything was in the store when it last did.
#[derive(Debug)]
pub struct Health(Mutex<Turn>);

#[derive(Debug)]
struct Turn {
    due: Instant,
    trouble: Option<String>,
}

impl Health {
    /// Nothing has been tried yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Turn { due: now, trouble: Some("nothing has been backed up yet".into()) }))
    }

    /// The loop has come round and will again after `pause`; `trouble` is what a person should read.
    pub fn turned(&self, now: Instant, pause: Duration, trouble: Option<String>) {
        *self.turn() = Turn { due: now + pause, trouble };
    }

    /// # Errors
    /// The loop hangs.
    pub fn live(&self, now: Instant) -> Result<(), String> {
        let late = now.saturating_duration_since(self.turn().due);
        if late > STUCK_AFTER { Err(format!("the loop is {} s late", late.as_secs())) } else { Ok(()) }
    }

    /// # Errors
    /// Why there is no backup of everything.
    pub fn ready(&self, now: Instant) -> Result<(), String> {
        self.live(now)?;
        self.turn().trouble.clone().map_or(Ok(()), Err)
    }

    /// Nothing that is written under the lock can be half done.
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_ready_when_it_is_well_and_alive_until_it_is_long_overdue() {
        let start = Instant::now();
        let health = Health::new(start);
        assert!(health.live(start).is_ok() && health.ready(start).is_err());
        let pause = Duration::from_secs(60);
        health.turned(start, pause, None);
        assert_eq!(health.ready(start), Ok(()));
        let late = start + pause + STUCK_AFTER + Duration::from_secs(1);
        assert!(health.live(late).is_err() && health.ready(late).is_err());
        health.turned(late, pause, Some("the store is silent".into()));
        assert!(health.live(late).is_ok());
        assert_eq!(health.ready(late), Err("the store is silent".into()));
    }
}
