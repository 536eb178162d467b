//! Getting the keys of an encrypted journal: from files, or from a command.
//!
//! A key is 32 bytes, written in base64 (as `openssl rand -base64 32` prints it) or in hexadecimal.
//! Several may stand on lines of their own: the first one encrypts what is written, the others are
//! for reading. Nothing here ever shows a key, nor a line that might be one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use storage::Keyring;
use storage::cipher::{KEY_BYTES, MasterKey};
use zeroize::Zeroizing;

use super::Encryption;

/// More than this is no list of keys.
const KEY_TEXT_BYTES_MAX: u64 = 64 << 10;
/// What of a command's complaints is shown.
const COMPLAINT_CHARS_MAX: usize = 400;
/// Time between two looks whether the command has ended.
const COMMAND_POLL: Duration = Duration::from_millis(5);

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyLoadError {
    /// A key file cannot be read.
    #[error("cannot read the key file `{path}`: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner and group can read the key, or others than its owner change it.
    #[error(
        "the key file `{path}` has the mode {mode:04o}, which lets too many read or change the key: `chmod 600` it",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else than keys.
    #[error(
        "{source_name}, line {line}: {reason}: a key is 32 bytes in base64 or in hexadecimal, as `baton storage new-key` or `openssl rand -base64 32` makes it"
    )]
    Malformed {
        /// The file or command.
        source_name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds no key.
    #[error(
        "{source_name} holds no key: make one with `baton storage new-key` or `openssl rand -base64 32`"
    )]
    Empty {
        /// The file or command.
        source_name: String,
    },
    /// The command could not be started.
    #[error("cannot run the key command `{command}`: {error}")]
    Start {
        /// The program.
        command: String,
        /// What the system said.
        error: io::Error,
    },
    /// The command failed.
    #[error("the key command `{command}` failed ({status}){complaint}")]
    Failed {
        /// The program.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to its standard error, with a colon before it.
        complaint: String,
    },
    /// The command took too long.
    #[error(
        "the key command `{command}` did not end within {waited:?}: see what it waits for, or give it more with `encryption.key_command_timeout`"
    )]
    Slow {
        /// The program.
        command: String,
        /// How long it had.
        waited: Duration,
    },
}

/// Gets all keys that a configuration names. Blocks as long as the key command takes, at most its
/// timeout.
///
/// # Errors
/// [`KeyLoadError`]
pub fn load(encryption: &Encryption) -> Result<Keyring, KeyLoadError> {
    let mut writing = Vec::new();
    if !encryption.key_file.value.is_empty() {
        writing = read_file(Path::new(&encryption.key_file.value))?;
    }
    if let [program, arguments @ ..] = &encryption.key_command.value[..] {
        let timeout = encryption.key_command_timeout.value.duration();
        writing = run(program, arguments, timeout)?;
    }
    let mut writing = writing.into_iter();
    let first = writing.next();
    let mut reading: Vec<MasterKey> = writing.collect();
    for path in &encryption.old_key_files.value {
        reading.extend(read_file(path)?);
    }
    Ok(Keyring::new(first, reading))
}

/// Gets the keys of these files; the first of them all encrypts what is written.
///
/// # Errors
/// [`KeyLoadError`]
pub fn load_files(paths: &[PathBuf]) -> Result<Keyring, KeyLoadError> {
    let mut keys = Vec::new();
    for path in paths {
        keys.extend(read_file(path)?);
    }
    let mut keys = keys.into_iter();
    Ok(Keyring::new(keys.next(), keys.collect()))
}

fn read_file(path: &Path) -> Result<Vec<MasterKey>, KeyLoadError> {
    let failed = |error| KeyLoadError::Read {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Pipes and the like (`/dev/stdin`) are nobody else's.
    if metadata.is_file() && mode & 0o027 != 0 {
        return Err(KeyLoadError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = read_bounded(file).map_err(failed)?;
    parse(&format!("`{}`", path.display()), &text)
}

fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    from.take(KEY_TEXT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// The keys in a text: one on a line; empty lines and those that begin with `#` are left out.
fn parse(source_name: &str, text: &[u8]) -> Result<Vec<MasterKey>, KeyLoadError> {
    let mut keys = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let secret = decode(line).map_err(|reason| KeyLoadError::Malformed {
            source_name: source_name.to_owned(),
            line: index + 1,
            reason,
        })?;
        keys.push(MasterKey::new(secret));
    }
    match keys.is_empty() {
        true => Err(KeyLoadError::Empty {
            source_name: source_name.to_owned(),
        }),
        false => Ok(keys),
    }
}

/// What is wrong is told by lengths only.
fn decode(line: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, String> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let is_hexadecimal = line.len() == 2 * KEY_BYTES;
    let written = match is_hexadecimal {
        true => decode_digits(line, 4, hexadecimal, &mut key),
        false => {
            let end = line
                .iter()
                .rposition(|byte| *byte != b'=')
                .map_or(0, |at| at + 1);
            let digits = if line.len() - end <= 2 {
                &line[..end]
            } else {
                line
            };
            decode_digits(digits, 6, base64, &mut key)
        }
    };
    match written {
        Some(KEY_BYTES) => Ok(key),
        Some(bytes) => Err(format!("{bytes} bytes instead of {KEY_BYTES}")),
        None => Err(format!("{} characters that are no key", line.len())),
    }
}

/// Bytes of the digits, each of so many bits. What is beyond a key is counted and not kept.
fn decode_digits(
    digits: &[u8],
    bits: u32,
    value: impl Fn(u8) -> Option<u8>,
    out: &mut [u8; KEY_BYTES],
) -> Option<usize> {
    let (mut held, mut held_bits, mut written) = (0_u32, 0, 0);
    for digit in digits {
        held = held << bits | u32::from(value(*digit)?);
        held_bits += bits;
        if held_bits >= 8 {
            held_bits -= 8;
            if let Some(byte) = out.get_mut(written) {
                *byte = (held >> held_bits) as u8;
            }
            written += 1;
            held &= (1 << held_bits) - 1;
        }
    }
    // Digits that end within a byte are cut off.
    (held == 0 && held_bits < bits).then_some(written)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Of both alphabets.
fn base64(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// A new key as text: base64 with a line's end.
#[must_use]
pub fn encode(key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Zeroizing::new(String::with_capacity(48));
    for group in key.chunks(3) {
        let mut bytes = [0; 4];
        bytes[1..=group.len()].copy_from_slice(group);
        let value = u32::from_be_bytes(bytes);
        for at in 0..4 {
            let digit = DIGITS[(value >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text.push('\n');
    text
}

/// Runs the command without a shell; what it prints is the keys.
fn run(
    program: &str,
    arguments: &[String],
    timeout: Duration,
) -> Result<Vec<MasterKey>, KeyLoadError> {
    let command = || program.to_owned();
    let start = |error| KeyLoadError::Start {
        command: command(),
        error,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let deadline = Instant::now() + timeout;
    let (printed, complained) = (
        read_apart(child.stdout.take()),
        read_apart(child.stderr.take()),
    );
    let slow = KeyLoadError::Slow {
        command: command(),
        waited: timeout,
    };
    let status = loop {
        match child.try_wait().map_err(start)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                // It may have ended just now; either way nothing is left of it.
                let _ = child.kill();
                let _ = child.wait();
                return Err(slow);
            }
            None => std::thread::sleep(COMMAND_POLL),
        }
    };
    let rest = deadline.saturating_duration_since(Instant::now());
    if !status.success() {
        let complaint = complained.recv_timeout(rest.min(Duration::from_millis(500)));
        return Err(KeyLoadError::Failed {
            command: command(),
            status: status.to_string(),
            complaint: complaint.map_or(String::new(), |text| complaint_of(&text)),
        });
    }
    // Whatever it left running may still hold the pipe.
    match printed.recv_timeout(rest.max(COMMAND_POLL)) {
        Ok(text) => parse(&format!("what the key command `{program}` printed"), &text),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(slow),
    }
}

/// Reads a pipe on a thread of its own.
fn read_apart(
    pipe: Option<impl Read + Send + 'static>,
) -> std::sync::mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        if let Some(text) = pipe.and_then(|pipe| read_bounded(pipe).ok()) {
            // Nobody may be waiting any more.
            let _ = sender.send(text);
        }
    });
    receiver
}

fn complaint_of(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
    match text.is_empty() {
        true => String::new(),
        false => format!(": {}", text.escape_debug()),
    }
}

#[cfg(test)]
mod tests;
