//! Ctrl-C at the prompt, which needs a terminal: `script` of util-linux lends one.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::Project;

const FEATURES: &str = r#"
[[feature]]
key = "number"
id_columns = ["id"]
"#;

/// The program at a terminal.
struct Terminal {
    process: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn open(project: &Project) -> Self {
        let program = env!("CARGO_BIN_EXE_metaxy-cli");
        let mut process = Command::new("script")
            .args(["-qefc", &format!("'{program}'"), "/dev/null"])
            .current_dir(project.path())
            .env("HOME", project.path())
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux starts");
        let keys = process.stdin.take().unwrap();
        let mut screen = process.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process, keys, output, seen: String::new() }
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the screen has shown a text since the last time, and says how long that took.
    fn wait_for(&mut self, text: &str) -> Duration {
        let start = Instant::now();
        while !self.seen.contains(text) {
            match self.output.recv_timeout(Duration::from_secs(60)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{text:?} never came ({error}); the screen shows {}", self.seen),
            }
        }
        self.seen.clear();
        start.elapsed()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cancelled_within_a_second(engine: &str) {
    let project = Project::new(FEATURES);
    let mut terminal = Terminal::open(&project);
    terminal.wait_for("> ");
    // More than any machine computes, or keeps, while the test runs: the last sample would take hours.
    let samples = "SELECT value AS id, named_struct('default', CAST(value AS VARCHAR)) AS metaxy_provenance_by_field \
                   FROM generate_series(1, 100000000000)";
    terminal.type_in(&format!(
        "SELECT count(metaxy_provenance) FROM resolve_update('number', ({samples}), engine => '{engine}');\n"
    ));
    std::thread::sleep(Duration::from_secs(2));
    terminal.type_in("\x03");
    let took = terminal.wait_for("cancelled");
    assert!(took < Duration::from_secs(1), "{engine}: cancelled after {took:?}");
    // The prompt goes on.
    terminal.type_in("SELECT concat('still ', 'here');\n");
    terminal.wait_for("still here");
}

#[test]
fn the_in_memory_executor_stops_within_a_second() {
    cancelled_within_a_second("memory");
}

#[test]
fn the_native_executor_stops_within_a_second() {
    cancelled_within_a_second("native");
}
