//! How the demo looks.

use std::{io::IsTerminal, time::Duration};

const WIDTH: usize = 12;

/// Prints acts and facts, in colour on a terminal.
pub(crate) struct Stage {
    colour: bool,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A heading.
    pub(crate) fn act(&self, number: u8, title: &str, remark: &str) {
        println!(
            "\n{} {}  {}",
            self.paint("1;36", &format!("{number}.")),
            self.paint("1", title),
            self.paint("2", remark)
        );
    }

    /// A line below it.
    pub(crate) fn fact(&self, name: &str, text: &str) {
        println!("   {} {text}", self.paint("32", &format!("{name:<WIDTH$}")));
    }

    /// The last line.
    pub(crate) fn end(&self, elapsed: Duration) {
        let line = format!("lost a disk, lost nothing: {:.1} s", elapsed.as_secs_f64());
        println!("\n   {}\n", self.paint("1;32", &line));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
