//! Asks a question over a queue and gets the answer over a temporary one.
//!
//! ```text
//! cargo run --example request_reply -- 'failover:(tcp://127.0.0.1:61616,tcp://127.0.0.1:61617)'
//! ```

use std::time::Duration;

use failover::{AckMode, ClientError, Connection, Destination, Message, SendOptions};

/// Answers one question with its text in capitals.
async fn answer_one(connection: &Connection, queue: &Destination) -> Result<(), ClientError> {
    let session = connection.session(AckMode::Auto).await?;
    let questions = session.consumer(queue).await?;
    let answers = session.producer_to_any().await?;
    if let Some(question) = questions.receive(Some(Duration::from_secs(10))).await?
        && let Some(reply_to) = question.reply_to()
    {
        let text = question.as_text()?.unwrap_or_default().to_uppercase();
        let answer = Message::text(&text)?
            .with_correlation_id(&question.correlation_id().unwrap_or_default());
        answers
            .send_to(reply_to, answer, &SendOptions::default())
            .await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let uri = std::env::args().nth(1);
    let uri = uri.unwrap_or_else(|| failover::uri::DEFAULT_URI.to_owned());
    let queue = Destination::queue("QUESTIONS");

    let server = Connection::connect(&uri).await?;
    let client = Connection::connect(&uri).await?;
    let asking = async {
        let session = client.session(AckMode::Auto).await?;
        let reply_to = client.temporary_queue().await?;
        let replies = session.consumer(&reply_to).await?;
        let producer = session.producer(&queue).await?;
        let question = Message::text("is anybody there?")?
            .with_reply_to(reply_to)
            .with_correlation_id("question 1");
        producer.send(question).await?;
        replies.receive(Some(Duration::from_secs(10))).await
    };
    let (answered, reply) = tokio::join!(answer_one(&server, &queue), asking);
    answered?;
    match reply? {
        Some(reply) => println!("{}", reply.as_text()?.unwrap_or_default()),
        None => println!("nobody answered"),
    }
    client.close().await?;
    server.close().await
}
