//! The limits of what this crate decodes and encodes, so that no frame, however made, can cost
//! memory or stack out of proportion to its own length.

/// The longest string, in bytes of modified UTF-8: its length is an unsigned 16-bit number.
pub const MAX_STRING_BYTES: usize = 65_535;

/// The longest array of objects: its count is a signed 16-bit number.
pub const MAX_ARRAY_LENGTH: usize = 32_767;

/// How deep objects may be nested in one frame, and maps and lists in a primitive value. Real
/// commands need five levels.
pub const MAX_OBJECT_DEPTH: usize = 32;

/// How many objects and array elements, nulls included, one frame may hold.
pub const MAX_OBJECTS: usize = 65_536;

/// How many causes a throwable may have, one inside the other.
pub const MAX_THROWABLE_DEPTH: usize = 32;

/// The longest stack trace of one throwable, in frames; the total also counts towards
/// [`MAX_OBJECTS`].
pub const MAX_STACK_FRAMES: usize = 4_096;

/// The longest error text put into a throwable, in bytes of modified UTF-8.
pub const MAX_ERROR_TEXT_BYTES: usize = 4_096;

/// How many primitive values one map, list or stream body may hold, those nested in it included.
pub const MAX_PRIMITIVES: usize = 1 << 20;

/// The longest `WireFormatInfo` properties as a whole, in bytes.
pub const MAX_WIRE_FORMAT_BYTES: usize = 65_536;

/// How many properties a `WireFormatInfo` may carry.
pub const MAX_WIRE_FORMAT_PROPERTIES: usize = 64;

/// The longest property text in a `WireFormatInfo`, in bytes.
pub const MAX_WIRE_FORMAT_TEXT_BYTES: usize = 512;
