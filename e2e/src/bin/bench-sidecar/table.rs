//! Markdown tables, and numbers for people.

use std::time::Duration;

/// A table in the making.
pub(crate) struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = Self { columns: columns.len(), text: String::new() };
        table.line(columns);
        table.text.push_str(&format!("|{}\n", "---|".repeat(columns.len())));
        table
    }

    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        assert_eq!(cells.len(), self.columns, "a cell for each column");
        self.line(cells);
    }

    fn line<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells = cells.iter().map(|cell| format!(" {} |", cell.as_ref()));
        self.text.push_str(&format!("|{}\n", cells.collect::<String>()));
    }

    pub(crate) fn print(&self) {
        println!("{}", self.text);
    }
}

/// Megabytes of a million bytes.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / 1e6)
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
