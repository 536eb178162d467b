//! `baton status`: who is the active, and how far the standby is behind.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::table::align;
use crate::console::client::{GetError, get};
use crate::node::{Role, Status};

/// Show who is the active and how far the standby is behind.
///
/// Asks the HTTP port of each broker. The exit code is 0 if exactly one of them is the active, and
/// 1 otherwise.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton status
  baton status http://10.0.0.1:8161 http://10.0.0.2:8161
  baton status --json | jq '.[] | select(.status.role == \"active\").status.name'")]
pub(super) struct StatusArgs {
    /// HTTP addresses of the brokers
    #[arg(value_name = "URL", default_values = ["http://127.0.0.1:8161", "http://127.0.0.1:8162"])]
    urls: Vec<String>,

    /// Print what the brokers answer, as a JSON array
    #[arg(long)]
    json: bool,

    /// How long to wait for each answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
}

/// Limits are shown from this percentage on.
const NEARLY_FULL: u64 = 90;

/// What one broker answered.
struct Answered {
    url: String,
    status: Result<Status, String>,
}

/// Asks all brokers at once and prints what they say.
pub(super) async fn main(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let patience = Duration::from_millis(args.timeout_ms);
    let mut asked = Vec::new();
    for url in args.urls {
        asked.push(tokio::spawn(async move {
            let status = ask(&url, patience).await;
            Answered { url, status }
        }));
    }
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await?);
    }
    if args.json {
        println!("{:#}", json(&answers));
    } else {
        print!("{}", table(&answers));
    }
    let is_served = actives(&answers) == 1;
    Ok(if is_served {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks one broker. The error says what went wrong and, for a refused connection, what that means.
pub(super) async fn ask(url: &str, patience: Duration) -> Result<Status, String> {
    let answer = get(url, "/status", patience)
        .await
        .map_err(|error| match &error {
            GetError::Io { .. } => format!("{error}: is the broker running?"),
            _ => error.to_string(),
        })?;
    if answer.code != 200 {
        return Err(format!(
            "`{url}/status` answers {}: is it a BatonMQ broker?",
            answer.code
        ));
    }
    serde_json::from_str(&answer.body)
        .map_err(|error| format!("`{url}/status` answers something else than a status: {error}"))
}

fn actives(answers: &[Answered]) -> usize {
    let is_active = |answer: &&Answered| {
        answer
            .status
            .as_ref()
            .is_ok_and(|status| status.role == Role::Active)
    };
    answers.iter().filter(is_active).count()
}

fn json(answers: &[Answered]) -> serde_json::Value {
    let one = |answer: &Answered| match &answer.status {
        Ok(status) => serde_json::json!({ "url": answer.url, "status": status }),
        Err(error) => serde_json::json!({ "url": answer.url, "error": error }),
    };
    answers.iter().map(one).collect()
}

fn table(answers: &[Answered]) -> String {
    let head = [
        "BROKER",
        "ROLE",
        "SINCE",
        "EPOCH",
        "LEASE AGE",
        "BEHIND",
        "CLIENTS AT",
        "HTTP",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let mut notes = String::new();
    for answer in answers {
        match &answer.status {
            Ok(status) => {
                rows.push(row(status, &answer.url));
                if let Some(reason) = &status.health.reason {
                    let _ = writeln!(notes, "{} is not healthy: {reason}", status.name);
                }
                if let Some(warning) = &status.health.warning {
                    let _ = writeln!(notes, "{} warns: {warning}", status.name);
                }
            }
            Err(error) => {
                let mut row = head.map(|_| "-".to_owned());
                row[1] = "unknown".to_owned();
                row[7].clone_from(&answer.url);
                rows.push(row);
                let _ = writeln!(notes, "{error}");
            }
        }
    }
    let statuses = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok());
    for broker in statuses.filter_map(|status| status.broker.as_ref()) {
        limits(broker, &mut notes);
    }
    let holder = answers
        .iter()
        .find_map(|answer| answer.status.as_ref().ok()?.lock.holder.clone());
    if let Some(holder) = holder {
        let _ = writeln!(notes, "the lease was written by {holder}");
    }
    match actives(answers) {
        0 => notes.push_str("no broker is the active\n"),
        1 => {}
        count => {
            let _ = writeln!(
                notes,
                "{count} brokers are active: they share no directory, or one of them is being \
                 fenced; only one can acknowledge on one directory"
            );
        }
    }
    let mut text = align(&rows);
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text
}

/// Limits that are nearly used up, and producers that wait for room.
fn limits(broker: &serde_json::Value, notes: &mut String) {
    let list = |name: &str| broker[name].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    for limit in list("limits") {
        if limit["percent"]
            .as_u64()
            .is_some_and(|percent| percent >= NEARLY_FULL)
        {
            let _ = writeln!(
                notes,
                "{}: {} of {} bytes are used ({} %)",
                text(&limit["name"]),
                limit["used_bytes"],
                limit["limit_bytes"],
                limit["percent"],
            );
        }
    }
    for producer in list("blocked_producers") {
        let _ = writeln!(
            notes,
            "producer {} has waited for {} for room in {} ({}: {} of {} bytes, {} messages wait{})",
            text(&producer["producer"]),
            time(producer["waits_ms"].as_u64().unwrap_or(0)),
            text(&producer["destination"]),
            text(&producer["limit"]),
            producer["used_bytes"],
            producer["limit_bytes"],
            producer["messages"],
            if producer["reading_paused"] == true {
                "; nothing more is read from its connection"
            } else {
                ""
            },
        );
    }
}

fn row(status: &Status, url: &str) -> [String; 8] {
    let dash = || "-".to_owned();
    let behind = status.behind.as_ref();
    [
        status.name.clone(),
        status.role.to_string(),
        format!("{} ago", time(status.role_age_ms)),
        status.epoch.to_string(),
        status.lock.lease_age_ms.map_or_else(dash, time),
        behind.map_or_else(dash, |behind| {
            format!("{} B, {}", behind.bytes, time(behind.ms))
        }),
        if status.listeners.is_empty() {
            dash()
        } else {
            status.listeners.join(" ")
        },
        url.to_owned(),
    ]
}

/// Milliseconds for people: two units at most.
pub(super) fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, role: &str, behind: &str) -> Answered {
        let json = format!(
            r#"{{"name":"{name}","version":"0.1.0","pid":1,"uptime_ms":5000,"role":"{role}",
            "role_since_at_ms":0,"role_age_ms":61000,"epoch":3,"directory":"d",
            "health":{{"healthy":true,"reason":null}},
            "lock":{{"holder":"a on host (pid 7)","lease_age_ms":120}},"lsn":1,"behind":{behind},
            "transitions":{{"counts":{{"{role}":1}},"recent":[]}},"listeners":[],"http":null,
            "queues":[],"broker":null}}"#
        );
        let status = serde_json::from_str(&json).map_err(|error| error.to_string());
        Answered {
            url: format!("http://{name}:1"),
            status,
        }
    }

    #[test]
    fn a_pair_is_shown_as_a_table() {
        let active = status("a", "active", "null");
        let standby = status("b", "standby", r#"{"bytes":20,"ms":7}"#);
        let answers = [active, standby];
        assert_eq!(
            table(&answers),
            "\
BROKER  ROLE     SINCE          EPOCH  LEASE AGE  BEHIND      CLIENTS AT  HTTP
a       active   1 min 1 s ago  3      120 ms     -           -           http://a:1
b       standby  1 min 1 s ago  3      120 ms     20 B, 7 ms  -           http://b:1

the lease was written by a on host (pid 7)
"
        );
        assert_eq!(actives(&answers), 1);
    }

    #[test]
    fn full_limits_and_waiting_producers_are_told() {
        let mut active = status("a", "active", "null");
        if let Ok(status) = &mut active.status {
            status.broker = Some(serde_json::json!({
                "limits": [
                    {"name": "memoryUsage", "used_bytes": 10, "limit_bytes": 10, "percent": 100},
                    {"name": "storeUsage", "used_bytes": 10, "limit_bytes": null, "percent": null},
                ],
                "blocked_producers": [{
                    "producer": "P", "destination": "queue://Q", "limit": "memoryUsage",
                    "used_bytes": 10, "limit_bytes": 10, "waits_ms": 1500, "messages": 2,
                    "reading_paused": true,
                }],
            }));
        }
        let text = table(&[active]);
        assert!(
            text.contains("memoryUsage: 10 of 10 bytes are used (100 %)"),
            "{text}"
        );
        assert!(!text.contains("storeUsage"), "{text}");
        assert!(
            text.contains(
                "producer P has waited for 1.5 s for room in queue://Q (memoryUsage: 10 of 10 \
                 bytes, 2 messages wait; nothing more is read from its connection)"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_silent_broker_is_a_row_and_a_note() {
        let silent = Answered {
            url: "http://b:1".to_owned(),
            status: Err("b is silent".to_owned()),
        };
        let answers = [silent];
        let text = table(&answers);
        assert!(text.contains("unknown"), "{text}");
        assert!(
            text.contains("b is silent\nno broker is the active\n"),
            "{text}"
        );
        assert_eq!(json(&answers)[0]["error"], "b is silent");
    }

    #[test]
    fn two_actives_are_named_as_what_they_are() {
        let answers = [status("a", "active", "null"), status("b", "active", "null")];
        assert!(table(&answers).contains("2 brokers are active"));
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (999, "999 ms"),
            (1500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}
