"""``python -m pipelines.deploying.images [--no-digests] [IMAGE...]``: name the images of a manifest by tag and digest.

Reads a manifest, or any other text, and writes it with the digest of ``manifests/images.yaml`` behind each image that
has one there, wherever its name stands: in a field, an argument, a variable or a text within a ConfigMap. IMAGE is a
reference of an image that was built, and takes the place of the one of its name. ``--no-digests`` leaves digests away,
for a cluster whose images were made on the spot.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import yaml

from pipelines.checkout import MANIFESTS
from serving.errors import UsageError

TABLE = MANIFESTS / "images.yaml"
NO_DIGESTS = "--no-digests"


class Image(NamedTuple):
    """What is known of an image; ``manifests/images.yaml`` says what each word means."""

    licence: str
    use: str
    digest: str = ""
    built: str = ""
    only: str = ""


def table(text: str) -> dict[str, Image]:
    """The images of ``manifests/images.yaml`` by their references."""
    return {reference: Image(**row) for reference, row in yaml.safe_load(text).items()}


def name(reference: str) -> str:
    """The last word of *reference* before its tag and digest: ``agent`` of ``docker.io/kserve/agent:v1``."""
    return re.split("[:@]", reference.rpartition("/")[2])[0]


def short(reference: str) -> str:
    """*reference* without the registry that goes without saying."""
    return re.sub(r"^(docker\.io/)?(library/)?", "", reference)


def named(text: str, images: Mapping[str, Image], built: Iterable[str] = (), *, digests: bool = True) -> str:
    """*text* with the digest of *images* behind each of their references, or with none behind any.

    One with another tag or another digest stays as it is, and so does one of another registry; ``docker.io`` may be
    left out.

    Args:
        built: references to put in the place of those that are built and have the same name.

    Raises:
        UsageError: no image of that name is built.
    """
    known = {short(reference): image.digest for reference, image in images.items()}
    instead = dict(_places(images, built))

    def new(found: re.Match[str]) -> str:
        reference, digest, own = found["reference"], found["digest"], known[found["short"]]
        if digest not in (None, own):
            return found[0]
        if found["short"] in instead:
            return instead[found["short"]]
        return f"{reference}@{own}" if digests and own else reference

    each = "|".join(re.escape(short) for short in known)
    reference = rf"(?P<reference>(?:docker\.io/)?(?:library/)?(?P<short>{each}))(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?"
    return re.sub(rf"\b(?<![./:@-]){reference}(?![\w.:@/-])", new, text)


def _places(images: Mapping[str, Image], built: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What stands for each of *built* in a manifest, and what to put there."""
    places = {name(reference): short(reference) for reference, image in images.items() if image.built}
    for reference in built:
        if name(reference) not in places:
            raise UsageError(f"{reference!r} has the name of no image that is built; there are {', '.join(places)}")
        if short(reference) != places[name(reference)]:
            yield places[name(reference)], reference


if __name__ == "__main__":
    built = [word for word in sys.argv[1:] if word != NO_DIGESTS]
    try:
        known = table(TABLE.read_text(encoding="utf-8"))
        print(named(sys.stdin.read(), known, built, digests=NO_DIGESTS not in sys.argv), end="")
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
