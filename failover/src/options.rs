//! The options of ActiveMQ URIs as typed tables: name, type, default, meaning.
//!
//! Each table is one struct. A table knows how to set itself by the URI's spelling of a name; it
//! knows nothing of where in a URI the option stood (that is [`crate::uri`]) nor of what is wise
//! (that is [`crate::lint`]).

use std::time::Duration;

mod address;
mod jms;

pub(crate) use address::without_effect;
pub use address::{
    CodePoint, InnerOptions, SocketOptions, SslOptions, TcpOptions, WireFormatOptions,
};
pub(crate) use jms::jms_without_effect;
pub use jms::{ConnectionOptions, JmsOptions, PrefetchPolicy, RedeliveryPolicy};

/// A type that an option's text can be read as.
pub(crate) trait OptionValue: Sized {
    /// What the text must be, as the end of the sentence "must be ...".
    const EXPECTS: &'static str;

    /// Reads the text; `None` when it is not of this type.
    fn read(text: &str) -> Option<Self>;
}

impl OptionValue for bool {
    const EXPECTS: &'static str = "`true` or `false`";

    fn read(text: &str) -> Option<Self> {
        // Java takes every other word as `false`, which turns `yes` into its opposite.
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }
}

impl OptionValue for u32 {
    const EXPECTS: &'static str = "a whole number from 0 to 2147483647";

    fn read(text: &str) -> Option<Self> {
        text.parse::<i32>()
            .ok()
            .and_then(|number| u32::try_from(number).ok())
    }
}

impl OptionValue for i32 {
    const EXPECTS: &'static str = "a whole number from -2147483648 to 2147483647";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl OptionValue for u64 {
    const EXPECTS: &'static str = "a whole number from 0 to 9223372036854775807";

    fn read(text: &str) -> Option<Self> {
        text.parse::<i64>()
            .ok()
            .and_then(|number| u64::try_from(number).ok())
    }
}

impl OptionValue for f64 {
    const EXPECTS: &'static str = "a positive number";

    fn read(text: &str) -> Option<Self> {
        text.parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number > 0.0)
    }
}

impl OptionValue for Duration {
    const EXPECTS: &'static str = "a whole number of milliseconds, 0 or more, without a unit";

    fn read(text: &str) -> Option<Self> {
        u64::read(text).map(Duration::from_millis)
    }
}

/// A limit for which the URI writes -1 when there is none.
impl OptionValue for Option<u32> {
    const EXPECTS: &'static str = "a whole number, or -1 for no limit";

    fn read(text: &str) -> Option<Self> {
        match text.parse::<i32>().ok()? {
            -1 => Some(None),
            number => u32::try_from(number).ok().map(Some),
        }
    }
}

/// A time limit for which the URI writes -1 (some tables also 0) when there is none.
impl OptionValue for Option<Duration> {
    const EXPECTS: &'static str = "a whole number of milliseconds, or -1 for no limit";

    fn read(text: &str) -> Option<Self> {
        match text.parse::<i64>().ok()? {
            -1 => Some(None),
            number => u64::try_from(number)
                .ok()
                .map(|ms| Some(Duration::from_millis(ms))),
        }
    }
}

impl OptionValue for Option<bool> {
    const EXPECTS: &'static str = bool::EXPECTS;

    fn read(text: &str) -> Option<Self> {
        bool::read(text).map(Some)
    }
}

impl OptionValue for String {
    const EXPECTS: &'static str = "text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl OptionValue for Option<String> {
    const EXPECTS: &'static str = "text";

    fn read(text: &str) -> Option<Self> {
        Some(Some(text.to_owned()))
    }
}

impl OptionValue for Vec<String> {
    const EXPECTS: &'static str = "a list separated by commas";

    fn read(text: &str) -> Option<Self> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }
}

/// What became of an attempt to set an option by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOutcome {
    /// The table has the option and took the value.
    Set,
    /// The table has no option of that name.
    Unknown,
    /// The value is not of the option's type; the text completes "must be ...".
    BadValue(&'static str),
}

/// Declares an option table: a struct with one public field per option, its defaults, the list of
/// names, and `set` by name. The literal before each field is the spelling in a URI.
macro_rules! option_table {
    (
        $(#[$table_doc:meta])*
        $vis:vis struct $table:ident {
            $( $(#[$doc:meta])* $name:literal => $field:ident : $type:ty = $default:expr, )*
        }
    ) => {
        $(#[$table_doc])*
        #[derive(Clone, PartialEq)]
        #[non_exhaustive]
        $vis struct $table {
            $( $(#[$doc])* pub $field: $type, )*
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        // By hand: a password must not reach a log through `{:?}`.
        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($table))
                    $( .field(
                        stringify!($field),
                        &$crate::redact::Shown($name, &self.$field),
                    ) )*
                    .finish()
            }
        }

        impl $table {
            /// The options of this table as a URI spells them.
            pub const NAMES: &'static [&'static str] = &[ $( $name, )* ];

            pub(crate) fn set(&mut self, name: &str, text: &str) -> $crate::options::SetOutcome {
                use $crate::options::{OptionValue, SetOutcome};
                match name {
                    $( $name => match <$type as OptionValue>::read(text) {
                        Some(value) => {
                            self.$field = value;
                            SetOutcome::Set
                        }
                        None => SetOutcome::BadValue(<$type as OptionValue>::EXPECTS),
                    }, )*
                    _ => SetOutcome::Unknown,
                }
            }
        }
    };
}
pub(crate) use option_table;

option_table! {
    /// The options of `failover:` itself, after the closing parenthesis.
    pub struct FailoverOptions {
        /// Pause before the first round after a live connection broke.
        "initialReconnectDelay" => initial_reconnect_delay: Duration = Duration::from_millis(10),
        /// First pause between rounds before the first connection ever. Only used with
        /// exponential back-off; after a connection `initialReconnectDelay` takes its place.
        "reconnectDelay" => reconnect_delay: Duration = Duration::from_millis(10),
        /// Longest pause between rounds.
        "maxReconnectDelay" => max_reconnect_delay: Duration = Duration::from_secs(30),
        /// Whether each pause is the last one times the exponent.
        "useExponentialBackOff" => use_exponential_back_off: bool = true,
        /// Factor between two pauses.
        "reconnectDelayExponent" => reconnect_delay_exponent: f64 = 2.0,
        /// Failed rounds over the whole list until the transport gives up; `None` is never, 0 is
        /// at the first loss.
        "maxReconnectAttempts" => max_reconnect_attempts: Option<u32> = None,
        /// The same until the first connection; `None` takes `maxReconnectAttempts`.
        "startupMaxReconnectAttempts" => startup_max_reconnect_attempts: Option<u32> = None,
        /// How long a send waits for a connection; `None` is for ever. 0 is for ever too.
        "timeout" => timeout: Option<Duration> = None,
        /// Whether each round tries the addresses in a random order.
        "randomize" => randomize: bool = true,
        /// Whether connections to further addresses are held ready.
        "backup" => backup: bool = false,
        /// How many connections `backup` holds.
        "backupPoolSize" => backup_pool_size: u32 = 1,
        /// Whether to go back to a priority address as soon as it answers.
        "priorityBackup" => priority_backup: bool = false,
        /// The priority addresses; empty means the first of the list.
        "priorityURIs" => priority_uris: Vec<String> = Vec::new(),
        /// Whether sends without a response are kept and repeated after a reconnect.
        "trackMessages" => track_messages: bool = false,
        /// Size of that memory in bytes, not in messages.
        "maxCacheSize" => max_cache_size: u32 = 128 * 1024,
        /// Whether a producer closed inside an open transaction is announced again for its replay.
        "trackTransactionProducers" => track_transaction_producers: bool = true,
        /// Whether address lists pushed by the broker are used.
        "updateURIsSupported" => update_uris_supported: bool = true,
        /// A file with further addresses, read again at each round.
        "updateURIsURL" => update_uris_url: Option<String> = None,
        /// Whether a changed list in that file moves the live connection.
        "rebalanceUpdateURIs" => rebalance_update_uris: bool = true,
        /// Whether a broker's "reconnect to" is obeyed.
        "reconnectSupported" => reconnect_supported: bool = true,
        /// A warning is logged at the first and at each n-th failed round; 0 and -1 switch it off.
        "warnAfterReconnectAttempts" => warn_after_reconnect_attempts: Option<u32> = Some(10),
    }
}

option_table! {
    /// The options of the discovery agents `static:` and `masterslave:`. They pace the restarts of
    /// a broker's bridge; a client reconnects by the options of `failover:` and ignores them.
    pub struct AgentOptions {
        /// First pause between two attempts of a bridge.
        "initialReconnectDelay" => initial_reconnect_delay: Duration = Duration::from_secs(1),
        /// Longest pause.
        "maxReconnectDelay" => max_reconnect_delay: Duration = Duration::from_secs(30),
        /// Factor between two pauses.
        "backOffMultiplier" => back_off_multiplier: f64 = 2.0,
        /// Whether pauses grow.
        "useExponentialBackOff" => use_exponential_back_off: bool = true,
        /// A bridge that lasted shorter than this counts as a failed attempt.
        "minConnectTime" => min_connect_time: Duration = Duration::from_secs(5),
        /// Attempts until the bridge gives up; 0 is never.
        "maxReconnectAttempts" => max_reconnect_attempts: u32 = 0,
        /// The group of brokers to find.
        "group" => group: Option<String> = None,
    }
}

/// The known name nearest to `name`, when near enough to be a misspelling of it.
#[must_use]
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    known
        .map(|candidate| {
            (
                edit_distance(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_activemq() {
        let options = FailoverOptions::default();
        assert_eq!(options.initial_reconnect_delay, Duration::from_millis(10));
        assert_eq!(options.reconnect_delay, Duration::from_millis(10));
        assert_eq!(options.max_reconnect_delay, Duration::from_millis(30_000));
        assert!(options.use_exponential_back_off && options.randomize);
        assert_eq!(options.max_reconnect_attempts, None);
        assert_eq!(options.startup_max_reconnect_attempts, None);
        assert_eq!(options.timeout, None);
        assert_eq!(options.max_cache_size, 131_072);
        assert!(!options.backup && !options.priority_backup && !options.track_messages);
        assert_eq!(options.warn_after_reconnect_attempts, Some(10));
        assert_eq!(FailoverOptions::NAMES.len(), 21);
    }

    #[test]
    fn every_failover_option_takes_a_value_of_its_type_and_refuses_another() {
        for name in FailoverOptions::NAMES {
            let mut options = FailoverOptions::default();
            let accepted = ["1", "true", "text"]
                .iter()
                .filter(|text| options.set(name, text) == SetOutcome::Set)
                .count();
            assert!(accepted >= 1, "`{name}` takes nothing");
            let is_text = matches!(*name, "priorityURIs" | "updateURIsURL");
            assert_eq!(accepted == 3, is_text, "`{name}` does not check its type");
        }
    }

    #[test]
    fn minus_one_is_no_limit_and_other_negatives_are_refused() {
        let mut options = FailoverOptions::default();
        assert_eq!(options.set("maxReconnectAttempts", "-1"), SetOutcome::Set);
        assert_eq!(options.max_reconnect_attempts, None);
        assert!(matches!(
            options.set("maxReconnectAttempts", "-2"),
            SetOutcome::BadValue(_)
        ));
        assert_eq!(options.set("timeout", "3000"), SetOutcome::Set);
        assert_eq!(options.timeout, Some(Duration::from_secs(3)));
        assert!(matches!(
            options.set("timeout", "3s"),
            SetOutcome::BadValue(_)
        ));
    }

    #[test]
    fn a_boolean_is_not_guessed() {
        let mut options = FailoverOptions::default();
        assert!(matches!(
            options.set("backup", "yes"),
            SetOutcome::BadValue(_)
        ));
        assert_eq!(options.set("backup", "TRUE"), SetOutcome::Set);
        assert!(options.backup);
    }

    #[test]
    fn nearest_finds_misspellings_and_leaves_strangers_alone() {
        let known = || FailoverOptions::NAMES.iter().copied();
        assert_eq!(
            nearest("maxReconnectAttempt", known()),
            Some("maxReconnectAttempts")
        );
        assert_eq!(nearest("randomise", known()), Some("randomize"));
        assert_eq!(nearest("priorityUris", known()), Some("priorityURIs"));
        assert_eq!(nearest("colour", known()), None);
    }
}
