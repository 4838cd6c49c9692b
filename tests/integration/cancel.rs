//! Ctrl-C and progress bars, which need a terminal: `script` of util-linux lends one.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{Project, files_below};

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
    fn open(project: &Project, arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_metaxy-cli");
        let mut process = Command::new("script")
            .args(["-qefc", &format!("'{program}' {arguments}"), "/dev/null"])
            .current_dir(project.path())
            .env("HOME", project.path())
            .env("TERM", "xterm")
            .env("COLUMNS", "200")
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

    /// Waits for the end, and says with which exit code it came and what the screen has shown since the last time.
    fn end(&mut self) -> (Option<i32>, String) {
        let code = self.process.wait().unwrap().code();
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(5)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (code, std::mem::take(&mut self.seen))
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

/// So many samples. A hundred billion are more than any machine computes, or keeps, while a test runs.
fn samples(count: u64) -> String {
    format!(
        "SELECT value AS id, named_struct('default', CAST(value AS VARCHAR)) AS metaxy_provenance_by_field \
         FROM generate_series(1, {count})"
    )
}

fn cancelled_within_a_second(engine: &str) {
    let project = Project::new(FEATURES);
    let mut terminal = Terminal::open(&project, "");
    terminal.wait_for("> ");
    let samples = samples(100_000_000_000);
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

/// What would be typed after the program's name to run these statements.
fn script(project: &Project, sql: &str) -> &'static str {
    project.write("script.sql", sql);
    "-f script.sql"
}

#[test]
fn ctrl_c_ends_a_script_and_takes_away_what_it_has_staged() {
    let project = Project::new(FEATURES);
    let insert =
        format!("INSERT INTO number {};\nSELECT concat('never ', 'reached');", samples(100_000_000_000));
    let mut terminal = Terminal::open(&project, script(&project, &insert));
    terminal.wait_for("rows/s");
    terminal.type_in("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    assert!(!screen.contains("never reached") && !screen.contains("Error"), "{screen}");
    let left = files_below(project.path());
    assert!(left.iter().all(|file| !file.ends_with(".parquet")), "{left:?}");
}

/// While the last file is completed, which nothing interrupts, and while rows come.
#[test]
fn ctrl_c_while_a_file_is_written_leaves_no_part_of_it() {
    for (pause, step) in [(0, "INSERT"), (2000, "INSERT"), (0, "copy")] {
        let project = Project::new(FEATURES);
        let other = "\n[stores.other]\ntype = \"delta\"\n[stores.other.config]\nroot_path = \"other\"\n";
        project.configure("", &format!("{other}[ext.datafusion.stores]"));
        let insert = format!("INSERT INTO number {};", samples(600_000));
        let arguments = match step {
            "INSERT" => script(&project, &insert),
            _ => {
                project.cli().sql(&[&insert]).run().ok();
                "copy number --from dev --to other"
            }
        };
        let mut terminal = Terminal::open(&project, arguments);
        terminal.wait_for(" rows");
        std::thread::sleep(Duration::from_millis(pause));
        // A fast machine may be done by now.
        let _ = terminal.keys.write_all(b"\x03").and_then(|()| terminal.keys.flush());
        let (_, screen) = terminal.end();
        assert!(!screen.contains("panicked") && !screen.contains("shut down"), "{step} {pause}: {screen}");
        let left = files_below(project.path());
        assert!(left.iter().all(|file| !file.contains('#')), "{step} {pause}: {left:?}");
    }
}

#[test]
fn long_work_shows_rows_and_rate_at_a_terminal_only() {
    let project = Project::new(FEATURES);
    let other = "\n[stores.other]\ntype = \"delta\"\n[stores.other.config]\nroot_path = \"other\"\n";
    project.configure("", &format!("{other}[ext.datafusion.stores]"));
    let increment = format!(
        "SELECT count(metaxy_provenance) AS n FROM resolve_update('number', ({}))",
        samples(1_500_000)
    );
    // Samples enough for half a second, on a fast machine, too.
    let mut terminal = Terminal::open(&project, script(&project, &increment));
    terminal.wait_for("reading: ");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.contains(" rows, ") && screen.contains(" rows/s") && screen.contains("| 1500000 |"),
        "{screen}"
    );

    let insert = format!("INSERT INTO number {};", samples(1_500_000));
    project.write("insert.sql", &insert);
    let mut quiet = Terminal::open(&project, "-q -f insert.sql");
    let (code, screen) = quiet.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("1500000") && !screen.contains("rows/s"), "{screen}");

    let mut copy = Terminal::open(&project, "copy number --from dev --to other");
    copy.wait_for("copying number: ");
    let (code, screen) = copy.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("rows/s") && screen.contains("| number  | 1500000 |"), "{screen}");

    // In a pipe there is nothing but the answer.
    let piped = project.cli().args(["optimize", "number", "--full", "--format", "csv"]).run();
    assert_eq!(piped.stderr, "");
    let mut optimize = Terminal::open(&project, "optimize number --full");
    optimize.wait_for("optimizing number: ");
    assert_eq!(optimize.end().0, Some(0));
}
