//! The first exchange on every connection: each side says what it can do, and both work out the
//! same agreement from it.

use std::time::Duration;

use crate::command::WireFormatInfo;
use crate::error::{DecodeError, EncodeError};
use crate::limit::{MAX_WIRE_FORMAT_BYTES, MAX_WIRE_FORMAT_PROPERTIES, MAX_WIRE_FORMAT_TEXT_BYTES};
use crate::primitive::{PrimitiveMap, Value};
use crate::string::WireString;
use crate::version::{Dialect, Version};

const STACK_TRACE_ENABLED: &str = "StackTraceEnabled";
const TCP_NO_DELAY_ENABLED: &str = "TcpNoDelayEnabled";
const CACHE_ENABLED: &str = "CacheEnabled";
const TIGHT_ENCODING_ENABLED: &str = "TightEncodingEnabled";
const SIZE_PREFIX_DISABLED: &str = "SizePrefixDisabled";
const CACHE_SIZE: &str = "CacheSize";
const MAX_INACTIVITY_DURATION: &str = "MaxInactivityDuration";
/// The misspelling is the protocol.
const MAX_INACTIVITY_DURATION_INITIAL_DELAY: &str = "MaxInactivityDurationInitalDelay";
const MAX_FRAME_SIZE: &str = "MaxFrameSize";
const MAX_FRAME_SIZE_ENABLED: &str = "MaxFrameSizeEnabled";
const HOST: &str = "Host";
const PROVIDER_NAME: &str = "ProviderName";
const PROVIDER_VERSION: &str = "ProviderVersion";
const PLATFORM_DETAILS: &str = "PlatformDetails";

/// What one side of a connection can do, the content of its [`WireFormatInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireFormat {
    /// The highest version spoken; the peer's may be higher than any known here.
    pub version: i32,
    /// Whether throwables may carry stack traces.
    pub stack_trace_enabled: bool,
    /// Whether small packets are sent at once.
    pub tcp_no_delay_enabled: bool,
    /// Whether repeated objects may be replaced by references.
    pub cache_enabled: bool,
    /// Whether the tight encoding may be used.
    pub tight_encoding_enabled: bool,
    /// Whether frames may go without their size.
    pub size_prefix_disabled: bool,
    /// How many objects the cache holds. Never send 1 to 99 with the cache on: Java then hangs.
    pub cache_size: i32,
    /// Milliseconds without any byte after which the peer counts as gone; 0 is never.
    pub max_inactivity_duration_ms: i64,
    /// Milliseconds before the first such check.
    pub max_inactivity_initial_delay_ms: i64,
    /// The largest frame accepted, in bytes; 0 or less is none given.
    pub max_frame_size: i64,
    /// Information only.
    pub max_frame_size_enabled: Option<bool>,
    /// The host name that the client dialled.
    pub host: Option<WireString>,
    /// The name of the software.
    pub provider_name: Option<WireString>,
    /// The version of the software.
    pub provider_version: Option<WireString>,
    /// What the software runs on.
    pub platform_details: Option<WireString>,
}

impl Default for WireFormat {
    /// What this crate can do: version 12, loose, no cache, no stack traces, sizes before frames,
    /// inactivity checks every 30 s after 10 s, frames up to 100 MiB.
    fn default() -> Self {
        WireFormat {
            version: i32::from(Version::LATEST.number()),
            tcp_no_delay_enabled: true,
            cache_size: 1024,
            max_inactivity_duration_ms: 30_000,
            max_inactivity_initial_delay_ms: 10_000,
            max_frame_size: 100 * 1024 * 1024,
            max_frame_size_enabled: Some(true),
            provider_name: Some(WireString::from_static("BatonMQ")),
            provider_version: Some(WireString::from_static(env!("CARGO_PKG_VERSION"))),
            ..Self::silent()
        }
    }
}

/// A [`WireFormatInfo`] that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireFormatError {
    /// The first bytes are wrong.
    #[error(
        "the first frame starts with {found:02x?} instead of \"ActiveMQ\"; this is no OpenWire"
    )]
    BadMagic {
        /// What stands there.
        found: [u8; 8],
    },
    /// The properties cannot be decoded.
    #[error("the properties of the WireFormatInfo are damaged: {0}")]
    Decode(#[from] DecodeError),
    /// More bytes of properties than any real peer sends.
    #[error("the WireFormatInfo has properties of {0} bytes; 65536 is the limit")]
    TooLong(usize),
    /// More properties than any real peer sends.
    #[error("the WireFormatInfo has {0} properties; 64 is the limit")]
    TooManyProperties(usize),
    /// A text longer than any real peer sends.
    #[error("WireFormatInfo property {key} is a text of {length} bytes; 512 is the limit")]
    TextTooLong {
        /// The property.
        key: WireString,
        /// Its length in bytes.
        length: usize,
    },
    /// A property of the wrong type.
    #[error("WireFormatInfo property {key} is a {found}; it must be a {expected}")]
    WrongType {
        /// The property.
        key: WireString,
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
    },
}

impl WireFormat {
    /// Nothing offered.
    fn silent() -> Self {
        WireFormat {
            version: 0,
            stack_trace_enabled: false,
            tcp_no_delay_enabled: false,
            cache_enabled: false,
            tight_encoding_enabled: false,
            size_prefix_disabled: false,
            cache_size: 0,
            max_inactivity_duration_ms: 0,
            max_inactivity_initial_delay_ms: 0,
            max_frame_size: 0,
            max_frame_size_enabled: None,
            host: None,
            provider_name: None,
            provider_version: None,
            platform_details: None,
        }
    }

    /// The command to send.
    ///
    /// # Errors
    ///
    /// When a text is longer than 65535 bytes.
    pub fn to_info(&self) -> Result<WireFormatInfo, EncodeError> {
        let mut map = PrimitiveMap::new();
        map.insert(STACK_TRACE_ENABLED, self.stack_trace_enabled);
        map.insert(TCP_NO_DELAY_ENABLED, self.tcp_no_delay_enabled);
        map.insert(CACHE_ENABLED, self.cache_enabled);
        map.insert(TIGHT_ENCODING_ENABLED, self.tight_encoding_enabled);
        map.insert(SIZE_PREFIX_DISABLED, self.size_prefix_disabled);
        map.insert(CACHE_SIZE, self.cache_size);
        map.insert(MAX_INACTIVITY_DURATION, self.max_inactivity_duration_ms);
        map.insert(
            MAX_INACTIVITY_DURATION_INITIAL_DELAY,
            self.max_inactivity_initial_delay_ms,
        );
        map.insert(MAX_FRAME_SIZE, self.max_frame_size);
        if let Some(enabled) = self.max_frame_size_enabled {
            map.insert(MAX_FRAME_SIZE_ENABLED, enabled);
        }
        let texts = [
            (HOST, &self.host),
            (PROVIDER_NAME, &self.provider_name),
            (PROVIDER_VERSION, &self.provider_version),
            (PLATFORM_DETAILS, &self.platform_details),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                map.insert(key, text.clone());
            }
        }
        Ok(WireFormatInfo {
            version: self.version,
            marshalled_properties: Some(map.encode()?),
            ..WireFormatInfo::default()
        })
    }

    /// What a peer's command says. Unknown properties are ignored and missing ones offer nothing.
    ///
    /// # Errors
    ///
    /// When it does not start with the magic bytes, or its properties are damaged, of wrong types
    /// or beyond the [limits](crate::limit).
    pub fn from_info(info: &WireFormatInfo) -> Result<Self, WireFormatError> {
        if info.magic != WireFormatInfo::MAGIC {
            return Err(WireFormatError::BadMagic { found: info.magic });
        }
        let mut format = WireFormat {
            version: info.version,
            ..Self::silent()
        };
        let Some(bytes) = info
            .marshalled_properties
            .clone()
            .filter(|bytes| !bytes.is_empty())
        else {
            return Ok(format);
        };
        if bytes.len() > MAX_WIRE_FORMAT_BYTES {
            return Err(WireFormatError::TooLong(bytes.len()));
        }
        let map = PrimitiveMap::decode(bytes)?;
        if map.len() > MAX_WIRE_FORMAT_PROPERTIES {
            return Err(WireFormatError::TooManyProperties(map.len()));
        }
        for (key, value) in map.iter() {
            format.take(key, value)?;
        }
        Ok(format)
    }

    fn take(&mut self, key: &WireString, value: &Value) -> Result<(), WireFormatError> {
        match key.as_str().unwrap_or_default() {
            STACK_TRACE_ENABLED => self.stack_trace_enabled = boolean(key, value)?,
            TCP_NO_DELAY_ENABLED => self.tcp_no_delay_enabled = boolean(key, value)?,
            CACHE_ENABLED => self.cache_enabled = boolean(key, value)?,
            TIGHT_ENCODING_ENABLED => self.tight_encoding_enabled = boolean(key, value)?,
            SIZE_PREFIX_DISABLED => self.size_prefix_disabled = boolean(key, value)?,
            CACHE_SIZE => self.cache_size = int(key, value)?,
            MAX_INACTIVITY_DURATION => self.max_inactivity_duration_ms = long(key, value)?,
            MAX_INACTIVITY_DURATION_INITIAL_DELAY => {
                self.max_inactivity_initial_delay_ms = long(key, value)?;
            }
            MAX_FRAME_SIZE => self.max_frame_size = long(key, value)?,
            MAX_FRAME_SIZE_ENABLED => self.max_frame_size_enabled = Some(boolean(key, value)?),
            HOST => self.host = text(key, value)?,
            PROVIDER_NAME => self.provider_name = text(key, value)?,
            PROVIDER_VERSION => self.provider_version = text(key, value)?,
            PLATFORM_DETAILS => self.platform_details = text(key, value)?,
            _ => {}
        }
        Ok(())
    }
}

fn boolean(key: &WireString, value: &Value) -> Result<bool, WireFormatError> {
    match value {
        Value::Null => Ok(false),
        Value::Boolean(value) => Ok(*value),
        other => Err(wrong_type(key, "boolean", other)),
    }
}

fn int(key: &WireString, value: &Value) -> Result<i32, WireFormatError> {
    match value {
        Value::Null => Ok(0),
        Value::Int(value) => Ok(*value),
        other => Err(wrong_type(key, "int", other)),
    }
}

fn long(key: &WireString, value: &Value) -> Result<i64, WireFormatError> {
    match value {
        Value::Null => Ok(0),
        Value::Long(value) => Ok(*value),
        // NMS and CMS are not Java: an int says the same.
        Value::Int(value) => Ok(i64::from(*value)),
        other => Err(wrong_type(key, "long", other)),
    }
}

fn text(key: &WireString, value: &Value) -> Result<Option<WireString>, WireFormatError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() > MAX_WIRE_FORMAT_TEXT_BYTES => {
            Err(WireFormatError::TextTooLong {
                key: key.clone(),
                length: text.len(),
            })
        }
        Value::String(text) => Ok(Some(text.detached())),
        other => Err(wrong_type(key, "string", other)),
    }
}

fn wrong_type(key: &WireString, expected: &'static str, found: &Value) -> WireFormatError {
    WireFormatError::WrongType {
        key: key.clone(),
        expected,
        found: found.type_name(),
    }
}

/// What both sides use for everything behind their `WireFormatInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version.
    pub version: Version,
    /// Whether throwables carry stack traces.
    pub stack_traces: bool,
    /// Whether each side sends small packets at once.
    pub tcp_no_delay: bool,
    /// The time without any byte after which the peer counts as gone; `None` is never. A keep-alive
    /// is due when nothing was sent for a third of it.
    pub max_inactivity: Option<Duration>,
    /// The time before the first such check.
    pub max_inactivity_initial_delay: Duration,
    /// The largest frame in bytes that either side accepts; `None` is no limit.
    pub max_frame_size: Option<u64>,
}

impl Negotiated {
    /// How frames are laid out from now on.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        Dialect {
            version: self.version,
            stack_traces: self.stack_traces,
        }
    }
}

/// No agreement is possible; the connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// A version below 1.
    #[error("the peer speaks OpenWire version {0}; 1 is the lowest there is")]
    BadVersion(i32),
    /// Both sides offered something that is not built here.
    #[error("both sides offer {0}, which is not supported here; do not offer it")]
    Unsupported(&'static str),
}

/// Works out the agreement of two sides; both come to the same result.
///
/// A flag is on when both sides set it, of numbers the smaller counts. So a peer that follows the
/// protocol falls back to what [`WireFormat::default`] offers; one that does not is found out by
/// the [`DecodeError`] of its next frame.
///
/// # Errors
///
/// When the peer's version is below 1, or both sides offer what this crate does not speak.
pub fn negotiate(local: &WireFormat, remote: &WireFormat) -> Result<Negotiated, NegotiationError> {
    let lower = local
        .version
        .min(remote.version)
        .min(i32::from(Version::LATEST.number()));
    let version = u8::try_from(lower)
        .ok()
        .and_then(Version::new)
        .ok_or(NegotiationError::BadVersion(lower))?;
    let unsupported = [
        (
            "tight encoding",
            local.tight_encoding_enabled && remote.tight_encoding_enabled,
        ),
        (
            "the object cache",
            local.cache_enabled && remote.cache_enabled,
        ),
        (
            "frames without a size",
            local.size_prefix_disabled && remote.size_prefix_disabled,
        ),
    ];
    if let Some((what, _)) = unsupported.into_iter().find(|(_, both)| *both) {
        return Err(NegotiationError::Unsupported(what));
    }
    let inactivity = local
        .max_inactivity_duration_ms
        .min(remote.max_inactivity_duration_ms);
    let delay = local
        .max_inactivity_initial_delay_ms
        .min(remote.max_inactivity_initial_delay_ms);
    Ok(Negotiated {
        version,
        stack_traces: local.stack_trace_enabled && remote.stack_trace_enabled,
        tcp_no_delay: local.tcp_no_delay_enabled && remote.tcp_no_delay_enabled,
        max_inactivity: milliseconds(inactivity).filter(|duration| !duration.is_zero()),
        max_inactivity_initial_delay: milliseconds(delay).unwrap_or_default(),
        max_frame_size: smaller_positive(local.max_frame_size, remote.max_frame_size),
    })
}

fn milliseconds(number: i64) -> Option<Duration> {
    u64::try_from(number).ok().map(Duration::from_millis)
}

fn smaller_positive(one: i64, other: i64) -> Option<u64> {
    [one, other]
        .into_iter()
        .filter(|size| *size > 0)
        .filter_map(|s| u64::try_from(s).ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java() -> WireFormat {
        WireFormat {
            stack_trace_enabled: true,
            cache_enabled: true,
            tight_encoding_enabled: true,
            max_frame_size: i64::MAX,
            ..WireFormat::default()
        }
    }

    #[test]
    fn a_java_client_with_everything_on_falls_back_to_the_loose_encoding() {
        let agreed = negotiate(&WireFormat::default(), &java()).expect("an agreement");
        assert_eq!(agreed.version, Version::LATEST);
        assert!(agreed.tcp_no_delay && !agreed.stack_traces);
        assert_eq!(agreed.max_frame_size, Some(100 * 1024 * 1024));
        assert_eq!(agreed.max_inactivity, Some(Duration::from_secs(30)));
        assert_eq!(agreed.max_inactivity_initial_delay, Duration::from_secs(10));
    }

    #[test]
    fn the_lower_version_counts_and_zero_is_refused() {
        let local = WireFormat::default();
        let with = |version| negotiate(&local, &WireFormat { version, ..java() });
        assert_eq!(with(6).expect("an agreement").version.number(), 6);
        assert_eq!(with(99).expect("an agreement").version, Version::LATEST);
        assert_eq!(with(0), Err(NegotiationError::BadVersion(0)));
        assert_eq!(with(-1), Err(NegotiationError::BadVersion(-1)));
    }

    #[test]
    fn either_side_can_switch_the_inactivity_check_off() {
        let off = WireFormat {
            max_inactivity_duration_ms: 0,
            ..java()
        };
        for (local, remote) in [(WireFormat::default(), off.clone()), (off, java())] {
            let local = WireFormat {
                tight_encoding_enabled: false,
                cache_enabled: false,
                ..local
            };
            assert_eq!(
                negotiate(&local, &remote)
                    .expect("an agreement")
                    .max_inactivity,
                None
            );
        }
    }

    #[test]
    fn offering_what_is_not_built_here_is_refused_by_name() {
        let error = negotiate(&java(), &java()).unwrap_err();
        assert_eq!(error, NegotiationError::Unsupported("tight encoding"));
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let format = WireFormat {
            host: Some("h\u{f6}st".into()),
            ..java()
        };
        let info = format.to_info().expect("short texts");
        assert_eq!(WireFormat::from_info(&info), Ok(format));
    }

    #[test]
    fn wrong_magic_types_and_sizes_are_named() {
        let info = |properties: PrimitiveMap| WireFormatInfo {
            marshalled_properties: Some(properties.encode().expect("flat")),
            ..WireFormatInfo::default()
        };
        let mut wrong = PrimitiveMap::new();
        wrong.insert("CacheEnabled", "yes");
        let error = WireFormat::from_info(&info(wrong)).unwrap_err().to_string();
        assert_eq!(
            error,
            "WireFormatInfo property CacheEnabled is a string; it must be a boolean"
        );

        let many = (0..65)
            .map(|i| (format!("k{i}").into(), Value::Null))
            .collect();
        let error = WireFormat::from_info(&info(many)).unwrap_err();
        assert_eq!(error, WireFormatError::TooManyProperties(65));

        let mut long = PrimitiveMap::new();
        long.insert("Host", "x".repeat(513).as_str());
        let error = WireFormat::from_info(&info(long)).unwrap_err();
        assert_eq!(
            error,
            WireFormatError::TextTooLong {
                key: "Host".into(),
                length: 513
            }
        );

        let huge = WireFormatInfo {
            marshalled_properties: Some(vec![0; 65_537].into()),
            ..WireFormatInfo::default()
        };
        let error = WireFormat::from_info(&huge).unwrap_err();
        assert_eq!(error, WireFormatError::TooLong(65_537));

        let foreign = WireFormatInfo {
            magic: *b"ActiveMX",
            ..WireFormatInfo::default()
        };
        let error = WireFormat::from_info(&foreign).unwrap_err();
        assert_eq!(
            error,
            WireFormatError::BadMagic {
                found: *b"ActiveMX"
            }
        );
    }
}
