use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Time;

fn file(directory: &Path, name: &str, mode: u32, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .write(true)
        .mode(mode)
        .open(&path)
        .expect("made");
    file.write_all(text.as_bytes()).expect("written");
    // The umask may have taken bits away.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("changed");
    path
}

fn ids(keys: &Keyring) -> Vec<String> {
    keys.ids().iter().map(ToString::to_string).collect()
}

fn command(words: &[&str], timeout_ms: u64) -> Encryption {
    let mut encryption = Encryption::new();
    encryption.key_command.value = words.iter().map(|word| (*word).to_owned()).collect();
    encryption.key_command_timeout.value = Time::ms(timeout_ms);
    encryption
}

const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

#[test]
fn a_key_is_read_however_it_is_written() {
    let hexadecimal = "07".repeat(32);
    for text in [
        SEVENS.to_owned(),
        format!("{SEVENS}\n"),
        format!("# our key\n\n  {SEVENS}\r\n"),
        SEVENS.trim_end_matches('=').to_owned(),
        hexadecimal,
    ] {
        let keys = parse("a test", text.as_bytes()).expect("a key");
        assert_eq!(keys[0].id().to_string(), "92ca4fda408c8fc4", "{text}");
        assert_eq!(keys.len(), 1);
    }
    for byte in [0, 1, 0x5a, 0xff] {
        let text = encode(&[byte; KEY_BYTES]);
        let decoded = decode(text.trim_end().as_bytes()).expect("its own text");
        assert_eq!(*decoded, [byte; KEY_BYTES]);
    }
    assert_eq!(*encode(&[7; KEY_BYTES]), format!("{SEVENS}\n"));
}

#[test]
fn what_is_no_key_is_refused_by_line_and_not_shown() {
    let half = "c2VjcmV0IHNlY3JldA==";
    for (text, wanted) in [
        (
            format!("{SEVENS}\n{half}"),
            "line 2: 13 bytes instead of 32",
        ),
        (
            "not a key, but a password".to_owned(),
            "25 characters that are no key",
        ),
        ("0".repeat(63), "47 bytes instead of 32"),
        ("zz".repeat(32), "48 bytes instead of 32"),
        (
            format!("{}!", &SEVENS[..43]),
            "44 characters that are no key",
        ),
        (String::new(), "holds no key"),
        ("# only words\n".to_owned(), "holds no key"),
    ] {
        let error = parse("`k`", text.as_bytes())
            .expect_err("no key")
            .to_string();
        assert!(error.contains("`k`"), "{error}");
        assert!(
            !error.contains("password") && !error.contains(half),
            "{error}"
        );
        let is_told = error.contains(wanted) || error.contains("that are no key");
        assert!(is_told, "{text:?}: {error}");
        assert!(error.contains("baton storage new-key"), "{error}");
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().expect("made");
    for (mode, is_good) in [
        (0o600, true),
        (0o400, true),
        (0o640, true),
        (0o644, false),
        (0o660, false),
        (0o604, false),
    ] {
        let path = file(directory.path(), &format!("{mode:o}"), mode, SEVENS);
        let read = read_file(&path);
        assert_eq!(read.is_ok(), is_good, "{mode:o}");
        if let Err(error) = read {
            let error = error.to_string();
            assert!(error.contains(&format!("mode 0{mode:o}")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
    }
    let missing = read_file(&directory.path().join("missing")).expect_err("missing");
    assert!(
        missing.to_string().contains("cannot read the key file"),
        "{missing}"
    );
}

#[test]
fn the_first_key_writes_and_all_of_them_read() {
    let directory = tempfile::tempdir().expect("made");
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let mut encryption = Encryption::new();
    assert!(load(&encryption).expect("none is asked for").is_empty());
    let new = file(directory.path(), "new", 0o600, &format!("{one}\n{two}\n"));
    let old = file(directory.path(), "old", 0o600, SEVENS);
    encryption.key_file.value = new.display().to_string();
    encryption.old_key_files.value = vec![old.clone()];
    let keys = load(&encryption).expect("three keys");
    assert_eq!(ids(&keys).len(), 3);
    assert_eq!(
        keys.writing_id().expect("one writes").to_string(),
        ids(&keys)[0]
    );
    assert_eq!(ids(&keys)[2], "92ca4fda408c8fc4");
    encryption.key_file.value.clear();
    let keys = load(&encryption).expect("one key");
    assert_eq!((keys.writing_id(), ids(&keys).len()), (None, 1));
    let given = load_files(&[old, new]).expect("three keys");
    assert_eq!(
        given.writing_id().expect("one writes").to_string(),
        "92ca4fda408c8fc4"
    );
}

#[test]
fn a_command_prints_the_key_within_its_time() {
    let print = format!("echo {SEVENS}");
    let keys = load(&command(&["sh", "-c", &print], 10_000)).expect("a key");
    assert_eq!(ids(&keys), ["92ca4fda408c8fc4"]);
    let error = |words: &[&str], timeout_ms| {
        load(&command(words, timeout_ms))
            .expect_err("no key")
            .to_string()
    };
    let failed = error(&["sh", "-c", "echo no such vault >&2; exit 3"], 10_000);
    assert!(
        failed.contains("exit status: 3") && failed.contains("no such vault"),
        "{failed}"
    );
    let missing = error(&["/nonexistent/vault"], 10_000);
    assert!(
        missing.contains("cannot run the key command `/nonexistent/vault`"),
        "{missing}"
    );
    let started = Instant::now();
    let slow = error(&["sleep", "600"], 100);
    assert!(slow.contains("did not end within 100ms"), "{slow}");
    // It has ended, and something of it still holds the pipe.
    let held = error(&["sh", "-c", "sleep 5 & exit 0"], 200);
    assert!(held.contains("did not end within 200ms"), "{held}");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "it did not wait"
    );
    let empty = error(&["true"], 10_000);
    assert!(
        empty.contains("what the key command `true` printed holds no key"),
        "{empty}"
    );
    // More than anybody prints ends as well.
    let endless = error(&["sh", "-c", "yes 0123456789 | head -c 10000000"], 20_000);
    assert!(
        endless.contains("line 1") || endless.contains("failed"),
        "{endless}"
    );
}
