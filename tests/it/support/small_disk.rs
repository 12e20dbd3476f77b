//! A disk of one story's own that can be filled up: a small tmpfs. Mounting one is root's alone.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// Enough for what a replica keeps of one deployment.
const BYTES: &str = "1m";
/// More than it holds.
const PAGES_MAX: usize = 1024;

/// Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Why none can be mounted here, if so.
    pub fn cannot() -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        Self::mount(folder.path()).err()
    }

    /// Makes the folder a disk.
    pub fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))?;
        let run =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={BYTES},mode=0711"), "tmpfs"]).arg(at).output();
        match run {
            Ok(run) if run.status.success() => Ok(Self { at: at.to_owned() }),
            Ok(run) => Err(format!("no tmpfs can be mounted: {}", String::from_utf8_lossy(&run.stderr).trim())),
            Err(error) => Err(format!("no tmpfs can be mounted: {error}")),
        }
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let full = (0..PAGES_MAX).find_map(|_| ballast.write_all(&[1; 4096]).err());
        assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::StorageFull), "it is small");
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what is still open goes when it is closed.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
