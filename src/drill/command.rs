//! Faults and remedies that are commands of the user's.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::process::Command;

use super::DrillError;
use super::report::Round;

/// Runs `command` through the shell, with the round told in its environment. Answers how many
/// microseconds ago the fault struck, if the command's last line of output says so.
///
/// # Errors
///
/// When it cannot be run, or fails.
pub(super) async fn run(
    command: &str,
    round: &Round,
    active_pid: Option<i32>,
) -> Result<Option<u64>, DrillError> {
    let failed = |reason: String| DrillError::Command {
        command: command.to_owned(),
        reason,
    };
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("BATON_ROUND", round.number.to_string())
        .env("BATON_ACTIVE", &round.victim)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(pid) = active_pid {
        shell.env("BATON_ACTIVE_PID", pid.to_string());
    }
    let begun = unix_seconds();
    let output = shell.spawn().map_err(|error| failed(error.to_string()))?;
    let output = output
        .wait_with_output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(microseconds_ago(&text, begun, unix_seconds()))
}

/// A time that is not between `begun` and `now` (all in seconds since 1970) is something else.
fn microseconds_ago(output: &str, begun: f64, now: f64) -> Option<u64> {
    let struck: f64 = output.lines().last()?.trim().parse().ok()?;
    // Milliseconds are what commands print.
    let is_plausible = struck >= begun - 0.001 && struck <= now + 0.001;
    is_plausible.then(|| ((now - struck).max(0.0) * 1e6) as u64)
}

fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_of_the_fault_is_the_last_line_if_it_can_be_one() {
        let ago = |text: &str| microseconds_ago(text, 1000.0, 1002.0);
        assert_eq!(ago("cutting\n1001.500\n"), Some(500_000));
        assert_eq!(ago("1002.0004"), Some(0));
        for text in ["", "done", "17", "1003.0", "1001.5 s", "NaN"] {
            assert_eq!(ago(text), None, "{text}");
        }
    }
}
