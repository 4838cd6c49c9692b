//! The Python package's spellings of subcommands and options, put into ours before the command line is read.

use std::ffi::OsString;

/// Two words of the Python package's command line, and the subcommand that they mean.
const COMMANDS: &[([&str; 2], &str)] = &[
    (["metadata", "status"], "status"),
    (["metadata", "delete"], "delete"),
    (["metadata", "copy"], "copy"),
    (["metadata", "rebase"], "rebase"),
    (["graph", "render"], "graph"),
    (["graph-diff", "render"], "diff"),
    (["config", "print"], "config"),
    (["describe", "feature"], "describe"),
    (["describe", "features"], "describe"),
];

/// Options that the Python package takes before the subcommand, too, and whether a value follows them.
const BEFORE: &[(&str, bool)] = &[("--project", true), ("--all-projects", false)];

/// The arguments with the Python package's spellings replaced: `metadata status` by `status`,
/// `--tags.NAME VALUE` by `--tag NAME=VALUE`, and `--project NAME push` by `push --project NAME`.
///
/// The first argument is the program's name. Options of the program may stand between the words.
pub(super) fn ours(definition: &clap::Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let mut words = Words { definition, next: 1 };
    let Some(first) = words.next_in(&args) else { return args };
    if let Some(second) = words.next_in(&args)
        && let Some((_, name)) =
            COMMANDS.iter().find(|(pair, _)| args[first] == pair[0] && args[second] == pair[1])
    {
        // A feature can have the name "feature": as the only word behind `describe` it is one.
        if *name != "describe"
            || words.next_in(&args).is_some()
            || args.iter().any(|arg| arg == "--all-features")
        {
            args[first] = (*name).into();
            args.remove(second);
        }
    }
    let (args, first) = projects_behind(definition, args, first);
    if args[first] == "push" { with_tags(args, first) } else { args }
}

/// What to say of the Python package's groups of subcommands when none of the group follows.
pub(super) fn incomplete(definition: &clap::Command, args: &[OsString]) -> Option<String> {
    let first = Words { definition, next: 1 }.next_in(args)?;
    let group = args[first].to_str().filter(|group| definition.find_subcommand(group).is_none())?;
    let known: Vec<&str> =
        COMMANDS.iter().filter(|(pair, _)| pair[0] == group).map(|(pair, _)| pair[1]).collect();
    let ours: Vec<&str> =
        COMMANDS.iter().filter(|(pair, _)| pair[0] == group).map(|(_, name)| *name).collect();
    (!known.is_empty()).then(|| {
        format!("'{group}' needs one of {}; metaxy-cli has them as {}", known.join(", "), ours.join(", "))
    })
}

/// The arguments with the options about projects behind the subcommand, which has the second place in what is returned.
fn projects_behind(
    definition: &clap::Command,
    args: Vec<OsString>,
    command: usize,
) -> (Vec<OsString>, usize) {
    let words = Words { definition, next: 1 };
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    let mut all = args.into_iter();
    let mut place = 0;
    while let Some(arg) = all.next() {
        let text = arg.to_string_lossy().into_owned();
        let project = BEFORE.iter().find(|(option, valued)| {
            text == *option
                || (*valued && text.strip_prefix(option).is_some_and(|rest| rest.starts_with('=')))
        });
        let takes_next = place > 0 && text.starts_with('-') && words.takes_next(&text);
        let target = if project.is_some() { &mut behind } else { &mut before };
        if place == command {
            before.push(arg);
            break;
        }
        target.push(arg);
        place += 1;
        if takes_next && let Some(value) = all.next() {
            target.push(value);
            place += 1;
        }
    }
    let command = before.len().saturating_sub(1);
    before.extend(behind);
    before.extend(all);
    (before, command)
}

/// Finds the words of a command line that are neither options nor their values.
struct Words<'a> {
    definition: &'a clap::Command,
    next: usize,
}

impl Words<'_> {
    fn next_in(&mut self, args: &[OsString]) -> Option<usize> {
        while let Some(text) = args.get(self.next).map(|arg| arg.to_string_lossy()) {
            self.next += 1;
            if text == "--" {
                return None;
            }
            if !text.starts_with('-') {
                return Some(self.next - 1);
            }
            if self.takes_next(&text) {
                self.next += 1;
            }
        }
        None
    }

    /// Whether an option's value is the argument behind it.
    fn takes_next(&self, option: &str) -> bool {
        let valued = || self.definition.get_arguments().filter(|arg| arg.get_action().takes_values());
        if let Some(long) = option.strip_prefix("--") {
            if BEFORE.contains(&(option, true)) {
                return true;
            }
            let aliased = |arg: &clap::Arg| arg.get_all_aliases().is_some_and(|names| names.contains(&long));
            return valued().any(|arg| arg.get_long() == Some(long) || aliased(arg));
        }
        // The first letter that takes a value takes the rest of the letters for it, if there are any.
        let letters: Vec<char> = option.chars().skip(1).collect();
        let takes = |letter: &char| valued().any(|arg| arg.get_short() == Some(*letter));
        letters.iter().position(takes).is_some_and(|place| place + 1 == letters.len())
    }
}

fn with_tags(args: Vec<OsString>, command: usize) -> Vec<OsString> {
    let mut rewritten = Vec::new();
    let mut rest = args.into_iter().enumerate();
    while let Some((index, arg)) = rest.next() {
        let text = arg.to_string_lossy();
        let tag = ["--tags.", "-t."].iter().find_map(|prefix| text.strip_prefix(prefix));
        let Some(tag) = tag.filter(|_| index > command) else {
            rewritten.push(arg);
            continue;
        };
        let mut pair = OsString::from(tag);
        if !tag.contains('=')
            && let Some((_, value)) = rest.next()
        {
            pair.push("=");
            pair.push(value);
        }
        rewritten.extend(["--tag".into(), pair]);
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::definition;

    fn check(given: &str, expected: &str) {
        let args = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(ours(&definition(), args(given)), args(expected), "{given}");
    }

    #[test]
    fn two_words_become_one() {
        check("m metadata status a/b --progress", "m status a/b --progress");
        check("m --store dev metadata --quiet copy --from x", "m --store dev copy --quiet --from x");
        check("m --config-file f.toml graph render", "m --config-file f.toml graph");
        check("m --store=dev -q -m 5g graph-diff render a b", "m --store=dev -q -m 5g diff a b");
        check("m -qm5g config print", "m -qm5g config");
        check("m describe feature a/b", "m describe a/b");
        check("m describe features --all-features", "m describe --all-features");
        check("m describe feature", "m describe feature");
    }

    #[test]
    fn projects_are_named_behind_the_subcommand() {
        check("m --project x push", "m push --project x");
        check(
            "m -q --project=x --store dev list features -v",
            "m -q --store dev list --project=x features -v",
        );
        check("m --all-projects metadata status --progress", "m status --all-projects --progress");
        check("m push --project x", "m push --project x");
        check("m --project x", "m --project x");
    }

    #[test]
    fn other_words_stay() {
        for same in [
            "m",
            "m metadata",
            "m metadata other",
            "m status metadata status",
            "m -c metadata status",
            "m -- metadata status",
        ] {
            check(same, same);
        }
    }

    #[test]
    fn tags_get_our_form() {
        check("m push --tags.git abc -q", "m push --tag git=abc -q");
        check("m push -t.git=abc --tags.by", "m push --tag git=abc --tag by");
        check("m --tags.git abc push", "m --tags.git abc push");
    }
}
