//! SIGTERM and SIGINT as something to wait for.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// Listens from its making on, so that no signal is lost between two waits.
pub struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> Result<Self, Error> {
        let refused = |e: std::io::Error| Error::Usage(format!("cannot listen for signals: {e}"));
        Ok(Self {
            term: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
        })
    }

    /// Until either comes.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
