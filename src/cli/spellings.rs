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
];

/// The arguments with the Python package's spellings replaced: `metadata status` by `status`, and
/// `--tags.NAME VALUE` by `--tag NAME=VALUE`.
///
/// The first argument is the program's name. Options of the program may stand between the words.
pub(super) fn ours(definition: &clap::Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let mut words = Words { definition, next: 1 };
    let Some(first) = words.next_in(&args) else { return args };
    if let Some(second) = words.next_in(&args)
        && let Some((_, name)) =
            COMMANDS.iter().find(|(pair, _)| args[first] == pair[0] && args[second] == pair[1])
    {
        args[first] = (*name).into();
        args.remove(second);
    }
    if args[first] == "push" { with_tags(args, first) } else { args }
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
