//! Whose processes the embedded Postgres is. It refuses to run as root, so root runs it as user `postgres`, who must be able
//! to pass every folder above its data.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::EmbeddedError;

/// The user made by every package of Postgres.
const USER: &str = "postgres";

/// A user to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

/// Whom to become: nobody else, unless this is root.
pub(super) async fn to_become() -> Result<Option<Account>, EmbeddedError> {
    if id(&["-u"]).await.ok_or(EmbeddedError::NoUser)? != 0 {
        return Ok(None);
    }
    match (id(&["-u", USER]).await, id(&["-g", USER]).await) {
        (Some(uid), Some(gid)) => Ok(Some(Account { uid, gid })),
        _ => Err(EmbeddedError::NoUser),
    }
}

/// Asks `id`, which also knows users that are in no file.
async fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// The topmost folder on the way to `path` that `account` cannot pass.
pub(super) fn barred(account: Account, path: &Path) -> Option<PathBuf> {
    let mut folders: Vec<_> = path.ancestors().skip(1).collect();
    folders.reverse();
    let bars = |folder: &&Path| fs::metadata(folder).is_ok_and(|meta| !may_pass(account, meta.uid(), meta.gid(), meta.mode()));
    folders.into_iter().find(bars).map(Path::to_owned)
}

/// The mode's search bit of the class that `account` falls in: owner, else group, else others.
fn may_pass(account: Account, uid: u32, gid: u32, mode: u32) -> bool {
    let bit = match () {
        () if account.uid == uid => 0o100,
        () if account.gid == gid => 0o010,
        () => 0o001,
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SOMEBODY: Account = Account { uid: 4_000_000, gid: 4_000_000 };

    #[test]
    fn the_class_that_fits_first_decides() {
        assert!(may_pass(SOMEBODY, 0, 0, 0o711));
        assert!(!may_pass(SOMEBODY, 0, 0, 0o770));
        assert!(may_pass(SOMEBODY, 0, SOMEBODY.gid, 0o710));
        assert!(!may_pass(SOMEBODY, SOMEBODY.uid, 0, 0o011));
    }

    #[test]
    fn the_topmost_closed_folder_is_named() {
        let top = tempfile::tempdir_in("/tmp").unwrap();
        let open = top.path().join("open");
        let closed = open.join("closed");
        fs::create_dir_all(closed.join("below")).unwrap();
        for (folder, mode) in [(top.path(), 0o711), (open.as_path(), 0o755), (closed.as_path(), 0o700)] {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(barred(SOMEBODY, &closed.join("below/data")), Some(closed.clone()));
        assert_eq!(barred(SOMEBODY, &open.join("data")), None);
    }
}
