"""Snapshots: the same rows have the same id, a changed cell another, and a changed byte is refused."""

import errno
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from components.data import dealing, snapshots
from components.data.stable_hash import hash_rows, hash_values
from serving.errors import DataError, PlaceError


def table(rows: int = 400, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": [f"P{i}" for i in range(rows)],
            "area": random.normal(90, 20, rows),
            "rooms": pl.Series(random.integers(1, 9, rows)).set(pl.Series(random.random(rows) < 0.1), None),
            "kind": random.choice(["house", "flat"], rows).tolist(),
        }
    )


def write(frame: pl.DataFrame, directory: Path, **kwargs: Any) -> snapshots.Snapshot:
    return snapshots.write(frame, directory, **{"source": "test://", "key": "id", **kwargs})


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """Read gives the rows of write, types included."""
    written = write(table(), tmp_path)
    assert written.rows == 400
    assert written.columns == ("id", "area", "rooms", "kind")
    assert_frame_equal(snapshots.read(tmp_path).sort("id"), table().sort("id"))
    assert snapshots.open_snapshot(tmp_path) == written


@pytest.mark.parametrize("key", ["id", "kind", None], ids=["unique-key", "repeated-key", "no-key"])
def test_the_id_does_not_know_order_or_source(tmp_path: Path, key: str | None) -> None:
    """Shuffled rows from elsewhere are the same version."""
    first = write(table(), tmp_path / "a", key=key)
    shuffled = table().sample(fraction=1, shuffle=True, seed=3)
    second = write(shuffled, tmp_path / "b", key=key, source="s3://elsewhere")
    assert second.id == first.id
    assert second.source == "s3://elsewhere"
    assert_frame_equal(snapshots.read(tmp_path / "a"), snapshots.read(tmp_path / "b"))


def test_equal_values_in_other_clothes_are_the_same_version(tmp_path: Path) -> None:
    """Dictionary columns, chunks and the sign of zero do not show in the id, also where zero is not all there is."""
    plain = table().with_columns(area=pl.when(pl.col("area") > 90).then(0.0).otherwise("area"))
    clothed = pl.concat([plain[:7], plain[7:]], rechunk=False).with_columns(
        pl.col("kind").cast(pl.Categorical), area=pl.when(pl.col("area") == 0).then(-0.0).otherwise("area")
    )
    assert write(plain, tmp_path / "a").id == write(clothed, tmp_path / "b").id


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f.with_columns(area=pl.when(id="P7").then(1.0).otherwise("area")), id="a-cell"),
        pytest.param(
            lambda f: f.with_columns(pl.when(id="P7").then(None).otherwise("kind").alias("kind")), id="to-null"
        ),
        pytest.param(lambda f: f[1:], id="a-row-less"),
        pytest.param(lambda f: pl.concat([f, f[:1]]), id="a-row-twice"),
    ],
)
def test_one_changed_cell_or_row_changes_one_part(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """The id differs and exactly one part is new, so little is stored or copied for a small change."""
    before = write(table(), tmp_path / "a")
    after = write(change(table()), tmp_path / "b")
    assert after.id != before.id
    assert len(set(after.parts) - set(before.parts)) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f.rename({"area": "size"}), id="renamed-column"),
        pytest.param(lambda f: f.with_columns(pl.col("rooms").cast(pl.Float64)), id="other-type"),
        pytest.param(lambda f: f.drop("kind"), id="column-less"),
    ],
)
def test_another_schema_is_another_version(tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Names and types belong to the content."""
    assert write(change(table()), tmp_path / "a").id != write(table(), tmp_path / "b").id


def test_writing_again_touches_nothing(tmp_path: Path) -> None:
    """The same rows into the same directory leave every file as it is, the first source included."""
    first = write(table(), tmp_path, source="first://")
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = write(table(), tmp_path, source="second://")
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def test_a_next_version_in_place_stores_new_parts_only(tmp_path: Path) -> None:
    """Parts that did not change keep their files; parts nobody names any more go."""
    first = write(table(), tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    second = write(table().with_columns(pl.when(id="P7").then(1.0).otherwise("area").alias("area")), tmp_path)
    files = set((tmp_path / "parts").iterdir())
    assert files == {tmp_path / part.name for part in second.parts}
    assert all(path.stat().st_mtime_ns == kept[path] for path in files & set(kept))
    assert len(files & set(kept)) == len(first.parts) - 1


def test_an_interrupted_write_is_no_snapshot_and_can_be_repeated(tmp_path: Path) -> None:
    """Parts without a manifest are refused; the same write then completes them."""
    whole = write(table(), tmp_path)
    (tmp_path / "manifest.json").unlink()
    next((tmp_path / "parts").iterdir()).write_bytes(b"half")
    with pytest.raises(DataError, match="no snapshot in"):
        snapshots.open_snapshot(tmp_path)
    assert write(table(), tmp_path).id == whole.id
    assert snapshots.read(tmp_path).height == 400


def test_a_full_disk_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a part cannot be written the snapshot that was there still opens."""
    old = write(table(), tmp_path)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(PlaceError, match="disk is full"):
            write(table(seed=2), tmp_path)
    assert snapshots.open_snapshot(tmp_path) == old


@pytest.mark.parametrize("reader", [snapshots.read, snapshots.open_snapshot], ids=["read", "open"])
def test_a_changed_byte_is_refused_by_part(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    """One flipped bit in one part is found and the part is named."""
    part = tmp_path / write(table(), tmp_path).parts[3].name
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(DataError, match=part.name):
        reader(tmp_path)


def test_a_missing_part_is_refused_by_name(tmp_path: Path) -> None:
    """A part that was deleted is named."""
    part = tmp_path / write(table(), tmp_path).parts[0].name
    part.unlink()
    with pytest.raises(DataError, match=f"{part.name} is missing"):
        snapshots.read(tmp_path)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(lambda m: m["content"].update(rows=1), "was changed after it was written", id="rows"),
        pytest.param(lambda m: m["content"]["parts"].pop(), "was changed after it was written", id="part-left-out"),
        pytest.param(lambda m: m["content"]["parts"][0].update(sha256="../x"), "is no snapshot manifest", id="path"),
        pytest.param(lambda m: m.pop("content"), "is no snapshot manifest", id="no-content"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path: Path, edit: Callable[[Any], object], said: str) -> None:
    """The id is recomputed, so a manifest cannot be bent to other parts; names of parts are digests and no paths."""
    write(table(), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    edit(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=said):
        snapshots.open_snapshot(tmp_path)


def test_tables_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    """No rows, and no such key."""
    with pytest.raises(DataError, match="empty table"):
        write(table().clear(), tmp_path)
    with pytest.raises(DataError, match="no key column 'uid'"):
        write(table(), tmp_path, key="uid")
    assert not list(tmp_path.iterdir())


VALUES = st.tuples(
    st.integers(0, 30),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    st.one_of(st.none(), st.text(max_size=4)),
)


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("held", [0, 150, 10_000])
@pytest.mark.parametrize("chunk", [1, 37, 1_000])
def test_neither_chunks_nor_what_waits_on_disk_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None, held: int, chunk: int
) -> None:
    """Rows in chunks of any size, held or put down, are the snapshot of the whole table, and leave nothing behind."""
    rows = pl.DataFrame(
        {
            "id": [f"{n % 190}" for n in range(200)],
            "x": [None if n % 7 == 0 else n / 3 for n in range(200)],
            "at": [datetime(2026, 1, 1) + timedelta(hours=n) for n in range(200)],
            "nothing": pl.Series([None] * 200, dtype=pl.Null),
        }
    )
    whole = snapshots.write(rows, tmp_path / "whole", source="t", key=key)
    monkeypatch.setattr("components.data.dealing.HELD_ROWS", held)
    parts = snapshots.write_chunks(rows.iter_slices(chunk), tmp_path / "parts", source="t", key=key)
    assert parts == whole
    assert snapshots.read(tmp_path / "parts").equals(snapshots.read(tmp_path / "whole"))
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["manifest.json", "parts"]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), key=st.sampled_from([None, "id"]), part_rows=st.integers(1, 12), order=st.integers(0, 9))
def test_a_selection_is_the_snapshot_of_the_rows_that_are_selected(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, key: str | None, part_rows: int, order: int
) -> None:
    """Any rows of any parts, also where parts vanish or meet others: the bytes of ``write``, or its refusal."""
    folder, schema = tmp_path_factory.mktemp("select"), {"id": pl.Int64, "x": pl.Float64, "word": pl.String}
    rows = data.draw(st.lists(VALUES, min_size=1, max_size=120))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "PART_ROWS", part_rows)
        patch.setattr(dealing, "MIN_PARTS", 2)
        write(pl.DataFrame(rows, schema=schema, orient="row"), folder / "whole", key=key)
        parts = list(snapshots.parts(folder / "whole"))
        share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]))
        masks = [np.random.default_rng([order, i]).random(part.height) < share for i, part in enumerate(parts)]
        left = pl.concat(part.filter(pl.Series(mask)) for part, mask in zip(parts, masks, strict=True))
        if left.height:
            expected = write(left.sample(fraction=1, shuffle=True, seed=order), folder / "written", key=key)
            everything = [np.ones(part.height, dtype=bool) for part in parts]
            chosen = {folder / "selected": masks, folder / "all": everything}
            selected, copied = snapshots.select(folder / "whole", chosen, source="test://")
            assert (selected, copied.id) == (expected, snapshots.open_snapshot(folder / "whole").id)
            assert snapshots.read(folder / "selected").equals(snapshots.read(folder / "written"))
        else:
            with pytest.raises(dealing.NoRows):
                snapshots.select(folder / "whole", {folder / "selected": masks}, source="test://")


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(VALUES, min_size=1, max_size=30), order=st.randoms(use_true_random=False))
def test_any_order_of_any_rows_has_one_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], order: Any
) -> None:
    """Repeated keys, nulls, repeated rows and any text: the id depends on the bag of rows only."""
    schema = {"id": pl.Int64, "x": pl.Float64, "word": pl.String}
    folder = tmp_path_factory.mktemp("order")
    first = write(pl.DataFrame(rows, schema=schema, orient="row"), folder / "a")
    order.shuffle(rows)
    assert write(pl.DataFrame(rows, schema=schema, orient="row"), folder / "b").id == first.id


def test_hashes_are_the_same_for_ever() -> None:
    """Fixed values: a library that changed them would move rows from training to holdout."""
    assert hash_values(pl.Series([1, 2, None])).tolist() == HASHES["int"]
    assert hash_values(pl.Series(["P1", "Zürich", None])).tolist() == HASHES["text"]
    assert hash_values(pl.Series([0.5, -0.0, None])).tolist() == HASHES["float"]
    assert hash_values(pl.Series([1], dtype=pl.Int8), seed=7)[0] == hash_values(pl.Series([1]), seed=7)[0]
    assert hash_rows(pl.DataFrame({"a": [1], "b": ["x"]})).tolist() == HASHES["row"]


HASHES = {
    "int": [15204172177749531820, 15319343049838170038, 7013973432654321983],
    "text": [7955528915096958965, 11566780719590443109, 7013973432654321983],
    "float": [13176000461552201474, 16294208416658607535, 7013973432654321983],
    "row": [15958197409109369811],
}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=50, unique=True))
def test_different_numbers_never_share_a_hash(values: list[int]) -> None:
    """The mixing is a bijection of 64-bit words."""
    assert len(set(hash_values(pl.Series(values, dtype=pl.Int64)).tolist())) == len(values)
