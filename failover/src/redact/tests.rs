//! A secret shows nowhere, whatever else is wrong with the URI.

use proptest::prelude::*;

use super::*;
use crate::options::{FailoverOptions, InnerOptions, JmsOptions};
use crate::{ClientUri, lint};

/// Everything that this crate says about a URI.
fn everything_said(text: &str) -> String {
    let mut said = redact(text);
    match ClientUri::parse(text) {
        Ok(uri) => {
            let builder = crate::ConnectionBuilder::new(uri.clone());
            said.push_str(&format!("\n{uri}\n{uri:?}\n{uri:#?}\n{builder:?}"));
        }
        Err(error) => {
            let kind = error.kind();
            said.push_str(&format!("\n{error}\n{error:?}\n{kind}\n{kind:?}"));
            let client = crate::ClientError::from(error);
            said.push_str(&format!("\n{client}\n{client:?}"));
        }
    }
    for finding in lint(text) {
        said.push_str(&format!(
            "\n{finding}\n{finding:?}\n{}",
            finding.render(text)
        ));
    }
    if let Err(error) = crate::InnerUri::parse(text) {
        said.push_str(&format!("\n{error}\n{error:?}"));
    }
    said
}

#[test]
fn a_secret_shows_nowhere_in_a_good_uri() {
    for text in [
        "failover:(tcp://a:1)?jms.password=hunter2",
        "failover:(tcp://a:1)?jms.userName=me&jms.password=hunter2&timeout=3000",
        "failover:(tcp://a:1)?jms.password=hunter2,(x)",
        "failover:(tcp://a:1)?jms.p%61ssword=hunter2",
        "failover:(tcp://a:1)?jms.password=%68+hunter2",
        "tcp://a:1?jms.password=hunter2",
        "tcp://me:hunter2@a:1",
        "tcp://hunter2@a:1",
        "tcp://me:@hunter2@a:1?keepAlive=true",
        "failover:tcp://a:1,tcp://me:hunter2@b:1",
        "failover:(tcp://a:1,static:(tcp://me:hunter2@b:1))?randomize=false",
        "failover:(tcp://a:1)?priorityURIs=tcp://me:hunter2@a:1",
        "failover:(tcp://a:1)?priorityURIs=tcp%3A%2F%2Fme%3Ahunter2%40a%3A1",
        "failover:(tcp://a:1)?jms.blobTransferPolicy.uploadUrl=ftp://me:hunter2@c:1/",
    ] {
        assert!(ClientUri::parse(text).is_ok(), "{text}");
        let said = everything_said(text);
        assert!(!said.contains("hunter2"), "{text}: {said}");
        assert!(said.contains(HIDDEN), "{text}: {said}");
    }
}

#[test]
fn a_secret_shows_nowhere_in_a_broken_uri() {
    for text in [
        "failover:(tcp://a:1)?jms.password=hunter2&randomise=false",
        "failover:(tcp://a:1)?jms.pasword=hunter2",
        "failover:(tcp://a:1)?jms.password:hunter2",
        "failover:(tcp://a:1)?jms.password hunter2",
        "failover:(tcp://a:1)jms.password=hunter2",
        "failover:(tcp://a:1)?jms.password=x&hunter2",
        "failover:(tcp://a:1)?jms.password=x?hunter2",
        "failover:(tcp://a:1)?jms.password=x#hunter2",
        "failover:(tcp://a:1)?jms.password=x)hunter2",
        "failover:(tcp://a:1)?jms.password=hunter2%zz",
        "failover:(tcp://a:1?jms.password=hunter2)",
        "failover:(tcp://a:1?password=hunter2,tcp://b:1)",
        "failover:(tcp://a:1)?nested.socket.keyStorePassword=hunter2",
        "failover:(tcp://a:1)?clientSecret=hunter2",
        "failover:(tcp://a:1)?jms.PASSWORD=hunter2",
        "jms.password=hunter2",
        "tcp://me:hunter2@a",
        "tcp://me:hunter2@a:port",
        "tcp://me:hunt/hunter2@a:1",
        "tcp://me:hunter2/x@a:1",
        "tcp://me:hunter2?x@a:1",
        "tcp://me:x?hunter2@a:1",
        "tcp://me:x#hunter2@a:1",
        "tcp://me:hunter2%40a:1",
        "tcp:me:hunter2@a:1",
        "tpc://me:hunter2@a:1",
        "failover:(tcp://a:1,tcp:me:hunter2@b:1)",
        "failover:(tcp://me:hunter2@a:1",
        "failover:(tcp://a:1)?priorityURIs=tcp://me:hunter2@a:x",
        "failover:(tcp://a:1)?timeout=tcp%3A%2F%2Fme%3Ahunter2%40a%3A1",
    ] {
        assert!(ClientUri::parse(text).is_err(), "{text}");
        let said = everything_said(text);
        assert!(!said.contains("hunter2"), "{text}: {said}");
    }
}

#[test]
fn what_is_no_secret_stays_readable() {
    for text in [
        "failover:(tcp://a:61616,tcp://b:61616)?randomize=false&jms.clientID=me@home",
        "tcp://a:1?jms.clientID=me@home&jms.userName=me",
        "failover:(tcp://[::1]:61616,ssl://b.example:61617)?timeout=3000",
        "tcp://a:1/local:0?keepAlive=true&jms.clientID=x@y",
        "failover:(tcp://a:1)?randomise=false",
        "nonsense",
        "",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn only_the_password_among_all_known_options_is_a_secret() {
    let mut names = JmsOptions::names();
    names.extend(InnerOptions::names());
    names.extend(FailoverOptions::NAMES.iter().map(|name| (*name).to_owned()));
    names.retain(|name| is_secret_name(name));
    assert_eq!(names, ["jms.password"]);
}

#[test]
fn carets_still_point_at_the_mistake_behind_a_hidden_password() {
    let text = "failover:(tcp://a:1)?jms.password=hunter2&randomise=false";
    let shown = ClientUri::parse(text)
        .expect_err("a misspelt option")
        .to_string();
    let mut lines = shown.lines().skip(1);
    let (uri, carets) = (
        lines.next().expect("the URI"),
        lines.next().expect("carets"),
    );
    let at = carets.find('^').expect("a caret");
    assert_eq!(&uri[at..at + carets[at..].len()], "randomise");
}

#[test]
fn the_uri_itself_keeps_its_password() {
    let text = "failover:(tcp://a:1)?jms.password=hunter2";
    let uri = ClientUri::parse(text).expect("a good URI");
    assert_eq!(uri.jms.password.as_deref(), Some("hunter2"));
    assert_eq!(uri.as_str(), text);
}

proptest! {
    #[test]
    fn any_text_is_redacted_without_a_panic_and_for_good(text in "[a-z:/@?&=%(), 0-9ä]{0,60}") {
        let once = redact(&text);
        // What is hidden once needs no second hiding of the rest.
        prop_assert!(redact(&once).len() <= once.len() + HIDDEN.len());
    }

    #[test]
    fn a_password_of_any_characters_is_hidden(
        password in "[a-z%/:.,;!$*()?#]{0,6}ZQX[a-z%/:.,;!$*()?#]{0,6}",
    ) {
        for text in [
            format!("failover:(tcp://a:1)?jms.password={password}"),
            format!("tcp://a:1?jms.password={password}&randomise=true"),
        ] {
            let said = everything_said(&text);
            prop_assert!(!said.contains("ZQX"), "{text}: {said}");
        }
    }
}
