"""Completion scripts for shells, made from the commands' own argument parsers.

A script contains everything, because calling ``steward`` would start Python at each press of Tab.
"""

import argparse
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from errorkernel.management import catalogue

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Option:
    """One option with all of its spellings. ``choices``: its values, where they are known."""

    flags: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A command or an action of one. ``choices``: of its first positional argument, where they are known."""

    help: str = ""
    options: tuple[Option, ...] = ()
    choices: tuple[str, ...] = ()
    actions: Mapping[str, "Entry"] = field(default_factory=dict)

    @property
    def words(self) -> dict[str, str]:
        """Possible next word → its description."""
        found = {name: action.help for name, action in self.actions.items()}
        found |= dict.fromkeys(self.choices, "")
        return found | {flag: option.help for option in self.options for flag in option.flags}


def describe(parser: argparse.ArgumentParser, help: str = "") -> Entry:
    """Words that a parser accepts, without those its help hides."""
    options: list[Option] = []
    choices: tuple[str, ...] = ()
    actions: dict[str, Entry] = {}
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        values = tuple(map(str, action.choices or ()))
        if isinstance(action, argparse._SubParsersAction):
            helps = {subparser.dest: subparser.help or "" for subparser in action._choices_actions}
            actions = {name: describe(inner, helps.get(name, "")) for name, inner in action.choices.items()}
        elif action.option_strings:
            text = (action.help or "") % {"default": action.default} if "%(" in (action.help or "") else action.help
            options.append(Option(tuple(action.option_strings), text or "", action.nargs != 0, values))
        elif not choices:
            choices = values
    return Entry(help, tuple(options), choices, actions)


def commands_on_node() -> dict[str, Entry]:
    """The commands that the installation for nodes has."""
    from errorkernel.node.run.options import make_parser  # the client with it, which the other commands do not need

    return {
        "run": describe(make_parser(), catalogue.summary("run")),
        "completion": Entry(catalogue.summary("completion"), choices=SHELLS),
        "help": Entry(catalogue.summary("help"), choices=tuple(catalogue.names())),
    }


def script(shell: str, commands: Mapping[str, Entry]) -> str:
    """The script for one of ``SHELLS``."""
    root = Entry(actions=commands)
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](root)


def _walk(entry: Entry, place: str = "") -> Iterator[tuple[str, Entry]]:
    """(place, entry) of all; the place is ``/node/add``, that of the root empty."""
    yield place, entry
    for name, inner in entry.actions.items():
        yield from _walk(inner, f"{place}/{name}")


def _places(root: Entry) -> str:
    return "|".join(place for place, _ in _walk(root) if place)


_BASH = """\
# bash completion for steward. Load it with: source <(steward completion bash)
_steward() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} place= words= index
    for ((index = 1; index < COMP_CWORD; index++)); do
        [[ ${COMP_WORDS[index]} == -- ]] && return
        case "$place/${COMP_WORDS[index]}" in
            @PLACES@) place+="/${COMP_WORDS[index]}" ;;
        esac
    done
    case "$place $previous" in
@VALUES@
        *) case "$place" in
@WORDS@
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _steward steward
"""


def _bash(root: Entry) -> str:
    # Without words, `-o default` completes names of files.
    words = [f'            "{place}") words="{" ".join(entry.words)}" ;;' for place, entry in _walk(root)]
    values = [f'        {after}) words="{" ".join(choices)}" ;;' for choices, after in _values(root).items()]
    return _filled(_BASH, root, values, words)


_ZSH = """\
#compdef steward
# zsh completion for steward. Put it into a directory of $fpath as _steward, or load it after compinit with:
# source <(steward completion zsh)
_steward() {
    local place= index
    local -a candidates
    for ((index = 2; index < CURRENT; index++)); do
        if [[ $words[index] == -- ]]; then _default; return; fi
        case "$place/$words[index]" in
            @PLACES@) place+="/$words[index]" ;;
        esac
    done
    case "$place $words[CURRENT-1]" in
@VALUES@
        *) case "$place" in
@WORDS@
        esac ;;
    esac
    if (( $#candidates )); then _describe -o steward candidates; else _files; fi
}
if [[ $funcstack[1] == _steward ]]; then _steward "$@"; else compdef _steward steward; fi
"""


def _zsh(root: Entry) -> str:
    def candidate(word: str, text: str) -> str:
        # _describe divides at the first colon.
        return shlex.quote(word.replace(":", r"\:") + (f":{text}" if text else ""))

    words = [
        f'            "{place}") candidates=({" ".join(candidate(*pair) for pair in entry.words.items())}) ;;'
        for place, entry in _walk(root)
    ]
    values = [
        f"        {after}) candidates=({' '.join(map(shlex.quote, choices))}) ;;"
        for choices, after in _values(root).items()
    ]
    return _filled(_ZSH, root, values, words)


def _values(root: Entry) -> dict[tuple[str, ...], str]:
    """Values that an option takes, none where any text will do → pattern of a place and the option after it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for place, entry in _walk(root):
        for option in entry.options:
            if option.takes_value:
                found.setdefault(option.choices, []).extend(f'"{place} {flag}"' for flag in option.flags)
    return {choices: "|".join(patterns) for choices, patterns in found.items()}


def _filled(template: str, root: Entry, values: list[str], words: list[str]) -> str:
    filled = template.replace("@PLACES@", _places(root)).replace("@VALUES@", "\n".join(values))
    return filled.replace("@WORDS@", "\n".join(words))


def _fish(root: Entry) -> str:
    lines = ["# fish completion for steward. Load it with: steward completion fish | source"]
    for place, entry in _walk(root):
        seen = [f"__fish_seen_subcommand_from {name}" for name in place.split("/")[1:]]
        here = " && ".join(seen)
        free = " && ".join([*seen, f"not __fish_seen_subcommand_from {' '.join(entry.actions)}"]) if seen else ""
        for name, inner in entry.actions.items():
            lines.append(_fish_line(free or "__fish_use_subcommand", f"-f -a {name}", inner.help))
        if entry.choices:
            lines.append(_fish_line(here, f"-f -a {shlex.quote(' '.join(entry.choices))}"))
        lines += [_fish_line(here, _fish_option(option), option.help) for option in entry.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    spelt = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    value = (
        [f"-x -a {shlex.quote(' '.join(option.choices))}"] if option.choices else ["-r"] if option.takes_value else []
    )
    return " ".join(spelt + value)


def _fish_line(condition: str, what: str, text: str = "") -> str:
    described = f" -d {shlex.quote(text)}" if text else ""
    return f"complete -c steward -n {shlex.quote(condition)} {what}{described}"
