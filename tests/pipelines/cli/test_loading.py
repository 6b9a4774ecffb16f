"""What a verb does not need it does not load: looking at a name costs neither scikit-learn nor a data frame."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.steps.place import Place
from pipelines import settings
from tests.pipelines.here.support import MODEL, Scene
from tests.root import HOUSING, ROOT

HEAVY = frozenset({"sklearn", "scipy", "pandas", "polars", "pyarrow", "numba", "mlflow", "kfp", "optuna", "matplotlib"})
HEAVY |= {"kserve", "kubernetes", "minio", "skops", "numpy", "sqlalchemy", "pydantic", "yaml"}
LIGHT = {"pydantic", "yaml"}  # the settings, and the project's file

CASES = [
    pytest.param(["--help"], set(), id="help"),
    pytest.param(["rollout", "--help"], set(), id="help-of-rollout"),
    pytest.param(["models", "--help"], set(), id="help-of-models"),
    pytest.param(["models", "list"], {"sqlalchemy"}, id="models-list"),
    pytest.param(["serve", "status", "--project", str(HOUSING)], LIGHT, id="serve-status"),
    # the evidence is sums of log-beta functions over arrays of epochs
    pytest.param(
        ["rollout", "status", "--project", str(HOUSING)], LIGHT | {"numpy", "scipy", "sqlalchemy"}, id="rollout-status"
    ),
    pytest.param(["rollout", "history", "--model", MODEL], {"pydantic", "numpy", "sqlalchemy"}, id="rollout-history"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where version 2 has 10 percent beside version 1."""
    scene = Scene(tmp_path_factory.mktemp("home"))
    scene.register(1, 2)
    scene.release(1)
    scene.until(lambda: scene.backend.serving() == {"housing-1": 1000})
    scene.release(2)
    scene.live_at(10)
    scene.control.desk.close()
    return scene.home


@pytest.mark.parametrize(("words", "needed"), CASES)
def test_a_verb_loads_what_it_needs(home: Path, words: list[str], needed: set[str]) -> None:
    """Of the libraries that cost a tenth of a second or more only those on its list; each of them is really loaded."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr))\n"
        "from pipelines.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--home", str(home), *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert HEAVY & set(done.stderr.split()) == needed


def test_the_settings_have_every_field_of_the_place() -> None:
    """Each can be named by a variable, and a variable that names nothing is left alone."""
    environment = {f"SLIPWAY_{name.upper()}": f"{name}!" for name in Place.model_fields} | {"SLIPWAY_CONTEXT": "kind"}
    assert settings.values("/h", environment) == {name: f"{name}!" for name in Place.model_fields} | {"home": "/h"}
    assert settings.load("/h", {}).model_dump() == settings.values("/h", {})
