//! From the text of a selector to its tokens.

use super::error::Fault;
use super::number::Integer;

/// A word with a meaning of its own, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Between,
    Escape,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
    Xpath,
    Xquery,
}

const KEYWORDS: [(&str, Keyword); 13] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("ESCAPE", Keyword::Escape),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("LIKE", Keyword::Like),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("TRUE", Keyword::True),
    ("XPATH", Keyword::Xpath),
    ("XQUERY", Keyword::Xquery),
];

/// The longest first where one begins another.
const SYMBOLS: [&str; 14] = [
    "<>", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")", ",",
];

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Keyword(Keyword),
    Identifier(&'a str),
    Text(String),
    Integer(Integer),
    Float(f64),
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// A token and the byte of the text at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed<'a> {
    pub(super) token: Token<'a>,
    pub(super) offset: usize,
}

/// A fault and the byte of the text at which it is.
pub(super) type PlacedFault = (usize, Fault);

/// Splits the text from byte `start` on; the last token is always [`Token::End`].
pub(super) fn tokens(text: &str, start: usize) -> Result<Vec<Placed<'_>>, PlacedFault> {
    let ends = CommentEnds {
        line: text.rfind(['\n', '\r']).unwrap_or(0),
        block: text.rfind("*/").unwrap_or(0),
    };
    let mut all = Vec::new();
    let mut offset = start;
    loop {
        offset = ends.skip_blank(text, offset);
        let rest = &text[offset..];
        if rest.is_empty() {
            let token = Token::End;
            all.push(Placed { token, offset });
            return Ok(all);
        }
        let (token, length) = token(rest).map_err(|fault| (offset, fault))?;
        all.push(Placed { token, offset });
        offset += length;
    }
}

/// Where the last comment can end. It is searched once: to look for an end that is not there at
/// every `-` of the text would take quadratic time.
struct CommentEnds {
    line: usize,
    block: usize,
}

impl CommentEnds {
    /// The first place from `offset` on that is no white space and in no comment.
    fn skip_blank(&self, text: &str, mut offset: usize) -> usize {
        loop {
            let rest = &text[offset..];
            let blanks = count(rest, |byte| {
                matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
            });
            let comment = self.comment_length(rest, offset).unwrap_or(0);
            if blanks.max(comment) == 0 {
                return offset;
            }
            offset += blanks.max(comment);
        }
    }

    /// A comment ends a line or stands between `/*` and `*/`. One that does not end is none: its
    /// characters are operators then.
    fn comment_length(&self, rest: &str, offset: usize) -> Option<usize> {
        if rest.starts_with("--") && offset < self.line {
            return Some(rest.find(['\n', '\r'])? + 1);
        }
        if rest.starts_with("/*") && offset < self.block {
            return Some(2 + rest[2..].find("*/")? + 2);
        }
        None
    }
}

fn token(rest: &str) -> Result<(Token<'_>, usize), Fault> {
    let first = rest.as_bytes()[0];
    if first == b'\'' {
        return text_literal(rest);
    }
    if first.is_ascii_alphabetic() || matches!(first, b'_' | b'$') {
        return Ok(word(rest));
    }
    if let Some(length) = float_length(rest) {
        let literal = &rest[..length];
        let value = literal
            .parse()
            .map_err(|_| Fault::NumberTooLarge(literal.to_owned()))?;
        return Ok((Token::Float(value), length));
    }
    if first.is_ascii_digit() {
        return integer(rest);
    }
    SYMBOLS
        .iter()
        .find(|symbol| rest.starts_with(**symbol))
        .map(|symbol| (Token::Symbol(symbol), symbol.len()))
        .ok_or_else(|| Fault::Character(rest.chars().next().unwrap_or(' ')))
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let length = count(rest, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
    });
    let word = &rest[..length];
    let token = KEYWORDS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map_or(Token::Identifier(word), |(_, keyword)| {
            Token::Keyword(*keyword)
        });
    (token, length)
}

/// Text in quotes; a doubled quote inside is one of the text.
fn text_literal(rest: &str) -> Result<(Token<'_>, usize), Fault> {
    let mut text = String::new();
    let mut at = 1;
    loop {
        let inside = &rest[at..];
        let end = inside.find('\'').ok_or(Fault::OpenText)?;
        text.push_str(&inside[..end]);
        at += end + 1;
        if !rest[at..].starts_with('\'') {
            return Ok((Token::Text(text), at));
        }
        text.push('\'');
        at += 1;
    }
}

fn count(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_part(*byte)).count()
}

fn digits(text: &str) -> usize {
    count(text, |byte| byte.is_ascii_digit())
}

/// The length of a number with a point or an exponent, if one stands at the beginning.
fn float_length(rest: &str) -> Option<usize> {
    let whole = digits(rest);
    let mut length = whole;
    let mut is_float = false;
    if rest[length..].starts_with('.') {
        let fraction = digits(&rest[length + 1..]);
        if whole == 0 && fraction == 0 {
            return None;
        }
        length += 1 + fraction;
        is_float = true;
    }
    if length > 0
        && let Some(exponent) = exponent_length(&rest[length..])
    {
        length += exponent;
        is_float = true;
    }
    is_float.then_some(length)
}

fn exponent_length(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['e', 'E'])?;
    let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
    let count = digits(unsigned);
    (count > 0).then(|| rest.len() - unsigned.len() + count)
}

/// A number without point: decimal with an optional `L`, hexadecimal after `0x`, octal after `0`.
fn integer(rest: &str) -> Result<(Token<'_>, usize), Fault> {
    let in_radix = |digits: &str, radix, length| {
        let value = i64::from_str_radix(digits, radix)
            .map_err(|_| Fault::NumberTooLarge(rest[..length].to_owned()))?;
        Ok((Token::Integer(Integer::of(value)), length))
    };
    if !rest.starts_with('0') {
        let length = digits(rest);
        let token = Token::Integer(Integer::from_digits(&rest[..length]));
        let has_suffix = rest[length..].starts_with(['l', 'L']);
        return Ok((token, length + usize::from(has_suffix)));
    }
    if let Some(after) = rest[1..].strip_prefix(['x', 'X']) {
        let length = count(after, |byte| byte.is_ascii_hexdigit());
        if length > 0 {
            return in_radix(&after[..length], 16, 2 + length);
        }
    }
    let length = count(rest, |byte| matches!(byte, b'0'..=b'7'));
    in_radix(&rest[..length], 8, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Token<'_>> {
        let placed = tokens(text, 0).expect("tokens");
        placed.into_iter().map(|placed| placed.token).collect()
    }

    #[test]
    fn the_longest_token_wins() {
        let int = |value| Token::Integer(Integer::Int(value));
        assert_eq!(
            all("a<>0x1F 017 5. .5e1 12L<=08"),
            [
                Token::Identifier("a"),
                Token::Symbol("<>"),
                int(31),
                int(15),
                Token::Float(5.0),
                Token::Float(5.0),
                int(12),
                Token::Symbol("<="),
                int(0),
                int(8),
                Token::End,
            ]
        );
    }

    #[test]
    fn comments_that_end_are_skipped() {
        assert_eq!(
            all("a --b\n/* c * / **/ d --e"),
            [
                Token::Identifier("a"),
                Token::Identifier("d"),
                Token::Symbol("-"),
                Token::Symbol("-"),
                Token::Identifier("e"),
                Token::End,
            ]
        );
    }

    #[test]
    fn quotes_are_doubled_inside_text() {
        assert_eq!(
            all("'it''s' ''''"),
            [
                Token::Text("it's".into()),
                Token::Text("'".into()),
                Token::End
            ]
        );
        assert_eq!(tokens("a = 'b''", 0), Err((4, Fault::OpenText)));
    }
}
