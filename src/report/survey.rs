//! What a crawl saw.

use std::fmt::Write as _;

use super::{counted, percent, time};
use crate::dht::{Sessions, Survey};
use crate::json::{Object, object};

/// One line for a sweep that is over, while the crawl goes on.
#[must_use]
pub fn sweep_line(survey: &Survey) -> String {
    format!(
        "sweep {} after {}: {} of {} answer",
        survey.sweeps,
        time(survey.took),
        survey.answered,
        counted(survey.nodes, "node", "nodes")
    )
}

/// All of it, as text or as JSON.
#[must_use]
pub fn survey(survey: &Survey, network: &str, is_json: bool) -> String {
    if is_json {
        return object(|json| write_json(survey, network, json)) + "\n";
    }
    let mut text = String::new();
    write_text(survey, network, &mut text).expect("a string takes everything");
    text
}

fn write_text(survey: &Survey, network: &str, text: &mut String) -> std::fmt::Result {
    let Survey { nodes, answered, silent, .. } = *survey;
    writeln!(text, "{:<16}{network}", "network")?;
    let least = if survey.is_cut { "at least " } else { "" };
    writeln!(text, "{:<16}{least}{nodes}, {} of them with IPv6", "nodes", survey.v6)?;
    writeln!(text, "{:<16}{answered}, {}", "answer", percent(answered, nodes))?;
    writeln!(text, "{:<16}{silent}, {}: gone, or not to be reached", "silent", percent(silent, nodes))?;
    if let [Some(p50), Some(p90)] = survey.rtt_ms {
        writeln!(text, "{:<16}half within {p50} ms, nine in ten within {p90} ms", "round trips")?;
    }
    for (n, (version, count)) in survey.versions.iter().enumerate() {
        let name = if n == 0 { "versions" } else { "" };
        writeln!(text, "{name:<16}{version}: {count}, {}", percent(*count, answered))?;
    }
    let Sessions { seen, ended, ref still } = survey.sessions;
    if survey.sweeps > 1 {
        writeln!(text, "{:<16}{seen} seen, {ended} of them to their end", "sessions")?;
        for it in still {
            let share = percent(it.count, it.of);
            writeln!(text, "{:<16}still there after {}: {share} of {}", "", time(it.age), it.of)?;
        }
    }
    let (sweeps, queries) = (counted(survey.sweeps, "sweep", "sweeps"), survey.queries);
    writeln!(text, "{:<16}{sweeps} in {}, {queries} queries", "took", time(survey.took))
}

fn write_json(survey: &Survey, network: &str, json: &mut Object) {
    json.text("network", network);
    json.plain("sweeps", survey.sweeps);
    json.plain("took_s", survey.took.as_secs());
    json.plain("queries", survey.queries);
    json.plain("nodes", survey.nodes);
    json.plain("nodes_left_out", survey.is_cut);
    json.plain("nodes_v6", survey.v6);
    json.plain("answered", survey.answered);
    json.plain("silent", survey.silent);
    json.plain("rtt_ms_p50", survey.rtt_ms[0].map(u64::from));
    json.plain("rtt_ms_p90", survey.rtt_ms[1].map(u64::from));
    json.objects(
        "versions",
        survey.versions.iter().map(|(version, count)| {
            object(|json| {
                json.text("version", version);
                json.plain("nodes", *count);
            })
        }),
    );
    json.object("sessions", |json| {
        json.plain("seen", survey.sessions.seen);
        json.plain("ended", survey.sessions.ended);
        json.objects(
            "still_there",
            survey.sessions.still.iter().map(|it| {
                object(|json| {
                    json.plain("after_s", it.age.as_secs());
                    json.plain("sessions", it.count);
                    json.plain("of", it.of);
                })
            }),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::Still;
    use std::time::Duration;

    #[test]
    fn a_survey_in_words_and_as_json() {
        let still = Still { age: Duration::from_secs(3600), of: 50, count: 40 };
        let seen = Survey {
            sweeps: 7,
            took: Duration::from_secs(3610),
            queries: 700,
            nodes: 100,
            answered: 60,
            silent: 40,
            v6: 3,
            is_cut: false,
            rtt_ms: [Some(80), Some(190)],
            versions: vec![("AP 0.1".into(), 59), ("none given".into(), 1)],
            sessions: Sessions { seen: 70, ended: 10, still: vec![still] },
        };
        let text = survey(&seen, "test", false);
        assert_eq!(
            text,
            "network         test\n\
             nodes           100, 3 of them with IPv6\n\
             answer          60, 60%\n\
             silent          40, 40%: gone, or not to be reached\n\
             round trips     half within 80 ms, nine in ten within 190 ms\n\
             versions        AP 0.1: 59, 98%\n                none given: 1, 2%\n\
             sessions        70 seen, 10 of them to their end\n                \
             still there after 1 h: 80% of 50\n\
             took            7 sweeps in 1 h, 700 queries\n"
        );
        let json = survey(&seen, "test", true);
        assert!(json.contains(r#""rtt_ms_p50":80,"rtt_ms_p90":190,"versions":[{"version":"AP 0.1","nodes":59}"#));
        assert!(json.contains(r#""still_there":[{"after_s":3600,"sessions":40,"of":50}]}"#), "{json}");
        assert_eq!(sweep_line(&seen), "sweep 7 after 1 h: 60 of 100 nodes answer");
    }
}
