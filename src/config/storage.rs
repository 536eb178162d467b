//! `[storage]`: a directory as slow as some other storage, for labs.

use std::time::Duration;

use ::storage::latency::{self, Cap, Cost, Credits, Operation, Profile, Quantiles};

use super::Size;
use super::fault::Fault;
use super::reader::{Source, near};
use super::setting::{Expected, FromRaw, Origin, Raw, Setting};
use super::table::{Report, Table, TableReader};

/// What `profile` says when there is none.
const NONE: &str = "none";
/// Where the figures of a profile of the user's own come from.
const OWN: &str = "your configuration";

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Name of the latency profile; `none` for the directory as it is.
    pub profile: Setting<String>,
    /// All profiles there are: those that come with the program, and `[storage.profiles]`.
    pub profiles: Vec<Profile>,
}

impl Storage {
    pub(super) fn new() -> Storage {
        Storage {
            profile: Setting::default_of(NONE.to_owned()),
            profiles: latency::built_in(),
        }
    }

    /// The profile that is asked for.
    #[must_use]
    pub fn latency(&self) -> Option<&Profile> {
        self.find(&self.profile.value).ok()
    }

    /// A profile by name.
    ///
    /// # Errors
    /// What to tell somebody who gave a name that none of them has.
    pub fn find(&self, name: &str) -> Result<&Profile, String> {
        let found = self.profiles.iter().find(|profile| profile.name == name);
        found.ok_or_else(|| {
            let names = self.profiles.iter().map(|profile| profile.name.as_str());
            let hint = near(name, names.clone());
            let names: Vec<&str> = names.collect();
            format!("no such profile{hint}; there are {}", names.join(", "))
        })
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        for mut all in source.take_tables("storage.profiles") {
            for value in std::mem::take(&mut all.values) {
                source.report.faults.push(Fault {
                    origin: value.origin,
                    key: format!("storage.profiles.{}", value.shown),
                    value: value.raw.to_string(),
                    advice:
                        "a profile is a section: write `[storage.profiles.NAME]` above its keys"
                            .to_owned(),
                });
            }
            for (name, table) in std::mem::take(&mut all.children) {
                self.add(&name, table, &mut source.report);
            }
        }
        source.take("storage", "profile", &mut self.profile);
        if self.profile.value == NONE {
            return;
        }
        if let Err(advice) = self.find(&self.profile.value) {
            source.report.faults.push(Fault {
                origin: self.profile.origin.clone(),
                key: "storage.profile".to_owned(),
                value: format!("{:?}", self.profile.value),
                advice,
            });
        }
    }

    fn add(&mut self, name: &str, table: Table, report: &mut Report) {
        let mut reader = TableReader::new(table, &format!("storage.profiles.{name}"), report);
        let origin = reader.origin().clone();
        let like = reader.get::<String>("like");
        let (like, at) = like.unwrap_or_else(|| (name.to_owned(), origin.clone()));
        let Some(base) = latency::find(&like) else {
            let names: Vec<String> = latency::built_in().into_iter().map(|p| p.name).collect();
            let advice = format!(
                "name the profile that it starts from, one of {}",
                names.join(", ")
            );
            reader.fault(&at, "like", format!("{like:?}"), &advice);
            return;
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name == NONE || !name.chars().all(is_plain) {
            let advice = "name it with letters, digits, dots, hyphens and underscores, not `none`";
            reader.fault(&origin, "", String::new(), advice);
        }
        let profile = own(name, base, reader);
        self.profiles.retain(|other| other.name != name);
        self.profiles.push(profile);
    }
}

/// A profile with what the table changes.
fn own(name: &str, base: Profile, mut reader: TableReader<'_>) -> Profile {
    let mut profile = Profile {
        name: name.to_owned(),
        about: format!("Like {}, with figures of your configuration.", base.name),
        ..base
    };
    reader.value("about", &mut profile.about);
    if let Some((size, origin)) = reader.get::<Size>("io_size") {
        match u32::try_from(size.0) {
            Ok(bytes) if bytes >= 4096 => profile.io_bytes = bytes,
            _ => {
                let advice = "must be from 4kb to 4gb";
                reader.fault(&origin, "io_size", format!("\"{size}\""), advice);
            }
        }
    }
    let iops: [Option<Count>; 3] = [
        reader.get("iops").map(|(count, _)| count),
        reader.get("iops_baseline").map(|(count, _)| count),
        reader.get("iops_credits").map(|(count, _)| count),
    ];
    change(&mut profile.iops, iops.map(|count| count.map(|Count(n)| n)));
    let bytes: [Option<Size>; 3] = [
        reader.get("bytes_per_second").map(|(size, _)| size),
        reader.get("bytes_baseline").map(|(size, _)| size),
        reader.get("bytes_credits").map(|(size, _)| size),
    ];
    let bytes = bytes.map(|size| size.map(|size: Size| size.0 as f64));
    change(&mut profile.bytes, bytes);
    for operation in Operation::ALL {
        if let Some(table) = reader.child(operation.name()) {
            let path = format!("storage.profiles.{name}.{}", operation.name());
            let costs = TableReader::new(table, &path, reader.report);
            cost(profile.cost_mut(operation), costs);
        }
    }
    reader.finish();
    profile
}

/// A rate of 0 takes the cap away; credits need a baseline.
fn change(cap: &mut Option<Cap>, [rate, baseline, credits]: [Option<f64>; 3]) {
    if rate == Some(0.0) {
        *cap = None;
        return;
    }
    if let Some(rate) = rate {
        let before = cap.as_ref().and_then(|cap| cap.credits);
        *cap = Some(Cap {
            rate,
            credits: before,
            source: OWN.to_owned(),
        });
    }
    let Some(cap) = cap else { return };
    if let Some(baseline) = baseline {
        let most = cap.credits.map_or(0.0, |credits| credits.most);
        cap.credits = (baseline > 0.0).then_some(Credits {
            baseline,
            most,
            at_start: most,
        });
    }
    if let (Some(most), Some(before)) = (credits, cap.credits.as_mut()) {
        before.most = most;
        before.at_start = most;
    }
    if baseline.or(credits).is_some() {
        OWN.clone_into(&mut cap.source);
    }
}

fn cost(cost: &mut Cost, mut reader: TableReader<'_>) {
    let mut known = [None; Quantiles::NAMES.len()];
    let mut origins: [Option<Origin>; Quantiles::NAMES.len()] = std::array::from_fn(|_| None);
    for (index, name) in Quantiles::NAMES.into_iter().enumerate() {
        if let Some((Latency(time), origin)) = reader.get(name) {
            known[index] = Some(time);
            origins[index] = Some(origin);
        }
    }
    if let Some((trips, origin)) = reader.get::<u32>("round_trips") {
        if trips > 100 {
            let advice = "must be from 0 to 100";
            reader.fault(&origin, "round_trips", trips.to_string(), advice);
        } else {
            cost.round_trips = trips;
            OWN.clone_into(&mut cost.source);
        }
    }
    if known.iter().any(Option::is_some) {
        let before = cost.latency.points();
        let p50 = known[2].unwrap_or(before[2]);
        // As far from the median as it was.
        let ratio = before[5].as_secs_f64() / before[2].as_secs_f64().max(1e-9);
        known[5] = known[5].or_else(|| {
            let above = known[6].or(known[7]).unwrap_or(Duration::MAX);
            Some(p50.mul_f64(ratio).min(above))
        });
        match Quantiles::from_known(known, p50) {
            Ok(latency) => {
                cost.latency = latency;
                OWN.clone_into(&mut cost.source);
            }
            Err(error) => {
                let at = Quantiles::NAMES.iter().position(|name| *name == error.name);
                let origin = at.and_then(|at| origins[at].clone());
                let origin = origin.unwrap_or_else(|| reader.origin().clone());
                reader.fault(&origin, error.name, String::new(), &error.to_string());
            }
        }
    }
    reader.finish();
}

/// A time in the range of storage.
struct Latency(Duration);

impl FromRaw for Latency {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        let text = match raw {
            Raw::Text(text) | Raw::Word(text) => text.trim(),
            _ => "",
        };
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &text[number.len()..] {
            "us" => Some(1e-6),
            "ms" => Some(1e-3),
            "s" => Some(1.0),
            _ => None,
        };
        let seconds = number.trim().parse::<f64>().ok().zip(factor);
        seconds
            .map(|(number, factor)| number * factor)
            .filter(|seconds| (1e-6..=60.0).contains(seconds))
            .map(|seconds| Latency(Duration::from_secs_f64(seconds)))
            .ok_or(Expected(
                "a time from 1us to 60s, like \"2.7ms\", \"150us\" or \"1s\"",
            ))
    }
}

/// Operations, possibly many.
struct Count(f64);

impl FromRaw for Count {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        let count = f64::from_raw(raw).ok().filter(|count| *count >= 0.0);
        count.map(Count).ok_or(Expected("a number, 0 for no limit"))
    }
}
