//! The clients of one kine: so many writes a second, one after the other. What a write that could not begin in time has
//! waited counts as its own, since its client waits as well.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{etcd::Client, workload::Workload};

/// One acknowledged write.
#[derive(Clone)]
pub(crate) struct Acknowledged {
    pub(crate) key: String,
    pub(crate) is_deletion: bool,
    pub(crate) revision: i64,
    /// When the client knew.
    pub(crate) at: Timestamp,
    /// Since it was to be written.
    pub(crate) waited: Duration,
}

/// Clients that write until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Done>>,
    thread: JoinHandle<()>,
}

/// What they have seen.
#[derive(Clone, Default)]
pub(crate) struct Done {
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Writes that kine refused or gave up on.
    pub(crate) failed: u64,
}

impl Load {
    pub(crate) fn start(kine: &str, mut workload: Workload, writes_per_second: u32) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Done::default())));
        let (told, seen, kine) = (Arc::clone(&stop), Arc::clone(&done), kine.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut client = Client::connect(&kine).await;
                let every = Duration::from_secs(1) / writes_per_second;
                let mut due = Instant::now();
                while !told.load(Ordering::Relaxed) {
                    due += every;
                    tokio::time::sleep_until(due.into()).await;
                    let write = workload.next();
                    let outcome = client.write(&write).await;
                    let (at, waited) = (Timestamp::now(), due.elapsed());
                    let mut done = seen.lock().expect("nobody panics with it");
                    match outcome {
                        Ok(revision) => {
                            workload.acknowledge(revision);
                            let is_deletion = write.value.is_empty();
                            done.acknowledged.push(Acknowledged { key: write.key, is_deletion, revision, at, waited });
                        }
                        Err(error) => {
                            eprintln!("a write has failed: {error}");
                            done.failed += 1;
                        }
                    }
                }
            });
        });
        Self { stop, done, thread }
    }

    /// How many writes are acknowledged by now.
    pub(crate) fn count(&self) -> usize {
        self.done.lock().expect("nobody panics with it").acknowledged.len()
    }

    pub(crate) fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the clients do not panic");
        self.done.lock().expect("nobody panics with it").clone()
    }
}

impl Done {
    /// Of a hundred writes, `percent` waited no longer than this.
    pub(crate) fn waited(&self, percent: usize) -> Duration {
        let mut waited: Vec<Duration> = self.acknowledged.iter().map(|write| write.waited).collect();
        waited.sort_unstable();
        let at = (waited.len() * percent / 100).min(waited.len().saturating_sub(1));
        waited.get(at).copied().unwrap_or_default()
    }
}
