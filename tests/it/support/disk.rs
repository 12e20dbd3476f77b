//! What a replica keeps on its own disk, in memory; and a disk that is full.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use cutover::engine::local::{KeptBundle, KeptTokens, Line, LocalFiles};
use futures::{FutureExt, future::BoxFuture};

#[derive(Debug, Default)]
pub struct Disk {
    pub lines: Mutex<Vec<Line>>,
    pub bundles: Mutex<Vec<KeptBundle>>,
    pub full: AtomicBool,
}

impl Disk {
    fn taken(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl LocalFiles for Disk {
    fn keep_bundles(&self, bundles: Vec<KeptBundle>) -> BoxFuture<'_, io::Result<()>> {
        async move { self.taken().map(|()| *self.bundles.lock().unwrap() = bundles) }.boxed()
    }

    fn keep_tokens(&self, _tokens: KeptTokens) -> BoxFuture<'_, io::Result<()>> {
        async move { self.taken() }.boxed()
    }

    fn append(&self, line: Line) -> BoxFuture<'_, io::Result<()>> {
        async move { self.taken().map(|()| self.lines.lock().unwrap().push(line)) }.boxed()
    }
}
