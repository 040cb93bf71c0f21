//! The `sbft` program: everything is in the library's [`sbft::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sbft::cli::main()
}
