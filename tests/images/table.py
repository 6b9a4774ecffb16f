"""``python -m tests.images.table``, or ``make images-table``: the images of an installation as the page shows them."""

import subprocess
from collections.abc import Iterator, Mapping

from pipelines.deploying import image_tag
from pipelines.deploying.images import TABLE, Image, table

UNKNOWN, NONE = "-", "not recorded"
HEAD = ("image", "from", "digest", "licence", "MB", "what it is for")


def tabled(images: Mapping[str, Image], sizes: Mapping[str, str]) -> str:
    """One row for each image, in the order of the table; *sizes* are in MB, by reference."""
    rows = [_cells(reference, image, sizes.get(reference, UNKNOWN)) for reference, image in images.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEAD, ("---",) * len(HEAD), *rows))


def _cells(reference: str, image: Image, size: str) -> tuple[str, ...]:
    place = f"built: {image.built}" if image.built else f"pulled: {registry(reference)}"
    digest = f"`{image.digest}`" if image.digest else UNKNOWN if image.built else NONE
    use = f"{image.use} (only {image.only})" if image.only else image.use
    return f"`{reference}`", place, digest, image.licence, size, use


def registry(reference: str) -> str:
    """Where *reference* is pulled from; a name without a dot before the first slash is one of docker.io."""
    first, slash, _ = reference.partition("/")
    return first if slash and "." in first else "docker.io"


def sizes(images: Mapping[str, Image]) -> Iterator[tuple[str, str]]:
    """Of the images that this project builds, as far as this machine has built them."""
    for built in image_tag.NAMES:
        reference = image_tag.reference(built)
        command = ["docker", "image", "inspect", "--format", "{{.Size}}", reference]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if not asked.returncode:
            yield image_tag.listed(built, images), f"{int(asked.stdout) // 1_000_000:,}"


if __name__ == "__main__":
    found = table(TABLE.read_text(encoding="utf-8"))
    print(tabled(found, dict(sizes(found))))
