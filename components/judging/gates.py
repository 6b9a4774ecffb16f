"""Whether a candidate may serve: floors, the champion on the same rows, the worst slice, and the guards.

Ties keep the champion: a change of model costs attention and risk, so it has to bring more than the margin, unless the
project tolerates that it brings nothing. A metric that cannot be computed proves nothing and fails its gate.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from components.judging.checks import Beside, Check, check
from components.judging.evaluation import Evaluation
from components.judging.gate import Gate, Guards, check_gates
from components.judging.jackknife import Gain
from serving.contract import Frozen
from serving.errors import DataError

__all__ = ["Check", "Demands", "Gate", "GateReport", "Guards", "check_gates", "judge"]

FEW = 12  # narrowed things that are told before it is said how many more there are
MANY = 10  # candidates, of which the best is the luckiest too
NOTHING: Mapping[str, Gain] = MappingProxyType({})


class Demands(Frozen):
    """All that a candidate has to pass, as one document between the steps of a run."""

    gates: tuple[Gate, ...] = ()
    guards: tuple[Gate, ...] = ()


class GateReport(Frozen):
    """Whether the candidate is accepted, and the sentence that explains it.

    Attributes:
        guards: what came of the guards, which stand beside the project's own gates.
        uses: how many candidates these held-out rows have judged, this one included; 0 where nobody counts.
        compared: which rows the champion was not asked about; empty where it was about all, or not at all.
        unasked: why the champion could not be asked; empty where it was, or there is none.
        narrowed: what the candidate's contract refuses that the champion's took.
    """

    accepted: bool
    sentence: str
    checks: tuple[Check, ...] = ()
    guards: tuple[Check, ...] = ()
    uses: int = 0
    compared: str = ""
    unasked: str = ""
    narrowed: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know beside the verdict, one phrase each."""
        unasked = f"the champion cannot be asked, since {self.unasked}" if self.unasked else ""
        refuses = f"the new contract narrows: {'; '.join(self.narrowed[:FEW])}" if self.narrowed else ""
        again = f"these held-out rows have judged {self.uses:,} candidates by now" if self.uses >= MANY else ""
        more = f" and {len(self.narrowed) - FEW:,} more" if self.narrowed[FEW:] else ""
        return tuple(filter(None, (self.compared, unasked, again, refuses + more)))


def judge(
    candidate: Evaluation,
    champion: Evaluation | None,
    gates: Sequence[Gate],
    compared: Evaluation | None = None,
    unasked: str = "",
    *,
    gains: Mapping[str, Gain] = NOTHING,
    guards: Sequence[Gate] = (),
) -> GateReport:
    """Say whether *candidate* may serve, and why; with no *champion* the floors and slices are the bar.

    Args:
        compared: the candidate on the rows that the champion was asked about, where these are not all.
        unasked: why there is a champion and no evaluation of it.
        gains: of the candidate over the champion, by metric.

    Raises:
        DataError: the two were not evaluated on the same rows.
    """
    beside = compared or candidate
    if champion is not None and (champion.rows, champion.rows_digest) != (beside.rows, beside.rows_digest):
        raise DataError(
            f"the champion was evaluated on other rows ({champion.rows}) than the candidate ({beside.rows});"
            " score both on the candidate's holdout"
        )
    absence = "the champion cannot be asked" if unasked else "no champion yet"
    other = Beside(beside, champion, gains, absence)
    checks, more = (tuple(check(gate, candidate, other) for gate in each) for each in (gates, guards))
    sentence = _refused(checks, more) or _accepted(checks, "" if champion else absence)
    accepted = sentence.startswith("accepted")
    return GateReport(accepted=accepted, sentence=sentence, checks=checks, guards=more, unasked=unasked)


def _refused(checks: Sequence[Check], guards: Sequence[Check]) -> str:
    """The verdict with each gate and guard that fails; empty where none does."""
    failed, alarmed = ([one.sentence for one in each if not one.passed] for each in (checks, guards))
    count = "its one gate fails" if len(checks) == 1 else f"{len(failed)} of {len(checks)} gates fail"
    alarm = "a guard refuses" if len(alarmed) == 1 else f"{len(alarmed)} guards refuse"
    parts = [f"{count}: {'; '.join(failed)}"] if failed else []
    parts += [f"{alarm}: {'; '.join(alarmed)}"] if alarmed else []
    return f"refused: {'; '.join(parts)}" if parts else ""


def _accepted(checks: Sequence[Check], absence: str) -> str:
    if not checks:
        return "accepted: the project defines no gates, so nothing was compared"
    held = "its one gate holds" if len(checks) == 1 else f"all {len(checks)} gates hold"
    return f"accepted: {held}" + (f", {absence}" if absence else "")
