//! The progress bar of long work: at a terminal, on the standard error, after a moment.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::store::{Progress, ProgressNow};

/// Work that ends sooner shows nothing.
const DELAY: Duration = Duration::from_millis(400);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Lets a session's work be watched, if there is somebody to watch it.
pub(super) fn attach(context: &SessionContext, quiet: bool) {
    if !quiet && std::io::stderr().is_terminal() {
        context.state_ref().write().config_mut().set_extension(Arc::new(Progress::default()));
    }
}

/// A progress bar over everything that a session does, until it is dropped; then nothing of it stays on the screen.
pub(super) struct Bar {
    // A thread of its own draws: the runtime's are busy with the work.
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bar {
    /// A bar, which shows nothing in a session that nobody watches.
    pub(super) fn over(context: &SessionContext) -> Self {
        let drawing = Progress::of(context).and_then(|progress| {
            let (stop, stopped) = channel();
            let draw = move || {
                let start = Instant::now();
                let mut wait = DELAY;
                let mut shown: Option<ProgressBar> = None;
                while matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                    wait = TICK;
                    let Some(now) = progress.now() else { continue };
                    draw(shown.get_or_insert_with(ProgressBar::new_spinner), &now, start.elapsed());
                }
                if let Some(shown) = shown {
                    shown.finish_and_clear();
                }
            };
            let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(draw);
            // Without a thread there is no bar, and the work goes on.
            thread.ok().map(|thread| (stop, thread))
        });
        Self { drawing }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            // It clears the line before it ends, so what is printed next has the screen to itself.
            let _ = thread.join();
        }
    }
}

fn draw(bar: &ProgressBar, now: &ProgressNow, elapsed: Duration) {
    let template = if now.total.is_some() { "{spinner} [{bar:24}] {msg}" } else { "{spinner} {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if let Some(total) = now.total {
        bar.set_length(total.max(now.rows));
        bar.set_position(now.rows);
    }
    bar.set_message(text(now, elapsed));
    bar.tick();
}

/// What is done, rows and rate.
fn text(now: &ProgressNow, elapsed: Duration) -> String {
    let rate = now.rows as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    let of = match now.total {
        // An estimate may be too low.
        Some(total) if total >= now.rows => format!(" of {}", HumanCount(total)),
        _ => String::new(),
    };
    format!("{}: {}{of} rows, {} rows/s", now.what, HumanCount(now.rows), HumanCount(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: u64, total: Option<u64>) -> String {
        text(&ProgressNow { what: "copying photo".into(), rows, total }, Duration::from_millis(500))
    }

    #[test]
    fn rows_and_rate_are_told_and_the_end_if_it_is_known() {
        assert_eq!(shown(1_234_567, None), "copying photo: 1,234,567 rows, 2,469,134 rows/s");
        assert_eq!(shown(5, Some(2_000)), "copying photo: 5 of 2,000 rows, 10 rows/s");
        assert_eq!(shown(2_001, Some(2_000)), "copying photo: 2,001 rows, 4,002 rows/s");
    }
}
