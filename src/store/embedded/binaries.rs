//! Finds the machine's own Postgres. Several versions may be installed; data made by one is read by no other.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::EmbeddedError;

const NEEDED: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// The folder of binaries to use: `flag`'s, or the first found that fits `major`, the version the data was made by.
pub(super) async fn find(flag: Option<&Path>, major: Option<&str>) -> Result<PathBuf, EmbeddedError> {
    if let Some(folder) = flag {
        return if is_complete(folder) { Ok(folder.to_owned()) } else { Err(EmbeddedError::NotThere(folder.to_owned())) };
    }
    let candidates = candidates().await;
    let Some(major) = major else { return candidates.into_iter().next().ok_or(EmbeddedError::NoPostgres) };
    for folder in candidates {
        if major_of(&folder).await.as_deref() == Some(major) {
            return Ok(folder);
        }
    }
    Err(EmbeddedError::NoSuchPostgres { major: major.to_owned() })
}

async fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(versions("/usr/lib/postgresql", "", "bin"));
    folders.extend(versions("/usr", "pgsql-", "bin"));
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt"] {
        folders.extend(versions(homebrew, "postgresql@", "bin"));
    }
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders.retain(|folder| is_complete(folder));
    folders
}

/// `parent/<prefix><version>/<below>`, the highest version first.
fn versions(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

fn is_complete(folder: &Path) -> bool {
    NEEDED.iter().all(|name| folder.join(name).is_file())
}

/// `15` of `postgres (PostgreSQL) 15.14`.
async fn major_of(folder: &Path) -> Option<String> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().await.ok()?;
    major_in(&String::from_utf8_lossy(&output.stdout))
}

fn major_in(said: &str) -> Option<String> {
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).map_or(version, |end| &version[..end]);
    Some(digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_out_of_what_postgres_says() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "15"),
            ("postgres (PostgreSQL) 18beta1", "18"),
            ("postgres (PostgreSQL) 9.6.24", "9"),
        ] {
            assert_eq!(major_in(said).as_deref(), Some(major));
        }
        assert_eq!(major_in(""), None);
    }

    #[test]
    fn the_highest_version_comes_first_by_number_and_not_by_letter() {
        let parent = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17", "common"] {
            std::fs::create_dir(parent.path().join(version)).unwrap();
        }
        let parent = parent.path().to_str().unwrap();
        let expected: Vec<_> = ["17", "15", "9"].iter().map(|version| Path::new(parent).join(version).join("bin")).collect();
        assert_eq!(versions(parent, "", "bin"), expected);
    }

    #[tokio::test]
    async fn a_folder_given_by_hand_is_taken_or_refused_and_never_replaced_by_another() {
        let empty = tempfile::tempdir().unwrap();
        let said = find(Some(empty.path()), None).await.unwrap_err().to_string();
        assert!(said.contains(&empty.path().display().to_string()), "{said}");
    }
}
