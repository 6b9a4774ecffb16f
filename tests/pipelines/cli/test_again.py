"""The command that a run is shown with is the command that makes it again."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from components.projects import project as projects
from components.projects.stages import again
from components.steps.place import Place
from pipelines.cli.main import slipway
from pipelines.here import training
from pipelines.here.training import command_of, train_arguments
from tests.pipelines.here.support import write_project

PLACE = Place(home="h", ledger="l", tracking="t", store="s", serving="v", key="k")
NAMES = st.text(st.sampled_from("ab-'\"\\ $`;*#=~ü\n"), min_size=1, max_size=8).filter(lambda name: name.strip())
SOURCES = (
    st.none()
    | NAMES.map(lambda name: f"{name}.csv")
    | NAMES.map(lambda name: f"s3://bucket/{name}/part")
    | st.just("market://calm?months=4&seed=7")
    | st.just("../above/a b.parquet")
)
# Sections that change what a run does: parameters, a seed, a search.
SECTIONS: list[dict[str, Any]] = [
    {},
    {"seed": 7},
    {"model": {"family": "ridge", "params": {"alpha": 0.25}}},
    {"search": {"trials": 3, "space": {"alpha": {"log": [0.1, 10.0]}}}},
    {"source": {"uri": "sub folder/it's.csv"}},
]
ASKED = {"source": "s", "as_of": "2026-01-01", "window": "9d"}


class Ended(Exception):
    """Instead of the run that would follow."""


def given_to_the_run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Path]:
    """What the real command line makes of *words*: the arguments of the pipeline, and the project's file."""
    seen: list[Any] = []

    def instead(project: Any, _place: Any, **options: Any) -> None:
        chosen = {name: options[name] for name in ("as_of", "source", "window")}
        arguments = train_arguments(project, PLACE, **chosen)
        seen.extend(({**arguments, "command": again(command_of("run", project.file), arguments)}, project.file))
        raise Ended

    monkeypatch.setattr(training, "train", instead)
    with pytest.raises(Ended):
        slipway.main(words, standalone_mode=False)
    return seen[0], seen[1]


@settings(deadline=None, phases=(Phase.explicit, Phase.generate), max_examples=25)
@given(
    folder=NAMES, file=NAMES, source=SOURCES, sections=st.sampled_from(SECTIONS),
    as_of=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    window=st.sampled_from(["", "60d", "36h", "2 weeks", "-3d"]), no_cache=st.booleans(),
)  # fmt: skip
def test_the_command_of_a_run_gives_the_same_settings(
    tmp_path_factory: pytest.TempPathFactory, folder: str, file: str, source: str | None, sections: dict[str, Any],
    as_of: datetime | None, window: str, no_cache: bool,
) -> None:  # fmt: skip
    """Typed in a shell, in another directory, it asks for each setting of the run, however odd its text."""
    base = tmp_path_factory.mktemp("run") / folder.strip()
    base.mkdir(exist_ok=True)
    written = write_project(base, f"{file}.yaml", **sections)
    options = ["--project", str(written), *(["--no-cache"] if no_cache else [])]
    options += ["--source", source] if source is not None else []
    options += ["--as-of", as_of.isoformat()] if as_of is not None else []
    options += ["--window", window] if window else []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        first, _ = given_to_the_run(["run", *options], patch)
        patch.chdir(base.parent)
        program, *words = shlex.split(first["command"])
        second, project_file = given_to_the_run(words, patch)
    assert program == "slipway"
    assert project_file.resolve() == written.resolve()
    assert second == first
    assert projects.load(project_file) == projects.load(written)


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_each_setting_of_a_run_that_the_command_line_makes_is_in_its_command(verb: str, tmp_path: Path) -> None:
    """The options of the verb that reach the pipeline are those that the command writes; a new one is noticed here."""
    command = slipway.get_command(None, verb)  # type: ignore[arg-type]  # it asks nothing of it
    assert command is not None
    elsewhere = {
        "no_cache",
        "timeout_s",
        "context",
        "host",
        "namespace",
        "image",
        "no_wait",
        "schedule",
        "help",
        "json",
    }
    elsewhere |= {"pipeline", "model", "named_model", "output", "version", "keep", "explain", "top"}
    options = {str(option.name) for option in command.params} - elsewhere
    shown = shlex.split(again(command_of(verb, tmp_path / "p.yaml"), ASKED))
    assert {word.removeprefix("--").replace("-", "_") for word in shown if word.startswith("--")} == options
