//! Why a text is no selector.

/// Characters of the selector that an error repeats.
const SHOWN_CHARS: usize = 200;

/// A text that is no selector, or one that this broker does not evaluate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("selector `{text}` is invalid at column {column}: {fault}")]
pub struct SelectorError {
    /// The beginning of the text.
    pub text: String,
    /// The character, counted from 1, at which it goes wrong.
    pub column: usize,
    /// What is wrong.
    pub(super) fault: Fault,
}

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it has {bytes} bytes, at most {limit} are allowed")]
    TooLong { bytes: usize, limit: usize },
    #[error("it is nested deeper than {limit} levels: use fewer parentheses or a shorter chain")]
    TooDeep { limit: usize },
    #[error("`{0}` begins nothing that a selector knows")]
    Character(char),
    #[error("the text literal has no closing quote")]
    OpenText,
    #[error("the number `{0}` is too large for 64 bits")]
    NumberTooLarge(String),
    #[error("{wanted} is expected, not {found}")]
    Unexpected { wanted: &'static str, found: String },
    #[error("this is no condition: compare it with something")]
    NotBoolean,
    #[error("{0} cannot be ordered: `<`, `<=`, `>`, `>=` and BETWEEN take numbers")]
    NotOrdered(&'static str),
    #[error("nothing is equal to NULL: use IS NULL")]
    EqualsNull,
    #[error("a truth value cannot be compared with {0}")]
    BooleanWithOther(&'static str),
    #[error("IN takes a property on its left side")]
    InWithoutProperty,
    #[error("ESCAPE takes one character, not `{0}`")]
    Escape(String),
    #[error("{0} expressions are not supported: select by properties")]
    Unsupported(&'static str),
    #[error("there is no function `{0}`")]
    NoSuchFunction(String),
    #[error("function `{name}` takes {wanted} arguments, not {found}")]
    Arguments {
        name: &'static str,
        wanted: &'static str,
        found: usize,
    },
}

impl SelectorError {
    pub(super) fn new(text: &str, offset: usize, fault: Fault) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        SelectorError {
            text: shown,
            column: before.chars().count() + 1,
            fault,
        }
    }
}
