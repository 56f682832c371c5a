//! A bar for people who wait at a terminal; nothing elsewhere. It follows what the process has sent or received, so no
//! command has to report its steps.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::traffic::traffic;

const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A bar that is drawn as long as this lives.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    task: tokio::task::JoinHandle<()>,
}

impl Bar {
    /// Until `total` bytes have come; what is done with them afterwards is `then`.
    #[must_use]
    pub fn receiving(what: &'static str, total: u64, then: &'static str) -> Self {
        const STYLE: &str = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {elapsed}";
        Self::follow(ProgressBar::new(total), STYLE, what, then, || traffic().received_bytes.get())
    }

    /// Bytes that go out, of which nobody knows beforehand how many they will be.
    #[must_use]
    pub fn sending(what: &'static str) -> Self {
        const STYLE: &str = "{spinner} {msg} {bytes} sent {elapsed}";
        Self::follow(ProgressBar::no_length(), STYLE, what, what, || traffic().sent_bytes.get())
    }

    fn follow(
        bar: ProgressBar,
        style: &str,
        what: &'static str,
        then: &'static str,
        count: impl Fn() -> u64 + Send + 'static,
    ) -> Self {
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.tick();
        let (drawn, before) = (bar.clone(), count());
        let task = tokio::spawn(async move {
            // Hidden where there is no terminal: then there is nothing to follow.
            while !drawn.is_hidden() {
                tokio::time::sleep(DRAW_EVERY).await;
                drawn.set_position(count().saturating_sub(before));
                if drawn.length().is_some_and(|total| drawn.position() >= total) {
                    drawn.set_message(then);
                }
                drawn.tick();
            }
        });
        Self { bar, task }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
