"""A candidate in the real model server, before it is registered."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.judging.verification import as_records, verify
from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.signing import PublicKey, SigningKey, load_public_key
from serving.errors import GateRefusal
from tests.serving.predictor.support import HOUSE, write_model


@pytest.fixture(scope="module")
def candidate(tmp_path_factory) -> tuple[Path, Bundle, PublicKey]:
    directory, key = write_model(tmp_path_factory.mktemp("model"), HOUSE)
    public = load_public_key(key)
    return directory, open_bundle(directory, (public,), deep=True), public


def test_the_server_answers_golden_rows_to_the_last_bit(candidate) -> None:
    """What callers will get is what the bundle's scorer says here."""
    directory, bundle, public = candidate
    seen = verify("housing", directory, bundle, public.pem)
    assert (seen.rows, seen.exact) == (len(bundle.golden), True)
    assert seen.rows == len(as_records(bundle.golden, bundle.contract))


def test_another_answer_than_expected_is_refused(candidate) -> None:
    """The message has the row, what came and what was expected; the candidate is not registered."""
    directory, bundle, public = candidate
    with pytest.raises(GateRefusal, match=r"housing: the model server answers golden row \d+ with .*expected"):
        verify("housing", directory, replace(bundle, scorer=Backwards(bundle)), public.pem)


class Backwards:
    """A scorer that gives its answers in the opposite order."""

    def __init__(self, bundle: Bundle) -> None:
        self.form, self._score = bundle.scorer.form, bundle.scorer.score

    def score(self, matrix):
        return self._score(matrix)[::-1]


def test_a_bundle_that_the_server_will_not_load_is_refused_with_its_reason(candidate) -> None:
    """The server's word counts, at once: nobody waits for a model that never will be ready."""
    directory, bundle, _ = candidate
    with pytest.raises(GateRefusal, match=r"the model server refuses the candidate: .*sign"):
        verify("housing", directory, bundle, SigningKey.generate().public.pem)
