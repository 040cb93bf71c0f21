//! `sbft-sim`: run a schedule, search for bad ones, and explain them. See [`cli`].

mod cli;

/// A run is made of very many small allocations that do not outlive it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
