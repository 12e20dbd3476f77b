//! What this replica keeps on its own disk for the time when the database is away: the bundles of running deployments, the
//! tokens that may roll back, and the journal of rollbacks that wait for their record.
//!
//! Nobody else may read it (the tokens' digests are in it), every line carries its SHA-256, and what is damaged is refused
//! whole: a rollback by half a record would be worse than the line by hand.

mod journal;
mod sealed;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::state_dir::{StateDir, StateDirError};
use crate::engine::{
    local::{Entry, KeptBundle, KeptTokens, Line, LocalFiles},
    ports::TokenOwner,
};
use journal::Journal;

/// The form of the files; another one is refused.
const FORM: u32 = 1;
/// A file larger than this was not written by us.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// Whose bundles and tokens they are.
    pub installation: Option<Uuid>,
    pub bundles: Vec<KeptBundle>,
    pub tokens: Option<KeptTokens>,
    pub journal: Vec<Entry>,
}

/// Implements [`LocalFiles`] in a folder below the state folder.
#[derive(Debug, Clone)]
pub struct Local {
    bundles: PathBuf,
    tokens: PathBuf,
    journal: Journal,
    /// Known once the database has said it, or the files.
    installation: Arc<OnceLock<Uuid>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: u32,
    installation: Uuid,
    /// Of the whole file; bundles have one each.
    as_of: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenLine {
    sha256: String,
    name: String,
    admin: bool,
}

impl Local {
    /// Opens the folder, making it if it is not there, and reads what it holds. What is damaged is told in the log and left out.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn open(state: &StateDir) -> Result<(Self, Found), StateDirError> {
        let folder = state.path().join("lane");
        let io = |doing| {
            let path = folder.clone();
            move |source| StateDirError::Io { doing, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io("make the rollback lane's folder"))?;
        let (journal, waiting) = Journal::open(&folder.join("journal")).map_err(io("open the rollback lane's journal in"))?;
        let (bundles, tokens) = (folder.join("bundles"), folder.join("tokens"));
        let kept: Option<(Head, Vec<KeptBundle>)> = read(&bundles);
        let known: Option<(Head, Vec<TokenLine>)> = read(&tokens);
        let mut found = Found { journal: waiting, ..Found::default() };
        if let Some((head, lines)) = kept {
            found.installation = Some(head.installation);
            found.bundles = lines;
        }
        if let Some((head, lines)) = known.filter(|(head, _)| found.installation.is_none_or(|id| id == head.installation)) {
            found.installation = Some(head.installation);
            let owner = |line: TokenLine| Some((digest(&line.sha256)?, TokenOwner { name: line.name, admin: line.admin }));
            let owners = lines.into_iter().filter_map(owner).collect();
            found.tokens = head.as_of.map(|as_of| KeptTokens { as_of, owners });
        }
        Ok((Self { bundles, tokens, journal, installation: Arc::default() }, found))
    }

    /// Says whose files these are. Nothing is kept before that.
    pub fn belongs_to(&self, installation: Uuid) {
        // It never changes while the service runs.
        let _ = self.installation.set(installation);
    }

    fn head(&self, as_of: Option<Timestamp>) -> io::Result<Head> {
        let installation =
            self.installation.get().copied().ok_or_else(|| io::Error::other("whose files they are is not known"))?;
        Ok(Head { form: FORM, installation, as_of })
    }
}

/// The bundles in a file that a service wrote, or a copy of it, with whose they are.
///
/// # Errors
/// When it cannot be read, or anything in it is not as it was written.
pub fn bundles_in(path: &Path) -> io::Result<(Uuid, Vec<KeptBundle>)> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let read: Option<(Head, Vec<KeptBundle>)> = sealed::read(path, FILE_BYTES_MAX)?;
    let (head, bundles) = read.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if head.form == FORM { Ok((head.installation, bundles)) } else { Err(damaged("it is of another version of Cutover")) }
}

/// A damaged file is as good as none, and is written anew.
fn read<L: DeserializeOwned>(path: &Path) -> Option<(Head, Vec<L>)> {
    match sealed::read(path, FILE_BYTES_MAX) {
        Ok(Some((head, lines))) => {
            let Head { form, .. } = head;
            if form == FORM {
                return Some((head, lines));
            }
            tracing::warn!(path = %path.display(), form, "a local file of another form is not read; a new one is written");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a local file is not used, and is written anew: until then this replica cannot roll back without the database");
        }
    }
    None
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

impl LocalFiles for Local {
    fn keep_bundles(&self, bundles: Vec<KeptBundle>) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let (head, path) = (self.head(None)?, self.bundles.clone());
            tokio::task::spawn_blocking(move || sealed::write(&path, &head, &bundles)).await?
        }
        .boxed()
    }

    fn keep_tokens(&self, tokens: KeptTokens) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let (head, path) = (self.head(Some(tokens.as_of))?, self.tokens.clone());
            let line = |(sha256, owner): ([u8; 32], TokenOwner)| TokenLine {
                sha256: hex(&sha256),
                name: owner.name,
                admin: owner.admin,
            };
            let lines: Vec<_> = tokens.owners.into_iter().map(line).collect();
            tokio::task::spawn_blocking(move || sealed::write(&path, &head, &lines)).await?
        }
        .boxed()
    }

    fn append(&self, line: Line) -> BoxFuture<'_, io::Result<()>> {
        self.journal.append(line).boxed()
    }
}
