//! Producers that need not be remembered any longer.

use super::input::{Input, Malformed, put_count, put_slice};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForgetProducers<'a> {
    pub(crate) producers: Vec<&'a [u8]>,
}

impl<'a> ForgetProducers<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.producers.len());
        for producer in &self.producers {
            put_slice(out, producer);
        }
    }

    pub(super) fn decode(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let count = input.count(4)?;
        let producers = (0..count).map(|_| input.slice()).collect::<Result<_, _>>();
        Ok(ForgetProducers {
            producers: producers?,
        })
    }
}
