//! Where an examination takes place: the directory itself, or what will hold it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ExamineError, Finding, Severity};

/// Files of an examination are in a directory whose name begins with this.
const BENCH_PREFIX: &str = ".baton-doctor-";

/// See the module.
pub(super) struct Place {
    /// The directory that was asked for.
    pub(super) asked: PathBuf,
    /// It, or its nearest ancestor that is there.
    pub(super) existing: PathBuf,
    pub(super) exists: bool,
}

/// Finds what is there of `directory`.
pub(super) fn find(directory: &Path) -> Result<Place, ExamineError> {
    let io = |source| ExamineError::Io {
        path: directory.to_owned(),
        source,
    };
    if directory.as_os_str().is_empty() {
        return Err(io(io::Error::other("the name is empty")));
    }
    let absolute = std::path::absolute(directory).map_err(io)?;
    for ancestor in absolute.ancestors() {
        match fs::metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() => {
                let existing = ancestor.canonicalize().map_err(io)?;
                let missing = absolute.strip_prefix(ancestor).unwrap_or(Path::new(""));
                let exists = missing.as_os_str().is_empty();
                return Ok(Place {
                    asked: if exists {
                        existing.clone()
                    } else {
                        existing.join(missing)
                    },
                    existing,
                    exists,
                });
            }
            Ok(_) => return Err(ExamineError::NotADirectory(ancestor.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A symbolic link to nowhere would come to life elsewhere.
                if fs::symlink_metadata(ancestor).is_ok() {
                    return Err(ExamineError::NotADirectory(ancestor.to_owned()));
                }
            }
            Err(error) => return Err(io(error)),
        }
    }
    Err(io(io::ErrorKind::NotFound.into()))
}

impl Place {
    pub(super) fn findings(&self) -> Vec<Finding> {
        if self.exists {
            return Vec::new();
        }
        let missing = self.asked.strip_prefix(&self.existing);
        let depth = missing.map_or(0, |missing| missing.components().count());
        let text = format!(
            "`{}` is not there yet; `{}` was examined instead",
            self.asked.display(),
            self.existing.display()
        );
        // A broker creates the directory itself, not what leads to it.
        if depth > 1 {
            vec![
                Finding::new("directory", Severity::Warning, text).remedy(
                    "is the share mounted? A broker creates the last part of the name only",
                ),
            ]
        } else {
            vec![Finding::new("directory", Severity::Note, text)]
        }
    }

    /// A new directory for the files of the examination.
    pub(super) fn bench(&self) -> io::Result<Bench> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let host = nix::unistd::gethostname().unwrap_or_default();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{BENCH_PREFIX}{}-{}-{number}",
            host.to_string_lossy(),
            std::process::id()
        );
        let path = self.existing.join(name);
        fs::create_dir(&path)?;
        Ok(Bench(Some(path)))
    }
}

/// A directory that goes with everything in it.
pub(super) struct Bench(Option<PathBuf>);

impl Bench {
    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new("."))
    }

    pub(super) fn remove(mut self) -> io::Result<()> {
        self.0.take().map_or(Ok(()), fs::remove_dir_all)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_is_examined_by_what_will_hold_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().canonicalize().expect("exists");
        let found = find(&root).expect("is there");
        assert!(found.exists && found.findings().is_empty());
        let found = find(&root.join("journal")).expect("its parent is there");
        assert!(!found.exists);
        assert_eq!(
            (&found.existing, &found.asked),
            (&root, &root.join("journal"))
        );
        assert_eq!(found.findings()[0].severity, Severity::Note);
        let found = find(&root.join("mnt/journal")).expect("an ancestor is there");
        assert_eq!(found.findings()[0].severity, Severity::Warning);
    }

    #[test]
    fn what_can_never_be_a_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        fs::write(&file, "x").expect("writes");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("links");
        for path in [&file, &link, &link.join("below")] {
            assert!(
                matches!(find(path), Err(ExamineError::NotADirectory(_))),
                "{path:?}"
            );
        }
        assert!(find(&file.join("below")).is_err());
        assert!(find(Path::new("")).is_err());
    }

    #[test]
    fn the_files_of_an_examination_go_with_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = find(directory.path()).expect("is there");
        let (one, other) = (
            place.bench().expect("creates"),
            place.bench().expect("creates"),
        );
        fs::write(one.path().join("x"), "x").expect("writes");
        drop(one);
        other.remove().expect("removes");
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 0);
    }
}
