"""What is served, once a candidate was accepted: that one, or its recipe on all rows, the held-out ones included.

A model that has seen all rows cannot be judged on any of them. So the candidate is judged as it is, its twin is fitted
by the same recipe and the same number of rounds, and carries the candidate along: whoever compares a later candidate
with this version asks the one that has not seen the held-out rows.
"""

import shutil
from pathlib import Path

from components.modelling.recipes import Recipe
from components.steps.telling import SHORT, tell
from serving.bundle.files import JUDGED, MANIFEST
from serving.files import sha256_file


def refit(recipe: Recipe, key: str, judged: str, train: str, holdout: str, served: str) -> str:
    """Write to *served* the bundle that goes to traffic, once that in *judged* was accepted; returns its digest.

    Raises:
        GateRefusal: the model of all rows is worse on the held-out ones, which it has seen, than that which had not.
    """
    if not recipe.refits:
        shutil.copytree(judged, served, dirs_exist_ok=True)
        digest = sha256_file(Path(served) / MANIFEST)
        tell(f"what was judged is served, bundle {digest[:SHORT]}")
        return digest
    from components.modelling.again import fit_again  # brings all that fits, which the others need not wait for

    digest, words = fit_again(recipe, key, Path(judged), Path(train), Path(holdout), Path(served))
    shutil.copytree(judged, Path(served) / JUDGED)
    tell(f"{words}, bundle {digest[:SHORT]}")
    return digest
