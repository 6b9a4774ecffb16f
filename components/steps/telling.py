"""The one line a step says to people: shown beside its name, and again when its result comes from the cache."""

MARKER = "SLIPWAY-SUMMARY"
SHORT = 6  # characters of a digest that people read


def tell(text: str) -> None:
    """Print *text* as this step's summary; the last one of a step counts. Line breaks become spaces."""
    print(f"{MARKER} {' '.join(text.split())}", flush=True)
