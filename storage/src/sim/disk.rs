//! The shared directory as a simulated process sees it: every call takes time, and may wait for its
//! host to be connected.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scheduler::{Inner, LAB, ProcessId, State, Status};
use super::server::{DiskMode, OpenId, WriteUnderWay, eio};
use crate::disk::{Disk, DiskFile, Open};

/// The directory for one process.
pub struct SimDisk {
    inner: Arc<Inner>,
    process: ProcessId,
}

/// Free bytes while there is space, and while there is not.
const FREE_BYTES: u64 = 1 << 40;

impl SimDisk {
    pub(super) fn new(inner: Arc<Inner>, process: ProcessId) -> Self {
        SimDisk { inner, process }
    }

    fn call<T>(
        &self,
        what: impl Fn() -> String,
        perform: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        call(&self.inner, self.process, what, perform)
    }
}

/// There, what is asked for, and back.
fn call<T>(
    inner: &Inner,
    process: ProcessId,
    what: impl Fn() -> String,
    perform: impl FnOnce(&mut State) -> io::Result<T>,
) -> io::Result<T> {
    if std::thread::panicking() {
        return Err(eio());
    }
    inner.die_if_killed();
    travel(inner, process);
    let done = {
        let mut state = inner.state.lock();
        let done = perform(&mut state);
        state.mix(done.is_ok().into());
        let error = done.as_ref().err();
        state.trace(|| match error {
            None => what(),
            Some(error) => format!("{}: {error}", what()),
        });
        done
    };
    inner.set_under_way(None);
    travel(inner, process);
    done
}

/// One way to the server or back: takes its time, and waits while the host is cut off.
fn travel(inner: &Inner, process: ProcessId) {
    if process == LAB {
        return;
    }
    let arrival = {
        let mut state = inner.state.lock();
        let options = state.server.options;
        let host = state.host_of(process);
        let mut delay = 1 + state.random.below(options.latency_ns);
        if state.random.chance(options.slow_permille) {
            delay += state.random.below(options.slow_ns);
        }
        (state.now_ns + delay).max(state.hosts[host.0].stalled_until)
    };
    inner.switch(Status::Sleeping(arrival));
    loop {
        let is_silent = {
            let state = inner.state.lock();
            state.hosts[state.host_of(process).0].is_silent()
        };
        if !is_silent {
            return;
        }
        inner.switch(Status::CutOff);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let process = self.process;
        let open = self.call(
            || format!("open {} {how:?}", path.display()),
            |state| {
                let host = state.host_of(process);
                let random = &mut state.random;
                state.server.open(path, how, process, host, random)
            },
        )?;
        Ok(Box::new(SimFile {
            inner: Arc::clone(&self.inner),
            process,
            open,
            path: path.to_owned(),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.call(
            || format!("list {}", directory.display()),
            |state| {
                let host = state.host_of(self.process);
                state.server.list(directory, host)
            },
        )
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.call(
            || format!("create directory {}", path.display()),
            |state| state.server.create_directory(path),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(
            || format!("rename {} {}", from.display(), to.display()),
            |state| state.server.rename(from, to),
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(
            || format!("remove {}", path.display()),
            |state| state.server.remove(path),
        )
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(
            || format!("sync directory {}", path.display()),
            |state| state.server.sync_directory(path),
        )
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.call(
            || "free bytes".to_owned(),
            |state| Ok(if state.server.is_full { 0 } else { FREE_BYTES }),
        )
    }
}

struct SimFile {
    inner: Arc<Inner>,
    process: ProcessId,
    open: OpenId,
    path: PathBuf,
}

impl SimFile {
    fn call<T>(
        &self,
        what: impl Fn() -> String,
        perform: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let what = || format!("{} of {} (#{})", what(), self.path.display(), self.open);
        call(&self.inner, self.process, what, perform)
    }

    fn write_of(&self, bytes: &[u8], offset: u64) -> WriteUnderWay {
        WriteUnderWay {
            open: self.open,
            offset,
            bytes: bytes.to_owned(),
        }
    }

    /// The next write or sync of a host that was told to fail.
    fn is_broken(&self, state: &mut State) -> bool {
        let host = state.host_of(self.process);
        std::mem::take(&mut state.hosts[host.0].breaks_next_write)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        self.call(
            || format!("read {wanted} at {offset}"),
            |state| state.server.read(self.open, buffer, offset),
        )
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = bytes.len();
        let write = self.write_of(bytes, offset);
        self.inner.die_if_killed();
        self.inner.set_under_way(Some(write.clone()));
        self.call(
            || format!("write {length} at {offset}"),
            |state| {
                if self.is_broken(state) {
                    return Err(eio());
                }
                state.server.write(write, &mut state.random)
            },
        )
    }

    /// Durable by itself, and nothing else with it. On NFS it goes past the host's cache, so it is
    /// refused by itself, too; locally it is visible before it is durable.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = bytes.len();
        let write = self.write_of(bytes, offset);
        self.inner.die_if_killed();
        let mode = self.inner.state.lock().server.mode();
        if mode == DiskMode::Local {
            self.write_all_at(bytes, offset)?;
        }
        if mode == DiskMode::Nfs {
            self.inner.set_under_way(Some(write.clone()));
        }
        self.call(
            || format!("write {length} at {offset} durably"),
            |state| {
                if self.is_broken(state) {
                    return Err(eio());
                }
                state.server.write_durable(&write)
            },
        )
    }

    fn may_overlap(&self) -> bool {
        true
    }

    fn sync(&self) -> io::Result<()> {
        let is_split = {
            let mut state = self.inner.state.lock();
            state.server.mode() == DiskMode::Nfs && state.random.chance(100)
        };
        if is_split {
            // A large write is several on the wire: another host may see a part of it.
            self.call(
                || "send part".to_owned(),
                |state| {
                    state.server.show_part(self.open, &mut state.random);
                    Ok(())
                },
            )?;
        }
        self.call(
            || "sync".to_owned(),
            |state| {
                if self.is_broken(state) {
                    return Err(eio());
                }
                state.server.sync(self.open)
            },
        )
    }

    fn length(&self) -> io::Result<u64> {
        self.call(
            || "length".to_owned(),
            |state| Ok(state.server.length(self.open)),
        )
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.call(
            || format!("set length {bytes}"),
            |state| state.server.set_length(self.open, bytes),
        )
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.call(
            || "lock".to_owned(),
            |state| {
                if let Some(holder) = state.server.holder(self.open) {
                    let lease = state.server.options.server_lease_ns;
                    let silent = state.hosts[holder.0].silent_since;
                    if silent.is_some_and(|since| state.now_ns > since + lease) {
                        state.trace(|| {
                            format!("the server takes the locks of host {} away", holder.0)
                        });
                        state.server.expire(holder);
                    }
                }
                let is_locked = state.server.try_lock(self.open);
                state.trace(|| format!("locked: {is_locked}"));
                Ok(is_locked)
            },
        )
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if !state.is_alive(self.process) {
            return;
        }
        let host = state.host_of(self.process);
        if state.hosts[host.0].is_silent() {
            state.server.close_later(self.open);
        } else {
            state.server.close(self.open);
        }
    }
}
