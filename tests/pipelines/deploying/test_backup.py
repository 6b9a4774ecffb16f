"""A backup is whole or none, and its keys are its owner's; on a cluster: ``tests/cluster/test_teams.py``."""

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.deploying import backup
from pipelines.deploying.site import Site
from serving.errors import ConfigError, GateRefusal, InfrastructureError

ELSEWHERE = Site(object_store="https://s3.example.org")
KEYS = {"access_key": base64.b64encode(b"key").decode()}
HELD = {"items": [{"apiVersion": "v1", "kind": "Secret", "data": KEYS, "metadata": {"name": "slipway-object-store"}}]}


class Answers(backup.Kubectl):
    """kubectl that has secrets and a ledger, or fails where it is asked for the latter."""

    def __call__(self, *words: str, given: bytes | None = None) -> bytes:
        if words[0] == "exec" and "fails" in self.before:
            raise InfrastructureError("the pod is gone")
        return json.dumps(HELD).encode() if words[0] == "get" else b"[null, 0]\n"


def test_a_backup_that_broke_off_is_none(tmp_path: Path) -> None:
    """Nothing is left that a restore could take for one."""
    with pytest.raises(InfrastructureError):
        backup.save(Answers(("fails",)), ELSEWHERE, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_its_owners_and_never_written_over(tmp_path: Path) -> None:
    """It holds keys. Of a store that is not ours it has no objects, and the rest is there."""
    backup.save(Answers(()), ELSEWHERE, tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["ledger.jsonl", "secrets.json", "store"]
    assert [(tmp_path / "b" / name).stat().st_mode & 0o77 for name in ("", "secrets.json")] == [0, 0]
    with pytest.raises(ConfigError, match="name another"):
        backup.save(Answers(()), ELSEWHERE, tmp_path / "b")


def test_it_goes_where_no_installation_is(tmp_path: Path) -> None:
    """Over keys that others trust it does not go, and a directory that is no backup is named."""
    with pytest.raises(GateRefusal, match="over none"):
        backup.apply_secrets(Answers(()), ELSEWHERE, tmp_path)
    said = CliRunner().invoke(backup.main, ["data", str(tmp_path), str(tmp_path / "values.env")])
    assert (said.exit_code, "has no secrets.json, ledger.jsonl, store" in said.output) == (2, True)
