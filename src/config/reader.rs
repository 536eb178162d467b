//! Turns a file and flags into settings, collecting every fault on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Note};
use super::setting::{FromRaw, Origin, Raw, Setting};
use super::table::{Dialect, Report, Table};

/// A value that a flag or its environment variable gives to a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key with its section: `tenure.lease`.
    pub key: String,
    /// The value.
    pub value: Raw,
    /// How the user said it, for complaints: `--name`.
    pub flag: String,
}

impl Override {
    /// One string.
    #[must_use]
    pub fn text(key: &str, value: &str, flag: &str) -> Override {
        let (key, flag) = (key.to_owned(), flag.to_owned());
        Override {
            key,
            value: Raw::Text(value.to_owned()),
            flag,
        }
    }

    /// A list of strings.
    #[must_use]
    pub fn list(key: &str, values: &[String], flag: &str) -> Override {
        let items = values.iter().cloned().map(Raw::Text).collect();
        Override {
            key: key.to_owned(),
            value: Raw::List(items),
            flag: flag.to_owned(),
        }
    }

    /// `section.key=value` as `--set` takes it: the value in TOML, or a bare word. None without an
    /// equals sign.
    #[must_use]
    pub fn parse(assignment: &str) -> Option<Override> {
        let (key, text) = assignment.split_once('=')?;
        let (key, text) = (key.trim().to_owned(), text.trim());
        let value = match DeValue::parse(text) {
            Ok(value) => raw(value.get_ref(), text),
            Err(_) => Raw::Text(text.to_owned()),
        };
        let flag = format!("--set {key}");
        Some(Override { key, value, flag })
    }
}

/// The values given for all sections, and the faults found so far.
#[derive(Debug, Default)]
pub(super) struct Source {
    given: BTreeMap<String, (Raw, Origin)>,
    tables: BTreeMap<String, Vec<Table>>,
    known: Vec<String>,
    pub(super) report: Report,
    /// Elements of an `activemq.xml` that keep people out and that this broker cannot do.
    pub(super) unsafe_elements: Vec<(String, Origin)>,
}

impl Source {
    /// Reads the text of the file at `path`.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) {
        let path = Arc::new(path.to_owned());
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            self.report.faults.push(Fault {
                origin: origin_at(&path, text, offset),
                key: String::new(),
                value: String::new(),
                advice: format!("not valid TOML: {}", error.message().trim_end()),
            });
        }
        for (section, content) in document.get_ref() {
            self.add_section(&path, text, section, content);
        }
    }

    fn add_section(
        &mut self,
        path: &Arc<PathBuf>,
        text: &str,
        section: &Spanned<std::borrow::Cow<'_, str>>,
        content: &Spanned<DeValue<'_>>,
    ) {
        if let Some(tables) = tables_of(content) {
            for table in tables {
                let table = Table::from_toml(path, text, section.get_ref(), table);
                self.add_table(section.get_ref(), table);
            }
            return;
        }
        let Some(table) = content.get_ref().as_table() else {
            self.report.faults.push(Fault {
                origin: origin_at(path, text, section.span().start),
                key: section.get_ref().to_string(),
                value: String::new(),
                advice: "keys belong in a section: write `[section]` above it".to_owned(),
            });
            return;
        };
        if table.is_empty() {
            self.given.insert(
                section.get_ref().to_string(),
                (
                    Raw::List(Vec::new()),
                    origin_at(path, text, section.span().start),
                ),
            );
        }
        for (key, value) in table {
            let origin = origin_at(path, text, key.span().start);
            let written = &text[value.span()];
            let key = format!("{}.{}", section.get_ref(), key.get_ref());
            let one = value.get_ref().as_table().map(|_| vec![value]);
            if let Some(tables) = one.or_else(|| tables_of(value)) {
                for table in tables {
                    let table = Table::from_toml(path, text, &key, table);
                    self.add_table(&key, table);
                }
                continue;
            }
            self.give(&key, raw(value.get_ref(), written), origin);
        }
    }

    /// Sets a value as a line of the file would.
    pub(super) fn give(&mut self, key: &str, raw: Raw, origin: Origin) {
        self.given.insert(key.to_owned(), (raw, origin));
    }

    /// Adds one table to those with this name.
    pub(super) fn add_table(&mut self, name: &str, table: Table) {
        self.tables.entry(name.to_owned()).or_default().push(table);
    }

    /// All tables with this name, in the order of the file.
    pub(super) fn take_tables(&mut self, name: &str) -> Vec<Table> {
        self.known.push(name.to_owned());
        self.tables.remove(name).unwrap_or_default()
    }

    /// What the file or a flag says about a key so far.
    pub(super) fn value_of(&self, key: &str) -> Option<&Raw> {
        self.given.get(key).map(|(raw, _)| raw)
    }

    /// Lets a flag win over the file.
    pub(super) fn add_override(&mut self, given: Override) {
        self.given
            .insert(given.key, (given.value, Origin::Flag(given.flag)));
    }

    /// Sets `setting` when `section.key` was given; a wrong value becomes a fault.
    pub(super) fn take<T: FromRaw>(&mut self, section: &str, key: &str, setting: &mut Setting<T>) {
        let key = format!("{section}.{key}");
        for table in self.tables.remove(&key).unwrap_or_default() {
            let unusable = Raw::Unusable(table.written);
            self.given.insert(key.clone(), (unusable, table.origin));
        }
        if let Some((raw, origin)) = self.given.remove(&key) {
            match T::from_raw(&raw) {
                Ok(value) => *setting = Setting { value, origin },
                Err(expected) => self.report.faults.push(Fault {
                    origin,
                    key: key.clone(),
                    value: raw.to_string(),
                    advice: raw.advice(expected),
                }),
            }
        }
        self.known.push(key);
    }

    /// Elements that keep people out are faults, unless the user wants to go without them.
    pub(super) fn refuse_unsafe(&mut self) -> bool {
        let mut go_without = Setting::default_of(false);
        self.take("security", "ignore_unsupported", &mut go_without);
        for (element, origin) in std::mem::take(&mut self.unsafe_elements) {
            if go_without.value {
                let why = "NOT IN FORCE: it keeps people out, and this broker cannot do it";
                self.report.note(&origin, format!("<{element}>"), why);
                continue;
            }
            self.report.faults.push(Fault {
                origin,
                key: format!("<{element}>"),
                value: String::new(),
                advice: "it keeps people out, and this broker cannot do it: use simpleAuthenticationPlugin and \
                         authorizationPlugin, or start with --set security.ignore_unsupported=true and \
                         without that protection"
                    .to_owned(),
            });
        }
        go_without.value
    }

    /// All faults; whatever nobody took is one.
    #[must_use]
    pub(super) fn finish(mut self) -> (Report, Vec<String>) {
        for (key, mut tables) in std::mem::take(&mut self.tables) {
            for table in tables.extract_if(.., |table| table.dialect == Dialect::Xml) {
                let what = format!("<{}>", table.name);
                self.report.note(&table.origin, what, Note::UNKNOWN);
            }
            if tables.is_empty() {
                continue;
            }
            let origin = tables[0].origin.clone();
            self.given.insert(key, (Raw::List(Vec::new()), origin));
        }
        for (key, (_, origin)) in std::mem::take(&mut self.given) {
            let advice = self.unknown(&key);
            if let Some(advice) = advice {
                self.report.faults.push(Fault {
                    origin,
                    key,
                    value: String::new(),
                    advice,
                });
            }
        }
        (self.report, self.known)
    }

    /// The keys given so far, sorted.
    #[cfg(test)]
    pub(super) fn given_keys(&self) -> Vec<String> {
        self.given.keys().cloned().collect()
    }

    fn unknown(&self, key: &str) -> Option<String> {
        let section_of = |known: &String| known.split('.').next().unwrap_or_default().to_owned();
        let mut sections: Vec<String> = self.known.iter().map(section_of).collect();
        sections.dedup();
        let (section, name) = match key.split_once('.') {
            Some(parts) => parts,
            // An empty section: nothing is wrong with it if its name is right.
            None if sections.iter().any(|known| known == key) => return None,
            None => (key, ""),
        };
        if !sections.iter().any(|known| known == section) {
            return Some(format!(
                "no such section; there are {}",
                sections.join(", ")
            ));
        }
        let keys: Vec<&str> = self
            .known
            .iter()
            .filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'))
            .collect();
        let hint = near(name, keys.iter().copied());
        if !hint.is_empty() {
            return Some(format!("no such key{hint}"));
        }
        Some(format!("no such key; [{section}] has {}", keys.join(", ")))
    }
}

/// A guess at which of some names a misspelt one meant, as part of a sentence; may be empty.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.min_by_key(|known| distance(known, name));
    near.filter(|known| distance(known, name) <= 2)
        .map_or(String::new(), |known| format!("; did you mean `{known}`?"))
}

/// The elements of a list of tables.
fn tables_of<'v, 't>(value: &'v Spanned<DeValue<'t>>) -> Option<Vec<&'v Spanned<DeValue<'t>>>> {
    let items = value.get_ref().as_array()?;
    let are_tables = items.iter().all(|item| item.get_ref().is_table());
    (are_tables && !items.is_empty()).then(|| items.iter().collect())
}

impl Table {
    fn from_toml(
        path: &Arc<PathBuf>,
        text: &str,
        name: &str,
        content: &Spanned<DeValue<'_>>,
    ) -> Table {
        let origin = origin_at(path, text, content.span().start);
        let mut table = Table::new(Dialect::Toml, name, origin);
        text[content.span()].clone_into(&mut table.written);
        for (key, value) in content.get_ref().as_table().into_iter().flatten() {
            let name = key.get_ref().as_ref();
            let one = value.get_ref().as_table().map(|_| vec![value]);
            if let Some(tables) = one.or_else(|| tables_of(value)) {
                for child in tables {
                    let child = Table::from_toml(path, text, name, child);
                    table.children.push((name.to_owned(), child));
                }
                continue;
            }
            let origin = origin_at(path, text, key.span().start);
            let raw = raw(value.get_ref(), &text[value.span()]);
            table.set(name, name, raw, origin);
        }
        table
    }
}

fn origin_at(path: &Arc<PathBuf>, text: &str, offset: usize) -> Origin {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Origin::File {
        path: Arc::clone(path),
        line,
    }
}

fn raw(value: &DeValue<'_>, written: &str) -> Raw {
    match value {
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
            .map_or_else(|_| Raw::Unusable(written.to_owned()), Raw::Integer),
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| raw(item.get_ref(), &item_text(item)))
                .collect(),
        ),
        _ => Raw::Unusable(written.to_owned()),
    }
}

/// How an element of a list is shown when it cannot be used: its kind is what matters.
fn item_text(item: &Spanned<DeValue<'_>>) -> String {
    item.get_ref().type_str().to_owned()
}

/// Edits between two words, to guess what a misspelt key meant.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
