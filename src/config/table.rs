//! Tables of settings that may occur any number of times: `[[policy]]` in TOML, a bean in XML.
//!
//! Both kinds of file end as these tables, so that what a key means is said once, by the module that reads
//! it. Keys are ActiveMQ's attribute names with underscores (`queuePrefetch` is `queue_prefetch`); how the
//! user wrote a name is kept for complaints. What nobody reads is a fault in TOML, where it can only be a
//! mistake, and a note in XML, where it may well be something that this broker has no use for.

use super::fault::{Fault, Note};
use super::setting::{FromRaw, Origin, Raw};

/// Where complaints about tables go, and which keys they may have.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) notes: Vec<Note>,
    /// Keys of tables that were asked for: `policy.queue_prefetch`.
    pub(super) known: Vec<String>,
}

impl Report {
    pub(super) fn note(
        &mut self,
        origin: &Origin,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.notes.push(Note {
            origin: origin.clone(),
            what: what.into(),
            why: why.into(),
        });
    }
}

/// Which kind of file a table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Toml,
    Xml,
}

/// One value of a table.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) key: String,
    /// The key as the user wrote it.
    pub(super) shown: String,
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) dialect: Dialect,
    /// The section in TOML, the element's name in XML.
    pub(super) name: String,
    /// The text, to be shown; TOML only.
    pub(super) written: String,
    pub(super) origin: Origin,
    pub(super) values: Vec<Value>,
    pub(super) children: Vec<(String, Table)>,
}

impl Table {
    pub(super) fn new(dialect: Dialect, name: &str, origin: Origin) -> Table {
        Table {
            dialect,
            name: name.to_owned(),
            written: String::new(),
            origin,
            values: Vec::new(),
            children: Vec::new(),
        }
    }

    /// The name of an element without the ending that all of its kind have: of
    /// `individualDeadLetterStrategy` it is `individual`. In TOML it is the value of `kind`.
    pub(super) fn take_kind(&mut self, ending: &str, report: &mut Report, path: &str) -> Kind {
        if self.dialect == Dialect::Xml {
            let name = snake(&self.name);
            let kind = name.strip_suffix(ending).unwrap_or(&name);
            return Kind {
                name: kind.to_owned(),
                origin: self.origin.clone(),
                element: Some(self.name.clone()),
            };
        }
        report.known.push(format!("{path}.kind"));
        match self.take_value("kind") {
            Some(value) => Kind {
                name: String::from_raw(&value.raw).unwrap_or_else(|_| value.raw.to_string()),
                origin: value.origin,
                element: None,
            },
            None => Kind {
                name: String::new(),
                origin: self.origin.clone(),
                element: None,
            },
        }
    }

    pub(super) fn take_value(&mut self, key: &str) -> Option<Value> {
        let index = self.values.iter().position(|value| value.key == key)?;
        Some(self.values.remove(index))
    }

    pub(super) fn take_children(&mut self, key: &str) -> Vec<Table> {
        let mut taken = Vec::new();
        self.children.retain_mut(|(other, child)| {
            if other == key {
                taken.push(child.clone());
            }
            other != key
        });
        taken
    }

    /// The first table under a key, left where it is.
    pub(super) fn child(&self, key: &str) -> Option<&Table> {
        let found = self.children.iter().find(|(other, _)| other == key);
        found.map(|(_, child)| child)
    }

    pub(super) fn set(&mut self, key: &str, shown: &str, raw: Raw, origin: Origin) {
        self.values.push(Value {
            key: key.to_owned(),
            shown: shown.to_owned(),
            raw,
            origin,
        });
    }
}

/// What kind of strategy a table is.
pub(super) struct Kind {
    pub(super) name: String,
    origin: Origin,
    /// In XML, the element.
    element: Option<String>,
}

impl Kind {
    /// Says that this kind is none of `kinds`: in XML it may be a class of the user's own.
    pub(super) fn unknown(&self, path: &str, kinds: &str, report: &mut Report) {
        if let Some(element) = &self.element {
            report.note(&self.origin, format!("<{element}>"), Note::UNKNOWN);
            return;
        }
        report.faults.push(Fault {
            origin: self.origin.clone(),
            key: format!("{path}.kind"),
            value: format!("{:?}", self.name),
            advice: format!("no such kind; there are {kinds}"),
        });
    }
}

/// Reads one table, key by key.
pub(super) struct TableReader<'r> {
    table: Table,
    path: String,
    keys: Vec<&'static str>,
    pub(super) report: &'r mut Report,
}

impl<'r> TableReader<'r> {
    /// `path` is the table's section, as TOML has it: `policy.dead_letter_strategy`.
    pub(super) fn new(table: Table, path: &str, report: &'r mut Report) -> Self {
        TableReader {
            table,
            path: path.to_owned(),
            keys: Vec::new(),
            report,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.table.origin
    }

    pub(super) fn is_xml(&self) -> bool {
        self.table.dialect == Dialect::Xml
    }

    fn know(&mut self, key: &'static str) {
        self.keys.push(key);
        self.report.known.push(format!("{}.{key}", self.path));
    }

    /// The value of a key with its place; None when it is not given or wrong.
    pub(super) fn get<T: FromRaw>(&mut self, key: &'static str) -> Option<(T, Origin)> {
        self.know(key);
        let value = self.table.take_value(key)?;
        match T::from_raw(&value.raw) {
            Ok(read) => Some((read, value.origin)),
            Err(expected) => {
                let shown = match T::IS_SECRET {
                    true => "***".to_owned(),
                    false => value.raw.to_string(),
                };
                let advice = value.raw.advice(expected);
                self.fault_at(value.origin, &value.shown, shown, advice);
                None
            }
        }
    }

    /// Sets `target` when the key is given.
    pub(super) fn value<T: FromRaw>(&mut self, key: &'static str, target: &mut T) {
        if let Some((value, _)) = self.get(key) {
            *target = value;
        }
    }

    /// Sets `target` to something made of the value when the key is given.
    pub(super) fn map<T: FromRaw, U>(
        &mut self,
        key: &'static str,
        target: &mut U,
        make: impl FnOnce(T) -> U,
    ) {
        if let Some((value, _)) = self.get(key) {
            *target = make(value);
        }
    }

    /// The tables under a key.
    pub(super) fn children(&mut self, key: &'static str) -> Vec<Table> {
        self.know(key);
        self.table.take_children(key)
    }

    /// The table under a key; a second one is a fault.
    pub(super) fn child(&mut self, key: &'static str) -> Option<Table> {
        let mut tables = self.children(key).into_iter();
        let first = tables.next();
        if let Some(second) = tables.next() {
            let advice = "there can be one only".to_owned();
            self.fault_at(second.origin, key, String::new(), advice);
        }
        first
    }

    /// Something that ActiveMQ has and this broker does not need: a note in XML, unknown in TOML.
    pub(super) fn ignore(&mut self, key: &str, why: &str) {
        if !self.is_xml() {
            return;
        }
        if let Some(value) = self.table.take_value(key) {
            let what = format!("attribute `{}` of <{}>", value.shown, self.table.name);
            self.report.note(&value.origin, what, why);
        }
        for child in self.table.take_children(key) {
            self.report
                .note(&child.origin, format!("<{}>", child.name), why);
        }
    }

    /// Complains about a value.
    pub(super) fn fault(&mut self, origin: &Origin, key: &str, value: String, advice: &str) {
        self.fault_at(origin.clone(), key, value, advice.to_owned());
    }

    fn fault_at(&mut self, origin: Origin, key: &str, value: String, advice: String) {
        let key = match self.table.dialect {
            Dialect::Toml => format!("{}.{key}", self.path),
            Dialect::Xml => format!("<{}> {key}", self.table.name),
        };
        self.report.faults.push(Fault {
            origin,
            key,
            value,
            advice,
        });
    }

    /// Whatever nobody took.
    pub(super) fn finish(mut self) {
        let values = std::mem::take(&mut self.table.values);
        let children = std::mem::take(&mut self.table.children);
        if self.is_xml() {
            for value in values {
                let what = format!("attribute `{}` of <{}>", value.shown, self.table.name);
                self.report.note(&value.origin, what, Note::UNKNOWN);
            }
            for (_, child) in children {
                self.report
                    .note(&child.origin, format!("<{}>", child.name), Note::UNKNOWN);
            }
            return;
        }
        let mut leftovers: Vec<(String, Origin)> = values
            .into_iter()
            .map(|value| (value.shown, value.origin))
            .collect();
        leftovers.extend(children.into_iter().map(|(key, child)| (key, child.origin)));
        for (key, origin) in leftovers {
            let hint = super::reader::near(&snake(&key), self.keys.iter().copied());
            let advice = match hint.is_empty() {
                true => format!(
                    "no such key; [[{}]] has {}",
                    self.path,
                    self.keys.join(", ")
                ),
                false => format!("no such key{hint}"),
            };
            self.fault_at(origin, &key, String::new(), advice);
        }
    }
}

/// `queuePrefetch` as `queue_prefetch`, `populateJMSXUserID` as `populate_jmsx_user_id`.
pub(super) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut text = String::with_capacity(name.len() + 4);
    for (index, &c) in chars.iter().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            let before = chars[index - 1];
            let ends_acronym = chars.get(index + 1).is_some_and(char::is_ascii_lowercase);
            if before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && ends_acronym)
            {
                text.push('_');
            }
        }
        text.push(if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activemqs_names_become_ours_by_one_rule() {
        for (name, expected) in [
            ("queuePrefetch", "queue_prefetch"),
            ("populateJMSXUserID", "populate_jmsx_user_id"),
            ("inactiveTimeoutBeforeGC", "inactive_timeout_before_gc"),
            (
                "sendDuplicateFromStoreToDLQ",
                "send_duplicate_from_store_to_dlq",
            ),
            (
                "individualDeadLetterStrategy",
                "individual_dead_letter_strategy",
            ),
            ("useJmx", "use_jmx"),
            ("queue_prefetch", "queue_prefetch"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }
}
