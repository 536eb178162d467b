//! `${name}` in the values of a file: from properties files that the file names, from the environment, or
//! the default behind a colon.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::document::Element;
use crate::config::setting::Raw;
use crate::config::table::Report;

/// How often a value may refer to another one that refers to another one.
const DEPTH_MAX: usize = 16;
/// No value is longer, however its references multiply.
const LENGTH_MAX: usize = 1 << 20;

/// The values that names stand for.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    values: HashMap<String, String>,
}

impl Placeholders {
    /// What ActiveMQ's start script defines, and what the properties files say that `root` names.
    pub(super) fn of(file: &Path, root: &Element, report: &mut Report) -> Placeholders {
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let conf = parent.unwrap_or(Path::new(".")).display().to_string();
        let mut all = Placeholders::default();
        for name in ["activemq.conf", "activemq.base", "activemq.home"] {
            let place = match name {
                "activemq.conf" => conf.clone(),
                _ => format!("{conf}/.."),
            };
            all.values.insert(name.to_owned(), place);
        }
        all.values
            .insert("activemq.data".to_owned(), format!("{conf}/../data"));
        let mut beans = Vec::new();
        root.find("bean", &mut beans);
        for bean in beans {
            if is_configurer(bean) {
                all.add_bean(bean, report);
            }
        }
        all
    }

    fn add_bean(&mut self, bean: &Element, report: &mut Report) {
        let mut values = Vec::new();
        for property in &bean.children {
            let name = property.attribute("name").unwrap_or_default();
            match name {
                "location" | "locations" => {
                    if let Some(value) = property.attribute("value") {
                        values.push((value.to_owned(), property.origin.clone()));
                    }
                    let mut nested = Vec::new();
                    property.find("value", &mut nested);
                    let nested = nested.iter().map(|v| (v.text.clone(), v.origin.clone()));
                    values.extend(nested);
                }
                "properties" => self.add_properties(&property_text(property)),
                _ => {}
            }
        }
        for (location, origin) in values {
            let Raw::Word(location) = self.fill(&location) else {
                let what = format!("properties file `{location}`");
                report.note(
                    &origin,
                    what,
                    "nobody knows its placeholder, so its values are unknown",
                );
                continue;
            };
            let path = location.strip_prefix("file:").unwrap_or(&location);
            let path = path.strip_prefix("//").unwrap_or(path);
            match std::fs::read_to_string(PathBuf::from(path)) {
                Ok(text) => self.add_properties(&text),
                Err(error) => {
                    let why = format!("cannot be read, so its values are unknown: {error}");
                    report.note(&origin, format!("properties file `{path}`"), why);
                }
            }
        }
    }

    /// The lines of a properties file: `name=value`, `name: value`, comments with `#` or `!`.
    fn add_properties(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (name, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            self.values.insert(name, value);
        }
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let own = self.values.get(name).cloned();
        own.or_else(|| std::env::var(name).ok())
            .or_else(|| std::env::var(name.replace('.', "_").to_uppercase()).ok())
    }

    /// The text with all its placeholders filled in, or what is left when nobody knows one.
    pub(super) fn fill(&self, text: &str) -> Raw {
        match self.expand(text, DEPTH_MAX) {
            Ok(text) => Raw::Word(text),
            Err(_) => Raw::Placeholder(text.to_owned()),
        }
    }

    fn expand(&self, text: &str, depth: usize) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                break;
            };
            filled.push_str(&rest[..start]);
            let inside = &rest[start + 2..start + length];
            let (name, default) = match inside.split_once(':') {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let value = self
                .lookup(name)
                .or_else(|| default.map(str::to_owned))
                .ok_or_else(|| name.to_owned())?;
            let depth = depth.checked_sub(1).ok_or_else(|| name.to_owned())?;
            filled.push_str(&self.expand(&value, depth)?);
            if filled.len() > LENGTH_MAX {
                return Err(name.to_owned());
            }
            rest = &rest[start + length + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Whether an element only says where the values of placeholders are.
pub(super) fn is_configurer(element: &Element) -> bool {
    let class = element.attribute("class").unwrap_or_default();
    element.name == "bean"
        && [
            "PropertyPlaceholderConfigurer",
            "PropertySourcesPlaceholderConfigurer",
        ]
        .iter()
        .any(|configurer| class.ends_with(configurer))
}

fn property_text(property: &Element) -> String {
    let mut lines = String::new();
    let mut props = Vec::new();
    property.find("prop", &mut props);
    for prop in props {
        let key = prop.attribute("key").unwrap_or_default();
        lines.push_str(&format!("{key}={}\n", prop.text));
    }
    let mut values = Vec::new();
    property.find("value", &mut values);
    for value in values {
        lines.push_str(&value.text);
        lines.push('\n');
    }
    lines
}
