//! What a suite has counted, left where `make soak` gathers it.

use std::{fs, path::PathBuf};

use serde::Serialize;

/// Folder of the figures of one `make soak`; unset, nothing is written.
const FOLDER: &str = "CUTOVER_SOAK_OUT";

/// What one suite has to show.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// As in the folder's file names and in `soak.json`.
    pub suite: &'static str,
    /// What one case is, for a reader of the table: "killed, and recovered".
    pub what: &'static str,
    pub cases: usize,
    pub survived: usize,
    /// What could not be tried here, and why. Never counted as survived.
    pub skipped: Vec<String>,
    /// Of the load: what was answered, what was lost, and green's answers to requests sent after the answer to the rollback and
    /// the propagation bound.
    pub requests: u64,
    pub lost: u64,
    pub green_after_rollback: u64,
    /// Groups, rules and pins that were there at the end and should not have been.
    pub left_over: u64,
    /// Planted bugs, and how many of them turned a case red.
    pub planted: usize,
    pub caught: usize,
    pub seed: Option<u64>,
    pub seconds: u64,
}

impl Figures {
    /// Prints them: of a sample.
    pub fn print(&self) {
        println!("{}: {} of {} survived; {self:?}", self.suite, self.survived, self.cases);
    }

    /// Prints them; with `make soak`, writes them down as well.
    pub fn publish(&self) {
        self.print();
        if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{}.json", self.suite)), serde_json::to_vec_pretty(self).unwrap()).unwrap();
        }
    }
}
