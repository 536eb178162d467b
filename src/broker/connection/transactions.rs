//! A connection's transactions.

use openwire::ConsumerId;

use super::{Connection, Home};
use crate::broker::consumer::Acknowledgement;
use crate::broker::transaction::Transaction;
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
    pub fn fail_transaction(&self, number: i64, cause: &str) {
        if let Some(transaction) = self.inner.lock().transactions.get_mut(&number) {
            transaction.fail(&cause);
        }
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

    fn take_transaction(&self, number: i64) -> Result<Transaction, Refusal> {
        let transaction = self.inner.lock().transactions.remove(&number);
        transaction.ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))
    }

    pub(super) fn transaction_name(&self, number: i64) -> String {
        format!("TX:{}:{number}", self.id)
    }

    pub(super) fn acknowledge_in(
        &self,
        number: i64,
        home: Result<Home, Refusal>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Receipt, Refusal> {
        let mut inner = self.inner.lock();
        let transaction = inner
            .transactions
            .get_mut(&number)
            .ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))?;
        let result = home.and_then(|home| match home {
            Home::Queue(queue) => {
                transaction.acknowledge(&self.broker, &queue, consumer, acknowledgement)
            }
            Home::Topics(topic_consumer, _) => {
                transaction.acknowledged();
                topic_consumer.acknowledge(acknowledgement);
                Ok(())
            }
        });
        match result {
            Ok(()) => {}
            // The application took a message from its buffer just when the connection was lost: it
            // learns of it from the commit.
            Err(refusal @ (Refusal::NotOutstanding { .. } | Refusal::NoSuchConsumer(_))) => {
                transaction.fail(&refusal);
            }
            Err(refusal) => {
                transaction.fail(&refusal);
                return Err(refusal);
            }
        }
        Ok(Receipt::Done)
    }
}
