//! The numbers that a literal can hold beyond Java's primitive ones, and how Java prints
//! floating-point numbers.

use std::cmp::Ordering;
use std::sync::Arc;

/// An integer literal beyond 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BigNumber {
    is_negative: bool,
    /// Decimal digits without leading zeros.
    digits: Arc<str>,
}

/// What a decimal integer literal is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Integer {
    Int(i32),
    Long(i64),
    Big(BigNumber),
}

impl Integer {
    /// The smallest type that holds the number.
    pub(super) fn of(value: i64) -> Self {
        i32::try_from(value).map_or(Integer::Long(value), Integer::Int)
    }

    /// Reads decimal digits. A number beyond 64 bits whose low 64 bits happen to be a 32-bit number
    /// becomes that one, as with ActiveMQ.
    pub(super) fn from_digits(digits: &str) -> Self {
        if let Ok(value) = digits.parse::<i64>() {
            return Self::of(value);
        }
        let big = BigNumber {
            is_negative: false,
            digits: digits.into(),
        };
        match i32::try_from(big.low_bits()) {
            Ok(value) => Integer::Int(value),
            Err(_) => Integer::Big(big),
        }
    }
}

impl BigNumber {
    /// The low 64 bits of its two's complement.
    pub(super) fn low_bits(&self) -> i64 {
        let value = self.digits.bytes().fold(0_u64, |value, digit| {
            value
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit.wrapping_sub(b'0')))
        });
        let value = if self.is_negative {
            value.wrapping_neg()
        } else {
            value
        };
        value.cast_signed()
    }

    pub(super) fn to_f64(&self) -> f64 {
        let value = self.digits.parse().unwrap_or(f64::INFINITY);
        if self.is_negative { -value } else { value }
    }

    /// The negative; the one that fits into 64 bits becomes a number of those.
    pub(super) fn negated(&self) -> Integer {
        if !self.is_negative && *self.digits == *"9223372036854775808" {
            return Integer::Long(i64::MIN);
        }
        Integer::Big(BigNumber {
            is_negative: !self.is_negative,
            digits: Arc::clone(&self.digits),
        })
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let magnitude = (self.digits.len(), &self.digits).cmp(&(other.digits.len(), &other.digits));
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
        }
    }
}

impl std::fmt::Display for BigNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_negative {
            f.write_str("-")?;
        }
        f.write_str(&self.digits)
    }
}

/// Java's order of floating-point numbers: -0.0 before 0.0, and NaN equal to itself behind all.
pub(super) fn compare_f64(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .filter(|order| order.is_ne())
        .unwrap_or_else(|| match (left.is_nan(), right.is_nan()) {
            (false, false) => left.total_cmp(&right),
            (left, right) => left.cmp(&right),
        })
}

/// As [`compare_f64`].
pub(super) fn compare_f32(left: f32, right: f32) -> Ordering {
    compare_f64(f64::from(left), f64::from(right))
}

/// A number as `Double.toString` prints it.
pub(super) fn print_f64(value: f64) -> String {
    if value.is_finite() {
        print_scientific(&format!("{value:e}"))
    } else {
        print_special(value)
    }
}

/// A number as `Float.toString` prints it.
pub(super) fn print_f32(value: f32) -> String {
    if value.is_finite() {
        print_scientific(&format!("{value:e}"))
    } else {
        print_special(f64::from(value))
    }
}

fn print_special(value: f64) -> String {
    let text = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    text.to_owned()
}

/// Java's form of `d.ddde±x`: plain digits from 10^-3 to below 10^7, else with an exponent, and
/// always at least one digit behind the point.
fn print_scientific(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let is_zero = digits.bytes().all(|digit| digit == b'0');
    let with_point = |whole: &str, fraction: &str| {
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        format!("{sign}{whole}.{fraction}")
    };
    match exponent {
        _ if is_zero => with_point("0", ""),
        0..=6 => {
            let whole_digits = exponent.unsigned_abs() as usize + 1;
            let padded = format!("{digits:0<whole_digits$}");
            let (whole, fraction) = padded.split_at(whole_digits);
            with_point(whole, fraction)
        }
        -3..=-1 => {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            with_point("0", &format!("{zeros}{digits}"))
        }
        _ => {
            let (whole, fraction) = digits.split_at(1);
            format!("{}E{exponent}", with_point(whole, fraction))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floating_point_numbers_look_as_in_java() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0, "100.0"),
            (1_234_567.5, "1234567.5"),
            (12_345_678.0, "1.2345678E7"),
            (1e7, "1.0E7"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (-0.015, "-0.015"),
            (1e300, "1.0E300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(print_f64(value), text);
        }
        assert_eq!(print_f32(0.1), "0.1");
    }

    #[test]
    fn big_literals_wrap_as_in_java() {
        assert_eq!(Integer::from_digits("2147483648"), Integer::Long(1 << 31));
        assert_eq!(
            Integer::from_digits("18446744073709551616"),
            Integer::Int(0)
        );
        let Integer::Big(limit) = Integer::from_digits("9223372036854775808") else {
            panic!("2^63 does not fit into 64 bits");
        };
        assert_eq!(limit.low_bits(), i64::MIN);
        assert_eq!(limit.negated(), Integer::Long(i64::MIN));
    }
}
