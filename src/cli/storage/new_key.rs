//! `baton storage new-key`: makes a key for an encrypted journal.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use storage::cipher::{MasterKey, random_key};

use crate::config::keys::encode;

/// Make a key for an encrypted journal
///
/// Writes 32 random bytes in base64 into a new file that only its owner can read, as
/// `openssl rand -base64 32` would print them, and shows the key's name. Keep a copy where the journal
/// is not: without its key a journal is lost.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage new-key /etc/baton/journal.key
  baton broker --set encryption.key_file=/etc/baton/journal.key")]
pub(super) struct NewKeyArgs {
    /// The file, which must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(super) fn main(args: &NewKeyArgs) -> anyhow::Result<ExitCode> {
    let path = args.file.display();
    let secret = random_key()?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .with_context(|| format!("cannot create the key file `{path}`"))?;
    let text = encode(&secret);
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write the key file `{path}`"))?;
    println!("{path}: the key {}", MasterKey::new(secret).id());
    Ok(ExitCode::SUCCESS)
}
