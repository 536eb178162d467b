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

impl Origin {
    /// The line in its file, to sort by; what is in no file comes last.
    pub(super) fn line(&self) -> usize {
        match self {
            Origin::File { line, .. } => *line,
            Origin::Default | Origin::Flag(_) => usize::MAX,
        }
    }
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
    /// Text without a type, as an XML file has it: whatever type is asked for is read from it.
    Word(String),
    /// Text with a placeholder that nobody knows a value for.
    Placeholder(String),
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
            Raw::Text(text) | Raw::Word(text) => write!(f, "{text:?}"),
            Raw::Unusable(text) | Raw::Placeholder(text) => f.write_str(text),
        }
    }
}

impl Raw {
    /// What to tell somebody who gave this where something else was expected.
    pub(super) fn advice(&self, expected: Expected) -> String {
        let unknown = match self {
            Raw::Placeholder(_) => true,
            Raw::List(items) => items.iter().any(|item| matches!(item, Raw::Placeholder(_))),
            _ => false,
        };
        if unknown {
            return "no value for the placeholder: set an environment variable of its name (in capitals, dots as \
                    underscores), write it into a properties file that this file names, or write ${name:default}"
                .to_owned();
        }
        format!("expected {}", expected.0)
    }
}

/// What would have been right: completes "expected ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected(pub &'static str);

/// A type that a setting can have.
pub trait FromRaw: Sized {
    /// The value must not be shown in complaints.
    const IS_SECRET: bool = false;

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
            Raw::Word(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Raw::Word(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(Expected("true or false")),
        }
    }
}

impl FromRaw for u32 {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(value) => u32::try_from(*value).ok(),
            Raw::Word(text) => text.trim().parse().ok(),
            _ => None,
        }
        .ok_or(Expected("a whole number, not negative"))
    }
}

impl FromRaw for i64 {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(value) => Some(*value),
            Raw::Word(text) => text.trim().parse().ok(),
            _ => None,
        }
        .ok_or(Expected("a whole number"))
    }
}

/// A number with a decimal point.
impl FromRaw for f64 {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Integer(value) => i32::try_from(*value).ok().map(f64::from),
            Raw::Word(text) | Raw::Unusable(text) => text.trim().parse().ok(),
            _ => None,
        }
        .filter(|value: &f64| value.is_finite())
        .ok_or(Expected("a number"))
    }
}

impl FromRaw for String {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) => Ok(text.clone()),
            _ => Err(Expected("a string in quotes")),
        }
    }
}

impl FromRaw for PathBuf {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            _ => Err(Expected("a path in quotes")),
        }
    }
}

impl<T: FromRaw> FromRaw for Vec<T> {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::List(items) => items.iter().map(T::from_raw).collect(),
            single @ Raw::Text(_) => Ok(vec![T::from_raw(single)?]),
            Raw::Word(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| T::from_raw(&Raw::Word(item.to_owned())))
                .collect(),
            _ => Err(Expected("a list, like [\"a\", \"b\"]")),
        }
    }
}
