//! The field table of a data type. Layout, decoder, encoder and defaults come from one list in wire
//! order, so that they cannot disagree.

/// Declares a data type by its field table:
///
/// ```text
/// data_type! {
///     /// What it is for.
///     pub struct Example = 99 {
///         /// What the field says.
///         first: i32, since 1;
///         /// A field of versions 1 to 9; beyond them it takes its default.
///         second: bool, since 1 until 9 default true;
///     }
/// }
/// ```
///
/// `since` and `until` are the versions that have the field on the wire; a version without it
/// yields the default. With `id` in place of `struct` the derives are those that are given. Behind
/// `@fields` only struct, defaults and field coding are made, for a hand-written
/// [`Object`](super::Object); a block `local { .. }` behind the list then adds members that it
/// fills.
macro_rules! data_type {
    (
        $(#[$struct_meta:meta])*
        pub struct $name:ident = $code:literal $body:tt
    ) => {
        $crate::codec::data_type! {
            @fields
            #[derive(Clone, Debug, PartialEq)]
            $(#[$struct_meta])*
            pub struct $name $body
        }
        $crate::codec::data_type! { @object $name $code }
    };
    (
        $(#[$struct_meta:meta])*
        pub id $name:ident = $code:literal $body:tt
    ) => {
        $crate::codec::data_type! { @fields $(#[$struct_meta])* pub struct $name $body }
        $crate::codec::data_type! { @object $name $code }
    };
    (@object $name:ident $code:literal) => {
        impl $crate::codec::Object for $name {
            const EXPECTED: &'static str = stringify!($name);

            fn read_object(
                code: u8,
                reader: &mut $crate::codec::Reader,
            ) -> Result<Self, $crate::error::DecodeError> {
                if code != $code {
                    return Err(Self::unexpected(code, reader));
                }
                Self::read_fields(reader)
            }

            fn code(&self) -> u8 {
                $code
            }

            fn write_object(
                &self,
                writer: &mut $crate::codec::Writer<'_>,
            ) -> Result<(), $crate::error::EncodeError> {
                self.write_fields(writer)
            }
        }
    };
    (@fields
        $(#[$struct_meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty, since $since:literal
                    $(until $until:literal)? $(default $default:expr)?;
            )*
        }
        $(local {
            $(
                $(#[$local_meta:meta])*
                $local:ident: $local_type:ty;
            )*
        })?
    ) => {
        $(#[$struct_meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $($($(#[$local_meta])* pub $local: $local_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($field: $crate::codec::data_type!(@default $($default)?),)*
                    $($($local: Default::default(),)*)?
                }
            }
        }

        impl $name {
            pub(crate) fn read_fields(
                reader: &mut $crate::codec::Reader,
            ) -> Result<Self, $crate::error::DecodeError> {
                Ok($name {
                    $($field: if reader.has($since, $crate::codec::data_type!(@until $($until)?)) {
                        $crate::codec::Wire::read(reader)
                            .map_err(|e| e.within(stringify!($name), stringify!($field)))?
                    } else {
                        $crate::codec::data_type!(@default $($default)?)
                    },)*
                    $($($local: Default::default(),)*)?
                })
            }

            pub(crate) fn write_fields(
                &self,
                writer: &mut $crate::codec::Writer<'_>,
            ) -> Result<(), $crate::error::EncodeError> {
                $(if writer.has($since, $crate::codec::data_type!(@until $($until)?)) {
                    $crate::codec::Wire::write(&self.$field, writer)
                        .map_err(|e| e.within(stringify!($name), stringify!($field)))?;
                })*
                Ok(())
            }
        }
    };
    (@until) => { u8::MAX };
    (@until $until:literal) => { $until };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

pub(crate) use data_type;
