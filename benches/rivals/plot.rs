//! Each row of the table as bars, in small panels. SVG, by hand.

use std::fmt::Write as _;

use super::servers::NAMES;
use super::table::{Row, Table, short};

const COLUMNS: usize = 3;
const WIDTH: f64 = 320.0;
const BAR: f64 = 15.0;
const HEIGHT: f64 = 44.0 + BAR * NAMES.len() as f64;
const LEFT: f64 = 96.0;
/// A bar's greatest length; behind it stands its figure.
const LENGTH: f64 = 150.0;
const COLOURS: [&str; NAMES.len()] = ["#bdbdbd", "#74a9cf", "#a6bddb", "#d0d1e6", "#045a8d"];

/// The plot of docs/BENCHMARKS.md.
pub fn panels(table: &Table) -> String {
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * table.rows.len().div_ceil(COLUMNS) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n"
    );
    for (n, row) in table.rows.iter().enumerate() {
        panel(&mut svg, row, (n % COLUMNS) as f64 * WIDTH, (n / COLUMNS) as f64 * HEIGHT);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, row: &Row, left: f64, top: f64) {
    let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
    let (x, y) = (left + 8.0, top + 20.0);
    writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" font-weight=\"bold\" font-size=\"9\">{}{unit}</text>", row.name)
        .expect("a String takes all");
    let most = row.figures.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (n, figure) in row.figures.iter().enumerate() {
        let (y, length) = (top + 28.0 + BAR * n as f64, (figure / most * LENGTH).max(1.0));
        let (name, colour) = (NAMES[n], COLOURS[n]);
        writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text><rect x=\"{:.0}\" y=\"{y:.0}\" \
             width=\"{length:.1}\" height=\"{:.0}\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            left + LEFT - 5.0,
            y + 10.0,
            left + LEFT,
            BAR - 3.0,
            left + LEFT + length + 4.0,
            y + 10.0,
            short(*figure)
        )
        .expect("a String takes all");
    }
}
