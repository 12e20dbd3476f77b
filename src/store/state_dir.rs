//! The folder that makes a replica the same one after a restart: who it is, under a lock that says nobody else is it.
//!
//! Leases are given to the holder's id. Two processes with one id would take each other's work for their own, so the id is
//! read only under the lock; the kernel drops the lock with the process, also by `kill -9`, and no child inherits it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::domain::ids::HolderId;

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    #[error(
        "another cutover service (process {by}) uses {}: stop it, or give this one a folder of its own with --state-dir",
        path.display()
    )]
    InUse { path: PathBuf, by: String },
    #[error("cannot {doing} {}: give a folder that this user may write to with --state-dir", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// An open state folder; it is ours while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    holder: HolderId,
    _lock: File,
}

impl StateDir {
    /// Takes the folder, making it if it is not there.
    ///
    /// # Errors
    /// When another service has it, or it cannot be written to.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { doing, path, source }
        };
        // Others may pass: as root the embedded Postgres is another user. What is private in it says so itself.
        DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(io("make the state folder", path))?;
        let path = path.canonicalize().map_err(io("find the state folder", path))?;
        let lock = lock(&path)?;
        let holder = path.join("holder");
        let holder = read_or_make(&holder).map_err(io("keep this replica's id in", &holder))?;
        Ok(Self { path, holder, _lock: lock })
    }

    /// The folder, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this replica is: the same after every restart on this folder.
    #[must_use]
    pub fn holder(&self) -> &HolderId {
        &self.holder
    }
}

fn lock(folder: &Path) -> Result<File, StateDirError> {
    let path = folder.join("lock");
    let io = |source| StateDirError::Io { doing: "lock", path: path.clone(), source };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let read = file.take(20).read_to_string(&mut by);
            let by = if read.is_ok() && !by.trim().is_empty() { by.trim().to_owned() } else { "unknown".to_owned() };
            return Err(StateDirError::InUse { path: folder.to_owned(), by });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    // For the error above: whoever comes second learns whom to stop.
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

/// An id that cannot be read is replaced: a new one only means that the old one's leases have to run out.
fn read_or_make(path: &Path) -> io::Result<HolderId> {
    match fs::read_to_string(path) {
        Ok(text) => {
            if let Ok(id) = text.trim().parse::<Uuid>() {
                return Ok(HolderId::new(id.to_string()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = Uuid::now_v7().to_string();
    let whole = path.with_extension("new");
    let mut file = File::create(&whole)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&whole, path)?;
    Ok(HolderId::new(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_service_on_one_folder_is_told_whom_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        let said = StateDir::open(folder.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        assert!(said.contains(&folder.path().canonicalize().unwrap().display().to_string()), "{said}");
        drop(first);
        StateDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_replica_is_the_same_after_a_restart_and_another_folder_is_another_replica() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = StateDir::open(here.path()).unwrap().holder().clone();
        assert_eq!(StateDir::open(here.path()).unwrap().holder(), &before);
        assert_ne!(StateDir::open(there.path()).unwrap().holder(), &before);
    }

    #[test]
    fn an_id_cut_short_by_a_crash_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("holder"), "0193").unwrap();
        let made = StateDir::open(folder.path()).unwrap().holder().clone();
        assert_eq!(StateDir::open(folder.path()).unwrap().holder(), &made);
    }
}
