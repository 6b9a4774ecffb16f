"""Zip archives whose bytes depend on their content only, and numpy arrays in them."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold


def pack(members: Mapping[str, bytes]) -> bytes:
    """A deflated zip of *members* in the order of their names, with fixed dates and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[name])
    return buffer.getvalue()


def pack_arrays(arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> bytes:
    """An npz of *arrays* that ``numpy.load`` reads, with the bytes of ``pack``."""
    members = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return pack(members)


def unpack_arrays(data: bytes) -> Arrays:
    """The arrays of an npz; never unpickles.

    Raises:
        ValueError: an array of objects; zipfile.BadZipFile: not a zip.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def same_arrays(one: bytes, other: bytes) -> bool:
    """Whether two npz hold equal arrays under equal names, however they are compressed."""
    first, second = unpack_arrays(one), unpack_arrays(other)
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype and array.tobytes() == second[name].tobytes() for name, array in first.items()
    )
