//! `baton storage keys`: which keys a journal needs; and the keys that other commands are given.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use storage::Keyring;
use storage::cipher::KeyId;
use storage::disk::RealDisk;
use storage::inspect::{KeyUse, keys_in_use};

use super::check::bytes;
use crate::cli::table::align;
use crate::config::{Config, keys};

/// Where a command gets the keys of an encrypted journal from.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// A file with a key of an encrypted journal; repeatable
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,

    /// A baton.toml whose section [encryption] says where the keys are
    #[arg(
        long,
        value_name = "FILE",
        env = "BATON_CONFIG",
        conflicts_with = "key_file"
    )]
    config: Option<PathBuf>,
}

impl KeyArgs {
    /// Gets the keys; none if none are named.
    pub(super) fn load(&self) -> anyhow::Result<Keyring> {
        match &self.config {
            Some(path) => {
                let config = Config::load(Some(path), Vec::new())?;
                Ok(keys::load(&config.encryption)?)
            }
            None => Ok(keys::load_files(&self.key_file)?),
        }
    }
}

/// Show with which keys the files of a journal directory are encrypted
///
/// Needs no key, takes no lock and writes nothing: it may run beside a running pair. A key that is not
/// listed is needed no more. Messages that wait for long keep the key of their segment in use; they
/// get the present one when their segment is so sparse that they are moved.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage keys /srv/baton
  baton storage keys /srv/baton --key-file old.key      is this one still needed?
  baton storage keys /srv/baton --json")]
pub(super) struct KeysArgs {
    /// Journal directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    keys: KeyArgs,

    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn main(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let shown = args.directory.display();
    let disk = RealDisk::open_to_inspect(&args.directory)
        .with_context(|| format!("cannot open the directory `{shown}`"))?;
    let uses = keys_in_use(&disk).with_context(|| format!("cannot read `{shown}`"))?;
    let given = args.keys.load()?;
    if args.json {
        let ids: Vec<String> = given.ids().iter().map(ToString::to_string).collect();
        println!("{:#}", json!({ "in_use": uses, "given": ids }));
    } else {
        print!("{}", text(&uses, &given.ids()));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(uses: &[KeyUse], given: &[KeyId]) -> String {
    if uses.is_empty() {
        return "There is no journal in this directory.\n".to_owned();
    }
    let mut rows = vec![["KEY", "SEGMENTS", "CHECKPOINTS", "BYTES", ""].map(str::to_owned)];
    for used in uses {
        let note = match (used.is_newest, used.key) {
            (true, _) => "written with now",
            (false, Some(key)) if !given.is_empty() && !given.contains(&key) => "not given",
            (false, _) => "",
        };
        rows.push([
            used.key
                .map_or("none (plain)".to_owned(), |key| key.to_string()),
            used.segments.to_string(),
            used.checkpoints.to_string(),
            bytes(used.bytes),
            note.to_owned(),
        ]);
    }
    let mut text = align(&rows);
    for id in given {
        if !uses.iter().any(|used| used.key == Some(*id)) {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "No file here needs the key {id}.");
        }
    }
    text
}
