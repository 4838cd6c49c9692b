//! `metaxy-cli`: arguments in, session out.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use datafusion_metaxy::cli;
use mimalloc::MiMalloc;

/// Much faster than the system's allocator where many threads make Arrow buffers. It goes without huge pages: they took
/// half as much memory again and saved no time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Expressions and plans are walked recursively, and of a condition with thousands of terms each is a step. Of a stack that
/// isn't used, nothing is in memory.
const PLANNING_STACK: usize = 256 << 20;
/// The same for the threads that carry plans out, of which there may be many.
const WORKER_STACK: usize = 64 << 20;

/// How long work that was given up may take to stop before the process ends anyway.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Only for those who ask: what a user should hear is printed without it.
    if std::env::var_os("RUST_LOG").is_some() {
        env_logger::init();
    }
    // The main thread's stack is the system's choice, so nothing runs on it.
    let thread =
        std::thread::Builder::new().name("metaxy-cli".to_owned()).stack_size(PLANNING_STACK).spawn(run);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(code))) => code,
        Ok(Ok(Err(error))) | Err(error) => {
            // If even this can't be written, the exit code says it all.
            let _ = writeln!(std::io::stderr(), "Error: cannot start: {error}");
            ExitCode::FAILURE
        }
        // A panic, which has printed itself.
        Ok(Err(_)) => ExitCode::FAILURE,
    }
}

fn run() -> std::io::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(WORKER_STACK).build()?;
    let code = runtime.block_on(cli::run(std::env::args_os()));
    runtime.shutdown_timeout(GRACE);
    Ok(code)
}
