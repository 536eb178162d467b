//! Rounds whose fault need not end in a takeover: the active may be held up and go on.

use super::round::{Stage, Underway};
use super::{DrillError, Expectation};

impl Stage<'_> {
    /// Lets the fault last, ends it, and waits until the load is served again, by whomever the
    /// round's expectation allows.
    pub(super) async fn endure(
        &mut self,
        underway: &mut Underway,
        expected: Expectation,
    ) -> Result<(), DrillError> {
        tokio::time::sleep(self.args.hold).await;
        if self.args.restart_command.is_none() {
            // The fault ended with its command.
            self.mark_resumption(underway);
        } else {
            self.run_restart_command(underway).await?;
        }
        if !self.await_recovery(underway).await {
            return Ok(());
        }
        let patience = self.args.timeout;
        let Some((active, _)) = self
            .chronicle
            .wait_for(patience, || self.pair.roles())
            .await
        else {
            underway.fail(format!(
                "the pair was not active and standby again within {} s",
                patience.as_secs()
            ));
            return Ok(());
        };
        let after = self.pair.status_of(active).await.map(|status| status.epoch);
        let stayed = active == underway.victim && after == underway.round.epoch_before;
        underway.round.has_stayed = stayed;
        if active == underway.victim {
            underway.successor = underway.victim;
            underway.round.successor.clone_from(&underway.round.victim);
        }
        if !stayed && expected == Expectation::Stay {
            underway.fail(format!(
                "the active was to go on in epoch {}, but {} is the active in epoch {}",
                text(underway.round.epoch_before),
                self.pair.brokers[active].title(),
                text(after)
            ));
        } else if active == underway.victim && after > next(underway.round.epoch_before) {
            // A fault of the storage hits both alike: whoever loses the role may be the one to get it again.
            underway.fail("one fault led to more than one takeover");
        }
        tokio::time::sleep(self.args.settle).await;
        Ok(())
    }

    /// Waits for the load's first acknowledgement and delivery after the fault is over.
    async fn await_recovery(&mut self, underway: &mut Underway) -> bool {
        let (patience, seconds) = (self.args.timeout, self.args.timeout.as_secs());
        let firsts = || self.witness.firsts();
        for (what, recovered) in [
            ("send of the load was acknowledged", false),
            ("message was delivered", true),
        ] {
            let seen = || match recovered {
                false => firsts().recovered_us,
                true => firsts().delivered_us,
            };
            if self.chronicle.wait_for(patience, seen).await.is_none() {
                underway.fail(format!(
                    "no {what} within {seconds} s of the end of the fault"
                ));
                return false;
            }
        }
        true
    }
}

fn next(epoch: Option<u64>) -> Option<u64> {
    epoch.map(|epoch| epoch + 1)
}

fn text(epoch: Option<u64>) -> String {
    epoch.map_or_else(|| "unknown".to_owned(), |epoch| epoch.to_string())
}
