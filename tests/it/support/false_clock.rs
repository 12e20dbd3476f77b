//! A clock of one process's own that can be set while it runs: Debian's `faketime`, loaded before the program.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

/// Where the wall clock of a process can be set; its monotonic one goes on as it does.
#[derive(Debug)]
pub struct FalseClock {
    library: PathBuf,
    dir: TempDir,
}

impl FalseClock {
    /// Why there is none here, if so.
    pub fn cannot() -> Option<String> {
        library().is_none().then(|| "libfaketime is not installed (scripts/setup does it)".to_owned())
    }

    /// One that is right.
    pub fn new() -> Self {
        let clock = Self { library: library().unwrap(), dir: tempfile::tempdir().unwrap() };
        clock.set(0);
        clock
    }

    /// What the process is started with.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let variables = [
            ("LD_PRELOAD", text(self.library.clone())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file())),
            // A step is seen at once.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Steps it so many seconds ahead of the true time.
    pub fn set(&self, seconds: i64) {
        let next = self.dir.path().join("next");
        fs::write(&next, format!("{seconds:+}\n")).unwrap();
        // In one piece: the process reads it at any moment.
        fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clock")
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists())
}
