//! What the node says to machines: lines on standard output, and systemd.
//!
//! Standard output carries nothing else, so that whoever starts a broker can follow it without
//! parsing logs. A reader that went away is no reason to stop serving: errors are ignored.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;

use sd_notify::NotifyState;
use storage::Epoch;

use super::recovery::Recovery;
use super::role::Role;

/// Prints `http http://address`.
pub(super) fn http(address: SocketAddr) {
    line(format_args!("http http://{address}"));
}

/// Prints `listening tcp://address`.
pub(super) fn listening(address: &str) {
    line(format_args!("listening {address}"));
}

/// Prints `replayed epoch N`.
pub(super) fn replayed(epoch: Epoch) {
    line(format_args!("replayed epoch {epoch}"));
}

/// Prints `role NAME epoch N`, with `cause=...` if there is one to tell, and tells systemd.
pub(super) fn role(role: Role, epoch: Epoch, cause: Option<&str>) {
    match cause {
        Some(cause) => line(format_args!("role {role} epoch {epoch} cause={cause}")),
        None => line(format_args!("role {role} epoch {epoch}")),
    }
    let status = format!("{role} (epoch {epoch})");
    let states: &[NotifyState<'_>] = match role {
        Role::Starting | Role::TakingOver | Role::Fenced => &[NotifyState::Status(&status)],
        Role::Standby | Role::Active => &[NotifyState::Ready, NotifyState::Status(&status)],
        Role::Stopping => &[NotifyState::Stopping, NotifyState::Status(&status)],
    };
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "Could not tell systemd the role.");
    }
}

/// Tells systemd how far a recovery is, and that its limits for starts must wait for it.
pub(super) fn recovery(role: Role, recovery: &Recovery) {
    // Twice as long as until the next time that this is told, and then some.
    const ANOTHER: u32 = 30_000_000;
    let status = format!("{role}: {recovery}");
    let states = [
        NotifyState::Status(&status),
        NotifyState::ExtendTimeoutUsec(ANOTHER),
    ];
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "Could not tell systemd how far the recovery is.");
    }
}

fn line(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
