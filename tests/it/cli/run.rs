//! Running the program as a CI job does: no terminal, an environment of its own, a deadline.

use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::fake::{DEADLINE, Fake};

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program with nothing but what it is given.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cutover"));
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) fn start(fake: &Fake, args: &[&str]) -> Child {
    program(args).env("CUTOVER_URL", &fake.url).env("CUTOVER_TOKEN", "a-token-of-twenty-characters").spawn().unwrap()
}

pub(crate) async fn end(child: Child) -> Ran {
    tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("it did not end in time").unwrap().into()
}

pub(crate) async fn run(fake: &Fake, args: &[&str]) -> Ran {
    end(start(fake, args)).await
}
