//! `baton storage`: the shared directory, looked at from all sides. One file per subcommand.

mod check;
mod compare;
mod expect;
mod keys;
mod load;
mod new_key;
mod picture;
mod probe;
mod profiles;
mod show;
mod target;
mod why;

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
    Compare(compare::CompareArgs),
    Probe(probe::ProbeArgs),
    Check(check::CheckArgs),
    Keys(keys::KeysArgs),
    NewKey(new_key::NewKeyArgs),
    Profiles(profiles::ProfilesArgs),
    Why(why::WhyArgs),
}

/// Runs the command.
pub(super) fn main(args: StorageArgs) -> ExitCode {
    match args.command {
        StorageCommand::Compare(args) => super::run(compare::main(args)),
        StorageCommand::Probe(args) => super::run(probe::main(args)),
        StorageCommand::Check(args) => check::main(&args),
        StorageCommand::Keys(args) => super::run(async { keys::main(&args) }),
        StorageCommand::NewKey(args) => super::run(async { new_key::main(&args) }),
        StorageCommand::Profiles(args) => super::run(async { profiles::main(&args) }),
        StorageCommand::Why(args) => super::run(async { why::main(&args) }),
    }
}
