"""A slow model's answers taught to the project's own family, as a version that waits for somebody's word."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from components.data import snapshots
from components.data.meeting import Needed
from components.data.tables import Vector, coded, matrix_and_target
from components.modelling import stages as of_modelling
from components.modelling.distilling.asking import Questions, total
from components.modelling.distilling.following import Followed
from components.modelling.distilling.teachers import Teacher, read_teacher
from components.modelling.given.bundling import bundle_given
from components.modelling.given.fitted import Ready
from components.modelling.recipes import Recipe
from components.modelling.saying import Says
from components.modelling.training import predict
from components.projects.project import Project
from components.steps.keys import opened_key, trusted_keys
from components.steps.place import Place
from pipelines.here.giving import BY_HAND, brought, digest_of, entered, sides, silent, told
from serving.bundle.bundle import open_bundle
from serving.contract import Contract
from serving.errors import DataError, UsageError
from serving.files import sha256_bytes, write_text
from serving.ledger.values import Version

TIMES = 9  # one row is asked about, of which the median is told
ReadTable = Callable[[str, Needed], pl.DataFrame]


@dataclass(frozen=True)
class Distilling:
    """A project whose model is to be a pupil.

    Attributes:
        rows: how many are made besides the training rows; None: as ``Questions.of`` says.
        at_most: the share by which its loss may be above its teacher's.
        reason: why it is taken though it loses more, or a gate refuses it; None: it is not.
    """

    project: Project
    place: Place
    read_table: ReadTable
    rows: int | None = None
    at_most: float = 0.05
    reason: str | None = None

    def ask(self, file: Path) -> tuple[int, tuple[str, ...]]:
        """Write the rows for a teacher elsewhere to *file*; how many they are, and the columns that answer them."""
        with tempfile.TemporaryDirectory() as name:
            asked = self._asked(Path(name))[0]
        try:
            asked.question.write_parquet(file)
        except OSError as error:
            raise UsageError(f"--ask: {file} cannot be written ({error}); name another file") from error
        return len(asked.rows), asked.wanted

    def by_file(self, source: str, named: Mapping[str, str]) -> tuple[Version, str]:
        """The version of a pupil of the model in *source*, a path or an address as of ``giving.give``, and what there
        is to say of it.

        Raises:
            DataError: the teacher does not answer the project's rows.
            GateRefusal: the pupil loses too much, or a gate or guard refuses it, and nobody says why to take it.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            asked, known, held = self._asked(folder)
            file = brought(source, self.place, folder)
            teacher = read_teacher(file, named, asked.contract)
            whose = f"its teacher is {digest_of(file)[:12]}, of which nobody here knows on which rows it was fitted"
            answers = asked.checked(teacher.said(asked.rows))
            return self._taught(asked, known, held, answers, folder, (whose, *teacher.notes), teacher)

    def by_answers(self, file: Path) -> tuple[Version, str]:
        """The same of the answers in *file* to the rows that ``ask`` wrote, parquet or CSV."""
        try:
            table = pl.read_csv(file) if file.suffix == ".csv" else pl.read_parquet(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            wanted = "expected parquet, or CSV by its name"
            raise DataError(f"--answers: {file} cannot be read ({error}); {wanted}") from error
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            asked, known, held = self._asked(folder, total(table))
            return self._taught(asked, known, held, asked.answers(table), folder, ())

    def _asked(self, folder: Path, answered: int | None = None) -> tuple[Questions, pl.DataFrame, pl.DataFrame]:
        """The rows, and the training rows and those held out as they came; *answered* is how many they were before."""
        project = self.project
        table = self.read_table(project.source.uri, Needed.of(project.contract))
        known, held = sides(project, self.place, table, folder, whole=False)
        assert known is not None  # noqa: S101 - only a table that is held out as a whole has none
        count = self.rows if answered is None else max(answered - len(known) - len(held), 0)
        return Questions.of(known, held, project.contract, count, project.seed), known, held

    def _taught(
        self,
        asked: Questions,
        known: pl.DataFrame,
        held: pl.DataFrame,
        answers: Vector,
        folder: Path,
        notes: tuple[str, ...],
        teacher: Teacher | None = None,
    ) -> tuple[Version, str]:
        """The version of a pupil of these *answers*, and what there is to say of it."""
        facts: dict[str, Any] = {
            "made_by": BY_HAND, "teacher": sha256_bytes(answers.tobytes()), "source": self.project.source.uri,
        }  # fmt: skip
        with silent():
            recipe, pipeline, learned = self._pupil(asked, answers, facts, folder)
        matrix, truth = matrix_and_target(held, asked.contract)
        said = predict(pipeline, asked.contract, matrix)
        follows = Followed.of(truth, answers[-len(held) :], said, asked.contract, self.at_most)
        facts = {**recipe.facts(learned), "teacher_loss": follows.teacher, "pupil_loss": follows.pupil}

        def ready(contract: Contract) -> Ready:
            return Ready(pipeline, lambda rows: predict(pipeline, contract, rows), (), recipe.name, recipe.settings)

        key, _ = opened_key(self.place.key)
        evaluation, _ = bundle_given(ready, known, held, asked.contract, folder / "bundle", facts, key)
        what = f"distilled on {learned:,} rows by {recipe.name}; {self._speed(folder, asked, teacher)}"
        mistake = "" if follows.holds else follows.sentence
        if follows.holds:
            what = f"{what}; {follows.sentence}"
        version = entered(self.project, self.place, folder, what, self.reason, mistake)
        return version, told(version, evaluation.sentence, *notes, *self._without())

    def _pupil(
        self, asked: Questions, answers: Vector, facts: Mapping[str, Any], folder: Path
    ) -> tuple[Recipe, Any, int]:
        """What the project's search comes to on the answered rows, fitted on them, and on how many."""
        project, rules, lesson = self.project, folder / "rules.json", folder / "lesson"
        write_text(rules, asked.contract.model_dump_json())
        model, features = project.model.model_dump_json(), project.features.model_dump_json()
        rows = asked.lesson(answers, project.seed)
        snapshots.write(rows, lesson, source="distilled", key=project.contract.key)
        search, cut = project.search.model_dump_json(), project.split.model_dump_json()
        given = (str(rules), project.seed, str(lesson), str(folder / "trials"))
        params = of_modelling.tune(model, features, search, cut, *given)
        recipe = Recipe(model, features, str(rules), project.seed, params, Says().model_dump_json(), facts)
        return recipe, recipe.material(rows).fitted(), len(asked.known) + len(asked.made)

    def _speed(self, folder: Path, asked: Questions, teacher: Teacher | None) -> str:
        scorer = open_bundle(folder / "bundle", trusted_keys(self.place.key)).scorer
        row = asked.held.head(1)
        coded_row = coded(row, asked.contract)
        mine = f"one row takes {_milliseconds(lambda: scorer.score(coded_row)):.3g} ms as {scorer.form}"
        if teacher is None:
            return mine
        inputs = row.select(list(asked.contract.inputs))
        return f"{mine}, and its teacher {_milliseconds(lambda: teacher.said(inputs)):.3g} ms"

    def _without(self) -> tuple[str, ...]:
        """What the project asks for besides predictions, and a pupil does not have."""
        if self.project.says == Says(folds=self.project.says.folds):
            return ()
        return ("it has no interval, calibration or threshold, which only a run of the project fits",)


def _milliseconds(ask: Callable[[], Any]) -> float:
    """The median of a few calls, after one that warms up."""
    ask()
    seen = []
    for _ in range(TIMES):
        start = time.perf_counter()
        ask()
        seen.append(1_000 * (time.perf_counter() - start))
    return statistics.median(seen)
