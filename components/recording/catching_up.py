"""The process that brings MLflow up to the ledger; ``components.steps.mirroring`` starts it, with a place on stdin."""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from components.steps import mirroring
from components.steps.failing import spared
from components.steps.place import Place
from serving.ledger.ledger import open_ledger

OVERTIME = 124  # what `timeout` ends with


def main(arguments: list[str]) -> int:
    place = Place.model_validate_json(sys.stdin.buffer.read())
    watchdog = threading.Timer(mirroring.LIMIT_S, lambda: os._exit(OVERTIME))
    watchdog.daemon = True
    watchdog.start()
    with mirroring.lock(place.root):
        record = next((Path(one) for one in arguments if one != "--always"), None)
        bring(place, always="--always" in arguments, record=record)
    return 0


def bring(place: Place, *, always: bool, record: Path | None = None) -> None:
    """Bring MLflow what it misses, and note how far that came; nothing when the last note says that all is there.

    What changes meanwhile is brought as well, so that who comes last leaves MLflow as the ledger is at the end.
    """
    ledger, before = open_ledger(place.ledger), mirroring.read(place.root)
    if not always and before.head == ledger.head():
        return
    from components.recording import registry, tracking  # these load what a run was made with
    from components.recording.run_records import catch_up

    missing: list[str] = []
    shown = before.head
    with spared("MLflow does not show the ledger", mirroring.LATER, missing.append):
        tracking.check(place.tracking)
        missing += catch_up(place, record)
        shown = registry.mirror(ledger, place.tracking)
    mirroring.write(place.root, before.after(shown, "; ".join(missing), time.time()))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
