"""The one line a step says to people: shown beside its name, and again when its result comes from the cache."""

MARKER = "SLIPWAY-SUMMARY"
OUTCOME = "SLIPWAY-OUTCOME"
SHORT = 6  # characters of a digest that people read


def tell(text: str) -> None:
    """Print *text* as this step's summary; the last one of a step counts. Line breaks become spaces."""
    print(f"{MARKER} {' '.join(text.split())}", flush=True)


def conclude(word: str) -> str:
    """Print and return what this step came to, for whoever has only its log, as a cluster does not tell outputs."""
    print(f"{OUTCOME} {word}", flush=True)
    return word
