//! What can be chosen about OpenWire connections.

use std::time::Duration;

/// What can be chosen about OpenWire connections.
#[derive(Clone, Debug)]
pub struct OpenWireOptions {
    /// A connection on which nothing arrives for this long is closed. It is announced, and both
    /// sides use the smaller of their values, so unmodified clients notice a dead broker this soon.
    /// Zero: connections are never closed for silence.
    pub max_inactivity: Duration,
    /// Time before the first check; also how long a handshake may take.
    pub max_inactivity_initial_delay: Duration,
    /// Bytes of the largest frame accepted.
    pub max_frame_bytes: usize,
    /// Frames from this size on are let in only as they fit together into `large_frames_bytes`.
    pub large_frame_bytes: usize,
    /// What large frames of all connections may take while they arrive; one is always let in.
    pub large_frames_bytes: usize,
    /// Connections on all listeners together.
    pub connections_max: usize,
    /// While this many bytes are on their way to the journal, nothing is read from producers.
    pub unwritten_bytes_max: usize,
    /// Bytes gathered for one write; while more wait for the socket, nothing is read from it.
    pub write_bytes: usize,
    /// Commands of one connection that may wait for the journal before reading pauses.
    pub unanswered_max: usize,
    /// Bytes of messages of one connection that may wait for room; while it is more, nothing is read
    /// from it.
    pub waiting_bytes_max: usize,
    /// How long a connection that says goodbye may take to get rid of messages that wait for room.
    pub goodbye: Duration,
    /// How long a refused client may take to read why, before its socket is closed.
    pub farewell: Duration,
}

impl Default for OpenWireOptions {
    fn default() -> Self {
        OpenWireOptions {
            max_inactivity: Duration::from_secs(10),
            max_inactivity_initial_delay: Duration::from_secs(10),
            max_frame_bytes: 100 << 20,
            large_frame_bytes: 1 << 20,
            large_frames_bytes: 256 << 20,
            connections_max: 10_000,
            unwritten_bytes_max: 16 << 20,
            write_bytes: 256 << 10,
            unanswered_max: 10_000,
            waiting_bytes_max: 1 << 20,
            goodbye: Duration::from_secs(5),
            farewell: Duration::from_secs(2),
        }
    }
}
