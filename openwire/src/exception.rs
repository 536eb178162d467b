//! The Java class names that clients turn into the right exception of their own.
//!
//! Always the `javax.jms` names: old clients know nothing else, and newer ones rewrite them.

/// Bad credentials or a missing right; every client library maps it to its security exception.
pub const SECURITY: &str = "java.lang.SecurityException";
/// A client id that is missing or used by another connection.
pub const INVALID_CLIENT_ID: &str = "javax.jms.InvalidClientIDException";
/// A destination or durable subscription that is unknown, foreign or deleted.
pub const INVALID_DESTINATION: &str = "javax.jms.InvalidDestinationException";
/// A selector that cannot be parsed.
pub const INVALID_SELECTOR: &str = "javax.jms.InvalidSelectorException";
/// Properties of a message that cannot be understood.
pub const MESSAGE_FORMAT: &str = "javax.jms.MessageFormatException";
/// A queue, the memory or the store is full, or another limit is reached.
pub const RESOURCE_ALLOCATION: &str = "javax.jms.ResourceAllocationException";
/// The transaction was rolled back instead of committed.
pub const TRANSACTION_ROLLED_BACK: &str = "javax.jms.TransactionRolledBackException";
/// An error of a distributed transaction; build the text with [`xa_message`].
pub const XA: &str = "javax.transaction.xa.XAException";
/// A command that is not allowed in the present state.
pub const ILLEGAL_STATE: &str = "javax.jms.IllegalStateException";
/// Everything else.
pub const JMS: &str = "javax.jms.JMSException";

/// The text of an XA error. The client reads the code from the end of the text, because the wire
/// has no field for it.
#[must_use]
pub fn xa_message(text: &str, code: i32) -> String {
    format!("{text} xaErrorCode:{code}")
}
