//! The temporary store by itself.

use std::fs;
use std::path::Path;

use openwire::{ConnectionId, Destination};

use super::*;
use crate::broker::Message;
use crate::broker::usage::Memory;

fn spool(directory: &Path, limit: u64) -> Arc<Spool> {
    Spool::new(Some(directory.to_owned()), limit, Arc::default())
}

fn message(number: i64, text: &str) -> Arc<Message> {
    let producer = ConnectionId::new("c").session(1).producer(1);
    let mut message = openwire::Message::from_text(text).expect("a text");
    message.message_id = Some(producer.message(number));
    message.producer_id = Some(producer);
    message.destination = Some(Destination::queue("Q"));
    let memory = Memory::new(1 << 20, 1 << 20, Arc::default());
    Arc::new(Message::made(&message, &memory).expect("a message"))
}

/// Everything in an overflow, as the sequence numbers of the messages.
fn drain(overflow: &mut Overflow<u64>) -> Vec<u64> {
    let mut keys = Vec::new();
    while let Some((files, run)) = overflow.begin_reading() {
        for (key, body) in run {
            if let Body::Disk(place) = body {
                let files = files.as_ref().expect("files");
                files.read(place).expect("a body");
                files.release(place);
            }
            keys.push(key);
        }
        overflow.end_reading();
    }
    keys
}

fn write(overflow: &mut Overflow<u64>) -> usize {
    let Some((files, run)) = overflow.begin_writing() else {
        return 0;
    };
    let bodies: Vec<&[u8]> = run
        .iter()
        .map(|one| &one.message.stored().bytes()[..])
        .collect();
    let places = files.append(&bodies).expect("a disk");
    let count = places.len();
    overflow.written(run, Some(places));
    count
}

#[test]
fn bodies_come_back_as_they_were_and_files_have_no_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(directory.path(), 1 << 20);
    let files = Files::new(Arc::clone(&spool));
    let places = files.append(&[b"one", b"", b"three"]).expect("written");
    assert_eq!(spool.used_bytes(), 8);
    assert_eq!(
        fs::read_dir(directory.path()).expect("a directory").count(),
        0
    );
    let bodies: Vec<_> = places
        .iter()
        .map(|&place| files.read(place).expect("there"))
        .collect();
    assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
    drop(files);
    assert_eq!(spool.used_bytes(), 0);
}

#[test]
fn space_comes_back_file_by_file_and_the_limit_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(directory.path(), 40 << 20);
    let files = Files::new(Arc::clone(&spool));
    let body = vec![7; 8 << 20];
    let mut places = Vec::new();
    let error = loop {
        match files.append(&[&body]) {
            Ok(more) => places.extend(more),
            Err(error) => break error,
        }
        assert!(places.len() < 10, "the limit has no effect");
    };
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert_eq!(places.len(), 5);
    assert!(spool.is_stuck());
    for &place in &places[..2] {
        files.release(place);
    }
    assert_eq!(spool.used_bytes(), 24 << 20);
    assert!(!spool.is_stuck());
    assert_eq!(
        files.read(places[2]).expect("still there").len(),
        body.len()
    );
    assert!(matches!(files.read(places[0]), Err(SpoolError::Gone)));
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "no directory").expect("a file");
    let spool = spool(&file, 1 << 20);
    let files = Files::new(Arc::clone(&spool));
    let error = files.append(&[b"x"]).expect_err("no directory");
    assert!(error.to_string().contains("file`"), "{error}");
    assert!(spool.is_stuck());
    assert_eq!(spool.used_bytes(), 0);
}

#[test]
fn what_a_crash_left_is_removed_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let remains = directory.path().join(format!("{PREFIX}1-2"));
    let other = directory.path().join("other");
    fs::write(&remains, "").expect("a file");
    fs::write(&other, "").expect("a file");
    let _spool = spool(directory.path(), 1);
    assert!(!remains.exists() && other.exists());
}

#[test]
fn an_overflow_keeps_its_order_whether_written_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(directory.path(), 1 << 20);
    let mut overflow = Overflow::default();
    for number in 1..=3 {
        overflow.push(&spool, 4, number, message(1, "x"));
    }
    assert_eq!(write(&mut overflow), 3);
    assert!(!spool.is_behind() && spool.used_bytes() > 0);
    overflow.push(&spool, 4, 4, message(4, "x"));
    overflow.push(&spool, 9, 5, message(5, "urgent"));
    assert_eq!(overflow.len(), 5);
    assert!(overflow.has_order(9) && !overflow.has_order(0));
    assert_eq!(drain(&mut overflow), [5, 1, 2, 3, 4]);
    assert_eq!(spool.unwritten.load(Ordering::Relaxed), 0);
}

#[test]
fn what_goes_back_while_it_is_written_is_not_there_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(directory.path(), 1 << 20);
    let mut overflow = Overflow::default();
    overflow.push(&spool, 4, 1_u64, message(1, "x"));
    let (files, run) = overflow.begin_writing().expect("something to write");
    assert!(overflow.begin_writing().is_none(), "one at a time");
    assert_eq!(drain(&mut overflow), [1]);
    overflow.push(&spool, 4, 2, message(2, "y"));
    let places = files
        .append(&[&run[0].message.stored().bytes()[..]])
        .expect("a disk");
    overflow.written(run, Some(places));
    assert_eq!(write(&mut overflow), 1);
    assert_eq!(drain(&mut overflow), [2]);
    drop((overflow, files));
    assert_eq!(spool.used_bytes(), 0);
}

#[test]
fn expired_messages_give_their_space_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(directory.path(), 1 << 20);
    let mut overflow = Overflow::default();
    overflow.push(&spool, 4, 1_u64, message(1, "x"));
    let mut decoded = message(2, "y").stored().decode().expect("a message");
    decoded.expiration = 5;
    let memory = Memory::new(1, 1, Arc::default());
    let expiring = Arc::new(Message::made(&decoded, &memory).expect("a message"));
    overflow.push(&spool, 4, 2, expiring);
    write(&mut overflow);
    assert_eq!(overflow.drop_expired(4), 0);
    assert_eq!(overflow.drop_expired(5), 1);
    assert_eq!(drain(&mut overflow), [1]);
}
