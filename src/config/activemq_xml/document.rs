//! The XML itself: elements and attributes with their lines, placeholders filled in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::placeholder::Placeholders;
use crate::config::fault::Fault;
use crate::config::setting::{Origin, Raw};
use crate::config::table::{Dialect, Table, snake};

/// Deeper than any configuration; what is beyond is refused instead of read by recursion.
const DEPTH_MAX: usize = 64;
/// Elements, attributes and texts of one file.
const NODES_MAX: u32 = 200_000;
const SPRING: &str = "http://www.springframework.org/schema/beans";

/// One element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) attributes: Vec<Attribute>,
    pub(super) children: Vec<Element>,
    /// Its own text, trimmed.
    pub(super) text: String,
    /// One of Spring's own elements: `<bean>`, `<value>`, `<property>`.
    pub(super) is_spring: bool,
}

/// One attribute.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl Element {
    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|attribute| attribute.name == name);
        found.map(|attribute| attribute.value.as_str())
    }

    /// The elements called this, anywhere below.
    pub(super) fn find<'e>(&'e self, name: &str, found: &mut Vec<&'e Element>) {
        if self.name == name {
            found.push(self);
            return;
        }
        for child in &self.children {
            child.find(name, found);
        }
    }
}

/// Parses the text of the file at `path`.
///
/// # Errors
/// When it is no XML, or far from a configuration.
pub(super) fn parse(path: &Path, text: &str) -> Result<Element, Fault> {
    let path = Arc::new(path.to_owned());
    let options = roxmltree::ParsingOptions {
        nodes_limit: NODES_MAX,
        ..roxmltree::ParsingOptions::default()
    };
    let fault = |line: usize, advice: String| Fault {
        origin: Origin::File {
            path: Arc::clone(&path),
            line,
        },
        key: String::new(),
        value: String::new(),
        advice,
    };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| fault(error.pos().row as usize, format!("not valid XML: {error}")))?;
    let lines = Lines::of(&path, text);
    read(document.root_element(), &lines, DEPTH_MAX)
        .ok_or_else(|| fault(1, format!("elements are nested more than {DEPTH_MAX} deep")))
}

/// Finds the line of an offset without counting from the start each time.
struct Lines {
    path: Arc<PathBuf>,
    ends: Vec<usize>,
}

impl Lines {
    fn of(path: &Arc<PathBuf>, text: &str) -> Lines {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines {
            path: Arc::clone(path),
            ends: ends.map(|(index, _)| index).collect(),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line: 1 + self.ends.partition_point(|end| *end < offset),
        }
    }
}

fn read(node: roxmltree::Node<'_, '_>, lines: &Lines, depth: usize) -> Option<Element> {
    let attributes = node.attributes().map(|attribute| Attribute {
        name: attribute.name().to_owned(),
        value: attribute.value().to_owned(),
        origin: lines.origin(attribute.range().start),
    });
    let mut element = Element {
        name: node.tag_name().name().to_owned(),
        origin: lines.origin(node.range().start),
        attributes: attributes.collect(),
        children: Vec::new(),
        text: String::new(),
        is_spring: node.tag_name().namespace() == Some(SPRING),
    };
    for child in node.children() {
        if child.is_element() {
            let depth = depth.checked_sub(1)?;
            element.children.push(read(child, lines, depth)?);
        } else if child.is_text() {
            element.text.push_str(child.text().unwrap_or_default());
        }
    }
    element.text = element.text.trim().to_owned();
    Some(element)
}

/// A bean as a table: its attributes are values; its elements are properties, which hold beans, or
/// values, or text.
pub(super) fn table(bean: &Element, placeholders: &Placeholders) -> Table {
    let mut table = Table::new(Dialect::Xml, &bean.name, bean.origin.clone());
    for attribute in &bean.attributes {
        let (key, origin) = (snake(&attribute.name), attribute.origin.clone());
        let raw = placeholders.fill(&attribute.value);
        table.set(&key, &attribute.name, raw, origin);
    }
    for property in &bean.children {
        add_property(&mut table, property, placeholders);
    }
    table
}

fn add_property(table: &mut Table, property: &Element, placeholders: &Placeholders) {
    if property.is_spring && property.name == "property" {
        spring_property(table, property, placeholders);
        return;
    }
    let key = snake(&property.name);
    let text = |element: &Element| placeholders.fill(&element.text);
    let is_value = |child: &Element| child.is_spring && child.name == "value";
    let raw = if property.children.is_empty() {
        if property.text.is_empty() {
            if !property.attributes.is_empty() {
                // A bean where a property should be: kept, so that it is reported.
                let bean = self::table(property, placeholders);
                table.children.push((key, bean));
            }
            return;
        }
        text(property)
    } else if property.children.iter().all(is_value) {
        let values = property.children.iter().map(text);
        Raw::List(values.collect())
    } else if property.name != "forwardTo" && property.children.iter().all(is_destination) {
        Raw::List(destinations(property, placeholders))
    } else {
        for bean in &property.children {
            let bean = self::table(bean, placeholders);
            table.children.push((key.clone(), bean));
        }
        return;
    };
    // One destination is as good as a list of one.
    let raw = match raw {
        Raw::List(mut items) if items.len() == 1 => items.remove(0),
        raw => raw,
    };
    table.set(&key, &property.name, raw, property.origin.clone());
}

/// `<property name="x" value="y"/>` and `<property name="x"><value>y</value></property>`.
fn spring_property(table: &mut Table, property: &Element, placeholders: &Placeholders) {
    let name = property.attribute("name").unwrap_or_default();
    let nested = property.children.iter().find(|child| child.name == "value");
    let value = property
        .attribute("value")
        .or(nested.map(|value| value.text.as_str()));
    if let Some(value) = value {
        let raw = placeholders.fill(value);
        table.set(&snake(name), name, raw, property.origin.clone());
        return;
    }
    for bean in &property.children {
        let bean = self::table(bean, placeholders);
        table.children.push((snake(name), bean));
    }
}

fn is_destination(element: &Element) -> bool {
    scheme(&element.name).is_some() && element.attribute("physicalName").is_some()
}

/// The scheme of a destination element or attribute.
pub(super) fn scheme(name: &str) -> Option<&'static str> {
    Some(match name {
        "queue" => "queue://",
        "topic" => "topic://",
        "tempQueue" | "temp_queue" => "temp-queue://",
        "tempTopic" | "temp_topic" => "temp-topic://",
        _ => return None,
    })
}

fn destinations(property: &Element, placeholders: &Placeholders) -> Vec<Raw> {
    let mut names = Vec::new();
    for element in &property.children {
        let scheme = scheme(&element.name).unwrap_or_default();
        let physical = element.attribute("physicalName").unwrap_or_default();
        match placeholders.fill(physical) {
            Raw::Word(physical) => names.extend(qualified(scheme, &physical)),
            unknown => names.push(unknown),
        }
    }
    names
}

/// The names of a composite one, each with its scheme.
pub(super) fn qualified(scheme: &str, names: &str) -> Vec<Raw> {
    let whole = |name: &str| match name.contains("://") {
        true => Raw::Word(name.to_owned()),
        false => Raw::Word(format!("{scheme}{name}")),
    };
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(whole)
        .collect()
}
