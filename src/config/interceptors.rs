//! `[[virtual_topic]]`, `[[composite_queue]]`, `[[composite_topic]]`, `[[mirrored_queue]]`: what stands
//! between the name that a message is sent to and where it goes.

use openwire::{Destination, DestinationKind};

use crate::broker::interceptor::{
    CompositeDestination, ForwardTo, Interceptors, MirroredQueue, VirtualTopic,
};
use crate::broker::policy::DestinationPattern;
use crate::broker::selector::Selector;

use super::broker::Behaviour;
use super::policy::destinations;
use super::reader::Source;
use super::table::{Report, Table, TableReader};

const ONE_RECORD: &str = "has no effect: a message and its copies are one record of the journal";

/// What the tables say; without any of a kind, what the broker's switches say.
pub(super) fn read(source: &mut Source, behaviour: &Behaviour) -> Interceptors {
    let mut all = Interceptors {
        virtual_topics: Vec::new(),
        mirrored_queues: behaviour
            .use_mirrored_queues
            .value
            .then(MirroredQueue::default),
        ..Interceptors::default()
    };
    let topics = source.take_tables("virtual_topic");
    if topics.is_empty() && behaviour.use_virtual_topics.value {
        all.virtual_topics.push(VirtualTopic::default());
    }
    for table in topics {
        all.virtual_topics
            .push(virtual_topic(table, &mut source.report));
    }
    for (section, kind) in [
        ("composite_queue", DestinationKind::Queue),
        ("composite_topic", DestinationKind::Topic),
    ] {
        for table in source.take_tables(section) {
            let composite = composite(table, section, kind, &mut source.report);
            all.composites.extend(composite);
        }
    }
    for table in source.take_tables("mirrored_queue") {
        all.mirrored_queues = Some(mirrored(table, &mut source.report));
    }
    if let Some(mirrored) = &mut all.mirrored_queues {
        mirrored.is_for_temporary = behaviour.use_temp_mirrored_queues.value;
    }
    for table in source.take_tables("destination_path_separator") {
        let mut separator = "/".to_owned();
        let mut reader = TableReader::new(table, "destination_path_separator", &mut source.report);
        reader.value("path_separator", &mut separator);
        reader.finish();
        all.path_separator = Some(separator);
    }
    all
}

fn virtual_topic(table: Table, report: &mut Report) -> VirtualTopic {
    let mut topic = VirtualTopic::default();
    let mut reader = TableReader::new(table, "virtual_topic", report);
    reader.map("name", &mut topic.topics, |name: String| {
        DestinationPattern::of(&Destination::topic(name))
    });
    reader.value("prefix", &mut topic.prefix);
    reader.value("postfix", &mut topic.postfix);
    reader.value("local", &mut topic.local);
    reader.value("selector_aware", &mut topic.selector_aware);
    reader.value("drop_on_resource_limit", &mut topic.drop_on_resource_limit);
    reader.value(
        "set_original_destination",
        &mut topic.set_original_destination,
    );
    reader.ignore("concurrent_send", ONE_RECORD);
    reader.ignore("transacted_send", ONE_RECORD);
    reader.finish();
    topic
}

fn composite(
    table: Table,
    section: &str,
    kind: DestinationKind,
    report: &mut Report,
) -> Option<CompositeDestination> {
    let mut reader = TableReader::new(table, section, report);
    let mut name = String::new();
    reader.value("name", &mut name);
    let (mut forward_only, mut send_when_not_matched) = (true, false);
    reader.value("forward_only", &mut forward_only);
    reader.value("send_when_not_matched", &mut send_when_not_matched);
    reader.ignore("copy_message", ONE_RECORD);
    reader.ignore("concurrent_send", ONE_RECORD);
    let mut targets = Vec::new();
    for table in reader.children("forward_to") {
        targets.extend(forward_to(table, section, reader.report));
    }
    if name.is_empty() {
        let origin = reader.origin().clone();
        let advice = "it needs a name: of which destination are the messages forwarded?";
        reader.fault(&origin, "name", String::new(), advice);
        return None;
    }
    reader.finish();
    let names = match kind {
        DestinationKind::Queue => Destination::queue(name),
        _ => Destination::topic(name),
    };
    Some(CompositeDestination {
        names: DestinationPattern::of(&names),
        forward_only,
        send_when_not_matched,
        forward_to: targets,
    })
}

fn forward_to(table: Table, section: &str, report: &mut Report) -> Vec<ForwardTo> {
    let mut reader = TableReader::new(table, &format!("{section}.forward_to"), report);
    let patterns = destinations(&mut reader).unwrap_or_default();
    if patterns.is_empty() {
        let origin = reader.origin().clone();
        let advice = "it needs a destination, like \"queue://A\"";
        reader.fault(&origin, "destination", String::new(), advice);
    }
    let selector = selector(&mut reader);
    reader.finish();
    patterns
        .into_iter()
        .map(|pattern| ForwardTo {
            destination: pattern.to_destination(),
            selector: selector.clone(),
        })
        .collect()
}

fn selector(reader: &mut TableReader<'_>) -> Option<Selector> {
    let (text, origin) = reader.get::<String>("selector")?;
    if text.trim().is_empty() {
        return None;
    }
    match Selector::parse(&text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            let advice = error.to_string();
            reader.fault(&origin, "selector", format!("{text:?}"), &advice);
            None
        }
    }
}

fn mirrored(table: Table, report: &mut Report) -> MirroredQueue {
    let mut mirrored = MirroredQueue::default();
    let mut reader = TableReader::new(table, "mirrored_queue", report);
    reader.value("prefix", &mut mirrored.prefix);
    reader.value("postfix", &mut mirrored.postfix);
    reader.ignore("copy_message", ONE_RECORD);
    reader.finish();
    mirrored
}
