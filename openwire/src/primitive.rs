//! Primitive values: what message properties, the bodies of map and stream messages and the
//! properties of a `WireFormatInfo` are made of.

use bytes::{Bytes, BytesMut};

use crate::codec::{Reader, Writer};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::limit::MAX_PRIMITIVES;
use crate::string::WireString;
use crate::version::{Dialect, Version};

/// Java writes a string with the long form from this many UTF-16 code units on.
const BIG_STRING_UNITS: usize = 8191;

/// Memory for at most this many values of a list is reserved ahead; more is added as they come.
const RESERVED_VALUES: usize = 64;

/// A value of one of the types that a message property can have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// A truth value.
    Boolean(bool),
    /// A signed 8-bit number.
    Byte(i8),
    /// A UTF-16 code unit.
    Char(u16),
    /// A signed 16-bit number.
    Short(i16),
    /// A signed 32-bit number.
    Int(i32),
    /// A signed 64-bit number.
    Long(i64),
    /// A 64-bit floating point number.
    Double(f64),
    /// A 32-bit floating point number.
    Float(f32),
    /// Text.
    String(WireString),
    /// Raw bytes.
    Bytes(Bytes),
    /// A map of its own.
    Map(PrimitiveMap),
    /// A list of values.
    List(Vec<Value>),
}

impl Value {
    /// The Java name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "boolean",
            Value::Byte(_) => "byte",
            Value::Char(_) => "char",
            Value::Short(_) => "short",
            Value::Int(_) => "int",
            Value::Long(_) => "long",
            Value::Double(_) => "double",
            Value::Float(_) => "float",
            Value::String(_) => "string",
            Value::Bytes(_) => "byte array",
            Value::Map(_) => "map",
            Value::List(_) => "list",
        }
    }

    /// Decodes one value, its tag included. Bytes behind it are ignored.
    ///
    /// # Errors
    ///
    /// When the bytes are no value, or one beyond the [limits](crate::limit).
    pub fn decode(bytes: Bytes) -> Result<Value, DecodeError> {
        read_value(&mut reader(bytes)).map_err(|e| e.within("Value", ""))
    }

    /// Encodes the value with its tag.
    ///
    /// # Errors
    ///
    /// When it is nested too deep or holds a name of more than 65535 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encoded(|writer| write_value(self, writer))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Int(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Long(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.into())
    }
}

impl From<WireString> for Value {
    fn from(value: WireString) -> Self {
        Value::String(value)
    }
}

/// Values by name, in the order they came; the order means nothing to Java.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrimitiveMap {
    entries: Vec<(WireString, Value)>,
}

impl PrimitiveMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a map. Java's null map, with a count of -1, becomes an empty one; bytes behind the
    /// map are ignored.
    ///
    /// # Errors
    ///
    /// When the bytes are no map, or one beyond the [limits](crate::limit).
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let map = read_map(&mut reader(bytes)).map_err(|e| e.within("PrimitiveMap", ""))?;
        Ok(map.unwrap_or_default())
    }

    /// The value of one name in an encoded map, without building the map.
    ///
    /// # Errors
    ///
    /// When the bytes are no map, or one beyond the [limits](crate::limit).
    pub fn find(bytes: Bytes, name: &str) -> Result<Option<Value>, DecodeError> {
        let mut found = None;
        each_entry(&mut reader(bytes), |entry_name, value| {
            if entry_name == *name {
                found = Some(value);
            }
        })
        .map_err(|e| e.within("PrimitiveMap", ""))?;
        Ok(found)
    }

    /// Encodes the map.
    ///
    /// # Errors
    ///
    /// When it is nested too deep or holds a name of more than 65535 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encoded(|writer| write_map(self, writer))
    }

    /// The value of a name; of several the last, as in Java.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries
            .iter()
            .rev()
            .find(|(entry, _)| *entry == *name)
            .map(|(_, value)| value)
    }

    /// Sets the value of a name, in place of any it had.
    pub fn insert(&mut self, name: impl Into<WireString>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.entries.iter_mut().find(|(entry, _)| *entry == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(entry, _)| *entry != *name);
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&WireString, &Value)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(WireString, Value)> for PrimitiveMap {
    fn from_iter<I: IntoIterator<Item = (WireString, Value)>>(entries: I) -> Self {
        let mut map = PrimitiveMap::new();
        for (name, value) in entries {
            map.insert(name, value);
        }
        map
    }
}

/// Decodes values one after another up to the end, as in the body of a stream message.
///
/// # Errors
///
/// When the bytes are no sequence of values, or one beyond the [limits](crate::limit).
pub fn decode_values(bytes: Bytes) -> Result<Vec<Value>, DecodeError> {
    let mut reader = reader(bytes);
    let mut values = Vec::new();
    while reader.remaining() > 0 {
        let value = reader.spend(1).and_then(|()| read_value(&mut reader));
        values.push(value.map_err(|e| e.within("Value", ""))?);
    }
    Ok(values)
}

/// Encodes values one after another, as in the body of a stream message.
///
/// # Errors
///
/// When one is nested too deep or holds a name of more than 65535 bytes.
pub fn encode_values(values: &[Value]) -> Result<Bytes, EncodeError> {
    encoded(|writer| {
        values
            .iter()
            .try_for_each(|value| write_value(value, writer))
    })
}

/// Primitive values look the same in all versions.
fn reader(bytes: Bytes) -> Reader {
    Reader::with_element_limit(bytes, Dialect::from(Version::LATEST), MAX_PRIMITIVES)
}

fn encoded(
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    write(&mut Writer::new(&mut out, Dialect::from(Version::LATEST)))
        .map_err(|e| e.within("Value", ""))?;
    Ok(out.freeze())
}

fn read_value(reader: &mut Reader) -> Result<Value, DecodeError> {
    Ok(match reader.u8()? {
        0 => Value::Null,
        1 => Value::Boolean(reader.bool()?),
        2 => Value::Byte(i8::from_be_bytes(reader.array()?)),
        3 => Value::Char(u16::from_be_bytes(reader.array()?)),
        4 => Value::Short(i16::from_be_bytes(reader.array()?)),
        5 => Value::Int(i32::from_be_bytes(reader.array()?)),
        6 => Value::Long(i64::from_be_bytes(reader.array()?)),
        7 => Value::Double(f64::from_bits(u64::from_be_bytes(reader.array()?))),
        8 => Value::Float(f32::from_bits(u32::from_be_bytes(reader.array()?))),
        9 => Value::String(reader.short_string()?),
        10 => Value::Bytes(reader.long_bytes()?),
        11 => reader.nested(read_map)?.map_or(Value::Null, Value::Map),
        12 => Value::List(reader.nested(read_list)?),
        13 => Value::String(reader.long_string()?),
        tag => return Err(reader.error_before(1, DecodeErrorKind::UnknownPrimitive(tag))),
    })
}

fn read_list(reader: &mut Reader) -> Result<Vec<Value>, DecodeError> {
    let count = reader.length()?;
    reader.check_count(count)?;
    let mut values = Vec::with_capacity(count.min(RESERVED_VALUES));
    for _ in 0..count {
        values.push(read_value(reader)?);
    }
    Ok(values)
}

fn read_map(reader: &mut Reader) -> Result<Option<PrimitiveMap>, DecodeError> {
    let mut entries = Vec::new();
    let present = each_entry(reader, |name, value| entries.push((name, value)))?;
    Ok(present.then_some(PrimitiveMap { entries }))
}

/// Reads a map entry by entry; `false` for Java's null map.
fn each_entry(
    reader: &mut Reader,
    mut entry: impl FnMut(WireString, Value),
) -> Result<bool, DecodeError> {
    let count = i32::from_be_bytes(reader.array()?);
    let Ok(count) = usize::try_from(count) else {
        return Ok(false);
    };
    reader.check_count(count)?;
    for _ in 0..count {
        let name = reader.short_string()?;
        entry(name, read_value(reader)?);
    }
    Ok(true)
}

fn write_value(value: &Value, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    match value {
        Value::Null => writer.u8(0),
        Value::Boolean(value) => writer.bytes(&[1, u8::from(*value)]),
        Value::Byte(value) => tagged(2, value.to_be_bytes(), writer),
        Value::Char(value) => tagged(3, value.to_be_bytes(), writer),
        Value::Short(value) => tagged(4, value.to_be_bytes(), writer),
        Value::Int(value) => tagged(5, value.to_be_bytes(), writer),
        Value::Long(value) => tagged(6, value.to_be_bytes(), writer),
        Value::Double(value) => tagged(7, value.to_bits().to_be_bytes(), writer),
        Value::Float(value) => tagged(8, value.to_bits().to_be_bytes(), writer),
        Value::String(text) => return write_string(text, writer),
        Value::Bytes(bytes) => {
            writer.u8(10);
            return writer.long_bytes(bytes);
        }
        Value::Map(map) => {
            writer.u8(11);
            return writer.nested(|writer| write_map(map, writer));
        }
        Value::List(values) => {
            writer.u8(12);
            writer.length(values.len())?;
            return writer.nested(|writer| {
                values
                    .iter()
                    .try_for_each(|value| write_value(value, writer))
            });
        }
    }
    Ok(())
}

fn tagged<const N: usize>(tag: u8, bytes: [u8; N], writer: &mut Writer<'_>) {
    writer.u8(tag);
    writer.bytes(&bytes);
}

fn write_string(text: &WireString, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    // Every code unit takes at least one byte, so short strings need no counting.
    if text.len() >= BIG_STRING_UNITS && text.code_units().count() >= BIG_STRING_UNITS {
        writer.u8(13);
        writer.long_bytes(text.as_bytes())
    } else {
        writer.u8(9);
        writer.short_string(text)
    }
}

fn write_map(map: &PrimitiveMap, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    writer.length(map.entries.len())?;
    map.entries.iter().try_for_each(|(name, value)| {
        writer.short_string(name)?;
        write_value(value, writer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_values_of_a_name_counts() {
        let bytes = Bytes::from_static(b"\0\0\0\x02\0\x01a\x02\x01\0\x01a\x02\x02");
        let map = PrimitiveMap::decode(bytes.clone()).expect("a map");
        assert_eq!(map.get("a"), Some(&Value::Byte(2)));
        assert_eq!(PrimitiveMap::find(bytes, "a"), Ok(Some(Value::Byte(2))));
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused() {
        let error = PrimitiveMap::decode(Bytes::from_static(b"\x7f\xff\xff\xff")).unwrap_err();
        let kind = DecodeErrorKind::CountTooLarge {
            count: 0x7fff_ffff,
            remaining: 0,
        };
        assert_eq!(error.kind, kind);
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let bytes: Vec<u8> = (0..100_000).flat_map(|_| [12, 0, 0, 0, 1]).collect();
        let error = Value::decode(bytes.into()).unwrap_err();
        assert!(matches!(error.kind, DecodeErrorKind::TooDeep(_)), "{error}");
    }

    #[test]
    fn what_can_be_encoded_can_be_decoded_even_at_the_deepest() {
        let mut value = Value::Null;
        let deepest = loop {
            let deeper = Value::List(vec![value.clone()]);
            match deeper.encode() {
                Ok(_) => value = deeper,
                Err(_) => break value,
            }
        };
        assert_eq!(Value::decode(deepest.encode().expect("legal")), Ok(deepest));
    }
}
