//! OpenWire connections against a broker in this process, over loopback.

mod conversations;
mod flow;
mod harness;
mod limits;
mod refusals;
