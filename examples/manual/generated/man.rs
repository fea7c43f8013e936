//! Manual pages, in man(7)'s macros.

use std::fmt::Write as _;

use super::settings::{form, without};
use super::{Choice, Command};
use apt_p2p::config::settings::{Counts, SETTINGS};

pub(super) fn pages(program: &Command, commands: &[Command]) -> Vec<(String, String)> {
    let mut pages = vec![("docs/man/apt-p2p.1".to_owned(), main_page(program, commands))];
    for command in commands {
        let name = command.name.expect("a command has one");
        pages.push((format!("docs/man/apt-p2p-{name}.1"), command_page(command)));
    }
    pages.push(("docs/man/apt-p2p.toml.5".to_owned(), settings_page()));
    pages
}

fn head(name: &str, section: u8, gist: &str) -> String {
    let kind = if section == 1 { "User Commands" } else { "File Formats" };
    format!(
        ".\\\" Made by `cargo run --example manual`.\n.TH {} {section} \"\" \"apt\\-p2p\" \"{kind}\"\n.SH NAME\n{} \\- {}\n",
        escape(&name.to_uppercase()),
        escape(name),
        escape(gist)
    )
}

fn main_page(program: &Command, commands: &[Command]) -> String {
    let mut page = head("apt-p2p", 1, "caching proxy for apt, for a whole network, with peers");
    page.push_str(".SH SYNOPSIS\n.B apt\\-p2p\n[\\fIOPTION\\fR]... [\\fICOMMAND\\fR [\\fIOPTION\\fR]...]\n");
    paragraph(&mut page, "DESCRIPTION", &program.about);
    page.push_str(".SH COMMANDS\n");
    for command in commands {
        let name = command.name.expect("a command has one");
        writeln!(page, ".TP\n.B {}\n{}; see \\fBapt\\-p2p\\-{name}\\fR(1)", escape(name), escape(&command.gist()))
            .ok();
    }
    options(&mut page, &program.options);
    paragraph(
        &mut page,
        "OUTPUT",
        "What was asked for goes to standard output, and everything else to standard error: one line a request from the proxy, \
         a line that says how far it is from a long command, if standard error is a terminal, and what went wrong. No colours \
         are used. With --json each command prints objects for programs, one a line.",
    );
    exits(&mut page, &program.exits);
    page.push_str(
        ".SH FILES\n.TP\n.I /etc/apt\\-p2p.toml\nThe configuration; see \\fBapt\\-p2p.toml\\fR(5).\n.TP\n.I /var/cache/apt\\-p2p\nThe \
         cache of root and of the Debian package.\n",
    );
    tail(&mut page, program);
    page.push_str(".SH SEE ALSO\n");
    let names = commands.iter().filter_map(|command| command.name);
    let mut others: Vec<String> = names.map(|name| format!("\\fBapt\\-p2p\\-{name}\\fR(1)")).collect();
    others.extend(["\\fBapt\\-p2p.toml\\fR(5)".into(), "\\fBapt.conf\\fR(5)".into()]);
    page.push_str(&others.join(",\n"));
    page.push('\n');
    page
}

fn command_page(command: &Command) -> String {
    let name = command.name.expect("a command has one");
    let mut page = head(&format!("apt-p2p-{name}"), 1, &command.gist());
    write!(page, ".SH SYNOPSIS\n.B apt\\-p2p {}\n[\\fIOPTION\\fR]...", escape(name)).ok();
    for (positional, _) in &command.positionals {
        write!(page, " \\fI{}\\fR", escape(positional)).ok();
    }
    page.push('\n');
    paragraph(&mut page, "DESCRIPTION", &command.about);
    for (positional, about) in &command.positionals {
        writeln!(page, ".TP\n.I {}\n{}", escape(positional), escape(about)).ok();
    }
    options(&mut page, &command.options);
    exits(&mut page, &command.exits);
    tail(&mut page, command);
    page.push_str(".SH SEE ALSO\n\\fBapt\\-p2p\\fR(1),\n\\fBapt\\-p2p.toml\\fR(5)\n");
    page
}

fn settings_page() -> String {
    let mut page = head("apt-p2p.toml", 5, "configuration of the apt-p2p proxy");
    paragraph(
        &mut page,
        "DESCRIPTION",
        "The file /etc/apt-p2p.toml, or the one that --config names, is TOML: one setting a line, name = value. Every setting has \
         the name of its option on the command line, and the option wins. What cannot be used is refused with the line's \
         number. A changed file is read again when the proxy gets SIGHUP (systemctl reload apt-p2p).",
    );
    for (group, settings) in SETTINGS {
        writeln!(page, ".SH {}", escape(&group.to_uppercase())).ok();
        for setting in settings {
            writeln!(page, ".TP\n\\fB{}\\fR = \\fI{}\\fR", escape(setting.name), escape(&form(setting.kind))).ok();
            writeln!(page, "{}", escape(setting.about)).ok();
            let restart = if setting.counts == Counts::AtStart { " A change counts at the next start." } else { "" };
            writeln!(page, "Default: {}.{restart}", escape(&without(setting))).ok();
            writeln!(page, ".br\nExample: {} = {}", escape(setting.name), escape(setting.example)).ok();
        }
    }
    page.push_str(".SH SEE ALSO\n\\fBapt\\-p2p\\fR(1)\n");
    page
}

fn options(page: &mut String, options: &[Choice]) {
    page.push_str(".SH OPTIONS\n");
    for option in options {
        let value = option.takes.map_or_else(String::new, |name| format!(" \\fI{}\\fR", escape(name)));
        writeln!(page, ".TP\n\\fB\\-\\-{}\\fR{value}\n{}", escape(option.long), escape(&option.about)).ok();
    }
}

fn exits(page: &mut String, exits: &[(i32, String)]) {
    page.push_str(".SH EXIT STATUS\n");
    for (code, about) in exits {
        writeln!(page, ".TP\n.B {code}\n{}", escape(about)).ok();
    }
}

/// Examples and notes.
fn tail(page: &mut String, command: &Command) {
    for example in &command.examples {
        page.push_str(".SH EXAMPLES\n");
        for line in example.lines() {
            match line.strip_prefix("  ") {
                Some(typed) => writeln!(page, ".PP\n.RS 4\n.nf\n{}\n.fi\n.RE", escape(typed)).ok(),
                None => writeln!(page, ".PP\n{}", escape(line)).ok(),
            };
        }
    }
    for note in &command.notes {
        paragraph(page, "NOTES", note);
    }
}

fn paragraph(page: &mut String, title: &str, text: &str) {
    writeln!(page, ".SH {title}\n{}", escape(text)).ok();
}

/// Text that means itself: `-` is a hyphen to type, and no line begins with a macro.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
