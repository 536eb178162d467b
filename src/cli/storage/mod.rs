//! `baton storage`: the shared directory, looked at from all sides. One file per subcommand.

mod profiles;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Look at shared directories, and at what other storage would do
#[derive(Args, Debug)]
pub(super) struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    Profiles(profiles::ProfilesArgs),
}

/// Runs the command.
pub(super) fn main(args: StorageArgs) -> ExitCode {
    match args.command {
        StorageCommand::Profiles(args) => super::run(async { profiles::main(&args) }),
    }
}
