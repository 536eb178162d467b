//! One round: calm, fault, takeover, return of the victim; each with a bound on the wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::chronicle::Chronicle;
use super::pair::Pair;
use super::random::Random;
use super::report::Round;
use super::timeline::{Milestones, cause_of, read_events};
use super::witness::Witness;
use super::{DrillArgs, DrillError, Expectation, Fault, Sabotage, command, fault};
use crate::drill::latency::PhasePercentiles;

/// How long the delivery of machine lines may trail what clients see.
const LINES_PATIENCE: Duration = Duration::from_millis(500);
/// How long a connection attempt to a closed port may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// What the rounds share.
pub(super) struct Stage<'a> {
    pub(super) args: &'a DrillArgs,
    pub(super) pair: Pair,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) witness: Arc<Witness>,
    pub(super) random: Random,
    /// The epoch that the pair must still be in, once a round has shown it.
    pub(super) epoch: Option<u64>,
}

/// A round under way.
pub(super) struct Underway {
    pub(super) round: Round,
    fault: Fault,
    pub(super) victim: usize,
    /// Who takes over, or is to. The victim itself where it got the role again.
    pub(super) successor: usize,
    victim_pid: Option<i32>,
    frozen: Option<fault::Frozen>,
}

impl Underway {
    pub(super) fn fail(&mut self, sentence: impl Into<String>) {
        self.round.failures.push(sentence.into());
    }
}

impl Stage<'_> {
    /// Runs round `number` to its end, or to its first failure.
    ///
    /// # Errors
    ///
    /// When the drill itself cannot go on; what the pair did wrong stands in the round.
    pub(super) async fn round(&mut self, number: u32) -> Result<Round, DrillError> {
        let mut underway = self.begin(number).await;
        if underway.round.failures.is_empty() {
            let acknowledged = self.witness.acknowledged_count();
            self.settle().await;
            // A short calm may pass while the storage stalls; only no answer at all is a fault.
            let is_served = || (self.witness.acknowledged_count() > acknowledged).then_some(());
            let served = self.chronicle.wait_for(self.args.timeout, is_served).await;
            if served.is_none() {
                underway.fail("no send of the load was acknowledged in the calm before the fault");
            }
            if underway.fault == Fault::None {
                underway.round.fault_us = self.witness.now_us();
                tokio::time::sleep(self.args.spread).await;
            } else {
                self.disturb(&mut underway).await?;
            }
        }
        let mut round = underway.round;
        round.end_us = self.witness.now_us();
        round.latency = self.witness.end_round();
        Ok(round)
    }

    /// Waits until one broker is active and the other standby.
    async fn begin(&mut self, number: u32) -> Underway {
        let fault = self.args.fault_of_round(number);
        let roles = self
            .chronicle
            .wait_for(self.args.timeout, || self.pair.roles())
            .await;
        let (victim, successor) = roles.unwrap_or((0, 1));
        let name = |index: usize| self.pair.brokers[index].title();
        let mut underway = Underway {
            round: Round {
                number,
                fault: if self.args.fault_command.is_some() && fault != Fault::None {
                    "command"
                } else {
                    fault.word()
                },
                victim: name(victim),
                successor: name(successor),
                fault_us: self.witness.now_us(),
                end_us: 0,
                epoch_before: None,
                epoch_after: None,
                cause: None,
                has_stayed: false,
                milestones: Milestones::default(),
                silence_us: None,
                behind_bytes: None,
                memory_bytes: None,
                latency: PhasePercentiles::default(),
                failures: Vec::new(),
            },
            fault,
            victim,
            successor,
            victim_pid: None,
            frozen: None,
        };
        if roles.is_none() {
            let role = |index: usize| {
                self.pair
                    .role_of(index)
                    .unwrap_or_else(|| "not running".to_owned())
            };
            let text = format!(
                "the pair is not active and standby within {} s: a is {}, b is {}",
                self.args.timeout.as_secs(),
                role(0),
                role(1)
            );
            underway.fail(text);
        }
        underway
    }

    /// Undisturbed load up to a random moment.
    async fn settle(&mut self) {
        let spread_us = self.args.spread.as_micros() as u64;
        let extra = Duration::from_micros(self.random.below(spread_us.saturating_add(1)));
        tokio::time::sleep(self.args.settle + extra).await;
    }

    async fn disturb(&mut self, underway: &mut Underway) -> Result<(), DrillError> {
        let (victim, successor) = (underway.victim, underway.successor);
        let status = self.pair.status_of(victim).await;
        underway.round.epoch_before = status.as_ref().map(|status| status.epoch);
        if let (Some(expected), Some(epoch)) = (self.epoch, underway.round.epoch_before)
            && expected != epoch
        {
            underway.fail(format!(
                "a takeover that nobody asked for: epoch {expected} became {epoch}"
            ));
        }
        if self.pair.roles() != Some((victim, successor)) {
            underway.fail("the roles changed before the fault, without one");
            return Ok(());
        }
        let standby = self.pair.brokers[successor].latest();
        underway.round.behind_bytes = standby
            .and_then(|status| status.behind)
            .map(|behind| behind.bytes);
        underway.victim_pid = self.pair.brokers[victim].pid();
        underway.round.memory_bytes = underway.victim_pid.and_then(fault::memory_of);

        self.strike(underway).await?;
        if underway.round.failures.is_empty() {
            match self.args.expectation_of_round(underway.round.number) {
                Expectation::Takeover => self.take_over(underway).await?,
                expected => self.endure(underway, expected).await?,
            }
        }
        self.read_timeline(underway).await;
        Ok(())
    }

    /// Injects the fault and makes sure that it is one.
    async fn strike(&mut self, underway: &mut Underway) -> Result<(), DrillError> {
        underway.round.fault_us = self.witness.fault(underway.victim, underway.successor);
        if let Some(command) = &self.args.fault_command {
            let struck = command::run(command, &underway.round, underway.victim_pid).await?;
            if let Some(ago_us) = struck {
                underway.round.fault_us = self.witness.now_us().saturating_sub(ago_us);
                self.witness.fault_was_at(underway.round.fault_us);
            }
            return Ok(());
        }
        let Some(pid) = underway.victim_pid else {
            underway.fail("the process id of the active broker is not known");
            return Ok(());
        };
        let is_skipped =
            self.args.sabotage == Some(Sabotage::SkipFault) && underway.round.number == 1;
        if !is_skipped {
            fault::strike(underway.fault, pid)?;
            underway.frozen = (underway.fault == Fault::Stop).then(|| fault::Frozen::new(pid));
        }
        if !fault::took_effect(underway.fault, pid).await {
            underway.fail(format!(
                "the fault did not happen: process {pid} is {:?} after `{}`",
                fault::state_of(pid),
                underway.round.fault
            ));
        }
        Ok(())
    }

    /// Waits for each step of the takeover, then for the victim's return.
    async fn take_over(&mut self, underway: &mut Underway) -> Result<(), DrillError> {
        let patience = self.args.timeout;
        let seconds = patience.as_secs();
        let name = underway.round.successor.clone();
        let is_active = || (self.pair.role_of(underway.successor)? == "active").then_some(());
        if self.chronicle.wait_for(patience, is_active).await.is_none() {
            underway.fail(format!(
                "broker {name} did not become active within {seconds} s"
            ));
            return Ok(());
        }
        let probe = self
            .chronicle
            .wait_for(patience, || self.witness.firsts().probe_us)
            .await;
        if probe.is_none() {
            underway.fail(format!(
                "broker {name} acknowledged no send of its probe within {seconds} s"
            ));
            return Ok(());
        }
        // Clients may cling to a frozen broker until it goes on; one that is gone stays away
        // until everybody is served, so that its start takes no time from the takeover.
        let is_frozen = underway.frozen.is_some();
        if is_frozen {
            self.release_victim(underway).await?;
        }
        if !self.await_service(underway).await {
            return Ok(());
        }
        if !is_frozen {
            self.release_victim(underway).await?;
        }
        self.await_return(underway).await;
        // Load that nothing disturbs any more, to compare with what was before the fault. A lie
        // is told here, too: before the fault the takeover might make it true.
        match self.args.sabotage {
            Some(Sabotage::Lose) => self.witness.sabotage_next_delivery(true),
            Some(Sabotage::Duplicate) => self.witness.sabotage_next_delivery(false),
            _ => {}
        }
        tokio::time::sleep(self.args.settle).await;
        Ok(())
    }

    /// Waits for the load's first acknowledgement and delivery after the fault.
    async fn await_service(&mut self, underway: &mut Underway) -> bool {
        let patience = self.args.timeout;
        let firsts = || self.witness.firsts();
        let load = self.chronicle.wait_for(patience, || firsts().load_us).await;
        if load.is_none() {
            let seconds = patience.as_secs();
            underway.fail(format!(
                "no send of the load was acknowledged within {seconds} s"
            ));
            return false;
        }
        let delivered = self
            .chronicle
            .wait_for(patience, || firsts().delivered_us)
            .await;
        if delivered.is_none() {
            let seconds = patience.as_secs();
            underway.fail(format!("no message was delivered within {seconds} s"));
        }
        delivered.is_some()
    }

    /// Starts a killed or stopped-by-plan victim again, or lets a frozen one go on.
    async fn release_victim(&mut self, underway: &mut Underway) -> Result<(), DrillError> {
        match underway.frozen.take() {
            Some(frozen) => {
                tokio::time::sleep(self.args.hold).await;
                self.mark_resumption(underway);
                drop(frozen);
            }
            _ if self.pair.is_own() => {
                self.await_exit(underway).await;
                self.note_resumption(underway, self.witness.now_us());
                self.pair.restart(underway.victim)?;
            }
            _ if self.args.restart_command.is_some() => {
                tokio::time::sleep(self.args.hold).await;
                self.run_restart_command(underway).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The victim gets back what the fault took away.
    pub(super) async fn run_restart_command(
        &mut self,
        underway: &mut Underway,
    ) -> Result<(), DrillError> {
        // Before the command: what it resumes may acknowledge before it ends.
        self.mark_resumption(underway);
        if let Some(command) = &self.args.restart_command {
            command::run(command, &underway.round, underway.victim_pid).await?;
        }
        Ok(())
    }

    /// From now on the victim may act again.
    pub(super) fn mark_resumption(&self, underway: &mut Underway) {
        let resumed_us = self.witness.resumed();
        self.note_resumption(underway, resumed_us);
    }

    fn note_resumption(&self, underway: &mut Underway, at_us: u64) {
        let after_us = at_us.saturating_sub(underway.round.fault_us);
        underway.round.milestones.resumed_us = Some(after_us);
    }

    /// A broker that was asked to stop must exit as one that was asked.
    async fn await_exit(&mut self, underway: &mut Underway) {
        let (victim, fault_us) = (underway.victim, underway.round.fault_us);
        let exit = self
            .chronicle
            .wait_for(self.args.timeout, || {
                self.chronicle.exit_of(victim, fault_us)
            })
            .await;
        let expected = match underway.fault {
            Fault::Kill => "signal 9",
            _ => "exit code 0",
        };
        match exit {
            Some(status) if status == expected => {}
            Some(status) => underway.fail(format!(
                "broker {} ended with {status} instead of {expected}",
                underway.round.victim
            )),
            None => underway.fail(format!("broker {} did not end", underway.round.victim)),
        }
    }

    /// The victim must follow the new active, with its messaging port closed.
    async fn await_return(&mut self, underway: &mut Underway) {
        let victim = underway.victim;
        let is_back = || (self.pair.role_of(victim)? == "standby").then_some(());
        if self
            .chronicle
            .wait_for(self.args.timeout, is_back)
            .await
            .is_none()
        {
            underway.fail(format!(
                "broker {} was not standby again within {} s",
                underway.round.victim,
                self.args.timeout.as_secs()
            ));
            return;
        }
        let address = self.pair.addresses[victim].trim_start_matches("tcp://");
        let connect = TcpStream::connect(address);
        if let Ok(Ok(_)) = tokio::time::timeout(CONNECT_PATIENCE, connect).await {
            let role = self.pair.role_of(victim);
            if role.as_deref() == Some("standby") {
                underway.fail(format!("the standby's messaging port {address} is open"));
            }
        }
    }

    /// Puts together what both brokers and the clients showed.
    async fn read_timeline(&mut self, underway: &mut Underway) {
        let round = &mut underway.round;
        round.silence_us = self.witness.silence_us();
        let (fault_us, successor) = (round.fault_us, underway.successor);
        if round.has_stayed {
            let firsts = self.witness.firsts();
            let after = |at_us: Option<u64>| at_us.map(|at_us| at_us.saturating_sub(fault_us));
            round.milestones.acknowledged_us = after(firsts.recovered_us);
            round.milestones.delivered_us = after(firsts.delivered_us);
            round.epoch_after = round.epoch_before;
            return;
        }
        let has_listening = || {
            let mut milestones = round.milestones;
            let events = self.chronicle.since(fault_us);
            read_events(
                &mut milestones,
                &events,
                fault_us,
                underway.victim,
                successor,
            );
            milestones.ports_open_us.map(|_| ())
        };
        let _ = self.chronicle.wait_for(LINES_PATIENCE, has_listening).await;
        let events = self.chronicle.since(fault_us);
        read_events(
            &mut round.milestones,
            &events,
            fault_us,
            underway.victim,
            successor,
        );
        round.cause = cause_of(&events, fault_us, successor);
        let firsts = self.witness.firsts();
        let after = |at_us: Option<u64>| at_us.map(|at_us| at_us.saturating_sub(fault_us));
        round.milestones.probe_acknowledged_us = after(firsts.probe_us);
        // Nobody but the silence tells one tenure of a broker from its next.
        round.milestones.acknowledged_us = match successor == underway.victim {
            true => after(firsts.silence_ended_us),
            false => after(firsts.load_us),
        };
        round.milestones.delivered_us = after(firsts.delivered_us);
        round.epoch_after = self
            .pair
            .status_of(successor)
            .await
            .map(|status| status.epoch);
        if let (Some(before), Some(after)) = (round.epoch_before, round.epoch_after)
            && after <= before
        {
            round
                .failures
                .push(format!("the epoch did not rise: {before}, then {after}"));
        }
        self.epoch = round.epoch_after.or(self.epoch);
    }
}
