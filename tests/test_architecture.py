"""Rules about the source itself that no single test of behaviour would notice being broken."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.compiling.compiling import graphs, is_current
from tests.root import ROOT

PACKAGES = ("components", "pipelines", "serving")
LONGEST_FILE, LONGEST_BODY, FULLEST_FOLDER = 300, 40, 20  # lines, lines, modules

# What is larger than a limit, as large as it may be.
LARGER: dict[str, int] = {}

# Names of two public classes, and why both may keep theirs.
NAMED_TWICE = {
    "Alert": "a rule on a dashboard, and a sentence in the journal",
    "Detail": "of a run on Pipelines, and of an event in the ledger",
    "Gate": "what a candidate must pass, and what a look at a rollout is tested by",
    "Look": "at a rollout, and at a model server",
    "Parts": "of a log that is written, and of one that is read on",
    "Reading": "of Envoy on this machine, and of the gateway on a cluster",
    "Reply": "of the endpoint to a buyer, and of any server to a GET",
    "Step": "of a pipeline's graph, and of a rollout's plan",
    "Turn": "of the loop, and of the controller",
    "Watched": "a model by its labels, and a rollout by its figures",
}

# What nobody imports, and why it is declared all the same.
NOT_IMPORTED = {
    "httptools": "uvicorn finds it by its name, and parses requests with it",
    "import-linter": "make check",
    "kserve": "its file of the protocol is read, and its clients and server are started by tests",
    "mypy": "make check",
    "pandas-stubs": "read by mypy",
    "pymysql": "SQLAlchemy finds it by the ledger's address",
    "pytest-timeout": "pytest finds it",
    "pytest-xdist": "pytest finds it",
    "ruff": "make check",
    "schemathesis": "tests start its program",
    "types-pyyaml": "read by mypy",
    "xgboost": "where there is no xgboost-cpu, the same module under another name",
}

# Programs that tests start by Pythons of their own, which have what these import.
ELSEWHERE = {
    ROOT / "tests/bench/tree_peers.py",
    ROOT / "tests/bench/automl_peers.py",
    *(ROOT / f"tests/clients/{name}.py" for name in ("asked", "kserve_client", "mlserver_client", "triton_client")),
}

# Who touches the environment, and why it may.
ENVIRONMENT = {
    "pipelines/settings.py": "the settings of this machine",
    "serving/predictor/settings.py": "the settings of the model server's pod",
    "components/recording/tracking.py": "writes MLflow's switches, which it reads nowhere else, before it is imported",
    "pipelines/here/run.py": "hands variables on to the steps",
}


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(module: ast.Module) -> Iterator[str]:
    """The first word of every import, wherever it stands; those for type checkers are no imports."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value).partition(".")[0]


@cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(imports(tree(path)))


def declared(*groups: str) -> set[str]:
    """The packages that pyproject.toml asks for: the core with *groups* of its extras, by their normal names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for group in groups for line in project["optional-dependencies"][group])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


@cache
def packages_of(*folders: str) -> dict[str, set[str]]:
    """Of each foreign word that is imported below *folders* the packages that may provide it."""
    known = packages_distributions()
    files = {path for folder in folders for path in (ROOT / folder).rglob("*.py")} - ELSEWHERE
    words = {word for path in files for word in imported(path)}
    foreign = words - set(sys.stdlib_module_names) - {*PACKAGES, "tests"}
    return {word: {canonicalize_name(package) for package in known.get(word, ())} for word in foreign}


EXTRAS = ("pipeline", "serve", "local", "cluster", "tune", "boosting", "catboost", "mlflow")


def test_what_is_imported_is_declared() -> None:
    """What only another package brings would go when that one no longer needs it."""
    assert [word for word, of in packages_of(*PACKAGES).items() if not of & declared(*EXTRAS)] == []
    assert [word for word, of in packages_of("tests", "images").items() if not of & declared(*EXTRAS, "dev")] == []


def test_what_is_declared_is_imported() -> None:
    """Or somebody says what it is for: the rest would only be installed, scanned and updated."""
    used = set().union(*packages_of(*PACKAGES).values())
    used_by_tests = set().union(*packages_of("tests", "images").values())
    idle = (declared(*EXTRAS) - used) | (declared("dev") - declared() - used_by_tests)
    assert idle == set(NOT_IMPORTED)


def touches_environment(module: ast.Module) -> bool:
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in names for a in node.names))
        for node in ast.walk(module)
    )


def test_the_environment_is_read_in_one_place() -> None:
    """Values come in as arguments; whoever else touches the environment has a reason here."""
    assert {name_of(path) for path in sources() if touches_environment(tree(path))} == set(ENVIRONMENT)


def test_the_exceptions_only_write_to_the_environment() -> None:
    """The two that are not settings set variables for others and decide nothing by them."""
    for name in ("components/recording/tracking.py", "pipelines/here/run.py"):
        for node in ast.walk(tree(ROOT / name)):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                assert isinstance(node.ctx, ast.Store), f"{name}:{node.lineno} reads a variable"
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os.environ":
                assert node.attr in ("update", "setdefault"), f"{name}:{node.lineno} reads a variable"
            assert not (isinstance(node, ast.Attribute) and node.attr == "getenv"), f"{name}: reads a variable"


def test_packages_hold_a_docstring_only() -> None:
    """`__init__.py` runs in every step and every process: nothing to import, nothing to go wrong."""
    packages = [path for path in sources() if path.name == "__init__.py"]
    assert len(packages) >= 8
    for path in packages:
        body = tree(path).body
        assert len(body) == 1, name_of(path)
        assert ast.get_docstring(tree(path)), name_of(path)


def test_modules_say_what_they_are() -> None:
    """Each module begins with a docstring."""
    silent = [name_of(path) for path in sources() if not ast.get_docstring(tree(path))]
    assert silent == []


def too_large(sizes: Mapping[str, int], limit: int, unit: str) -> list[str]:
    """A sentence for each of *sizes* above *limit*, or above what ``LARGER`` allows it."""
    return [
        f"{place} has {size} {unit}, at most {allowed} are wanted"
        for place, size in sizes.items()
        if size > (allowed := LARGER.get(place, limit))
    ]


def test_a_file_is_read_in_one_sitting() -> None:
    """No file of the product has more than 300 lines."""
    lines = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in sources()}
    assert too_large(lines, LONGEST_FILE, "lines") == []


def test_a_folder_is_seen_at_a_glance() -> None:
    """No folder of the product has more than 20 modules."""
    modules = Counter(name_of(path.parent) for path in sources() if path.name != "__init__.py")
    assert too_large(modules, FULLEST_FOLDER, "modules") == []


def bodies(path: Path) -> Iterator[tuple[str, int]]:
    """Place and lines of each function's body, without docstring and signature; a graph is a table of contents."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and not any(ast.unparse(one).startswith("dsl.pipeline") for one in node.decorator_list):
                yield f"{name_of(path)}:{node.lineno} {node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_functions_fit_a_screen() -> None:
    """None but the graph of a pipeline has more than 40 lines of code."""
    lines = dict(body for path in sources() for body in bodies(path))
    assert too_large(lines, LONGEST_BODY, "lines of code") == []


def test_a_name_means_one_thing() -> None:
    """No two public classes share a name, but for those that have a reason above."""
    places: dict[str, list[str]] = {}
    for path in sources():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{name_of(path)}:{node.lineno}")
    twice = [f"{name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1 + (name in NAMED_TWICE)]
    assert twice == [], "a class that is another thing has another name"


def test_waivers_have_a_reason() -> None:
    """Each `noqa` and `type: ignore` names its rule and says why on the same line."""
    waiver = re.compile(r"#\s*(noqa|type:\s*ignore)")
    good = re.compile(r"#\s*(noqa: [A-Z]+\d+(, [A-Z]+\d+)*|type: ignore\[[a-z-, ]+\])\s+(- |# |\()\S+")
    bare = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if waiver.search(line) and not good.search(line)
    ]
    assert bare == []


def test_compiled_pipelines_are_current() -> None:
    """What a cluster is given is what the source says: `slipway compile` would change nothing."""
    found = graphs()
    assert found
    for pipeline, path in found.items():
        assert is_current(pipeline, path), f"{path.name} is not what its pipeline compiles to: make compile"


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows or would add; all text files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else [name_of(path) for path in sources()]
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang\.org|index-url\s*=", id="registries"),
        pytest.param(r"(?<![\w.~})-])/(work|root|home)/\w", id="home-directories"),
        pytest.param(r"BEGIN (EC |RSA )?PRIVATE KEY|AKIA[0-9A-Z]{16}", id="secrets"),
    ],
)
def test_no_file_names_a_place_of_ours(pattern: str) -> None:
    """No address of a package registry, no path of somebody's home and no key is in the repository."""
    sought = re.compile(pattern)
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}" for number, line in enumerate(text.splitlines(), 1) if sought.search(line)
        ]
    assert found == []
