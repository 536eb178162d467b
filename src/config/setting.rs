//! A value together with where it came from, so that every complaint can point at its source.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a configuration file.
    File {
        /// The file as it was named on the command line.
        path: Arc<PathBuf>,
        /// Its line, from 1.
        line: usize,
    },
    /// A flag or its environment variable.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value and its origin. Two settings are equal when their values are.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value that counts.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Setting<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Setting<T> {}

impl<T> Setting<T> {
    /// A value that nobody set.
    pub fn default_of(value: T) -> Setting<T> {
        Setting {
            value,
            origin: Origin::Default,
        }
    }
}

/// An untyped value, from a file or a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A list.
    List(Vec<Raw>),
    /// A string.
    Text(String),
    /// Something that no setting is: a float, a date, a table. Kept as it was written.
    Unusable(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Boolean(value) => value.fmt(f),
            Raw::Integer(value) => value.fmt(f),
            Raw::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Raw::Text(text) => write!(f, "{text:?}"),
            Raw::Unusable(text) => f.write_str(text),
        }
    }
}

/// What would have been right: completes "expected ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected(pub &'static str);

/// A type that a setting can have.
pub trait FromRaw: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// What was expected instead.
    fn from_raw(raw: &Raw) -> Result<Self, Expected>;
}

impl FromRaw for bool {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            _ => Err(Expected("true or false")),
        }
    }
}

impl FromRaw for u32 {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(value) => u32::try_from(*value).ok(),
            _ => None,
        }
        .ok_or(Expected("a whole number, not negative"))
    }
}

impl FromRaw for String {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) => Ok(text.clone()),
            _ => Err(Expected("a string in quotes")),
        }
    }
}

impl FromRaw for PathBuf {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            _ => Err(Expected("a path in quotes")),
        }
    }
}

impl<T: FromRaw> FromRaw for Vec<T> {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::List(items) => items.iter().map(T::from_raw).collect(),
            single @ Raw::Text(_) => Ok(vec![T::from_raw(single)?]),
            _ => Err(Expected("a list, like [\"a\", \"b\"]")),
        }
    }
}
