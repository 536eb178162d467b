//! Ways to hurt files.

use std::path::{Path, PathBuf};

use super::support::*;
use super::world::World;

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// The seeds to run: `SEED` alone, or so many.
pub(crate) fn seeds(default: u64) -> Vec<u64> {
    if let Some(seed) = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return vec![seed];
    }
    let cases = std::env::var("BATON_INSPECT_CASES").ok();
    let cases = cases
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(default);
    (1..=cases)
        .map(|seed| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect()
}

fn edit(disk: &FaultyDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes(path);
    change(&mut bytes);
    disk.set_bytes(path, bytes);
}

/// Does something to a file of the world; answers what.
pub(crate) fn hurt(world: &World, disk: &FaultyDisk, dice: &mut Dice) -> String {
    let files: Vec<PathBuf> = disk
        .paths("journal")
        .into_iter()
        .chain(disk.paths("checkpoints"))
        .collect();
    let path = files[dice.roll(files.len())].clone();
    let other = files[dice.roll(files.len())].clone();
    let used = world
        .files
        .get(&path)
        .map_or(0, |_| world.used(&path))
        .max(1);
    let used = used.min(disk.bytes(&path).len()).max(1);
    let (at, length) = (dice.roll(used), 1 + dice.roll(600));
    let kind = dice.roll(10);
    let length = length.min(disk.bytes(&path).len().saturating_sub(at));
    let name = path.display();
    match kind {
        0..=2 => {
            edit(disk, &path, |bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (at % 8);
                }
            });
            format!("flipped {name} at {at}")
        }
        3 => {
            edit(disk, &path, |bytes| bytes[at..at + length].fill(0));
            format!("zeroed {length} bytes of {name} at {at}")
        }
        4 => {
            edit(disk, &path, |bytes| bytes.truncate(at));
            format!("cut {name} at {at}")
        }
        5 => {
            edit(disk, &path, |bytes| {
                let from = bytes[at..at + length].to_vec();
                let to = at / 2;
                let end = (to + from.len()).min(bytes.len());
                bytes[to..end].copy_from_slice(&from[..end - to]);
            });
            format!("copied {length} bytes of {name} from {at} to {}", at / 2)
        }
        6 => {
            edit(disk, &path, |bytes| {
                let extra = bytes[at..at + length].to_vec();
                bytes.splice(at..at, extra);
            });
            format!("inserted {length} bytes into {name} at {at}")
        }
        7 => {
            let (a, b) = (disk.bytes(&path), disk.bytes(&other));
            disk.set_bytes(&path, b);
            disk.set_bytes(&other, a);
            format!("swapped {name} and {}", other.display())
        }
        8 => {
            disk.delete(&path);
            format!("deleted {name}")
        }
        _ => {
            edit(disk, &path, |bytes| {
                for byte in &mut bytes[at..at + length] {
                    *byte = dice.roll(256) as u8;
                }
            });
            format!("garbage of {length} bytes in {name} at {at}")
        }
    }
}
