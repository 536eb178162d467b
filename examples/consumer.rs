//! Receives messages in transactions until none comes for five seconds.
//!
//! ```text
//! cargo run --example consumer -- 'failover:(tcp://127.0.0.1:61616,tcp://127.0.0.1:61617)' ORDERS
//! ```

use std::time::Duration;

use failover::{AckMode, ClientError, Connection, Destination};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut args = std::env::args().skip(1);
    let uri = args
        .next()
        .unwrap_or_else(|| failover::uri::DEFAULT_URI.to_owned());
    let queue = Destination::queue(args.next().unwrap_or_else(|| "ORDERS".to_owned()));

    let connection = Connection::connect(&uri).await?;
    let session = connection.session(AckMode::Transacted).await?;
    let consumer = session.consumer(&queue).await?;
    while let Some(message) = consumer.receive(Some(Duration::from_secs(5))).await? {
        println!("{}", message.as_text()?.unwrap_or_default());
        match session.commit().await {
            Ok(()) => {}
            // The message comes again, if it was not committed after all.
            Err(error) if error.is_rolled_back() || error.is_in_doubt() => eprintln!("{error}"),
            Err(error) => return Err(error),
        }
    }
    connection.close().await
}
