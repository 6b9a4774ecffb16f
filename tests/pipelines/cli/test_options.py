"""Which options a verb has: each that it obeys, and no other."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipelines.cli.main import VERBS
from pipelines.cli.main import slipway as group
from tests.pipelines.here.support import MODEL, Scene, one_sentence, slipway, write_project

USUAL = {"--json"}
PROJECT = USUAL | {"--project"}
ANY = PROJECT | {"--model"}  # a project's model, or one without its file
RUN = PROJECT | {"--as-of", "--source", "--window", "--no-cache", "--timeout"}
METRIC = {"--metric", "--alpha"}
SCORE = {"--version", "--keep", "--explain", "--top"}
CLUSTER = {"--context", "--host"}
SCHEDULED = {"--no-wait", "--schedule", "--no-schedule"}

OPTIONS = {
    "init": USUAL - {"--model", "--project"}
    | {"--target", "--key", "--event-time", "--name", "--out", "--force", "--ask"},
    "run": RUN,
    "submit": RUN | ANY | CLUSTER | SCORE | {"--output", "--image", "--namespace"} | SCHEDULED,
    "compile": PROJECT | {"--check", "--image", "--source", "-o", "--output"},
    "serve": {"--project", "--port"},
    "serve status": ANY,
    "serve stop": ANY - USUAL,
    "predict": {"--project", "--out", "--limit", "--top"},
    "score": ANY | SCORE,
    "models list": USUAL,
    "models show": USUAL,
    "models history": USUAL,
    "models at": USUAL,
    "models approve": USUAL | {"--reason"},
    "models reject": USUAL | {"--reason"},
    "models promote": USUAL | {"--reason"},
    "models rollback": USUAL | {"--reason"},
    "models archive": USUAL | {"--reason"},
    "models import": PROJECT | {"--rows", "--column", "--reason"},
    "models distill": PROJECT | {"--ask", "--answers", "--rows", "--at-most", "--column", "--reason"},
    "models export": USUAL | {"--joblib"},
    "rollout plan": PROJECT | {"--rate"},
    "rollout start": PROJECT | {"--wait"},
    "rollout status": ANY,
    "rollout watch": ANY,
    "rollout explain": ANY,
    "rollout history": ANY,
    "rollout replay": ANY,
    "rollout page": ANY | {"--output"},
    "rollout labels": PROJECT,
    "rollout pause": ANY | {"--reason", "--at"},
    "rollout resume": ANY | {"--reason"},
    "rollout approve": ANY | {"--reason"},
    "rollout abort": ANY | {"--reason"},
    "rollout promote": ANY | {"--reason", "--force"},
    "rollout rollback": ANY | {"--reason"},
    "rollout set": ANY | {"--version"},
    "rollout unlock": (ANY | {"--force"}) - USUAL,
    "rollout simulate": USUAL | {"--runs", "--seed"},
    "rollout controller": {"--namespace", "--health", "--interval", "--context"},
    "rollout experiment start": PROJECT | {"--percent", "--sticky"},
    "rollout experiment compare": PROJECT | METRIC | {"--margin", "--prefer"},
    "rollout experiment value": PROJECT,
    "rollout experiment power": USUAL | METRIC | {"--percent", "--base", "--effect", "--deviation", "--rate"},
    "watch": PROJECT | {"--labels", "--as-of", "--since", "--fail-on-alarm"},
    "loop": PROJECT | {"--labels", "--source", "--once", "--every", "--as-of"},
    "data show": PROJECT | {"--source", "--rows"},
    "data check": PROJECT | {"--source", "--as-of", "--report"},
    "contract diff": PROJECT | {"--source"},
    "contract propose": PROJECT | {"--source", "--out"},
    "contract accept": PROJECT,
    "help project": {"--json", "--page"},
    "ui": {"--port"},
    "clean": {"--json", "--keep", "--older-than", "--yes"},
    "doctor": USUAL | CLUSTER | {"--site", "--namespace"},
    "tour": PROJECT | {"--world", "--port", "--keep", "--again"},
}


def verbs(command: click.Command = group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every verb that does something, by the words after `slipway`."""
    if not isinstance(command, click.Group) or (command.invoke_without_command and words):
        yield " ".join(words), command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from verbs(inner, (*words, name))


EVERY = dict(verbs())


def test_each_verb_has_the_options_that_it_obeys() -> None:
    """Hidden ones count: what is accepted has to mean something."""
    seen = {
        words: {name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
        for words, command in EVERY.items()
    }
    assert seen == OPTIONS


@pytest.mark.parametrize("words", sorted(OPTIONS))
def test_an_option_that_a_verb_does_not_obey_is_a_usage_error(words: str, tmp_path: Path) -> None:
    """Every option of any other verb ends with 2, and nothing was done."""
    foreign = sorted(set().union(*OPTIONS.values()) - OPTIONS[words])
    for option in foreign:
        said = slipway(*words.split(), option, home=tmp_path / "home")
        assert (said.code, "No such option" in said.err) == (2, True), (option, said)
    assert not (tmp_path / "home").exists()


def test_options_before_a_second_word_are_not_swallowed(tmp_path: Path) -> None:
    """`serve --project X status` would show another project's service."""
    project = write_project(tmp_path)
    one_sentence(slipway("serve", "--project", project, "status", home=tmp_path), 2, "serve status", "behind it")


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_each_verb_is_the_first_sentence_of_its_help(name: str) -> None:
    """The page that lists verbs says what they say themselves, without having imported them."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    formatter = click.HelpFormatter(width=1_000)
    group.format_commands(click.Context(group), formatter)
    assert [name, found.get_short_help_str(1_000)] in [
        row.split(maxsplit=1) for row in formatter.getvalue().splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("pause", "--reason", "lunch"), {"name": "pause", "reason": "lunch"}),
        (("pause", "--at", "20", "--reason", "look"), {"name": "pause", "reason": "look", "percent": 20.0}),
        (("resume", "--reason", "fine"), {"name": "resume", "reason": "fine"}),
        (("approve", "--reason", "seen"), {"name": "approve", "reason": "seen"}),
        (("abort", "--reason", "no"), {"name": "abort", "reason": "no"}),
        (("promote", "--force", "--reason", "sure"), {"name": "promote", "reason": "sure", "force": True}),
        (("rollback", "--reason", "back"), {"name": "abort", "reason": "back"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_an_order_reaches_the_controller_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], command: dict[str, object]
) -> None:
    """Whoever asks finds name, reason, force and option in the inbox; without an answer in time it ends with 20."""
    monkeypatch.setattr("serving.service.by_hand.ANSWER_S", 0.0)
    scene = Scene(tmp_path)
    scene.register(1, 2)
    scene.release(1)
    scene.until(lambda: scene.backend.serving() == {"housing-1": 1000})
    scene.release(2)
    scene.live_at(10)
    said = slipway("rollout", *words, "--model", MODEL, home=tmp_path)
    one_sentence(said, 20, f"asked for {command['name']}", "slipway serve")
    ((_, asked),) = scene.control.desk.asked()
    usual = {"reason": "", "option": "", "force": False, "percent": None}
    assert {name: getattr(asked, name) for name in (*usual, "name")} == usual | command
    scene.control.desk.close()


def test_force_means_nothing_without_a_rollout(tmp_path: Path) -> None:
    """It is for evidence that a live rollout lacks; without one it is a usage error, and the canary stays as it is."""
    scene = Scene(tmp_path)
    scene.register(1, 2)
    scene.ledger.promote(MODEL, 1, "ada", "first")
    scene.ledger.canary(MODEL, 2, 20, "ada", "by hand")
    said = slipway("rollout", "promote", "--force", "--reason", "sure", "--model", MODEL, home=tmp_path)
    one_sentence(said, 2, "--force", "none is live")
    assert scene.ledger.slot(MODEL).version == 1
    scene.control.desk.close()


def test_a_version_can_be_rejected(tmp_path: Path) -> None:
    """It takes no traffic from then on; who said so and why is kept, and approval brings it back."""
    scene = Scene(tmp_path)
    scene.register(1)
    said = slipway("models", "reject", MODEL, 1, "--reason", "biased", "--json", home=tmp_path)
    assert (said.code, said.value["version"]["approval"]) == (0, "rejected")
    approval = scene.ledger.approval(MODEL, 1)
    assert (approval.verdict, approval.reason) == ("rejected", "biased")
    one_sentence(slipway("models", "promote", MODEL, 1, "--reason", "r", home=tmp_path), 5, "rejected")
    scene.control.desk.close()
