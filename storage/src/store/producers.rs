//! The table of producers: who sent what last, and whom to forget.

use bytes::Bytes;

use super::{AppendError, Store};
use crate::journal::Class;
use crate::position::Lsn;
use crate::record::{ForgetProducers, Record};

/// Producers that one record forgets at most.
const FORGOTTEN_PER_RECORD: usize = 1000;

impl Store {
    /// The highest sequence seen of a producer.
    #[must_use]
    pub fn producer_sequence(&self, producer: &[u8]) -> Option<u64> {
        self.shared.state.producer_sequence(producer)
    }

    /// Forgets producers that were closed cleanly.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn forget_producers(&self, producers: &[Bytes]) -> Result<Lsn, AppendError> {
        let mut lsn = self.appended();
        for producers in producers.chunks(FORGOTTEN_PER_RECORD) {
            let producers = producers.iter().map(|producer| &producer[..]).collect();
            lsn = self.forget(producers, u64::MAX)?.0.max(lsn);
        }
        Ok(lsn)
    }

    /// Forgets producers that sent nothing since `before_ms` (milliseconds since 1970), except
    /// those that `is_in_use`. Answers how many.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn forget_idle_producers(
        &self,
        before_ms: u64,
        is_in_use: &dyn Fn(&[u8]) -> bool,
    ) -> Result<usize, AppendError> {
        let mut forgotten = 0;
        for shard in &self.shared.state.producers {
            let mut idle: Vec<Box<[u8]>> = {
                let shard = shard.lock();
                let idle = shard
                    .producers
                    .iter()
                    .filter(|(_, known)| known.used_ms < before_ms);
                idle.map(|(id, _)| id.clone()).collect()
            };
            // The map's order is random; what is written should not be.
            idle.sort_unstable();
            let idle: Vec<&[u8]> = idle
                .iter()
                .map(|id| &**id)
                .filter(|id| !is_in_use(id))
                .collect();
            for idle in idle.chunks(FORGOTTEN_PER_RECORD) {
                forgotten += self.forget(idle.to_vec(), before_ms)?.1;
            }
        }
        Ok(forgotten)
    }

    /// Forgets those of `producers` that are known and sent nothing since `before_ms`.
    fn forget(&self, producers: Vec<&[u8]>, before_ms: u64) -> Result<(Lsn, usize), AppendError> {
        let record = Record::ForgetProducers(ForgetProducers {
            producers: producers.clone(),
        });
        let (appended, count) = self.shared.state.with_locks(&record, |locked| {
            let is_idle = |id: &&[u8]| {
                locked
                    .producer_used_ms(id)
                    .is_some_and(|used_ms| used_ms < before_ms)
            };
            let producers: Vec<&[u8]> = producers.iter().copied().filter(is_idle).collect();
            if producers.is_empty() {
                return Ok((None, 0));
            }
            let count = producers.len();
            let record = Record::ForgetProducers(ForgetProducers { producers });
            let appended = self.append(locked, &record, Class::Control)?;
            Ok((Some(appended), count))
        })?;
        Ok((self.wake_or_present(appended), count))
    }
}
