"""Everything one run knows of itself: what its page tells and MLflow records."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.data.quarantine_report import Report as ValidationReport
from components.data.snapshots import Snapshot
from components.judging.evaluation import Evaluation
from components.judging.gates import GateReport
from components.modelling.search.tuning_values import Tuning
from components.steps.provenance import Environment


@dataclass(frozen=True)
class RunFacts:
    """Everything one run knows of itself.

    Attributes:
        settings: the project file as read.
        champion: its evaluation on the rows that both were asked about; None without one, or where it cannot be asked.
        champion_version: None without a champion.
        digest: of the bundle; provenance: as in its manifest.
        command: what makes this run again.
    """

    name: str
    run_id: str
    settings: Mapping[str, Any]
    snapshot: Snapshot
    validation: ValidationReport
    tuning: Tuning
    evaluation: Evaluation
    champion: Evaluation | None
    champion_version: int | None
    decision: GateReport
    digest: str
    provenance: Mapping[str, Any]
    environment: Environment
    ended: datetime
    command: str
