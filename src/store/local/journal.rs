//! The journal: one sealed line for each rollback that could not be put on record, forced to the disk before it is answered.
//!
//! One thread writes. Lines that come while it forces the last ones to the disk share the next turn, so two hundred rollbacks at
//! once cost a few. A line that a crash cut short is cut off at the next start; once nothing waits any more the file is emptied.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    future::Future,
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
};

use tokio::sync::{mpsc, oneshot};

use super::sealed;
use crate::{
    domain::ids::DeploymentId,
    engine::local::{Entry, Line},
};

/// A journal larger than this takes nothing more: a rollback goes on without it then.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Lines that one turn of the disk takes.
const BATCH_MAX: usize = 256;
/// Lines that wait for their turn.
const WAITING_MAX: usize = 1024;

#[derive(Debug)]
struct Order {
    line: Line,
    done: oneshot::Sender<io::Result<()>>,
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    orders: mpsc::Sender<Order>,
}

impl Journal {
    /// Opens it, and returns what still waits.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let writer = Writer::read(file, path)?;
        let waiting = writer.waiting.values().cloned().collect();
        let (orders, received) = mpsc::channel(WAITING_MAX);
        thread::Builder::new().name("cutover-journal".to_owned()).spawn(move || writer.run(received))?;
        Ok((Self { orders }, waiting))
    }

    /// Returns once the line is on the disk.
    pub(super) fn append(&self, line: Line) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let orders = self.orders.clone();
        async move {
            let gone = || io::Error::other("the journal's writer has ended");
            let (done, outcome) = oneshot::channel();
            orders.send(Order { line, done }).await.map_err(|_| gone())?;
            outcome.await.map_err(|_| gone())?
        }
    }
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Of what is whole and on the disk.
    bytes: u64,
    waiting: BTreeMap<DeploymentId, Entry>,
}

impl Writer {
    /// Takes in what is there. Bytes after the last whole line are of one that was never answered.
    fn read(mut file: File, path: &Path) -> io::Result<Self> {
        let mut waiting = BTreeMap::new();
        let (mut bytes, mut damaged) = (0, 0);
        let mut text = BufReader::new(&mut file);
        let mut line = Vec::new();
        while text.read_until(b'\n', &mut line)? > 0 {
            if !line.ends_with(b"\n") {
                tracing::warn!(path = %path.display(), "the journal's last line was cut short; it had not been answered");
                break;
            }
            match std::str::from_utf8(&line).ok().and_then(sealed::unseal) {
                Some(line) => take_in(&mut waiting, line),
                None => damaged += 1,
            }
            bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
            line.clear();
        }
        if damaged > 0 {
            tracing::warn!(path = %path.display(), damaged, "damaged lines of the journal are left out: their rollbacks stand at the load balancer, but nobody will say who asked for them");
        }
        let mut writer = Self { file, bytes, waiting };
        writer.cut()?;
        Ok(writer)
    }

    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(first) = orders.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(next) = orders.try_recv()
            {
                batch.push(next);
            }
            let outcome = self.write(&batch);
            for order in batch {
                let outcome = outcome.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
                // Nobody may wait for it any more.
                let _ = order.done.send(outcome);
            }
        }
    }

    fn write(&mut self, batch: &[Order]) -> io::Result<()> {
        let mut text = String::new();
        for order in batch {
            text.push_str(&sealed::seal(&order.line)?);
        }
        let more = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(more) > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::StorageFull, format!("the journal has reached its {BYTES_MAX} bytes")));
        }
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Half a line would spoil the next one.
            self.cut()?;
            return Err(error);
        }
        self.bytes += more;
        for order in batch {
            take_in(&mut self.waiting, order.line.clone());
        }
        if self.waiting.is_empty() {
            self.bytes = 0;
            self.cut()?;
        }
        Ok(())
    }

    /// Cuts off whatever is not whole, and goes on from there.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.sync_data()
    }
}

/// Of two who asked for the same, the first stays: a rollback is absorbing.
fn take_in(waiting: &mut BTreeMap<DeploymentId, Entry>, line: Line) {
    match line {
        Line::Asked(entry) => {
            waiting.entry(entry.deployment).or_insert(entry);
        }
        Line::Accepted { deployment, at } => {
            if let Some(entry) = waiting.get_mut(&deployment) {
                entry.accepted_at = entry.accepted_at.or(Some(at));
            }
        }
        Line::Observed { deployment, at } => {
            if let Some(entry) = waiting.get_mut(&deployment) {
                entry.observed_at = entry.observed_at.or(Some(at));
            }
        }
        Line::Over { deployment } => {
            waiting.remove(&deployment);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use jiff::Timestamp;
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::domain::sample;

    fn id(n: u128) -> DeploymentId {
        DeploymentId::new(Uuid::from_u128(n))
    }

    fn asked(n: u128) -> Entry {
        let target = sample::pending(1, 1, sample::strategy(&[100], 0)).target;
        Entry { deployment: id(n), target, given: sample::given(), accepted_at: None, observed_at: None }
    }

    fn place() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        (folder, path)
    }

    fn waiting(path: &Path) -> Vec<Entry> {
        Journal::open(path).unwrap().1
    }

    #[tokio::test]
    async fn what_was_asked_waits_across_restarts_until_it_is_over() {
        let (_folder, path) = place();
        let (journal, nothing) = Journal::open(&path).unwrap();
        assert_eq!(nothing, []);
        let at = Timestamp::from_second(7).unwrap();
        journal.append(Line::Asked(asked(1))).await.unwrap();
        journal.append(Line::Asked(asked(2))).await.unwrap();
        journal.append(Line::Accepted { deployment: id(2), at }).await.unwrap();
        journal.append(Line::Observed { deployment: id(2), at }).await.unwrap();
        let accepted = Entry { accepted_at: Some(at), observed_at: Some(at), ..asked(2) };
        assert_eq!(waiting(&path), [asked(1), accepted.clone()]);
        journal.append(Line::Over { deployment: id(1) }).await.unwrap();
        assert_eq!(waiting(&path), [accepted]);
        journal.append(Line::Over { deployment: id(2) }).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0, "with nothing to wait for it is empty");
        journal.append(Line::Asked(asked(3))).await.unwrap();
        assert_eq!(waiting(&path), [asked(3)], "and goes on from there");
    }

    #[tokio::test]
    async fn the_first_who_asked_stays() {
        let (_folder, path) = place();
        let (journal, _) = Journal::open(&path).unwrap();
        journal.append(Line::Asked(asked(1))).await.unwrap();
        let mut second = asked(1);
        second.given.by = "somebody else".to_owned();
        journal.append(Line::Asked(second)).await.unwrap();
        assert_eq!(waiting(&path), [asked(1)]);
    }

    #[tokio::test]
    async fn a_line_that_a_crash_cut_short_is_cut_off_wherever_that_was() {
        let (_folder, path) = place();
        let (journal, _) = Journal::open(&path).unwrap();
        journal.append(Line::Asked(asked(1))).await.unwrap();
        let first = fs::metadata(&path).unwrap().len();
        journal.append(Line::Asked(asked(2))).await.unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in usize::try_from(first).unwrap()..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (journal, left) = Journal::open(&path).unwrap();
            assert_eq!(left, [asked(1)], "cut after {cut} bytes");
            journal.append(Line::Asked(asked(3))).await.unwrap();
            assert_eq!(waiting(&path), [asked(1), asked(3)], "what comes next is whole");
        }
    }

    #[tokio::test]
    async fn a_damaged_line_harms_no_other() {
        let (_folder, path) = place();
        let (journal, _) = Journal::open(&path).unwrap();
        for n in 1..=3 {
            journal.append(Line::Asked(asked(n))).await.unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.len() / 2;
        bytes[second] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(waiting(&path), [asked(1), asked(3)]);
    }

    #[tokio::test]
    async fn many_at_once_are_all_there() {
        let (_folder, path) = place();
        let (journal, _) = Journal::open(&path).unwrap();
        let appended = futures::future::join_all((0..200).map(|n| journal.append(Line::Asked(asked(n))))).await;
        assert!(appended.iter().all(Result::is_ok));
        assert_eq!(waiting(&path).len(), 200);
    }

    #[test]
    fn a_full_journal_takes_nothing_more_and_keeps_what_it_has() {
        let (_folder, path) = place();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let mut writer = Writer::read(file, &path).unwrap();
        let order = |n| Order { line: Line::Asked(asked(n)), done: oneshot::channel().0 };
        writer.write(&[order(1)]).unwrap();
        let kept = writer.bytes;
        writer.bytes = BYTES_MAX;
        assert_eq!(writer.write(&[order(2)]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        writer.bytes = kept;
        writer.write(&[order(3)]).unwrap();
        assert_eq!(waiting(&path), [asked(1), asked(3)]);
    }

    #[test]
    fn a_disk_that_takes_no_more_leaves_no_half_line() {
        // `/dev/full` takes nothing; what matters is that it is told, and that the writer does not end.
        let file = File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut writer = Writer { file, bytes: 0, waiting: BTreeMap::new() };
        let order = Order { line: Line::Asked(asked(1)), done: oneshot::channel().0 };
        assert!(writer.write(&[order]).is_err());
        assert!(writer.waiting.is_empty());
    }
}
