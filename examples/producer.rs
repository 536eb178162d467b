//! Sends persistent messages and survives the loss of a broker.
//!
//! ```text
//! cargo run --example producer -- 'failover:(tcp://127.0.0.1:61616,tcp://127.0.0.1:61617)' ORDERS 100
//! ```

use failover::{AckMode, ClientError, Connection, Destination, Message};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut args = std::env::args().skip(1);
    let uri = args
        .next()
        .unwrap_or_else(|| failover::uri::DEFAULT_URI.to_owned());
    let queue = Destination::queue(args.next().unwrap_or_else(|| "ORDERS".to_owned()));
    let count = args
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(10);

    let connection = Connection::connect(&uri).await?;
    let session = connection.session(AckMode::Auto).await?;
    let producer = session.producer(&queue).await?;
    for number in 1..=count {
        // Returns when a broker has the message for good, however often it had to ask.
        let id = producer
            .send(Message::text(&format!("order {number}"))?)
            .await?;
        println!("{id} is at {}", connection.remote().unwrap_or_default());
    }
    connection.close().await
}
