"""The model that a project names: family, parameters, target, and how it becomes a scikit-learn estimator."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.judging.metrics import Task
from components.modelling.kinds import FAMILIES, RESERVED, family_of
from components.modelling.recipes import AUTO
from serving.contract import Frozen
from serving.durations import Span
from serving.errors import ConfigError
from serving.scoring.bends import BENDS

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Weights(Frozen):
    """How much each training row counts; without a key all count the same.

    Attributes:
        column: of the table, with the weights themselves: numbers of at least 0.
        half_life: a row that is older than the newest by this counts half.
    """

    column: str | None = None
    half_life: Span | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.column is not None and self.half_life is not None:
            raise ValueError("expected one of 'column' and 'half_life'")
        return self


class ModelSpec(Frozen):
    """A model family, the estimator parameters that a project fixes, and what it learns to predict.

    Attributes:
        family: kind of model: auto, which searches over those that are installed, or one of them, such as ridge,
            hist_gradient_boosting or lightgbm, or one that an installed package offers; ``docs/models.md``.
        params: parameters of the family by its library's names; all others are the family's defaults.
        target: what it learns instead of the target itself; answers are in the target's own unit all the same.
        smearing: whether the way back from a bent target gives a mean instead of a median (``bends``).
        per: column that the target is divided by before, and the answer is multiplied by in the end.
        exposure: as ``per``, and rows weigh as much as that column says: with loss ``poisson`` an offset of its
            logarithm.
        weights: how much each row counts.
        refit: ``all``: what is served is fitted on all rows, the newest included, once a twin that has not seen the
            held-out ones was accepted; the default where the family is left open.

    Raises:
        ConfigError: the family, or a parameter of it, does not exist or is not a project's to set.
    """

    family: str
    params: dict[str, Any] = Field(default_factory=dict)
    target: Literal["none", "log", "log1p", "sqrt", "yeo-johnson"] = "none"
    smearing: bool = False
    per: str | None = None
    exposure: str | None = None
    weights: Weights = Weights()
    refit: Literal["all", "none"] | None = None

    @property
    def unit(self) -> str:
        """The column that answers are multiplied by; empty for none."""
        return self.per or self.exposure or ""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"family": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.per and self.exposure:
            raise ConfigError("model.exposure: it divides by a column as 'per' does; expected one of the two")
        if self.smearing and BENDS[self.target].smear is None:
            able = ", ".join(name for name, bend in BENDS.items() if bend.smear)
            raise ConfigError(f"model.smearing: needs model.target to be one of {able}; seen {self.target!r}")
        if self.family == AUTO:
            if self.params or self.smearing:
                raise ConfigError("model.params: of no use without a family, since 'auto' chooses it with its params")
            return self
        check_names(self.family, self.params, where="model.params")
        return self


def check_names(family: str, names: Iterable[str], *, where: str, task: Task | None = None) -> None:
    """Refuse parameter *names* that *family* does not have; *where* is the key they were written under."""
    choices = family_of(family).choices(task)
    for name in names:
        if name in RESERVED:
            raise ConfigError(f"{where}.{name} cannot be set: {RESERVED[name]}; remove it")
        if name not in choices:
            kind = f"{family} ({task})" if task else family
            raise ConfigError(f"{where}.{name}: expected a parameter of {kind}, one of {', '.join(choices)}")


def check_values(family: str, params: Mapping[str, Any], *, where: str, task: Task) -> None:
    """Refuse names in *params* as ``check_names``, and a value that the estimator for *task* would refuse in its fit.

    Each is tried alone; what two of them rule out together is ``check_fit``'s to say, as is all of another library.
    """
    check_names(family, params, where=where, task=task)
    known = family_of(family)
    kind = known.kind(task)
    for name, value in params.items():
        try:
            if hasattr(kind, "_parameter_constraints") and name not in (known.signs, known.sets):
                kind(**{name: value})._validate_params()
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{where}.{name}: {error}") from error


def check_task(model: ModelSpec, task: Task) -> None:
    """Refuse a family that has no estimator for *task*."""
    if task not in family_of(model.family).tasks:
        able = ", ".join(name for name, family in FAMILIES.items() if task in family.tasks)
        raise ConfigError(f"model.family: {model.family} has no {task}; expected one of {able}")


def build_estimator(model: ModelSpec, task: Task, seed: int, params: Mapping[str, Any] = NOTHING) -> Any:
    """An unfitted estimator; *params* win over the project's, which win over the family's defaults."""
    check_task(model, task)
    check_names(model.family, [*model.params, *params], where="model.params", task=task)
    family = family_of(model.family)
    settings = {**family.defaults, **model.params, **params}
    if family.sets_at_fit:
        settings.pop(family.sets, None)
    if "random_state" in settings:
        settings["random_state"] = seed
    estimator = family.kind(task)(**settings)
    seeds = [name for name in estimator.get_params() if name.rpartition("__")[2] == "random_state"]
    return estimator.set_params(**dict.fromkeys(seeds, seed))


def settings_of(model: ModelSpec, task: Task, seed: int) -> dict[str, Any]:
    """Every parameter of *model* with its value, those that the project leaves out among them."""
    told = build_estimator(model, task, seed).get_params()
    return {**told, **family_of(model.family).defaults, **model.params}
