//! What the demo shows: lines as things happen, and on a terminal a traffic bar below them that is redrawn in place.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::load::record::Share;

/// Width of the traffic bar, in characters: with the figures beside it a line fits 80 columns, or it could not be redrawn.
const BAR_WIDTH: usize = 28;

/// Standard output, as a terminal or as a log.
#[derive(Debug, Clone)]
pub struct Screen {
    started: Instant,
    terminal: bool,
    colour: bool,
    /// The bar that stands below the last line.
    bar: Arc<Mutex<String>>,
}

impl Screen {
    /// The process's standard output; `NO_COLOR` is honoured.
    #[must_use]
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), terminal, colour, bar: Arc::default() }
    }

    /// Whether a bar can be redrawn in place.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Something happened.
    pub fn say(&self, text: &str) {
        self.line(&format!("{:6.1}s  {text}", self.started.elapsed().as_secs_f64()));
    }

    /// A heading of the story.
    pub fn act(&self, text: &str) {
        self.line("");
        self.line(&self.painted("1", &format!("== {text}")));
    }

    /// A command, as a user would type it.
    pub fn command(&self, text: &str) {
        for (at, line) in text.lines().enumerate() {
            let prompt = if at == 0 { "$ " } else { "" };
            self.line(&self.painted("36", &format!("{prompt}{line}")));
        }
    }

    /// A line as it is.
    pub fn line(&self, text: &str) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&format!("{}{text}\n{bar}", self.wipe(&bar)));
    }

    /// Redraws the bar; on anything but a terminal nothing happens.
    pub fn bar(&self, text: &str) {
        if self.terminal {
            let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
            self.write(&format!("{}{text}", self.wipe(&bar)));
            text.clone_into(&mut bar);
        }
    }

    /// The bar for two versions, the newer one to the right.
    #[must_use]
    pub fn drawn(&self, old: &str, new: &str, share: Share) -> String {
        let permille = (share.of_version * 1000).checked_div(share.of_all).unwrap_or_default();
        let right = (usize::try_from(permille).unwrap_or_default() * BAR_WIDTH).div_ceil(1000);
        let left = self.painted("34", &"█".repeat(BAR_WIDTH - right));
        // Without colour the shade alone tells them apart.
        let right = self.painted("32", &if self.colour { "█" } else { "░" }.repeat(right));
        format!("{old} {left}{right} {new} {:5.1} %", share.percent().unwrap_or_default())
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn wipe(&self, bar: &str) -> &'static str {
        if bar.is_empty() { "" } else { "\r\x1b[2K" }
    }

    /// A reader that has gone away is no reason to fail: the verdict is in the exit code.
    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_the_new_versions_share_and_rounds_it_up_so_that_one_percent_is_seen() {
        let screen = Screen { started: Instant::now(), terminal: false, colour: false, bar: Arc::default() };
        let bar = |of_version| screen.drawn("v1", "v2", Share { of_version, of_all: 1000 });
        assert_eq!(bar(0), format!("v1 {} v2   0.0 %", "█".repeat(28)));
        assert_eq!(bar(10), format!("v1 {}░ v2   1.0 %", "█".repeat(27)));
        assert!(screen.drawn("v1", "v2", Share::default()).ends_with("0.0 %"), "no answers yet");
    }
}
