//! Work that goes on after its caller has gone: what a cancelled write has begun is completed and taken away.
//!
//! An upload that is dropped half-way leaves its part behind, and one whose runtime ends under it panics. So files are
//! written by tasks of their own, which hear that nobody waits for them any more; and who is about to end the runtime
//! waits for these tasks first.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::watch;

/// How many tasks there are.
static TASKS: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::channel(0).0);

/// Counts a task until it ends, in whatever way.
struct Counted;

impl Counted {
    fn new() -> Self {
        TASKS.send_modify(|tasks| *tasks += 1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        TASKS.send_modify(|tasks| *tasks -= 1);
    }
}

/// Runs work to its end, whether anybody waits for it or not.
pub(super) fn to_the_end(work: impl Future<Output = ()> + Send + 'static) {
    let counted = Counted::new();
    tokio::spawn(async move {
        work.await;
        drop(counted);
    });
}

/// Waits until files that cancelled writes have begun are gone, or until the time is over; says which of the two.
///
/// A program that ends its runtime after it has cancelled something should call this before.
pub async fn settled(limit: Duration) -> bool {
    let mut tasks = TASKS.subscribe();
    let none = tasks.wait_for(|tasks| *tasks == 0);
    let settled = matches!(tokio::time::timeout(limit, none).await, Ok(Ok(_)));
    // What a dropped upload removes is asked for on a thread that may not have begun; the queue is in order.
    let _ = tokio::task::spawn_blocking(|| ()).await;
    settled
}
