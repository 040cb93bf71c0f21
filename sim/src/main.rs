//! `sbft-sim`: run a schedule, search for bad ones, and explain them. See [`cli`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
