//! A server that is a process of its own, in a process group of its own, so that whatever it starts dies with it.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use tokio::{process::ChildStdin, time::timeout};

/// POSIX's number for the polite request to end.
const SIGTERM: i32 = 15;
/// How many ports are tried before a launch is given up.
const PORT_TRIES_MAX: u32 = 64;

/// Ports handed out by this process. A server binds its port some time after it was chosen; until then the kernel would
/// give the same one to the next caller.
static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A running server process. Dropping it kills the group.
#[derive(Debug)]
pub struct Child {
    process: Box<dyn ChildWrapper>,
    port: u16,
    /// Held open, never written: a server that watches its standard input learns that the region has died.
    _stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts `command` with `{port}` and `{instance}` replaced in each word.
    ///
    /// # Errors
    /// An empty command, no free port, or a program that cannot be started.
    pub fn spawn(instance: &str, command: &[String]) -> io::Result<(Self, SocketAddr)> {
        let address = free_address()?;
        let port = address.port().to_string();
        let mut words = command.iter().map(|word| word.replace("{port}", &port).replace("{instance}", instance));
        let program = words.next().ok_or_else(|| io::Error::other("the image's command is empty"))?;
        let mut wrapped = CommandWrap::with_new(&program, |command| {
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        wrapped.wrap(ProcessGroup::leader()).wrap(KillOnDrop);
        let mut process = wrapped.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let stdin = process.stdin().take();
        Ok((Self { process, port: address.port(), _stdin: stdin }, address))
    }

    /// Asks the whole group to end, and kills what is left of it after `patience`.
    pub async fn stop(mut self, patience: Duration) {
        if self.process.signal(SIGTERM).is_ok() {
            // Whether it went by itself or not: dropping kills what is left.
            let _ = timeout(patience, self.process.wait()).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A group that is gone already is what we want.
        let _ = self.process.start_kill();
        HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.port);
    }
}

fn free_address() -> io::Result<SocketAddr> {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..PORT_TRIES_MAX {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if handed_out.insert(address.port()) {
            return Ok(address);
        }
    }
    Err(io::Error::other("no free loopback port was found"))
}
