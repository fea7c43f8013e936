//! Every generated file: of the command line (`apt_p2p::cli`) and of the settings (`apt_p2p::config::settings`).

mod completions;
mod man;
mod settings;

use apt_p2p::cli::Cli;
use apt_p2p::config::settings::{Kind, SETTINGS, Setting};
use argh::{ArgsInfo, CommandInfoWithArgs, ErrorCodeInfo, FlagInfoKind, Optionality};

/// Each path below the project's root, and what is to stand there.
pub(crate) fn all() -> Vec<(String, String)> {
    let (program, commands) = commands();
    let mut files = man::pages(&program, &commands);
    files.extend(completions::scripts(&program, &commands));
    files.extend(settings::files(&program, &commands));
    files
}

/// The program, or one of its commands.
struct Command {
    /// None: the program itself.
    name: Option<&'static str>,
    about: String,
    options: Vec<Choice>,
    positionals: Vec<(&'static str, String)>,
    examples: Vec<String>,
    notes: Vec<String>,
    exits: Vec<(i32, String)>,
}

/// An option, or a switch.
struct Choice {
    long: &'static str,
    /// None: a switch.
    takes: Option<&'static str>,
    /// What can be given, if that is a few words.
    words: &'static [&'static str],
    repeats: bool,
    about: String,
}

impl Command {
    /// As it is typed.
    fn typed(&self) -> String {
        self.name.map_or_else(|| "apt-p2p".to_owned(), |name| format!("apt-p2p {name}"))
    }

    /// What it does, in a few words.
    fn gist(&self) -> String {
        let end =
            [": ", ". ", ", "].iter().filter_map(|mark| self.about.find(mark)).min().unwrap_or(self.about.len());
        let gist = &self.about[..end];
        gist[..1].to_ascii_lowercase() + &gist[1..]
    }
}

impl Choice {
    /// The first part of what it is about; the words that it takes are shown beside it.
    fn gist(&self) -> &str {
        let named = every_setting().find(|setting| setting.name == self.long && !self.words.is_empty());
        let (about, ends) = match named {
            Some(setting) => (setting.about, &[':', ',', '(', '.'][..]),
            None => (self.about.as_str(), &[';', '('][..]),
        };
        about.split(ends).next().unwrap_or_default().trim_end()
    }
}

fn every_setting() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|(_, settings)| settings.iter())
}

fn commands() -> (Command, Vec<Command>) {
    let program = Cli::get_args_info();
    let commands = program.commands.iter().map(|sub| command(Some(sub.name), &sub.command)).collect();
    (command(None, &program), commands)
}

fn command(name: Option<&'static str>, info: &CommandInfoWithArgs) -> Command {
    let typed = name.map_or_else(|| "apt-p2p".to_owned(), |name| format!("apt-p2p {name}"));
    let filled = |texts: &[&str]| texts.iter().map(|text| text.replace("{command_name}", &typed)).collect();
    let mut options: Vec<Choice> = info
        .flags
        .iter()
        .map(|flag| {
            let long = flag.long.trim_start_matches("--");
            let takes = match flag.kind {
                FlagInfoKind::Switch => None,
                FlagInfoKind::Option { arg_name } => Some(arg_name),
            };
            Choice {
                long,
                takes,
                words: words(long),
                repeats: matches!(flag.optionality, Optionality::Repeating | Optionality::Greedy),
                about: flag.description.trim().to_owned(),
            }
        })
        .filter(|option| option.long != "help")
        .collect();
    options.push(Choice {
        long: "help",
        takes: None,
        words: &[],
        repeats: false,
        about: "say all this in short".into(),
    });
    let exit = |ErrorCodeInfo { code, description }: &ErrorCodeInfo<'_>| (*code, (*description).to_owned());
    Command {
        name,
        about: info.description.trim().to_owned(),
        options,
        positionals: info.positionals.iter().map(|one| (one.name, one.description.trim().to_owned())).collect(),
        examples: filled(info.examples),
        notes: filled(info.notes),
        exits: info.error_codes.iter().map(exit).collect(),
    }
}

/// Words in lines of at most so many columns, each behind a prefix.
fn wrapped(words: &str, prefix: &str, columns: usize) -> String {
    let (mut text, mut line) = (String::new(), prefix.to_owned());
    for word in words.split(' ') {
        let is_begun = line.len() > prefix.len();
        if is_begun && line.chars().count() + 1 + word.chars().count() > columns {
            text.push_str(&line);
            text.push('\n');
            prefix.clone_into(&mut line);
        }
        if line.len() > prefix.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + &line + "\n"
}

/// The few words that a setting takes.
fn words(name: &str) -> &'static [&'static str] {
    match every_setting().find(|setting| setting.name == name).map(|setting| setting.kind) {
        Some(Kind::Words(words)) => words,
        _ => &[],
    }
}
