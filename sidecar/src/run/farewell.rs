//! After the signal: a last backup when the API server has stopped writing, and out before the pod's patience ends.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use vcluster_proto::status::State;

use super::Daemon;
use crate::error::Error;

/// The whole way out, and how much of it waits for the API server's last writes.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(8);
pub(super) const PUBLISH_WITHIN: Duration = Duration::from_secs(2);
const WRITERS_REST_WITHIN: Duration = Duration::from_secs(4);
const WRITERS_REST_FOR: Duration = Duration::from_millis(400);

impl Daemon {
    /// The last backup: when the API server has stopped writing, or when there is no more time to wait for that. A
    /// store that did not take the one under way gets no second.
    pub(super) async fn last(&mut self, deadline: tokio::time::Instant, through: bool) {
        let outcome = if through {
            self.writers_rest().await;
            timeout_at(deadline - PUBLISH_WITHIN, self.attempt()).await.unwrap_or(Err(Error::TooLate))
        } else {
            Err(Error::TooLate)
        };
        self.record(&outcome);
        if outcome.is_ok() {
            self.status.state = State::Stopped;
        }
        let _ = timeout_at(deadline, self.publish()).await;
        let _ = timeout_at(deadline, self.tell(&outcome)).await;
        tracing::info!("stopped");
    }

    async fn writers_rest(&self) {
        let Some((live, _)) = &self.live else { return };
        let until = Instant::now() + WRITERS_REST_WITHIN;
        let mut seen = (live.version().ok(), Instant::now());
        while Instant::now() < until && seen.1.elapsed() < WRITERS_REST_FOR {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let version = live.version().ok();
            if version != seen.0 {
                seen = (version, Instant::now());
            }
        }
    }
}
