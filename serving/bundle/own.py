"""Code of other packages in a bundle: who offers it, and whether it is here as it was when the bundle was made.

An installed package offers transformers under the entry point group ``slipway.transformers``: a class, or a function
without arguments, that gives an unfitted one; and whole families under ``slipway.families`` likewise, which take the
project's ``params``. A bundle stores what was fitted by skops, names the types, and has the package's name, version and
a digest of its files in its manifest. Nothing of the package is imported before all of that was compared, and in a
server only if its settings name the package.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from serving.errors import ConfigError, GateRefusal
from serving.files import canonical_json, sha256_bytes, sha256_files
from serving.frozen import Frozen

TRANSFORMERS, FAMILIES = "slipway.transformers", "slipway.families"
_KEYS = {TRANSFORMERS: "features.own", FAMILIES: "model.family"}
VARIABLE = "SLIPWAY_OWN_PACKAGES"


class OwnCode(Frozen):
    """A package whose code a bundle needs.

    Attributes:
        sha256: of its files, by ``digest_of``.
        types: the classes of it that the model holds; none where it only had a hand in making it.
    """

    package: str
    version: str
    sha256: str
    types: tuple[str, ...] = ()


def offered(group: str) -> list[str]:
    """What installed packages offer in *group*, by names."""
    return sorted(entry_points(group=group).names)


def offer(group: str, name: str) -> EntryPoint | None:
    """What an installed package offers in *group* by that *name*, if one does.

    Raises:
        ConfigError: several do.
    """
    found = list(entry_points(group=group, name=name))
    if len(found) > 1:
        seen = " and ".join(sorted(f"{one.value} of {one.dist.name if one.dist else 'no package'}" for one in found))
        raise ConfigError(
            f"{_KEYS[group]}: {name} is offered under {group} as {seen}: expected one; remove the other package, or "
            "give its entry point another name"
        )
    return found[0] if found else None


def makers(transformers: Iterable[str], family: str) -> tuple[OwnCode, ...]:
    """The installed packages that offer these *transformers*, and this *family* if it is none of ours."""
    asked = [*((TRANSFORMERS, name) for name in transformers), (FAMILIES, family)]
    used = filter(None, (offer(group, name) for group, name in asked))
    return tuple(
        OwnCode(package=package, version=version, sha256=digest_of(module))
        for package, version, module in sorted(_modules(used))
    )


def digest_of(module: str) -> str:
    """sha256 over the files of a top-level *module*, by relative name; it is not imported.

    Raises:
        GateRefusal: there is no such module.
    """
    spec = find_spec(module)
    if spec is None:
        raise GateRefusal(f"the module {module} is not installed here")
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    if not roots and spec.origin:
        return sha256_files(Path(spec.origin).parent, [Path(spec.origin)])
    found = [sha256_files(root, filter(_kept, root.rglob("*"))) for root in roots]
    return found[0] if len(found) == 1 else sha256_bytes(canonical_json(sorted(found)))  # a namespace has several


def _kept(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def packages_of(types: Iterable[str]) -> tuple[OwnCode, ...]:
    """The installed packages that offer something and have some of *types*; the others of these are nobody's."""
    wanted, found = sorted(set(types)), list[OwnCode]()
    for package, version, module in sorted(_offering()):
        theirs = tuple(name for name in wanted if name.partition(".")[0] == module)
        if theirs:
            found.append(OwnCode(package=package, version=version, sha256=digest_of(module), types=theirs))
    return tuple(found)


def _offering() -> set[tuple[str, str, str]]:
    """``_modules`` of each package with an entry point."""
    return _modules(one for group in (TRANSFORMERS, FAMILIES) for one in entry_points(group=group))


def _modules(points: Iterable[EntryPoint]) -> set[tuple[str, str, str]]:
    """Name, version and top-level module of the packages of *points*."""
    return {(one.dist.name, one.dist.version, one.module.partition(".")[0]) for one in points if one.dist}


def types_of(needed: Sequence[OwnCode], allowed: Collection[str] | None) -> frozenset[str]:
    """The types that a model may hold besides the fixed list, all of packages that are here as they were.

    Args:
        allowed: packages whose code may be loaded; None: of all that are installed and offer something.

    Raises:
        GateRefusal: a package is not allowed, absent, or another than when the bundle was made.
    """
    trusted = None if allowed is None else set(map(_plain, allowed))
    for one in needed:
        if trusted is not None and _plain(one.package) not in trusted:
            raise GateRefusal(
                f"the model holds code of the package {one.package} {one.version}, which this process may not load; "
                f"where that is trusted, install it and name it in {VARIABLE}"
            )
        _check_same(one)
    return frozenset(name for one in needed for name in one.types)


def _plain(package: str) -> str:
    """The one spelling of its name that installers go by: PyPA's specification of name normalization."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _check_same(one: OwnCode) -> None:
    here = {(package, module): version for package, version, module in _offering()}
    modules = {name.partition(".")[0] for name in one.types}
    versions = {here.get((one.package, module), "") for module in modules}
    if versions != {one.version}:
        seen = " and ".join(filter(None, versions)) or "none that offers its code"
        raise GateRefusal(
            f"the model needs the package {one.package} {one.version}, and {seen} is installed here; install that one"
        )
    if {digest_of(module) for module in modules} != {one.sha256}:
        raise GateRefusal(
            f"the files of the package {one.package} {one.version} are others than those that the model was made with; "
            "install the same build, or train again"
        )
