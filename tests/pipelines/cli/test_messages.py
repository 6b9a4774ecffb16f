"""What messages, docstrings and pages tell a person to type exists: targets of make, verbs and their options."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from pipelines.cli.main import slipway
from tests.root import ROOT

PRODUCT = ("components", "pipelines", "serving", "images", "manifests")
HOLE = "HOLE"  # what an f-string fills in
# Words that follow "make" where it is English.
ENGLISH = frozenset(("a", "an", "and", "another", "any", "it", "of", "one", "pods", "sure"))
ENGLISH |= {"tables", "targets", "the", "them", "two", "up", "virtual", "is"}
PLACEHOLDER = re.compile(rf"[A-Z][A-Z_]*|\d+|.*{HOLE}.*|[\w/]+\.\w+")


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """(where, text): string constants of the product's Python, f-strings with holes; other text files whole."""
    for path in files():
        name = str(path.relative_to(ROOT))
        if name.endswith(".py") and name.startswith(PRODUCT):
            yield from ((f"{name}:{line}", text) for line, text in strings(path.read_text()))
        elif (
            path.suffix in (".md", ".mk", ".sh")
            or path.name == "Makefile"
            or (path.suffix == ".yaml" and name.startswith(PRODUCT))
        ):
            yield name, path.read_text()


def strings(source: str) -> Iterator[tuple[int, str]]:
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
            inside |= {id(part) for part in node.values}
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


@cache
def targets() -> set[str]:
    made = " \n".join(path.read_text() for path in (ROOT / "Makefile", *ROOT.glob("*.mk")))
    return set(re.findall(r"^([a-z][a-z-]*):", made, re.M))


def targets_named(text: str) -> list[str]:
    """The words after each ``make`` that are no English: targets, or what is taken for one."""
    named = []
    for words in re.findall(r"(?<![\w-])make((?: [a-z][a-z-]*(?![\w=/]))+)", text):
        first, *more = words.split()
        if first not in ENGLISH:
            named.append(first)
            named += [word for word in more if word in targets()]
    return named


def test_every_target_that_is_named_exists() -> None:
    """`make X` in any message or page is a target of the Makefiles."""
    named = [(where, target) for where, text in texts() for target in targets_named(text)]
    assert len(named) > 40
    assert [(where, target) for where, target in named if target not in targets()] == []


def fault(words: str) -> str:
    """What is wrong with the call ``slipway words``, which may end in prose; empty when it can be typed."""
    command: click.Command = slipway
    rest = [word.strip("'?.:") if word.count("'") < 2 else word for word in re.sub(r"^--home \S+ ", "", words).split()]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return "" if command.invoke_without_command else f"{command.name} has no verb {rest[0]}"
        command, rest = found, rest[1:]
    known = {name: p for p in (*slipway.params, *command.params) for name in (*p.opts, *p.secondary_opts)}
    given, room = 0, sum(isinstance(p, click.Argument) for p in command.params)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            option = known.get(word.split("=")[0])
            if option is None and word != "--help":
                return f"{command.name} has no option {word}"
            if isinstance(option, click.Option) and not option.is_flag and "=" not in word and rest:
                rest.pop(0)
        elif PLACEHOLDER.fullmatch(word):
            given += 1
        else:
            break  # prose goes on
    return f"{command.name} takes {room} words, not {given}" if given > room else ""


def calls_named(text: str) -> list[str]:
    """What follows each ``slipway`` that is a command: a verb or an option, up to the end of the phrase."""
    return re.findall(r"(?<![\w/.-])slipway ((?:--home \S+ )?[a-z][^`,;()|&#\n]*)", text)


def test_every_call_that_is_named_can_be_typed() -> None:
    """`slipway VERB ...` in any message or page: the verb, its options, and no more words than it takes."""
    named = [(where, call) for where, text in texts() for call in calls_named(text)]
    assert len(named) > 100
    assert [(where, call, why) for where, call in named if (why := fault(call))] == []


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("rollout status", ""),
        ("--home DIR tour", ""),
        ("models approve HOLE 2 --reason 'seen enough'", ""),
        ("rollout start 3 brings it back", ""),
        ("rollout fly", "rollout has no verb fly"),
        ("fly", "slipway has no verb fly"),
        ("rollout abort --adopt", "abort has no option --adopt"),
        ("rollout status housing-1 is", ""),
        ("rollout status HOLE", "status takes 0 words, not 1"),
    ],
)
def test_a_call_that_cannot_be_typed_is_found(call: str, why: str) -> None:
    """The check itself."""
    assert fault(call) == why
