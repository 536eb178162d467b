//! Passwords: never shown, and compared in a time that tells nothing about them.

use std::fmt;
use std::hint::black_box;

/// A password.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes a password.
    #[must_use]
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        Secret(text.as_ref().into())
    }

    /// Whether both are the same. The time depends on the length of `given` alone, which whoever gives it knows.
    pub(super) fn is(&self, given: &Secret) -> bool {
        let mut difference = u8::from(self.0.len() != given.0.len());
        for (index, byte) in given.0.iter().enumerate() {
            let own = match self.0.len() {
                0 => 0,
                length => self.0[index % length],
            };
            difference |= black_box(own ^ byte);
        }
        black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
