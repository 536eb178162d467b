//! What the clients of the load tell, put together as it happens: ledger, latencies, the first
//! acknowledgement after a fault, and acknowledgements by a broker that had been deposed.

use std::time::Instant;

use parking_lot::Mutex;

use super::latency::{Bucket, Phase, PhaseHistograms, PhasePercentiles, Series};
use super::ledger::{Ledger, Tally};
use super::message::{Codec, MessageKey, Rejected};

/// Who sent a message, as far as its acknowledgement tells something about a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// A producer of the load, over the failover: URL. With the broker, when it is known.
    Load(Option<usize>),
    /// The probe that connects to this broker only.
    Probe(usize),
}

/// An acknowledged send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) sender: Sender,
    pub(super) key: MessageKey,
    /// When it was due: by the rate, or when it began.
    pub(super) due_us: u64,
    /// When it began.
    pub(super) begun_us: u64,
    /// When its acknowledgement arrived.
    pub(super) at_us: u64,
}

/// A received message, beside its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) consumer: usize,
    pub(super) is_redelivered: bool,
    /// The broker that its connection leads to, if that is known.
    pub(super) broker: Option<usize>,
    /// The life of its connection, if that is certain.
    pub(super) life: Option<u64>,
}

/// A fault, from the moment at which it struck until the next one.
#[derive(Debug, Clone, Copy)]
struct Disturbance {
    victim: usize,
    successor: usize,
    fault_us: u64,
    resumed_us: Option<u64>,
    probe_us: Option<u64>,
    load_us: Option<u64>,
    delivered_us: Option<u64>,
    /// The first acknowledgement to the load after the resumption, whoever gave it.
    recovered_us: Option<u64>,
    /// The longest time without an acknowledgement to the load, and the acknowledgement that ended it.
    silence_us: u64,
    silence_ended_us: Option<u64>,
    /// Its round has ended: what follows is the calm before the next one, but the victim stays
    /// deposed, and sends that were due before the takeover may still be made up for.
    is_over: bool,
}

impl Disturbance {
    /// When the successor is known to have acknowledged.
    fn served_us(&self) -> Option<u64> {
        match (self.probe_us, self.load_us) {
            (Some(probe), Some(load)) => Some(probe.min(load)),
            (one, other) => one.or(other),
        }
    }
}

/// The firsts after a fault, in microseconds of the drill's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Firsts {
    pub(super) probe_us: Option<u64>,
    pub(super) load_us: Option<u64>,
    pub(super) delivered_us: Option<u64>,
    /// After the resumption, whoever acknowledged.
    pub(super) recovered_us: Option<u64>,
    /// After the longest silence, whoever acknowledged.
    pub(super) silence_ended_us: Option<u64>,
}

/// Collects from all clients at once.
#[derive(Debug)]
pub(super) struct Witness {
    started: Instant,
    codec: Codec,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    series: Series,
    round: PhaseHistograms,
    all: PhaseHistograms,
    disturbance: Option<Disturbance>,
    acknowledged_by_deposed: u64,
    hide_next_delivery: bool,
    repeat_next_delivery: bool,
    last_delivery_us: u64,
    last_acknowledgement_us: u64,
    acknowledged: u64,
    delivered: u64,
}

impl Witness {
    /// Nothing seen yet; the drill's clock starts at `started`.
    pub(super) fn new(started: Instant, codec: Codec, ledger: Ledger) -> Self {
        Self {
            started,
            codec,
            inner: Mutex::new(Inner {
                ledger,
                series: Series::default(),
                round: PhaseHistograms::new(),
                all: PhaseHistograms::new(),
                disturbance: None,
                acknowledged_by_deposed: 0,
                hide_next_delivery: false,
                repeat_next_delivery: false,
                last_delivery_us: 0,
                last_acknowledgement_us: 0,
                acknowledged: 0,
                delivered: 0,
            }),
        }
    }

    /// Microseconds since the drill began.
    pub(super) fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Begins a send; returns its key and its body.
    pub(super) fn begin_send(&self, producer: u32) -> (MessageKey, bytes::Bytes) {
        let key = self.inner.lock().ledger.begin_send(producer);
        (key, self.codec.body(key, self.now_us()))
    }

    /// The broker acknowledged a send.
    pub(super) fn acknowledged(&self, answered: Answered) {
        self.inner.lock().acknowledged(answered);
    }

    /// The broker refused a send.
    pub(super) fn refused(&self, key: MessageKey) {
        self.inner.lock().ledger.refused(key);
    }

    /// The probe gave up waiting for the answer to `key`, because the drill ends.
    pub(super) fn withdrawn(&self, key: MessageKey) {
        self.inner.lock().ledger.withdrawn(key);
    }

    /// A consumer received a message with this body.
    pub(super) fn delivered(&self, body: &[u8], delivery: Delivery) {
        let Delivery {
            consumer,
            is_redelivered,
            broker,
            life,
        } = delivery;
        let at_us = self.now_us();
        let read = self.codec.read(body);
        let mut inner = self.inner.lock();
        inner.last_delivery_us = at_us;
        inner.delivered += 1;
        match read {
            Err(Rejected::Foreign) => inner.ledger.foreign(),
            Err(Rejected::Corrupt) => inner.ledger.corrupt(),
            Ok(received) => {
                inner.series.delivered(at_us);
                inner.note_delivery(at_us, received.sent_us, broker);
                if std::mem::take(&mut inner.hide_next_delivery) {
                    return;
                }
                inner
                    .ledger
                    .delivered(consumer, received.key, is_redelivered, life);
                if std::mem::take(&mut inner.repeat_next_delivery) {
                    inner.ledger.delivered(consumer, received.key, false, None);
                }
            }
        }
    }

    /// `consumer`'s commit was acknowledged.
    pub(super) fn committed(&self, consumer: usize) {
        self.inner.lock().ledger.committed(consumer);
    }

    /// `consumer`'s transaction was rolled back.
    pub(super) fn rolled_back(&self, consumer: usize) {
        self.inner.lock().ledger.rolled_back(consumer);
    }

    /// The answer to `consumer`'s commit was lost.
    pub(super) fn in_doubt(&self, consumer: usize) {
        self.inner.lock().ledger.in_doubt(consumer);
    }

    /// A fault strikes `victim`.
    pub(super) fn fault(&self, victim: usize, successor: usize) -> u64 {
        let mut inner = self.inner.lock();
        let fault_us = self.now_us();
        inner.disturbance = Some(Disturbance {
            victim,
            successor,
            fault_us,
            resumed_us: None,
            probe_us: None,
            load_us: None,
            delivered_us: None,
            recovered_us: None,
            silence_us: 0,
            silence_ended_us: None,
            is_over: false,
        });
        fault_us
    }

    /// The last fault struck at `at_us` and not when [`Witness::fault`] was told.
    pub(super) fn fault_was_at(&self, at_us: u64) {
        if let Some(disturbance) = &mut self.inner.lock().disturbance {
            disturbance.fault_us = at_us;
        }
    }

    /// The longest time since the last fault in which no send of the load was acknowledged.
    pub(super) fn silence_us(&self) -> Option<u64> {
        self.inner.lock().disturbance.map(|since| since.silence_us)
    }

    /// The victim runs again.
    pub(super) fn resumed(&self) -> u64 {
        let mut inner = self.inner.lock();
        let now_us = self.now_us();
        if let Some(disturbance) = &mut inner.disturbance {
            disturbance.resumed_us = Some(now_us);
        }
        now_us
    }

    /// The firsts since the last fault.
    pub(super) fn firsts(&self) -> Firsts {
        self.inner
            .lock()
            .disturbance
            .map_or_else(Firsts::default, |since| Firsts {
                probe_us: since.probe_us,
                load_us: since.load_us,
                delivered_us: since.delivered_us,
                recovered_us: since.recovered_us,
                silence_ended_us: since.silence_ended_us,
            })
    }

    /// Ends a round: its latencies, which are then those of the whole drill too.
    pub(super) fn end_round(&self) -> PhasePercentiles {
        let mut inner = self.inner.lock();
        let percentiles = inner.round.percentiles();
        let Inner { round, all, .. } = &mut *inner;
        all.absorb(round);
        if let Some(since) = &mut inner.disturbance {
            since.is_over = true;
        }
        percentiles
    }

    /// The sums so far.
    pub(super) fn tally(&self) -> Tally {
        self.inner.lock().ledger.tally()
    }

    /// How many acknowledged messages are not consumed yet, counting no further than `max`.
    pub(super) fn unconsumed(&self, max: usize) -> usize {
        self.inner.lock().ledger.unconsumed(max)
    }

    /// Whether nothing more need come for the ledger to be complete.
    pub(super) fn is_settled(&self) -> bool {
        self.inner.lock().ledger.is_settled()
    }

    /// Whether `key` was delivered to anybody.
    pub(super) fn is_delivered(&self, key: MessageKey) -> bool {
        self.inner.lock().ledger.is_delivered(key)
    }

    /// The pair served nobody at the end.
    pub(super) fn unserved(&self) {
        self.inner.lock().ledger.unserved();
    }

    /// The broker acknowledged a send that belongs neither to the load nor to a probe.
    pub(super) fn acknowledged_beside(&self, key: MessageKey) {
        self.inner.lock().ledger.acknowledged(key);
    }

    /// A message with this body is in the dead letter queue.
    pub(super) fn dead_letter(&self, body: &[u8]) {
        if let Ok(received) = self.codec.read(body) {
            self.inner.lock().ledger.dead_letter(received.key);
        }
    }

    /// How many sends of the load were acknowledged so far.
    pub(super) fn acknowledged_count(&self) -> u64 {
        self.inner.lock().acknowledged
    }

    /// How many messages were delivered so far.
    pub(super) fn delivered_count(&self) -> u64 {
        self.inner.lock().delivered
    }

    /// When a consumer received something last.
    pub(super) fn last_delivery_us(&self) -> u64 {
        self.inner.lock().last_delivery_us
    }

    /// Acknowledgements by a broker after its successor had acknowledged.
    pub(super) fn acknowledged_by_deposed(&self) -> u64 {
        self.inner.lock().acknowledged_by_deposed
    }

    /// Latencies of the whole drill, and its series.
    pub(super) fn finish(&self) -> (PhaseHistograms, Vec<Bucket>) {
        let mut inner = self.inner.lock();
        let Inner { round, all, .. } = &mut *inner;
        all.absorb(round);
        (all.clone(), inner.series.finish().to_vec())
    }

    /// Lies to the ledger about the next delivery.
    pub(super) fn sabotage_next_delivery(&self, hide: bool) {
        let mut inner = self.inner.lock();
        inner.hide_next_delivery = hide;
        inner.repeat_next_delivery = !hide;
    }
}

impl Inner {
    fn acknowledged(&mut self, answered: Answered) {
        self.ledger.acknowledged(answered.key);
        if let Some(since) = &mut self.disturbance {
            self.acknowledged_by_deposed += u64::from(is_deposed(since, &answered));
            note_first(since, &answered);
        }
        if let Sender::Probe(_) = answered.sender {
            return;
        }
        self.acknowledged += 1;
        self.note_silence(answered.at_us);
        let latency_us = answered.at_us.saturating_sub(answered.due_us);
        self.series.acknowledged(answered.at_us, latency_us);
        let fault_us = self.disturbance.map(|since| since.fault_us);
        let recovered_us = self
            .disturbance
            .and_then(|since| since.load_us.or(since.recovered_us));
        let phase = Phase::of(answered.due_us, answered.at_us, fault_us, recovered_us);
        let is_over = self.disturbance.is_some_and(|since| since.is_over);
        match (is_over, phase) {
            (true, Phase::After) => self.round.record(Phase::Before, latency_us),
            // Due before a takeover whose round has ended: no part of the next round.
            (true, _) => self.all.record(phase, latency_us),
            (false, _) => self.round.record(phase, latency_us),
        }
    }

    /// Measures the silence that an acknowledgement to the load ends.
    fn note_silence(&mut self, at_us: u64) {
        let before_us = std::mem::replace(&mut self.last_acknowledgement_us, at_us);
        if let Some(since) = &mut self.disturbance
            && !since.is_over
        {
            let silence_us = at_us.saturating_sub(before_us.max(since.fault_us));
            if silence_us > since.silence_us && at_us > since.fault_us {
                since.silence_us = silence_us;
                since.silence_ended_us = Some(at_us);
            }
            if since.resumed_us.is_some_and(|resumed| at_us >= resumed) {
                since.recovered_us.get_or_insert(at_us);
            }
        }
    }

    /// The first delivery by the successor: over a connection to it, or of a message that the
    /// victim cannot have had. Others may come from a client's buffer.
    fn note_delivery(&mut self, at_us: u64, sent_us: u64, broker: Option<usize>) {
        if let Some(since) = &mut self.disturbance
            && since.delivered_us.is_none()
            && at_us > since.fault_us
        {
            let served_us = since.served_us().or(since.recovered_us);
            let is_after = broker == Some(since.successor)
                || served_us.is_some_and(|served| sent_us >= served);
            since.delivered_us = is_after.then_some(at_us);
        }
    }
}

/// Whether this acknowledgement proves that the victim acknowledged after its successor did.
fn is_deposed(since: &Disturbance, answered: &Answered) -> bool {
    let by_victim = match answered.sender {
        Sender::Load(broker) => broker == Some(since.victim),
        Sender::Probe(broker) => broker == since.victim,
    };
    let Some(served_us) = since.served_us() else {
        return false;
    };
    // The send began after the successor's acknowledgement had arrived, so its own is later. Or
    // it arrived after a frozen victim was resumed, and the successor had acknowledged before.
    let after_resumption = since
        .resumed_us
        .is_some_and(|resumed| served_us < resumed && answered.at_us > resumed);
    by_victim && (answered.begun_us > served_us || after_resumption)
}

fn note_first(since: &mut Disturbance, answered: &Answered) {
    if answered.at_us < since.fault_us {
        return;
    }
    match answered.sender {
        Sender::Probe(broker) if broker == since.successor => {
            since.probe_us.get_or_insert(answered.at_us);
        }
        Sender::Load(Some(broker)) if broker == since.successor => {
            since.load_us.get_or_insert(answered.at_us);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness() -> Witness {
        let ledger = Ledger::new(3, 1);
        Witness::new(Instant::now(), Codec::new(1, 100), ledger)
    }

    fn answer(witness: &Witness, sender: Sender, begun_us: u64, at_us: u64) {
        let (key, _) = witness.begin_send(0);
        witness.acknowledged(Answered {
            sender,
            key,
            due_us: begun_us,
            begun_us,
            at_us,
        });
    }

    #[test]
    fn first_acknowledgements_after_a_fault_are_those_of_the_successor() {
        let witness = witness();
        let fault = witness.fault(0, 1);
        answer(&witness, Sender::Load(Some(0)), fault, fault + 1);
        answer(&witness, Sender::Probe(0), fault, fault + 2);
        let firsts = witness.firsts();
        assert_eq!((firsts.probe_us, firsts.load_us), (None, None));
        answer(&witness, Sender::Probe(1), fault, fault + 30);
        answer(&witness, Sender::Load(Some(1)), fault, fault + 40);
        answer(&witness, Sender::Load(Some(1)), fault, fault + 50);
        let firsts = witness.firsts();
        assert_eq!(firsts.probe_us, Some(fault + 30));
        assert_eq!(firsts.load_us, Some(fault + 40));
    }

    #[test]
    fn silence_and_recovery_are_those_of_the_load_after_the_fault() {
        let witness = witness();
        let fault = witness.fault(0, 1);
        witness.fault_was_at(fault + 10);
        answer(&witness, Sender::Load(Some(0)), fault, fault + 30);
        answer(&witness, Sender::Probe(0), fault, fault + 40);
        assert_eq!(witness.firsts().recovered_us, None, "it still lasts");
        let resumed = witness.resumed();
        let after = resumed.max(fault) + 500;
        answer(&witness, Sender::Load(Some(0)), fault, after);
        assert_eq!(witness.firsts().recovered_us, Some(after));
        assert_eq!(witness.silence_us(), Some(after - (fault + 30)));
        assert_eq!(witness.firsts().silence_ended_us, Some(after));
        answer(&witness, Sender::Load(Some(0)), fault, after + 10);
        assert_eq!(
            witness.firsts().silence_ended_us,
            Some(after),
            "the longest"
        );
        assert_eq!(witness.firsts().load_us, None, "no takeover");
    }

    #[test]
    fn acknowledgement_by_the_victim_after_its_successors_first_is_caught() {
        let witness = witness();
        let fault = witness.fault(0, 1);
        answer(&witness, Sender::Probe(0), fault, fault + 5);
        answer(&witness, Sender::Probe(1), fault, fault + 100);
        // Begun before the successor served, answered late: the answer may have waited for us.
        answer(&witness, Sender::Probe(0), fault + 50, fault + 110);
        assert_eq!(witness.acknowledged_by_deposed(), 0);
        answer(&witness, Sender::Probe(0), fault + 101, fault + 120);
        assert_eq!(witness.acknowledged_by_deposed(), 1);
    }

    #[test]
    fn acknowledgement_by_a_resumed_victim_is_caught_whenever_its_send_began() {
        let witness = witness();
        let fault = witness.fault(0, 1);
        answer(&witness, Sender::Load(Some(1)), fault, fault);
        while witness.now_us() <= fault {
            std::hint::spin_loop();
        }
        let resumed = witness.resumed();
        answer(&witness, Sender::Probe(0), fault - 1, resumed + 1);
        assert_eq!(witness.acknowledged_by_deposed(), 1);
        witness.end_round();
        answer(&witness, Sender::Load(Some(0)), resumed + 2, resumed + 3);
        assert_eq!(
            witness.acknowledged_by_deposed(),
            2,
            "the victim stays deposed"
        );
    }

    #[test]
    fn latencies_belong_to_the_phase_of_their_send() {
        let witness = witness();
        answer(&witness, Sender::Load(None), 0, 1);
        let fault = witness.fault(0, 1);
        answer(&witness, Sender::Load(Some(1)), fault, fault + 500);
        answer(&witness, Sender::Load(Some(1)), fault + 501, fault + 502);
        answer(&witness, Sender::Probe(1), fault + 501, fault + 502);
        let round = witness.end_round();
        assert_eq!(
            (round.before.count, round.during.count, round.after.count),
            (1, 1, 1)
        );
        answer(&witness, Sender::Load(Some(1)), fault + 600, fault + 601);
        answer(&witness, Sender::Load(Some(1)), fault + 1, fault + 602);
        let next = witness.end_round();
        assert_eq!(
            (next.before.count, next.during.count, next.after.count),
            (1, 0, 0)
        );
        let (all, series) = witness.finish();
        let all = all.percentiles();
        assert_eq!(
            (all.before.count, all.during.count),
            (2, 2),
            "late ones are no calm"
        );
        assert_eq!(
            series.iter().map(|bucket| bucket.acknowledged).sum::<u32>(),
            5
        );
    }

    #[test]
    fn sabotaged_deliveries_are_violations() {
        for hide in [true, false] {
            let witness = witness();
            let (key, body) = witness.begin_send(0);
            answer(&witness, Sender::Load(None), 0, 1);
            witness.acknowledged(Answered {
                sender: Sender::Load(None),
                key,
                due_us: 0,
                begun_us: 0,
                at_us: 1,
            });
            witness.sabotage_next_delivery(hide);
            witness.delivered(
                &body,
                Delivery {
                    consumer: 0,
                    is_redelivered: false,
                    broker: None,
                    life: None,
                },
            );
            witness.committed(0);
            let tally = witness.tally();
            assert_eq!(
                (tally.lost, tally.redelivered_unflagged),
                if hide { (2, 0) } else { (1, 1) }
            );
        }
    }
}
