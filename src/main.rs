//! The `baton` command.

use std::process::ExitCode;

// Messages are allocated in one thread and freed in another: what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    batonmq::cli::main()
}
