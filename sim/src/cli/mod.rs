//! The commands of `sbft-sim`, a file each; here only what they share.
//!
//! A command is a struct of arguments with a `run(self) -> Outcome`. To add one: its file, its
//! `mod` line, its variant of [`Command`] and its arm in [`Command::run`]. (`shrink`
//! and `diff` come this way from the people who write them.)

mod attacks;
mod diff;
mod draw;
mod exit;
mod output;
mod parallel;
mod plants;
mod progress;
mod replay;
mod run;
mod scale;
mod shrink;
mod subject;
mod swarm;
mod twins;

use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sbft::plant::Plant;

pub(crate) use exit::Exit;

/// What a command comes to: how the process ends, or what is wrong with how it was called (a
/// sentence that names the file, line or flag and says what to do).
pub(crate) type Outcome = Result<Exit, String>;

/// Runs sbft's protocol core in virtual time, over a network, disks and clocks that fail, with
/// liars among the replicas, and checks after every event what must never break.
///
/// Exit status: 0 all is well, 1 a scenario's expectation was not met, 2 wrong usage, 10 safety, 11
/// liveness, 12 storm or memory, 13 panic, 14 not deterministic.
#[derive(Parser)]
#[command(name = "sbft-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists what liars can do, or explains it.
    Attacks(attacks::Attacks),
    /// Says where two traces part, and what differs from there on.
    Diff(diff::Diff),
    /// Draws a trace: the picture or the transcript of a run that was recorded.
    Draw(draw::Draw),
    /// Takes rules of the protocol away, one at a time, and shows that some schedule fails.
    Plants(plants::Plants),
    /// Runs a schedule again and prints what happens, up to a time.
    Replay(replay::Replay),
    /// Runs a scenario file, or the schedule of one seed.
    Run(run::Run),
    /// Predicts how the engine scales with n, from costs that were measured on this machine.
    Scale(scale::Scale),
    /// Makes a failing run small: as few faults as possible, and the same check fails.
    Shrink(shrink::Shrink),
    /// Runs many random schedules and stops at the first that fails.
    #[command(alias = "smoke")]
    Swarm(swarm::Swarm),
    /// Runs every schedule of a small world with twins.
    Twins(twins::Twins),
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Self::Attacks(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Draw(command) => command.run(),
            Self::Plants(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Scale(command) => command.run(),
            Self::Shrink(command) => command.run(),
            Self::Swarm(command) => command.run(),
            Self::Twins(command) => command.run(),
        }
    }
}

thread_local! {
    /// Where the last panic of this thread happened.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Parses the command line, runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    // A panic inside a run is a result like others, and its text is in the report; one outside
    // is a bug of the simulator, and is told below.
    std::panic::set_hook(Box::new(|panic| {
        PANICKED_AT.with_borrow_mut(|at| *at = panic.to_string());
    }));
    let command = Arguments::parse().command;
    match catch_unwind(AssertUnwindSafe(|| command.run())) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(text)) => {
            complain(&format!("error: {text}\n"));
            Exit::Usage.into()
        }
        Err(_) => {
            let text = PANICKED_AT.with_borrow(Clone::clone);
            complain(&format!("sbft-sim itself failed, which is a bug of the simulator: {text}\n"));
            Exit::Panic.into()
        }
    }
}

/// Writes to standard output. That nobody reads any more (`| head`) is no error.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error; where that fails, there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Says what could not be written, after all that was found.
pub(crate) fn complain_of(unwritten: &[String]) {
    for problem in unwritten {
        complain(&format!("error: {problem}\n"));
    }
}

/// Parses a seed: decimal, or hexadecimal after `0x`.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no seed: give a number below 2^64, such as 42 or 0x5eed"))
}

/// Parses the number of replicas.
pub(crate) fn replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=31).contains(&n) => Ok(n),
        _ => Err(format!("`{text}` is no number of replicas: give 1 to 31; 4 is the usual one")),
    }
}

/// Parses a length of time: 500ms, 60s, 10m or 2h.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let millis = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match text[..split].parse::<u64>() {
        Ok(count) if count > 0 && millis > 0 && count < 1 << 32 => Ok(Duration::from_millis(count * millis)),
        _ => Err(format!("`{text}` is no length of time: give one such as 500ms, 60s or 10m")),
    }
}

/// Parses the id or the name of a planted bug.
pub(crate) fn plant(name: &str) -> Result<Plant, String> {
    name.parse().map_err(|error: sbft::plant::UnknownPlant| error.to_string())
}
