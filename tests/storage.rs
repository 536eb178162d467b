//! `baton storage`: what it measures, what it leaves behind, and how it refuses.

mod support;

use std::fs;

use serde_json::Value;
use support::run;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("`{value}` is no number"))
}

#[test]
fn a_probe_measures_every_operation_predicts_and_leaves_nothing() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let journal = place.path().join("journal");
    fs::create_dir(&journal).expect("created");
    fs::write(journal.join("0000000001-1.seg"), "not ours").expect("written");
    let svg = place.path().join("probe.svg");
    let finished = run(&[
        "storage",
        "probe",
        place.path().to_str().expect("UTF-8"),
        "--profile",
        "ebs-io2",
        "--seconds",
        "2",
        "--json",
        "--svg",
        svg.to_str().expect("UTF-8"),
    ]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let report = json(&finished.stdout);
    assert_eq!(report["profile"], "ebs-io2");
    let operations = report["operations"].as_array().expect("a list");
    for name in [
        "write 1 KiB",
        "64 writers",
        "lock hand-over",
        "visible elsewhere",
        "rename",
    ] {
        let one = operations
            .iter()
            .find(|one| one["name"] == name)
            .expect(name);
        assert!(number(&one["count"]) >= 1.0, "{one}");
        assert!(number(&one["p50_us"]) <= number(&one["max_us"]), "{one}");
    }
    let write = operations.iter().find(|one| one["name"] == "write 1 KiB");
    assert!(
        number(&write.expect("there")["p50_us"]) >= 370.0,
        "{write:?}"
    );
    let predicted = report["predicted"].as_array().expect("a list");
    let producers: Vec<f64> = predicted
        .iter()
        .map(|one| number(&one["producers"]))
        .collect();
    assert_eq!(producers, [1.0, 16.0, 64.0]);
    let rates: Vec<f64> = predicted
        .iter()
        .map(|one| number(&one["per_second"]))
        .collect();
    assert!(
        rates[0] > 10.0 && rates[0] < 2_500.0,
        "one write each: {rates:?}"
    );
    assert!(rates[1] > rates[0], "writes are shared: {rates:?}");
    let picture = fs::read_to_string(&svg).expect("the picture");
    assert!(picture.contains("<svg") && picture.contains("lock hand-over"));

    let names = fs::read_dir(place.path()).expect("lists");
    let mut names: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["journal", "probe.svg"], "nothing else stays");
    let untouched = fs::read_to_string(journal.join("0000000001-1.seg")).expect("there");
    assert_eq!(untouched, "not ours");
}

#[test]
fn a_comparison_loads_a_real_broker_on_each_target() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let lab = place.path().join("lab");
    fs::create_dir(&lab).expect("created");
    let file = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    let finished = run(&[
        "storage",
        "compare",
        "local",
        "efs-regional",
        "--directory",
        lab.to_str().expect("UTF-8"),
        "--seconds",
        "0.6",
        "--producers",
        "1,8",
        "--json",
        &file("compare.json"),
        "--svg",
        &file("compare.svg"),
    ]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("PREDICTED"), "{}", finished.stdout);
    let report = json(&fs::read_to_string(file("compare.json")).expect("written"));
    let targets = report["targets"].as_array().expect("a list");
    let names: Vec<&Value> = targets.iter().map(|target| &target["name"]).collect();
    assert_eq!(names, ["local", "efs-regional"]);
    for target in targets {
        let loads = target["loads"].as_array().expect("a list");
        assert_eq!(loads.len(), 2);
        for load in loads {
            assert!(number(&load["messages"]) >= 1.0, "{target}");
            assert!(number(&load["writes_per_second"]) > 0.0, "{target}");
            assert!(number(&load["predicted"]["per_second"]) > 0.0, "{target}");
        }
    }
    let efs = &targets[1]["loads"][0];
    assert!(
        number(&efs["p50_us"]) >= 2_400.0,
        "as slow as the profile: {efs}"
    );
    let picture = fs::read_to_string(file("compare.svg")).expect("the picture");
    assert!(picture.contains("8 producers") && picture.contains("efs-regional"));
    assert_eq!(
        fs::read_dir(&lab).expect("lists").count(),
        0,
        "nothing stays"
    );
}

#[test]
fn what_cannot_be_measured_is_named_with_what_to_do() {
    for (arguments, expected) in [
        (
            vec!["probe", "/nowhere"],
            "`/nowhere` is no directory: create it",
        ),
        (
            vec!["probe", "/tmp", "--profile", "efs-regionel"],
            "`--profile efs-regionel`: no such profile; did you mean `efs-regional`?",
        ),
        (
            vec!["probe", "/tmp", "--seconds", "0"],
            "`--seconds 0`: give from 0.5",
        ),
        (
            vec!["compare", "efs"],
            "`efs` is no directory, and no such profile",
        ),
        (
            vec!["compare", "/no/where"],
            "`/no/where` is no directory: create it",
        ),
        (
            vec!["compare", "local", "--producers", "0"],
            "give numbers from 1 to 1000",
        ),
    ] {
        let mut all = vec!["storage"];
        all.extend(&arguments);
        let finished = run(&all);
        assert_eq!(finished.status.code(), Some(1), "{arguments:?}");
        assert!(
            finished.stderr.contains(expected),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}
