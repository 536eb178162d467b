//! Values while a selector is evaluated, and what can be done with two of them. Java's types decide:
//! the same number in two types is not always equal.

use std::borrow::Cow;
use std::cmp::Ordering;

use openwire::primitive::Value;

use super::node::{Arithmetic, Constant};
use super::number::{BigNumber, Integer, compare_f32, compare_f64, print_f32, print_f64};

/// Bytes that a text made by a selector may have.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A selector that has no value for a message: it does not select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uncomputable(pub(super) &'static str);

/// A value of one of Java's types.
#[derive(Clone, Debug)]
pub(super) enum Datum<'a> {
    Null,
    Boolean(bool),
    Byte(i8),
    Char(u16),
    Short(i16),
    Int(i32),
    Long(i64),
    Big(Cow<'a, BigNumber>),
    Float(f32),
    Double(f64),
    Text(Cow<'a, str>),
    List(Vec<Datum<'a>>),
    /// Bytes, a map or a list: equal to itself, and without order.
    Opaque(&'a Value),
}

impl<'a> From<&'a Constant> for Datum<'a> {
    fn from(constant: &'a Constant) -> Self {
        match constant {
            Constant::Null => Datum::Null,
            Constant::Boolean(value) => Datum::Boolean(*value),
            Constant::Int(value) => Datum::Int(*value),
            Constant::Long(value) => Datum::Long(*value),
            Constant::Big(value) => Datum::Big(Cow::Borrowed(value)),
            Constant::Double(value) => Datum::Double(*value),
            Constant::Text(text) => Datum::Text(Cow::Borrowed(text)),
        }
    }
}

impl<'a> From<&'a Value> for Datum<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Datum::Null,
            Value::Boolean(value) => Datum::Boolean(*value),
            Value::Byte(value) => Datum::Byte(*value),
            Value::Char(value) => Datum::Char(*value),
            Value::Short(value) => Datum::Short(*value),
            Value::Int(value) => Datum::Int(*value),
            Value::Long(value) => Datum::Long(*value),
            Value::Double(value) => Datum::Double(*value),
            Value::Float(value) => Datum::Float(*value),
            Value::String(text) => Datum::Text(text.to_string_lossy()),
            Value::Bytes(_) | Value::Map(_) | Value::List(_) => Datum::Opaque(value),
        }
    }
}

impl From<Integer> for Datum<'_> {
    fn from(value: Integer) -> Self {
        match value {
            Integer::Int(value) => Datum::Int(value),
            Integer::Long(value) => Datum::Long(value),
            Integer::Big(value) => Datum::Big(Cow::Owned(value)),
        }
    }
}

impl<'a> Datum<'a> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The value as 64 bits of an integer, as Java narrows it; None for what is no number.
    fn to_i64(&self) -> Option<i64> {
        Some(match self {
            Datum::Byte(value) => i64::from(*value),
            Datum::Short(value) => i64::from(*value),
            Datum::Int(value) => i64::from(*value),
            Datum::Long(value) => *value,
            Datum::Big(value) => value.low_bits(),
            #[allow(clippy::cast_possible_truncation, reason = "Java narrows the same way")]
            Datum::Float(value) => *value as i64,
            #[allow(clippy::cast_possible_truncation, reason = "Java narrows the same way")]
            Datum::Double(value) => *value as i64,
            _ => return None,
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "Java widens the same way")]
    fn to_f64(&self) -> Option<f64> {
        Some(match self {
            Datum::Big(value) => value.to_f64(),
            Datum::Float(value) => f64::from(*value),
            Datum::Double(value) => *value,
            other => other.to_i64()? as f64,
        })
    }

    fn is_floating(&self) -> bool {
        matches!(self, Datum::Float(_) | Datum::Double(_))
    }

    /// The negative; null for what is no number.
    pub(super) fn negated(self) -> Result<Datum<'a>, Uncomputable> {
        Ok(match self {
            Datum::Int(value) => Datum::Int(value.wrapping_neg()),
            Datum::Long(value) => Datum::Long(value.wrapping_neg()),
            Datum::Float(value) => Datum::Float(-value),
            Datum::Double(value) => Datum::Double(-value),
            Datum::Big(value) => value.negated().into(),
            Datum::Byte(_) | Datum::Short(_) => {
                return Err(Uncomputable("bytes and shorts have no negative"));
            }
            _ => Datum::Null,
        })
    }

    /// The outcome of an operation; neither side is null.
    pub(super) fn computed(
        self,
        operation: Arithmetic,
        right: &Datum<'a>,
    ) -> Result<Datum<'a>, Uncomputable> {
        if let (Datum::Text(left), Arithmetic::Add) = (&self, operation) {
            return concatenated(left, &right.printed());
        }
        let numbers = (self.to_f64(), right.to_f64());
        let (Some(left_float), Some(right_float)) = numbers else {
            return Err(Uncomputable("arithmetic takes numbers"));
        };
        match operation {
            Arithmetic::Divide => return Ok(Datum::Double(left_float / right_float)),
            Arithmetic::Remainder => return Ok(Datum::Double(left_float % right_float)),
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply => {}
        }
        if self.is_floating() || right.is_floating() {
            return Ok(Datum::Double(match operation {
                Arithmetic::Add => left_float + right_float,
                Arithmetic::Subtract => left_float - right_float,
                _ => left_float * right_float,
            }));
        }
        let is_long = matches!(self, Datum::Long(_)) || matches!(right, Datum::Long(_));
        let (Some(left), Some(right)) = (self.to_i64(), right.to_i64()) else {
            return Err(Uncomputable("arithmetic takes numbers"));
        };
        let value = match operation {
            Arithmetic::Add => left.wrapping_add(right),
            Arithmetic::Subtract => left.wrapping_sub(right),
            _ => left.wrapping_mul(right),
        };
        if is_long {
            return Ok(Datum::Long(value));
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the low 32 bits, as in Java"
        )]
        let value = value as i32;
        Ok(Datum::Int(value))
    }

    /// The value as Java appends it to text.
    pub(super) fn printed(&self) -> Cow<'_, str> {
        match self {
            Datum::Null => Cow::Borrowed("null"),
            Datum::Boolean(value) => Cow::Owned(value.to_string()),
            Datum::Byte(value) => Cow::Owned(value.to_string()),
            Datum::Char(unit) => Cow::Owned(String::from_utf16_lossy(&[*unit])),
            Datum::Short(value) => Cow::Owned(value.to_string()),
            Datum::Int(value) => Cow::Owned(value.to_string()),
            Datum::Long(value) => Cow::Owned(value.to_string()),
            Datum::Big(value) => Cow::Owned(value.to_string()),
            Datum::Float(value) => Cow::Owned(print_f32(*value)),
            Datum::Double(value) => Cow::Owned(print_f64(*value)),
            Datum::Text(text) => Cow::Borrowed(text),
            Datum::List(values) => {
                let values: Vec<_> = values.iter().map(Datum::printed).collect();
                Cow::Owned(format!("[{}]", values.join(", ")))
            }
            Datum::Opaque(value) => Cow::Borrowed(value.type_name()),
        }
    }

    /// Java's `equals`: the same type and the same value.
    pub(super) fn is_same(&self, other: &Datum<'a>) -> bool {
        match (self, other) {
            (Datum::List(left), Datum::List(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| left.is_same(right))
            }
            (Datum::Opaque(left), Datum::Opaque(right)) => left == right,
            (Datum::Null, Datum::Null) => true,
            _ => same_type_order(self, other) == Some(Ordering::Equal),
        }
    }

    pub(super) fn has_order(&self) -> bool {
        !matches!(self, Datum::Null | Datum::List(_) | Datum::Opaque(_))
    }
}

fn concatenated<'a>(left: &str, right: &str) -> Result<Datum<'a>, Uncomputable> {
    if left.len() + right.len() > TEXT_BYTES_MAX {
        return Err(Uncomputable("the text would be too long"));
    }
    Ok(Datum::Text(Cow::Owned([left, right].concat())))
}

/// The order of two values of one type; None when the types differ or have no order.
fn same_type_order(left: &Datum<'_>, right: &Datum<'_>) -> Option<Ordering> {
    Some(match (left, right) {
        (Datum::Boolean(left), Datum::Boolean(right)) => left.cmp(right),
        (Datum::Byte(left), Datum::Byte(right)) => left.cmp(right),
        (Datum::Char(left), Datum::Char(right)) => left.cmp(right),
        (Datum::Short(left), Datum::Short(right)) => left.cmp(right),
        (Datum::Int(left), Datum::Int(right)) => left.cmp(right),
        (Datum::Long(left), Datum::Long(right)) => left.cmp(right),
        (Datum::Big(left), Datum::Big(right)) => left.compare(right),
        (Datum::Float(left), Datum::Float(right)) => compare_f32(*left, *right),
        (Datum::Double(left), Datum::Double(right)) => compare_f64(*left, *right),
        // Java orders by UTF-16 code units, which is not the order of UTF-8.
        (Datum::Text(left), Datum::Text(right)) if left == right => Ordering::Equal,
        (Datum::Text(left), Datum::Text(right)) => left.encode_utf16().cmp(right.encode_utf16()),
        _ => return None,
    })
}

/// The order of two values; None when they are of types that are never compared, which makes every
/// comparison false.
pub(super) fn compare(
    left: &Datum<'_>,
    right: &Datum<'_>,
    converts: bool,
) -> Result<Option<Ordering>, Uncomputable> {
    if !left.has_order() || !right.has_order() {
        return Err(Uncomputable("lists, maps and bytes have no order"));
    }
    if let Some(order) = same_type_order(left, right) {
        return Ok(Some(order));
    }
    match (left, right) {
        (Datum::Boolean(_), Datum::Text(_)) if converts => {
            Err(Uncomputable("a truth value on the left of text"))
        }
        (Datum::Text(text), other) if converts => {
            Ok(read(text, other).and_then(|left| same_type_order(&left, other)))
        }
        (other, Datum::Text(text)) if converts => {
            Ok(read(text, other).and_then(|right| same_type_order(other, &right)))
        }
        (Datum::Double(_), Datum::Float(_)) => Err(Uncomputable("a double on the left of a float")),
        _ => Ok(compare_numbers(left, right)),
    }
}

/// A narrower number on the left is widened to the type on the right; the other way round that is
/// not so for bytes and shorts.
#[allow(clippy::cast_precision_loss, reason = "Java widens the same way")]
#[allow(clippy::cast_possible_truncation, reason = "Java narrows the same way")]
fn compare_numbers(left: &Datum<'_>, right: &Datum<'_>) -> Option<Ordering> {
    use Datum::{Byte, Double, Float, Int, Long, Short};
    if matches!(left, Datum::Big(_)) || matches!(right, Datum::Big(_)) {
        return None;
    }
    let wide = (left.to_i64()?, right.to_i64()?);
    Some(match (left, right) {
        (Byte(_), Short(_) | Int(_) | Long(_))
        | (Short(_), Int(_) | Long(_))
        | (Int(_), Long(_))
        | (Long(_), Int(_)) => wide.0.cmp(&wide.1),
        (Byte(_) | Short(_) | Int(_) | Long(_), Float(right)) => compare_f32(wide.0 as f32, *right),
        (Float(left), Int(_) | Long(_)) => compare_f32(*left, wide.1 as f32),
        (Byte(_) | Short(_) | Int(_) | Long(_), Double(right)) => {
            compare_f64(wide.0 as f64, *right)
        }
        (Double(left), Int(_) | Long(_)) => compare_f64(*left, wide.1 as f64),
        (Float(left), Double(right)) => compare_f64(f64::from(*left), *right),
        _ => return None,
    })
}

/// Reads text as a value of the other side's type; None when it is none.
fn read<'a>(text: &str, like: &Datum<'_>) -> Option<Datum<'a>> {
    let is_plain = |text: &str| {
        !text
            .trim_start_matches(['+', '-'])
            .starts_with(['i', 'I', 'n'])
    };
    // Java trims floating-point numbers only, and lets them end with their type.
    let trimmed = text.trim();
    let number = trimmed
        .strip_suffix(['f', 'F', 'd', 'D'])
        .unwrap_or(trimmed);
    Some(match like {
        Datum::Boolean(_) => Datum::Boolean(text.eq_ignore_ascii_case("true")),
        Datum::Byte(_) => Datum::Byte(text.parse().ok()?),
        Datum::Short(_) => Datum::Short(text.parse().ok()?),
        Datum::Int(_) => Datum::Int(text.parse().ok()?),
        Datum::Long(_) => Datum::Long(text.parse().ok()?),
        Datum::Float(_) if is_plain(number) => Datum::Float(number.parse().ok()?),
        Datum::Double(_) if is_plain(number) => Datum::Double(number.parse().ok()?),
        _ => return None,
    })
}
