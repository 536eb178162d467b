//! OpenWire connections against a broker in this process, over loopback.

mod conversations;
mod harness;
mod limits;
mod refusals;
