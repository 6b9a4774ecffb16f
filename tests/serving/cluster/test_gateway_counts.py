"""Totals of proxies and model servers become counts per epoch and revision, whatever restarts in between."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cluster.backends.gateway_counts import (
    KEEP_EPOCHS,
    Book,
    Scrape,
    account,
    document,
    opened,
    portion,
    thinned,
)
from serving.cluster.backends.readings import LOST, Reading, envoy_readings, predictor_reading
from serving.rollout.backend import ArmCounts

ENVOY = """
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="httproute/models/housing/rule/2/backend/0"} 90
envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="httproute/models/housing/rule/2/backend/0"} 3
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="httproute/models/housing/rule/2/backend/0"} 7
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="httproute/models/housing/rule/2/backend/0",le="100"} 80
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="httproute/models/housing/rule/2/backend/0",le="250"} 88
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="httproute/models/housing/rule/2/backend/0",le="+Inf"} 95
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="httproute/models/housing/rule/2/backend/1"} 4
envoy_http_no_cluster{envoy_http_conn_manager_prefix="eg-ready-http"} 9
envoy_http_no_cluster{envoy_http_conn_manager_prefix="http-10080"} 6
"""  # noqa: E501  # as Envoy writes it

SERVER = """
slipway_requests_total{model="housing",version="2",verb="predict",code="200"} 9.0
slipway_requests_total{model="housing",version="2",verb="infer",code="400"} 1.0
slipway_request_seconds_bucket{model="housing",version="2",verb="predict",le="0.1"} 8.0
slipway_request_seconds_bucket{model="housing",version="2",verb="predict",le="+Inf"} 10.0
slipway_prediction_value_bucket{model="housing",version="2",le="100.0"} 2.0
slipway_prediction_value_bucket{model="housing",version="2",le="200.0"} 7.0
slipway_prediction_value_bucket{model="housing",version="2",le="+Inf"} 9.0
slipway_requests_total{model="housing",version="3",verb="predict",code="200"} 50.0
"""


def sample(revision: str, source: str | None = None, **reading: Any) -> Scrape:
    return Scrape(source=source or revision, revision=revision, reading=Reading(**reading))


def book(*samples: Scrape) -> Book:
    return account(Book(), "before", samples)


def test_envoys_text_is_read_by_position() -> None:
    """Classes add up to requests; durations are known by bucket; a side that only fails is there too."""
    found = envoy_readings(ENVOY)
    assert found["httproute/models/housing/rule/2/backend/0"] == Reading(
        requests=100, errors=7, refused=3, durations={"0": 80, "100": 8, "250": 7}
    )
    assert found["httproute/models/housing/rule/2/backend/1"] == Reading(requests=4, errors=4)
    assert found[LOST] == Reading(requests=6, errors=6)


def test_a_failed_call_of_grpc_is_a_failure_though_http_says_200() -> None:
    """What a caller did wrong is refused, every status that no caller is to blame for is an error."""
    where = "httproute/models/housing/rule/6/backend/0"
    parts = 'envoy_grpc_bridge_method="GRPCInferenceService",envoy_grpc_bridge_service="inference"'  # so Envoy reads it
    told = f'{{{parts},envoy_cluster_name="{where}"}}'
    text = f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="2",envoy_cluster_name="{where}"}} 20\n'
    text += "\n".join(
        f"envoy_cluster_grpc_ModelInfer_{status}{told} {n}" for status, n in ((0, 9), (3, 4), (13, 2), (14, 5))
    )
    text += f"\nenvoy_cluster_grpc_ModelInfer_success{told} 9\nenvoy_cluster_grpc_ModelInfer_total{told} 20\n"

    assert envoy_readings(text)[where] == Reading(requests=20, errors=7, refused=4)


def test_a_model_servers_text_is_read_for_one_version() -> None:
    """Bins are apart, not cumulative, and named by their upper bound."""
    assert predictor_reading(SERVER, "2") == Reading(
        requests=10, errors=0, refused=1, durations={"0": 8, "100": 2}, bins={"100.0": 2, "200.0": 5, "+Inf": 2}
    )


@pytest.mark.parametrize(
    ("threshold", "slow"),
    [
        pytest.param(250, 7, id="on-a-bound"),
        pytest.param(150, 7, id="between-two-the-later-one"),
        pytest.param(5_000, 0, id="beyond-all-nothing-is-surely-slow"),
        pytest.param(None, 0, id="no-threshold"),
    ],
)
def test_only_what_is_surely_late_is_slow(threshold: float | None, slow: int) -> None:
    """A bucket that the threshold cuts is not counted."""
    found = envoy_readings(ENVOY)["httproute/models/housing/rule/2/backend/0"]
    assert (found.timed, found.slow(threshold)) == (95, slow)


def test_what_was_there_at_the_first_look_is_not_counted() -> None:
    """A proxy has served other rollouts before; a source that comes later starts at 0."""
    first = book(sample("a", requests=500))
    assert not any(first.epochs.get("before", {}).values())
    later = account(first, "e1", [sample("a", requests=510), sample("b", requests=5)])
    assert {name: arm.requests for name, arm in later.epochs["e1"].items()} == {"a": 10, "b": 5}


def test_what_is_nobodys_now_is_nobodys_later() -> None:
    """Requests that the gateway lost while all sides of a model had pods were another model's."""
    seen = account(book(sample("", source="lost")), "e1", [sample("", source="lost", requests=7, errors=7)])
    seen = account(seen, "e1", [sample("a", source="lost", requests=9, errors=9)])
    assert seen.arm("e1", "a").errors == 2


def test_late_durations_belong_to_the_requests_that_came_first() -> None:
    """Envoy merges its histograms every few seconds: what is late goes to the epoch before, as far as it misses any."""
    seen = account(book(sample("a")), "e1", [sample("a", requests=100, durations={"0": 54, "100": 6})])
    seen = account(seen, "e2", [sample("a", requests=200, durations={"0": 104, "100": 56})])
    assert [(seen.arm(e, "a").timed, seen.arm(e, "a").slow(100)) for e in ("e1", "e2")] == [(100, 26), (60, 30)]


@given(st.dictionaries(st.sampled_from(["0", "5", "25", "100", "250"]), st.integers(0, 40)), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_portion_of_the_durations_is_whole_and_leaves_the_rest(durations: dict[str, int], share: float) -> None:
    """As many as were asked for, and of no bucket more than it has."""
    all_of_them = Reading(durations=durations)
    part = portion(all_of_them, int(share * all_of_them.timed))
    assert part.timed == int(share * all_of_them.timed)
    assert (all_of_them - part) + part == all_of_them


def test_a_book_of_an_earlier_version_goes_on_from_its_next_look() -> None:
    """Its counts stay, with what was slow; its last readings know no durations and are only taken again."""
    old = {"requests": 9, "errors": 1, "refused": 0, "timed": 9, "slow": 2, "bins": {"1.0": 3}}
    found = opened({"sources": {"pod": old}, "epochs": {"e1": {"a": {**old, "mirrored": 4}}}, "begun": True})
    known = ArmCounts(requests=9, errors=1, slow=2, bins={"1.0": 3}, mirrored=4)
    assert found.counts(200) == {"e1": {"a": known}}
    for requests, slow in ((10, 5), (14, 6)):
        reading = sample("a", "pod", requests=requests, errors=1, durations={"100": 5, "250": slow})
        found = account(found, "e1", [reading])
    assert found.counts(200) == {"e1": {"a": replace(known, requests=13, slow=3)}}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_request_is_counted_once_under_the_epoch_of_its_look(steps: list[tuple[int, int, int, bool]]) -> None:
    """For any sequence of epochs, requests, failures and restarts; the book survives being put away each time."""
    kept, total, errors = book(sample("a")), 0, 0
    expected: dict[str, list[int]] = {}
    for epoch, good, bad, restarts in itertools.chain(steps):
        if restarts and total and good + bad < total:
            total, errors = 0, 0  # one that has more again before the next look cannot be told from one that went on
        total, errors = total + good + bad, errors + bad
        kept = opened(document(account(kept, f"e{epoch}", [sample("a", requests=total, errors=errors)])))
        seen = expected.setdefault(f"e{epoch}", [0, 0])
        expected[f"e{epoch}"] = [seen[0] + good + bad, seen[1] + bad]
    found = {e: [arms["a"].requests, arms["a"].errors] for e, arms in kept.epochs.items() if "a" in arms}
    assert found == {e: counts for e, counts in expected.items() if counts[0]}


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10_000), max_size=4), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_rows_are_worth_no_more_than_their_requests(bins: dict[str, int], requests: int) -> None:
    """A batch of a thousand rows is one draw of an arm; the shares stay."""
    found = thinned(bins, requests)
    assert sum(found.values()) <= requests or found == dict.fromkeys(bins, 0)
    assert all(found[name] <= count for name, count in bins.items())
    if sum(bins.values()) <= requests:
        assert found == bins


def test_old_epochs_are_forgotten_before_the_book_grows_for_ever() -> None:
    """The newest are kept."""
    kept = book(sample("a"))
    for number in range(KEEP_EPOCHS + 50):
        kept = account(kept, f"e{number}", [sample("a", requests=number + 1)])
    assert len(kept.epochs) == KEEP_EPOCHS
    assert f"e{KEEP_EPOCHS + 49}" in kept.epochs
