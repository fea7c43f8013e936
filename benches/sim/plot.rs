//! Lookup times as curves: how many lookups have their first peer, or their end, after how long. SVG, by hand.

use std::fmt::Write as _;

use crate::world::Report;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 370.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 600.0;
/// The right end of the axis.
const MS: f64 = 1000.0;
const COLOURS: [&str; 5] = ["#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08306b"];

fn x(ms: f64) -> f64 {
    LEFT + ms.min(MS) / MS * (RIGHT - LEFT)
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

fn curve(svg: &mut String, sorted: &[u64], colour: &str, dashes: &str) {
    let points = (0..=200).filter(|_| !sorted.is_empty()).map(|n| {
        let ms = MS * f64::from(n) / 200.0;
        let share = sorted.partition_point(|it| *it as f64 <= ms) as f64 / sorted.len() as f64;
        format!("{:.1},{:.1}", x(ms), y(share))
    });
    let points: Vec<String> = points.collect();
    let points = points.join(" ");
    writeln!(
        svg,
        r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>"#
    )
    .expect("a String takes all");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    writeln!(svg, r#"<text x="{x:.0}" y="{y:.0}" text-anchor="{anchor}">{words}</text>"#)
        .expect("a String takes all");
}

/// The plot of docs/DHT.md.
pub(crate) fn lookups(reports: &[Report]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    for step in 0..=10 {
        let ms = MS * f64::from(step) / 10.0;
        let (at, share) = (x(ms), f64::from(step) / 10.0);
        let line = |a: f64, b: f64, c: f64, d: f64| {
            format!("<line x1=\"{a:.1}\" y1=\"{b:.1}\" x2=\"{c:.1}\" y2=\"{d:.1}\" stroke=\"#dddddd\"/>\n")
        };
        svg += &line(at, TOP, at, BOTTOM);
        svg += &line(LEFT, y(share), RIGHT, y(share));
        if step % 2 == 0 {
            text(&mut svg, at, BOTTOM + 18.0, "middle", &format!("{ms:.0}"));
            text(&mut svg, LEFT - 8.0, y(share) + 4.0, "end", &format!("{:.0}%", share * 100.0));
        }
    }
    text(&mut svg, (LEFT + RIGHT) / 2.0, BOTTOM + 38.0, "middle", "milliseconds after the question");
    text(&mut svg, LEFT, TOP - 16.0, "start", "lookups that have their answer; half of the nodes unreachable, churn");
    for (n, report) in reports.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        curve(&mut svg, &report.first_ms, colour, "none");
        curve(&mut svg, &report.nobody_ms, colour, "5 4");
        let at = TOP + 14.0 + 22.0 * n as f64;
        writeln!(
            svg,
            r#"<line x1="618" y1="{:.0}" x2="644" y2="{:.0}" stroke="{colour}" stroke-width="3"/>"#,
            at - 4.0,
            at - 4.0
        )
        .expect("a String takes all");
        text(&mut svg, 652.0, at, "start", &format!("{} nodes", report.nodes));
    }
    let at = TOP + 34.0 + 22.0 * reports.len() as f64;
    for (n, (dashes, words)) in [("none", "first peer"), ("5 4", "nobody has it")].iter().enumerate() {
        let at = at + 22.0 * n as f64;
        writeln!(
            svg,
            r##"<line x1="618" y1="{:.0}" x2="644" y2="{:.0}" stroke="#555555" stroke-width="2" stroke-dasharray="{dashes}"/>"##,
            at - 4.0,
            at - 4.0
        )
        .expect("a String takes all");
        text(&mut svg, 652.0, at, "start", words);
    }
    svg + "</svg>\n"
}
