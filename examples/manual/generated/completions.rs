//! What bash, zsh and fish offer while a command line is typed.

use std::fmt::Write as _;

use super::{Choice, Command};

const NOTE: &str = "# Made by `cargo run --example manual`.\n";
/// In front of an option of a command, in zsh.
const BEHIND: &str = "                ";

pub(super) fn scripts(program: &Command, commands: &[Command]) -> Vec<(String, String)> {
    [
        ("apt-p2p.bash", bash(program, commands)),
        ("_apt-p2p", zsh(program, commands)),
        ("apt-p2p.fish", fish(program, commands)),
    ]
    .map(|(name, text)| (format!("examples/completions/{name}"), text))
    .into()
}

/// What follows an option.
enum Value {
    File,
    Folder,
    Words(String),
    Other,
}

fn value(option: &Choice) -> Option<Value> {
    Some(match (option.takes?, option.words) {
        ("FILE", _) => Value::File,
        ("DIR", _) => Value::Folder,
        (_, []) => Value::Other,
        (_, words) => Value::Words(words.join(" ")),
    })
}

/// Each option once.
fn distinct<'a>(program: &'a Command, commands: &'a [Command]) -> Vec<&'a Choice> {
    let mut all: Vec<&Choice> = program.options.iter().chain(commands.iter().flat_map(|one| &one.options)).collect();
    all.sort_by_key(|option| option.long);
    all.dedup_by_key(|option| option.long);
    all
}

fn names(commands: &[Command]) -> Vec<&'static str> {
    commands.iter().filter_map(|command| command.name).collect()
}

fn long_names(command: &Command) -> String {
    let names: Vec<String> = command.options.iter().map(|option| format!("--{}", option.long)).collect();
    names.join(" ")
}

fn bash(program: &Command, commands: &[Command]) -> String {
    let mut text = format!("# shellcheck shell=bash\n{NOTE}");
    text.push_str(
        "_apt_p2p() {\n    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' word offers\n",
    );
    write!(
        text,
        "    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n        case $word in {}) command=$word ;; esac\n    done\n",
        names(commands).join(" | ")
    )
    .ok();
    text.push_str("    case $before in\n");
    for (named, action) in bash_values(&distinct(program, commands)) {
        writeln!(text, "    {})\n        {action}\n        return\n        ;;", named.join(" | ")).ok();
    }
    text.push_str("    esac\n    case $command in\n");
    writeln!(text, "    '') offers='{} {}' ;;", names(commands).join(" "), long_names(program)).ok();
    for command in commands {
        let name = command.name.expect("a command has one");
        let takes_folder = command.positionals.iter().any(|(name, _)| name.eq_ignore_ascii_case("dir"));
        if takes_folder {
            writeln!(
                text,
                "    {name})\n        offers='{}'\n        [[ $current == -* ]] || {{\n            compopt -o filenames\n            mapfile -t \
                 COMPREPLY < <(compgen -d -- \"$current\")\n            return\n        }}\n        ;;",
                long_names(command)
            )
            .ok();
        } else {
            writeln!(text, "    {name}) offers='{}' ;;", long_names(command)).ok();
        }
    }
    text.push_str(
        "    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$offers\" -- \"$current\")\n}\ncomplete -F _apt_p2p apt-p2p\n",
    );
    text
}

/// Options by what is offered behind them.
fn bash_values(options: &[&Choice]) -> Vec<(Vec<String>, String)> {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for option in options {
        let action = match value(option) {
            None => continue,
            Some(Value::File) => {
                "compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")".into()
            }
            Some(Value::Folder) => {
                "compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -d -- \"$current\")".into()
            }
            Some(Value::Words(words)) => format!("mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$current\")"),
            Some(Value::Other) => "COMPREPLY=()".into(),
        };
        let name = format!("--{}", option.long);
        match groups.iter_mut().find(|(_, of)| *of == action) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], action)),
        }
    }
    groups
}

fn zsh(program: &Command, commands: &[Command]) -> String {
    let mut text = format!("#compdef apt-p2p\n{NOTE}_apt_p2p() {{\n    local curcontext=$curcontext state line\n");
    text.push_str("    typeset -A opt_args\n    _arguments -C \\\n");
    program.options.iter().for_each(|option| text.push_str(&zsh_option(option, "        ")));
    text.push_str("        '1: :->command' \\\n        '*:: :->rest'\n    case $state in\n    command)\n        local -a commands=(\n");
    for command in commands {
        writeln!(text, "            '{}:{}'", command.name.expect("a command has one"), quoted(&command.gist())).ok();
    }
    text.push_str("        )\n        _describe -t commands command commands\n        ;;\n    rest)\n        case $words[1] in\n");
    for command in commands {
        writeln!(text, "        {})\n            _arguments \\", command.name.expect("a command has one")).ok();
        command.options.iter().for_each(|option| text.push_str(&zsh_option(option, BEHIND)));
        match command.positionals.first() {
            Some((name, _)) if name.eq_ignore_ascii_case("dir") => writeln!(text, "{BEHIND}'1:{name}:_files -/'"),
            Some((name, _)) => writeln!(text, "{BEHIND}'1:{name}: '"),
            None => writeln!(text, "{BEHIND}'*: :'"),
        }
        .ok();
        text.push_str("            ;;\n");
    }
    text.push_str("        esac\n        ;;\n    esac\n}\n_apt_p2p \"$@\"\n");
    text
}

fn zsh_option(option: &Choice, indent: &str) -> String {
    let many = if option.repeats { "*" } else { "" };
    let about = quoted(option.gist()).replace('[', "\\[").replace(']', "\\]");
    let name = option.takes.unwrap_or_default().replace(':', "\\:");
    let behind = match value(option) {
        None => String::new(),
        Some(Value::File) => format!(":{name}:_files"),
        Some(Value::Folder) => format!(":{name}:_files -/"),
        Some(Value::Words(words)) => format!(":{name}:({words})"),
        Some(Value::Other) => format!(":{name}: "),
    };
    format!("{indent}'{many}--{}[{about}]{behind}' \\\n", option.long)
}

fn fish(program: &Command, commands: &[Command]) -> String {
    let mut text = format!("{NOTE}complete -c apt-p2p -f\n");
    for command in commands {
        let name = command.name.expect("a command has one");
        writeln!(
            text,
            "complete -c apt-p2p -n __fish_use_subcommand -a {name} -d '{}'",
            fish_quoted(&command.gist())
        )
        .ok();
    }
    for (command, when) in
        std::iter::once((program, "__fish_use_subcommand".to_owned())).chain(commands.iter().map(|command| {
            (command, format!("'__fish_seen_subcommand_from {}'", command.name.expect("a command has one")))
        }))
    {
        for option in &command.options {
            let behind = match value(option) {
                None => String::new(),
                Some(Value::File) => " -r -F".into(),
                Some(Value::Folder) => " -x -a '(__fish_complete_directories)'".into(),
                Some(Value::Words(words)) => format!(" -x -a '{words}'"),
                Some(Value::Other) => " -x".into(),
            };
            writeln!(
                text,
                "complete -c apt-p2p -n {when} -l {}{behind} -d '{}'",
                option.long,
                fish_quoted(option.gist())
            )
            .ok();
        }
        if command.positionals.iter().any(|(name, _)| name.eq_ignore_ascii_case("dir")) {
            writeln!(text, "complete -c apt-p2p -n {when} -a '(__fish_complete_directories)'").ok();
        }
    }
    text
}

/// Within single quotes, for a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''").replace(':', "\\:")
}

/// Within fish's single quotes.
fn fish_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
