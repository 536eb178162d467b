//! Sends per second that a broker on a measured directory will answer.
//!
//! Producers that each wait for their answer form batches by themselves: whoever comes while a batch
//! is under way goes with the next one. How many that are depends on everything at once, so the
//! journal's writer is simulated message by message, with write times drawn from what was measured, and
//! with the writer's own pace where several batches may be in flight. The
//! broker's and the clients' own work is one queue in front of it, whose pace was measured on a
//! directory that takes no time, and of what writing asks of the processors; the journal's thread waits
//! its turn for one like everybody.
//! Nothing in here is fitted to any storage.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::report::{Circumstances, WriteTimes, histogram};
use crate::batch::{BATCH_BYTES, IN_FLIGHT_BYTES_MAX};
use crate::journal::{FILL_BYTES, JournalOptions, Pace};

/// Whose sends are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Producers, each with one send at a time.
    pub producers: usize,
    /// Bytes of a message in the journal.
    pub message_bytes: u64,
}

/// What a send takes beside storage, measured with one producer and with so many that nothing else
/// fits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    /// The whole round trip of a send that is alone.
    pub alone: Duration,
    /// Time between two sends of many producers: the processors' share of each.
    pub busy: Duration,
    /// Processors that share what storage asks of them.
    pub processors: u32,
}

/// What to expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Sends answered in a second.
    pub per_second: f64,
    /// Half of the sends are answered within this.
    pub p50: Duration,
    /// 99 of 100 sends are.
    pub p99: Duration,
    /// Journal writes in a second.
    pub writes_per_second: f64,
}

/// Sends that are simulated: enough for the tail of the write times to count as it should.
const SENDS: u64 = 60_000;
/// Those of the beginning do not count.
const WARM_UP: u64 = 6_000;

/// Simulates `load`.
#[must_use]
pub fn predict(times: &WriteTimes, overhead: Overhead, load: Load) -> Prediction {
    let in_flight = match times.may_overlap {
        true => JournalOptions::IN_FLIGHT.most(),
        false => 1,
    };
    let mut journal = Simulation {
        pace: Pace::new(in_flight),
        is_due: false,
        fills_until: Duration::ZERO,
        unfilled_bytes: 0,
        flying_bytes: 0,
        times,
        overhead,
        load,
        now: Duration::ZERO,
        processor_free: Duration::ZERO,
        events: BinaryHeap::new(),
        pending: VecDeque::new(),
        flying: VecDeque::new(),
        next_batch: 0,
        random: 0x1234_5678_9abc_def1,
        writes: 0,
    };
    journal.run()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A send reaches the journal; it began at this time.
    Appended(Duration),
    /// A batch is durable, and then the journal's thread has a processor to see it.
    Durable(u64),
    Written(u64),
    /// A batch may leave behind others.
    Due,
}

struct Flying {
    number: u64,
    bytes: u64,
    sent: Duration,
    /// Nothing else was in flight since it was sent.
    is_alone: bool,
    is_written: bool,
    /// When each send in it began.
    sends: Vec<Duration>,
}

struct Simulation<'t> {
    pace: Pace,
    /// An event tells when the next batch may leave.
    is_due: bool,
    /// Zeros are written for the segments to come until then, as many bytes as the journal takes.
    fills_until: Duration,
    unfilled_bytes: u64,
    flying_bytes: u64,
    times: &'t WriteTimes,
    overhead: Overhead,
    load: Load,
    now: Duration,
    processor_free: Duration,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    pending: VecDeque<Duration>,
    flying: VecDeque<Flying>,
    next_batch: u64,
    random: u64,
    writes: u64,
}

impl Simulation<'_> {
    fn run(&mut self) -> Prediction {
        for _ in 0..self.load.producers {
            self.send();
        }
        let mut latencies = histogram();
        let (mut answered, mut since, mut writes) = (0, Duration::ZERO, 0);
        while answered < SENDS {
            let Some(Reverse((at, event))) = self.events.pop() else {
                break;
            };
            self.now = at;
            match event {
                Event::Appended(began) => self.pending.push_back(began),
                Event::Due => self.is_due = false,
                Event::Durable(number) if self.processor_free > self.now => {
                    let seen = Event::Written(number);
                    self.events.push(Reverse((self.processor_free, seen)));
                    continue;
                }
                Event::Durable(number) | Event::Written(number) => {
                    for began in self.written(number) {
                        answered += 1;
                        if answered == WARM_UP {
                            (since, writes) = (self.now, self.writes);
                        }
                        if answered > WARM_UP {
                            let took = (self.now - began).as_nanos();
                            latencies.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
                        }
                        self.send();
                    }
                }
            }
            self.write();
        }
        let seconds = (self.now - since).as_secs_f64().max(1e-9);
        Prediction {
            per_second: latencies.len() as f64 / seconds,
            p50: Duration::from_nanos(latencies.value_at_quantile(0.5)),
            p99: Duration::from_nanos(latencies.value_at_quantile(0.99)),
            writes_per_second: (self.writes - writes) as f64 / seconds,
        }
    }

    /// A producer begins a send: its work waits for the processors, the rest of its way overlaps with
    /// that of others.
    fn send(&mut self) {
        let work = self.overhead.busy.min(self.overhead.alone);
        self.processor_free = self.processor_free.max(self.now) + work;
        let arrives = self.processor_free + (self.overhead.alone - work);
        self.events
            .push(Reverse((arrives, Event::Appended(self.now))));
    }

    /// Sends what waits, as the journal's writer would.
    fn write(&mut self) {
        while !self.pending.is_empty() && self.has_room() {
            if !self.flying.is_empty() && !self.is_batch_full() && self.now < self.pace.next_at() {
                if !self.is_due {
                    self.is_due = true;
                    let at = self.pace.next_at();
                    self.events.push(Reverse((at, Event::Due)));
                }
                return;
            }
            self.send_batch();
        }
    }

    /// Sends in the next batch.
    fn batch(&self) -> usize {
        let most = (BATCH_BYTES as u64).div_ceil(self.load.message_bytes.max(1));
        self.pending.len().min(most as usize)
    }

    fn is_batch_full(&self) -> bool {
        self.batch() as u64 * self.load.message_bytes >= BATCH_BYTES as u64
    }

    fn has_room(&self) -> bool {
        let bytes = self.batch() as u64 * self.load.message_bytes;
        self.flying.is_empty()
            || self.flying.len() < self.pace.depth()
                && self.flying_bytes + bytes <= IN_FLIGHT_BYTES_MAX as u64
    }

    fn send_batch(&mut self) {
        let count = self.batch();
        let sends: Vec<Duration> = self.pending.drain(..count).collect();
        let bytes = sends.len() as u64 * self.load.message_bytes;
        let (number, at) = (self.next_batch, self.uniform());
        let met = Circumstances {
            writers: self.flying.len() + 1,
            is_filling: self.now < self.fills_until,
        };
        let took = self.times.at(bytes, at, met);
        self.work(self.times.processor(bytes));
        self.fill_ahead(bytes);
        self.next_batch += 1;
        self.writes += 1;
        for flying in &mut self.flying {
            flying.is_alone = false;
        }
        self.flying_bytes += bytes;
        self.flying.push_back(Flying {
            number,
            bytes,
            sent: self.now,
            is_alone: self.flying.is_empty(),
            is_written: false,
            sends,
        });
        self.pace.sent(self.now);
        let arrives = self.now + took;
        self.events.push(Reverse((arrives, Event::Durable(number))));
    }

    /// Keeps one of the processors busy.
    fn work(&mut self, time: Duration) {
        let share = time / self.overhead.processors.max(1);
        self.processor_free = self.processor_free.max(self.now) + share;
    }

    /// The keeper fills as much as the journal takes, not a bit with each batch but much at a time.
    fn fill_ahead(&mut self, bytes: u64) {
        let Some(filled) = self.times.filling.as_ref().map(|filling| filling.filled) else {
            return;
        };
        self.unfilled_bytes += bytes;
        if self.unfilled_bytes >= u64::from(FILL_BYTES) {
            self.work(filled.processor_for(self.unfilled_bytes));
            let time = self.unfilled_bytes as f64 / filled.bytes_per_second;
            self.fills_until = self.fills_until.max(self.now) + Duration::from_secs_f64(time);
            self.unfilled_bytes = 0;
        }
    }

    /// The sends that can be answered: those of all batches in front that are durable.
    fn written(&mut self, number: u64) -> Vec<Duration> {
        for flying in self
            .flying
            .iter_mut()
            .filter(|flying| flying.number == number)
        {
            flying.is_written = true;
            self.pace.arrived(flying.sent, self.now, flying.is_alone);
        }
        let mut answered = Vec::new();
        while self.flying.front().is_some_and(|flying| flying.is_written) {
            let Some(first) = self.flying.pop_front() else {
                break;
            };
            self.flying_bytes -= first.bytes;
            answered.extend(first.sends);
        }
        answered
    }

    /// From 0 to 1 (xorshift), the same in each run.
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Measured, ProbeReport};

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    /// Storage on which every write takes `write_us`, whatever its size and company.
    fn even(write_us: u64, may_overlap: bool) -> WriteTimes {
        let names = crate::probe::measure::SIZES
            .iter()
            .map(|(name, bytes)| (*name, *bytes, 1));
        let writers = crate::probe::measure::WRITERS
            .iter()
            .map(|(name, count)| (*name, 1024, *count));
        let measured = names.chain(writers).map(|(name, bytes, threads)| {
            let mut measured = Measured::new(name, bytes, threads);
            measured.times.saturating_record(write_us * 1000);
            measured
        });
        let report = ProbeReport {
            measured: measured.collect(),
            in_one_operation: false,
            may_overlap,
            filled: None,
            was_stopped: false,
        };
        report.write_times().expect("complete")
    }

    fn rate(write_us: u64, producers: usize, overhead: Overhead) -> f64 {
        let load = Load {
            producers,
            message_bytes: 1024,
        };
        predict(&even(write_us, false), overhead, load).per_second
    }

    fn about(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.03, "{value} {expected}");
    }

    #[test]
    fn one_producer_waits_for_each_write_and_its_own_way() {
        let overhead = Overhead {
            alone: us(100),
            busy: us(20),
            processors: 2,
        };
        about(rate(1900, 1, overhead), 500.0);
    }

    #[test]
    fn many_producers_share_writes() {
        let overhead = Overhead {
            alone: us(100),
            busy: us(1),
            processors: 2,
        };
        let many = rate(10_000, 64, overhead);
        // All of them once each write, or half of them each time.
        assert!((3_150.0..6_400.0).contains(&many), "{many}");
    }

    #[test]
    fn several_batches_in_flight_save_many_producers_a_wait_and_one_producer_nothing() {
        let overhead = Overhead {
            alone: us(100),
            busy: us(10),
            processors: 2,
        };
        let rate = |may_overlap, producers| {
            let load = Load {
                producers,
                message_bytes: 1024,
            };
            predict(&even(3000, may_overlap), overhead, load).per_second
        };
        let (one, several) = (rate(false, 100), rate(true, 100));
        assert!(several > 1.4 * one, "{one} {several}");
        // Nobody waits longer than for the next batch: 3 ms, 0.6 ms at most, and the way.
        assert!(several > 100.0 / 0.0039, "{several}");
        about(rate(true, 1), rate(false, 1));
    }

    #[test]
    fn storage_that_takes_no_time_leaves_the_processors() {
        let overhead = Overhead {
            alone: us(100),
            busy: us(25),
            processors: 2,
        };
        about(rate(1, 64, overhead), 40_000.0);
    }
}
