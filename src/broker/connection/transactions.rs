//! A connection's transactions.

use openwire::{AckKind, ConsumerId};

use super::{Connection, Home, Inner};
use crate::broker::consumer::Acknowledgement;
use crate::broker::transaction::{Party, Transaction, TransactionName, Vote, Xid};
use crate::broker::{Receipt, Refusal};

impl Connection {
    /// Begins a transaction. A known one is left as it is.
    pub fn begin(&self, number: i64) {
        let mut inner = self.inner.lock();
        inner
            .transactions
            .entry(number)
            .or_insert_with(|| Transaction::new(&self.broker, self.transaction_name(number)));
    }

    /// Makes the commit of a transaction fail: one of its parts was lost.
    pub fn fail_transaction(&self, name: &TransactionName, cause: &str) {
        self.fail_in(&mut self.inner.lock(), name, &cause);
    }

    pub(super) fn fail_in(&self, inner: &mut Inner, name: &TransactionName, cause: &impl ToString) {
        let fail = |transaction: &mut Transaction| {
            transaction.fail(cause);
            Ok(())
        };
        // What is not there cannot be committed anyway.
        let _ = self.in_transaction(inner, name, fail);
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// When it is unknown, or failed and is rolled back.
    pub fn commit(&self, number: i64) -> Result<Receipt, Refusal> {
        let mut transaction = self.take_transaction(number)?;
        if self.is_reconnect && transaction.is_empty() {
            // Clients begin a transaction with its first message or acknowledgement, and repeat no
            // acknowledgements after a reconnect.
            transaction.fail(&"its acknowledgements were lost with the connection");
        }
        transaction.commit(&self.broker)
    }

    /// Rolls a transaction back.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn roll_back(&self, number: i64) -> Result<(), Refusal> {
        self.take_transaction(number)?.roll_back(&self.broker);
        Ok(())
    }

    /// Begins a distributed transaction, joins it or resumes it.
    ///
    /// # Errors
    /// When the connection is closing.
    pub fn xa_begin(&self, xid: &Xid) -> Result<(), Refusal> {
        let inner = self.inner.lock();
        if inner.is_closed {
            return Err(Refusal::Closing);
        }
        self.broker.xa_begin(xid, self.party(&inner));
        Ok(())
    }

    /// Prepares a distributed transaction.
    ///
    /// # Errors
    /// When it is unknown or not to be prepared now, or failed and is rolled back.
    pub fn xa_prepare(&self, xid: &Xid) -> Result<(Vote, Receipt), Refusal> {
        let party = self.party(&self.inner.lock());
        self.broker.xa_prepare(xid, party)
    }

    /// Commits a distributed transaction: a prepared one, or in one phase.
    ///
    /// # Errors
    /// When it is unknown or not to be committed now, was decided otherwise, or failed and is rolled
    /// back.
    pub fn xa_commit(&self, xid: &Xid, is_one_phase: bool) -> Result<Receipt, Refusal> {
        let party = self.party(&self.inner.lock());
        self.broker.xa_commit(xid, is_one_phase, party)
    }

    /// Rolls a distributed transaction back, prepared or not.
    ///
    /// # Errors
    /// When it is unknown or was decided otherwise.
    pub fn xa_roll_back(&self, xid: &Xid) -> Result<Receipt, Refusal> {
        self.broker.xa_roll_back(xid)
    }

    /// Forgets how a distributed transaction was decided by somebody else.
    ///
    /// # Errors
    /// When it is not such a one.
    pub fn xa_forget(&self, xid: &Xid) -> Result<Receipt, Refusal> {
        self.broker.xa_forget(xid)
    }

    /// All prepared transactions, and when that is certain.
    pub fn xa_recover(&self) -> (Vec<Xid>, Receipt) {
        self.broker.xa_recover()
    }

    fn party(&self, inner: &Inner) -> Party<'_> {
        Party {
            connection: &self.id,
            is_reconnect: self.is_reconnect,
            has_lost_acknowledgements: self.is_reconnect
                && !inner.has_moved_on
                && !inner.consumers.is_empty(),
        }
    }

    fn take_transaction(&self, number: i64) -> Result<Transaction, Refusal> {
        let transaction = self.inner.lock().transactions.remove(&number);
        transaction.ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))
    }

    fn transaction_name(&self, number: i64) -> String {
        format!("TX:{}:{number}", self.id)
    }

    /// Does something as a part of a transaction. None: it was done before the client's loss, and
    /// the journal knows.
    pub(super) fn in_transaction<T>(
        &self,
        inner: &mut Inner,
        name: &TransactionName,
        run: impl FnOnce(&mut Transaction) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        match name {
            TransactionName::Local(number) => {
                let transaction = inner.transactions.get_mut(number);
                let unknown = || Refusal::NoSuchTransaction(self.transaction_name(*number));
                run(transaction.ok_or_else(unknown)?).map(Some)
            }
            TransactionName::Xa(xid) => self.broker.xa_part(xid, self.is_reconnect, run),
        }
    }

    pub(super) fn acknowledge_in(
        &self,
        name: &TransactionName,
        home: Result<Home, Refusal>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Receipt, Refusal> {
        let mut inner = self.inner.lock();
        self.in_transaction(&mut inner, name, |transaction| {
            if acknowledgement.kind == AckKind::Poison {
                return Err(Refusal::PoisonInTransaction(consumer.clone()));
            }
            let result = home.and_then(|home| match home {
                Home::Queue(queue) => {
                    transaction.acknowledge(&self.broker, &queue, consumer, acknowledgement)
                }
                Home::Queues(wide) => {
                    if acknowledgement.kind == AckKind::Delivered {
                        wide.extend(&self.broker, acknowledgement.count);
                        return Ok(());
                    }
                    for (queue, part) in wide.split(acknowledgement, true)? {
                        transaction.acknowledge(&self.broker, &queue, consumer, &part)?;
                    }
                    wide.dispatch(&self.broker);
                    Ok(())
                }
                Home::Browser(trail) => {
                    self.acknowledge_seen(&trail, consumer, acknowledgement);
                    Ok(())
                }
                Home::Topics(topic_consumer) => {
                    transaction.acknowledged();
                    topic_consumer.acknowledge(acknowledgement);
                    Ok(())
                }
            });
            match result {
                Ok(()) => Ok(()),
                // The application took a message from its buffer just when the connection was lost:
                // it learns of it from the commit.
                Err(refusal @ (Refusal::NotOutstanding { .. } | Refusal::NoSuchConsumer(_))) => {
                    transaction.fail(&refusal);
                    Ok(())
                }
                Err(refusal) => {
                    transaction.fail(&refusal);
                    Err(refusal)
                }
            }
        })?;
        Ok(Receipt::Done)
    }
}
