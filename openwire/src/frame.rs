//! Cutting a byte stream into frames: a 32-bit size, then that many bytes.

use bytes::{Buf, Bytes, BytesMut};

/// The bytes of the size in front of each frame.
pub(crate) const PREFIX_BYTES: usize = 4;

/// A size that ends the connection: behind it nobody knows where the next frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A size of zero or less.
    #[error("frame size {0} is impossible; this is not an OpenWire peer, or the stream is damaged")]
    Impossible(i32),
    /// A size above the limit.
    #[error(
        "a frame of {size} bytes exceeds the limit of {limit}; raise maxFrameSize or send less"
    )]
    TooLarge {
        /// The size announced, in bytes.
        size: usize,
        /// The largest size accepted, in bytes.
        limit: usize,
    },
}

/// Takes the next whole frame, without its size prefix, off the front of `buffer`; `None` when
/// more bytes must arrive first.
///
/// The frame shares the buffer's memory. Nothing is reserved for a frame that has not arrived, so
/// an announced size costs nothing.
///
/// # Errors
///
/// When the size is not positive, or above `max_frame_size` (bytes, the prefix not counted). The
/// buffer is left as it was, and the connection is to be closed.
pub fn next_frame(
    buffer: &mut BytesMut,
    max_frame_size: usize,
) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let announced = i32::from_be_bytes(*prefix);
    let size = usize::try_from(announced)
        .ok()
        .filter(|&size| size > 0)
        .ok_or(FrameError::Impossible(announced))?;
    if size > max_frame_size {
        return Err(FrameError::TooLarge {
            size,
            limit: max_frame_size,
        });
    }
    if buffer.len() - PREFIX_BYTES < size {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(size).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_one_by_one_however_the_bytes_arrive() {
        let wire = b"\0\0\0\x01\0\0\0\0\x03\x0a\x0b\x0c";
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in wire {
            buffer.extend_from_slice(&[*byte]);
            while let Some(frame) = next_frame(&mut buffer, 3).expect("legal sizes") {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [&b"\0"[..], b"\x0a\x0b\x0c"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_size_that_cannot_be_ends_the_stream() {
        for (wire, error) in [
            (&b"\xff\xff\xff\xff"[..], FrameError::Impossible(-1)),
            (b"\0\0\0\0", FrameError::Impossible(0)),
            (b"\0\0\0\x05", FrameError::TooLarge { size: 5, limit: 4 }),
            (
                b"GET ",
                FrameError::TooLarge {
                    size: 0x4745_5420,
                    limit: 4,
                },
            ),
        ] {
            assert_eq!(next_frame(&mut BytesMut::from(wire), 4), Err(error));
        }
    }

    #[test]
    fn an_announced_size_reserves_nothing() {
        let mut buffer = BytesMut::from(&b"\x7f\xff\xff\xffx"[..]);
        assert_eq!(next_frame(&mut buffer, usize::MAX), Ok(None));
        assert!(buffer.capacity() < 1024);
    }

    #[test]
    fn a_frame_shares_the_memory_of_the_buffer() {
        let mut buffer = BytesMut::from(&b"\0\0\0\x02ab"[..]);
        let body = buffer[PREFIX_BYTES..].as_ptr();
        let frame = next_frame(&mut buffer, 10).expect("legal").expect("whole");
        assert_eq!(frame.as_ptr(), body);
    }
}
