//! Destination names with options, as JMS clients write them: `ORDERS?consumer.prefetchSize=1`.

use openwire::Destination;

use super::consumer::ConsumerOptions;
use super::error::ClientError;

/// Splits the options off a destination's name.
pub(super) fn split(
    destination: &Destination,
) -> Result<(Destination, Option<String>), ClientError> {
    let name = destination
        .name
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (bare, query) = match name.split_once('?') {
        Some((bare, query)) => (bare, Some(query.to_owned())),
        None => (name.as_str(), None),
    };
    if bare.is_empty() {
        let reason = "the name is empty".to_owned();
        return Err(ClientError::InvalidDestination {
            name: name.clone(),
            reason,
        });
    }
    Ok((Destination::new(destination.kind, bare), query))
}

/// Applies the `consumer.` options of a destination's name. The name's options win.
pub(super) fn apply(
    destination: &Destination,
    query: &str,
    options: &mut ConsumerOptions,
) -> Result<(), ClientError> {
    let invalid = |reason: String| ClientError::InvalidDestination {
        name: destination.to_string(),
        reason,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Options of other kinds belong to others and are ignored, as in Java.
        let Some(name) = name.strip_prefix("consumer.") else {
            continue;
        };
        let bad = || invalid(format!("`{value}` is no value for `consumer.{name}`"));
        match name {
            "prefetchSize" => options.prefetch = Some(value.parse().map_err(|_| bad())?),
            "priority" => options.priority = value.parse().map_err(|_| bad())?,
            "exclusive" => options.exclusive = value.parse().map_err(|_| bad())?,
            "retroactive" => options.retroactive = value.parse().map_err(|_| bad())?,
            "noLocal" => options.no_local = value.parse().map_err(|_| bad())?,
            "dispatchAsync" => options.dispatch_async = Some(value.parse().map_err(|_| bad())?),
            "maximumPendingMessageLimit" => {
                options.maximum_pending_message_limit = Some(value.parse().map_err(|_| bad())?);
            }
            "selector" => options.selector = Some(value.replace('+', " ")),
            _ => return Err(invalid(format!("there is no option `consumer.{name}`"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_off_the_name() {
        let (bare, query) =
            split(&Destination::queue("a?consumer.prefetchSize=3&other=1")).unwrap();
        assert_eq!(bare, Destination::queue("a"));
        let mut options = ConsumerOptions::default();
        apply(&bare, &query.unwrap(), &mut options).unwrap();
        assert_eq!(options.prefetch, Some(3));
    }

    #[test]
    fn unknown_options_and_empty_names_are_refused() {
        let mut options = ConsumerOptions::default();
        let queue = Destination::queue("a");
        let error = apply(&queue, "consumer.zork=1", &mut options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid destination `queue://a`: there is no option `consumer.zork`"
        );
        assert!(apply(&queue, "consumer.priority=high", &mut options).is_err());
        assert!(split(&Destination::queue("?x=1")).is_err());
    }
}
