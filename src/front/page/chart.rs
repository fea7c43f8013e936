//! The last day as a picture: what came from where, stacked. Below it the same in numbers, hour by hour.

use super::Page;
use crate::limits::{HISTORY_STEP, HISTORY_STEPS};
use crate::report::{Traffic, amount, scaled};

/// Steps that are one column of the picture: a column is wider than a dot of the screen.
const STEPS_PER_COLUMN: usize = 2;
const COLUMNS: usize = HISTORY_STEPS / STEPS_PER_COLUMN;
const STEPS_PER_HOUR: usize = 3600 / HISTORY_STEP.as_secs() as usize;
/// The picture's height in its own measure.
const HEIGHT: u64 = 160;

/// The sources, from the bottom of the picture to its top.
pub(super) const SOURCES: [&str; 4] = ["the cache", "this LAN", "peers on the Internet", "mirrors"];

/// Draws these steps, of which the last is under way; the first of all began `uptime_s` ago.
pub(super) fn chart(page: &mut Page, steps: &[Traffic], uptime_s: u64) {
    let total = sum(steps);
    page.put("<section class=left aria-labelledby=day><h2 id=day>The last 24 hours</h2>");
    if total.sum() == 0 {
        page.put("<p class=soft>Nothing was asked for. What clients get shows here: how much of it was here already, and how much a \
                  mirror had to send.</section>");
        return;
    }
    page.put("<figure><figcaption><ul class=legend>");
    for (at, bytes) in total.parts().into_iter().enumerate() {
        page.add(format_args!("<li><i class=k{at}></i><b>{}</b> from {}", amount(bytes), SOURCES[at]));
    }
    page.put("</ul></figcaption>");
    let columns = columns(steps, uptime_s);
    let most = columns.iter().map(Traffic::sum).max().unwrap_or(1).max(1);
    let minutes = HISTORY_STEP.as_secs() as usize * STEPS_PER_COLUMN / 60;
    page.add(format_args!("<p class=axis><span>{} in {minutes} min</span></p>", amount(most)));
    picture(page, &columns, most, &total);
    page.put("<p class=axis><span>24 h ago</span><span>18 h</span><span>12 h</span><span>6 h</span><span>now</span></p></figure>");
    in_numbers(page, steps);
    page.put("</section>");
}

fn picture(page: &mut Page, columns: &[Traffic], most: u64, total: &Traffic) {
    page.add(format_args!(
        "<svg class=chart viewBox=\"0 0 {COLUMNS} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=\"Bytes by source, \
         stacked over 24 hours; in all"
    ));
    for (at, bytes) in total.parts().into_iter().enumerate() {
        page.add(format_args!("{} {} from {}", if at == 0 { "" } else { "," }, amount(bytes), SOURCES[at]));
    }
    page.put("\">");
    for part in 1..4 {
        let x = COLUMNS / 4 * part;
        page.add(format_args!("<line x1={x} x2={x} y2={HEIGHT} />"));
    }
    for part in 0..2 {
        let y = HEIGHT / 2 * part;
        page.add(format_args!("<line x2={COLUMNS} y1={y} y2={y} />"));
    }
    // Each covers the lower part of the one before: the whole height first, then all but the uppermost, …
    for top in (0..SOURCES.len()).rev() {
        let of = |column: &Traffic| -> u64 {
            column.parts()[..=top].iter().fold(0, |sum, part| sum.saturating_add(*part))
        };
        if top == SOURCES.len() - 1 || total.parts()[top] > 0 {
            area(page, top, &columns.iter().map(of).collect::<Vec<_>>(), most);
        }
    }
    page.put("</svg>");
}

/// From the bottom up to each value. The last column ends at the right edge.
fn area(page: &mut Page, class: usize, values: &[u64], most: u64) {
    let begin = COLUMNS - values.len();
    page.add(format_args!("<path class=k{class} d=\"M{begin} {HEIGHT}"));
    let mut level = HEIGHT;
    for (at, value) in values.iter().enumerate() {
        let mut height = scaled(*value, most, HEIGHT).min(HEIGHT);
        if *value > 0 {
            // What is there is seen.
            height = height.max(1);
        }
        if HEIGHT - height != level {
            level = HEIGHT - height;
            page.add(format_args!("H{}V{level}", begin + at));
        }
    }
    page.add(format_args!("H{COLUMNS}V{HEIGHT}z\"/>"));
}

/// Each step stays in its column while time goes on: the last one, and the first, may have fewer.
fn columns(steps: &[Traffic], uptime_s: u64) -> Vec<Traffic> {
    let over = uptime_s / HISTORY_STEP.as_secs() % STEPS_PER_COLUMN as u64;
    let last = usize::try_from(over + 1).expect("a few steps").min(steps.len());
    let (former, last) = steps.split_at(steps.len() - last);
    let mut columns = vec![sum(last)];
    columns.extend(former.rchunks(STEPS_PER_COLUMN).take(COLUMNS - 1).map(sum));
    columns.reverse();
    columns
}

fn sum(steps: &[Traffic]) -> Traffic {
    steps.iter().fold(Traffic::default(), |sum, step| sum.plus(step))
}

fn in_numbers(page: &mut Page, steps: &[Traffic]) {
    page.put("<details><summary>The same in numbers</summary><table class=sums><thead><tr><th scope=col>Hours ago");
    for name in ["Cache", "LAN", "Peers", "Mirrors"] {
        page.add(format_args!("<th scope=col>{name}"));
    }
    page.put("<tbody>");
    for (hour, steps) in steps.rchunks(STEPS_PER_HOUR).enumerate() {
        let total = sum(steps);
        if total.sum() > 0 {
            page.add(format_args!("<tr><th scope=row>{hour}–{}", hour + 1));
            for bytes in total.parts() {
                page.add(format_args!("<td>{}", amount(bytes)));
            }
        }
    }
    page.put("</table></details>");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The present column is full.
    const UPTIME_S: u64 = HISTORY_STEP.as_secs() * 7;

    fn drawn(steps: &[Traffic]) -> String {
        let mut page = Page::default();
        chart(&mut page, steps, UPTIME_S);
        page.0
    }

    #[test]
    fn a_step_is_as_high_as_its_bytes_and_stands_at_its_time() {
        let step = |cache, mirrors| Traffic { cache, mirrors, ..Traffic::default() };
        // Two columns: the older has 10, the newer 40, of which 10 and 30.
        let page = drawn(&[step(10, 0), step(0, 0), step(0, 30), step(10, 0)]);
        assert!(page.contains("<path class=k3 d=\"M142 160H142V120H143V0H144V160z\"/>"), "{page}");
        assert!(page.contains("<path class=k0 d=\"M142 160H142V120H144V160z\"/>"), "{page}");
        assert!(!page.contains("<path class=k1"), "nothing came from there: {page}");
        assert!(page.contains("40 bytes in 10 min") && page.contains("<tr><th scope=row>0–1<td>20 bytes<td>0 bytes"));
    }

    #[test]
    fn a_step_stays_in_its_column() {
        let step = |cache| Traffic { cache, ..Traffic::default() };
        let sums = |steps: &[u64], uptime: u64| -> Vec<u64> {
            let steps: Vec<_> = steps.iter().map(|bytes| step(*bytes)).collect();
            columns(&steps, uptime * HISTORY_STEP.as_secs()).iter().map(Traffic::sum).collect()
        };
        assert_eq!(sums(&[1], 0), [1]);
        assert_eq!(sums(&[1, 2], 1), [3]);
        assert_eq!(sums(&[1, 2, 4], 2), [3, 4]);
        assert_eq!(sums(&[1, 2, 4, 8], 3), [3, 12]);
        assert_eq!(sums(&[2, 4, 8, 16], 4), [2, 12, 16], "the oldest has gone");
        assert_eq!(sums(&[1; HISTORY_STEPS], 1000).len(), COLUMNS);
        assert_eq!(sums(&[], 1000), [0]);
    }

    #[test]
    fn a_whole_day_of_anything_is_bounded() {
        let wild =
            |n: usize| Traffic { cache: u64::MAX / (n as u64 + 1), neighbours: 1, strangers: 7, mirrors: u64::MAX };
        let page = drawn(&(0..HISTORY_STEPS).map(wild).collect::<Vec<_>>());
        assert!(page.len() < 10_000, "{}", page.len());
        assert!(drawn(&[Traffic::default(); 5]).contains("Nothing was asked for"));
    }
}
