//! The two kinds of lock that Linux has for a whole file and one descriptor.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Tries to get an exclusive byte-range lock of the whole file that belongs to this descriptor. False:
/// somebody else holds a lock there.
pub(crate) fn try_ofd(file: &File) -> io::Result<bool> {
    match set_ofd(file, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets the lock of [`try_ofd`] go.
pub(super) fn unlock_ofd(file: &File) -> io::Result<()> {
    Ok(set_ofd(file, libc::F_UNLCK)?)
}

fn set_ofd(file: &File, kind: libc::c_int) -> nix::Result<()> {
    // The kernel's own types are narrower than the constants' on some architectures.
    #[allow(clippy::cast_possible_truncation, clippy::useless_conversion)]
    let whole_file = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)).map(drop)
}

/// Tries to get an exclusive `flock`. False: somebody else holds one.
pub(crate) fn try_flock(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
