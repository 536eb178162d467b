//! The socket of a connection and its two buffers. Bytes only; what they mean is not known here.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use openwire::{FrameError, next_frame};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bytes asked for in one read.
const READ_BYTES: usize = 64 << 10;
/// Buffers that a large frame made larger than this are let go when they are empty.
const KEPT_BYTES: usize = 1 << 20;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// A socket and its two buffers.
pub(super) struct Wire {
    stream: TcpStream,
    incoming: BytesMut,
    pub(super) outgoing: BytesMut,
    /// When bytes last arrived.
    pub(super) heard_at: Instant,
    /// When bytes last went out.
    pub(super) spoke_at: Instant,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Some,
    Nothing,
    End,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let now = Instant::now();
        Wire {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            heard_at: now,
            spoke_at: now,
        }
    }

    pub(super) fn set_no_delay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Waits until the socket may have bytes, or room for some if there are any to write.
    pub(super) async fn ready(&self, may_read: bool) -> io::Result<()> {
        let interest = match (may_read, self.outgoing.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => return std::future::pending().await,
        };
        self.stream.ready(interest).await.map(drop)
    }

    /// Whether the peer has closed its side, without reading what it said before.
    pub(super) async fn is_closed_by_peer(&self) -> io::Result<bool> {
        tokio::select! {
            biased;
            ready = self.stream.ready(Interest::READABLE) => Ok(ready?.is_read_closed()),
            () = std::future::ready(()) => Ok(false),
        }
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        self.make_room();
        match self.stream.try_read_buf(&mut self.incoming) {
            Ok(0) => Ok(Read::End),
            Ok(_) => {
                self.heard_at = Instant::now();
                Ok(Read::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Room for the next read. A frame's announced size reserves at most as much again as has
    /// really arrived of it, and no more than is missing: a large frame fills its buffer, so that its
    /// message can keep that instead of a copy.
    fn make_room(&mut self) {
        if self.incoming.is_empty() && self.incoming.capacity() > KEPT_BYTES {
            self.incoming = BytesMut::new();
        }
        let arrived = self.incoming.len();
        let missing = self
            .announced()
            .map_or(0, |all| all.saturating_sub(arrived));
        self.incoming.reserve(READ_BYTES.max(missing.min(arrived)));
    }

    /// Bytes of the frame that is arriving, its length included, when that is known.
    pub(super) fn announced(&self) -> Option<usize> {
        let length = self.incoming.first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        Some((length as usize).saturating_add(LENGTH_BYTES))
    }

    /// The next whole frame.
    pub(super) fn frame(&mut self, max_bytes: usize) -> Result<Option<Bytes>, FrameError> {
        next_frame(&mut self.incoming, max_bytes)
    }

    /// Writes what the socket takes now.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.try_write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.advance(count);
                    self.spoke_at = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.outgoing.capacity() > KEPT_BYTES {
            self.outgoing = BytesMut::new();
        }
        Ok(())
    }

    /// Writes the rest within a bounded time, at the end of a connection.
    pub(super) async fn flush(&mut self, within: Duration) {
        let all = async {
            while !self.outgoing.is_empty() {
                self.ready(false).await?;
                self.write()?;
            }
            io::Result::Ok(())
        };
        // Whoever does not read is told nothing.
        let _ = tokio::time::timeout(within, all).await;
    }
}
