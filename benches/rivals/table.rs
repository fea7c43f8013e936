//! The figures, a row each, a column for each server.

use std::fmt::Write as _;

use super::servers::NAMES;

/// What ours is divided by in the last column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Direct,
    Nginx,
    Nothing,
}

pub struct Row {
    pub name: String,
    pub unit: &'static str,
    pub beside: Beside,
    /// In the order of [`NAMES`].
    pub figures: Vec<f64>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let ours = self.figures[NAMES.len() - 1];
        match self.beside {
            Beside::Direct => Some(ours / self.figures[0]),
            Beside::Nginx => Some(ours / self.figures[1]),
            Beside::Nothing => None,
        }
    }
}

#[derive(Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    pub fn add(&mut self, name: &str, unit: &'static str, beside: Beside, figures: Vec<f64>) {
        let row = Row { name: name.to_owned(), unit, beside, figures };
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "| | {} | ours to direct, or to nginx |\n|---|{}---|\n",
            NAMES.join(" | "),
            "---|".repeat(NAMES.len())
        );
        self.rows.iter().for_each(|row| writeln!(text, "{}", line(row)).expect("a String takes all"));
        text
    }
}

fn line(row: &Row) -> String {
    let name = if row.unit.is_empty() { row.name.clone() } else { format!("{}, {}", row.name, row.unit) };
    let figures: Vec<String> = row.figures.iter().map(|figure| short(*figure)).collect();
    let beside = match (row.ratio(), row.beside) {
        (Some(ratio), Beside::Direct) => format!("{ratio:.2} × direct"),
        (Some(ratio), _) => format!("{ratio:.2} × nginx"),
        (None, _) => String::new(),
    };
    format!("| {name} | {} | {beside} |", figures.join(" | "))
}

/// Three digits that count.
pub fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 10_000.0 => {
            let thousands = (figure / 1000.0).floor();
            format!("{thousands:.0},{:03.0}", (figure - thousands * 1000.0).floor())
        }
        _ if figure >= 100.0 || figure.fract() == 0.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ if figure >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
