"""A backup of a cluster is restored into a standalone server, closed to applications until its digest was found the same."""

from typing import Any

import pytest
import redis

from operations.backup.fit import OtherShape
from operations.backup.launch import Place, home_volume, repository_volume, run_job
from operations.backup.manifest import Manifest
from operations.backup.reshape import restore_reshaped
from operations.backup.restore import restore
from operations.backup.settings import BackupSettings
from operations.clients import application_client
from operations.digest.definition import compare
from operations.digest.live import digest_stack
from operations.errors import UsageError
from tests.live.harness import engine, throw_away_stack
from tests.live.ledger import fill, lost

pytestmark = [pytest.mark.live, pytest.mark.full]

SMALL: dict[str, Any] = {"memory": {"maxmemory": "64mb"}, "replication": {"backlog": "8mb", "replica_buffer": "16mb"}}


def test_a_cluster_becomes_a_standalone_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> None:
    folder = tmp_path_factory.mktemp("reshape")
    with (
        throw_away_stack("shape", {"topology": "cluster", "shards": 3, "replicas": 0, **SMALL}, folder, pytestconfig) as source,
        throw_away_stack("shape", {"topology": "standalone", **SMALL}, folder, pytestconfig) as target,
    ):
        try:
            source.up().ok()
            target.up().ok()
            ledger = fill(source.access(), "shape", 3000)
            expected = digest_stack(source.access())
            source.script("backup", "create").ok()
            place = Place(source.name, BackupSettings(), source.access())
            manifest = Manifest.model_validate(run_job(place, "show", backup="latest"))
            access = target.access()
            said: list[dict[str, Any]] = []
            mine = fill(access, "mine", 10)
            with pytest.raises(OtherShape, match="nothing was touched"):
                restore(place, access, manifest, replace=True)
            with pytest.raises(UsageError, match="--replace gives them up"):
                restore_reshaped(place, access, manifest, False, said.append)
            assert lost(access, mine) == []
            restore_reshaped(place, access, manifest, True, said.append)
            assert any("closing the stack" in str(event) for event in said)
            assert lost(access, ledger) == []
            found = digest_stack(access, expected.total.boundaries_ms)
            assert compare(expected.total, found.total).equal
            client: Any = application_client(access)
            assert client.ping()
            client.close()
        except redis.RedisError as error:
            raise AssertionError(f"applications are still locked out: {error}") from error
        finally:
            for name in (home_volume(source.name), repository_volume(source.name)):
                for volume in engine().volumes.list(filters={"name": name}):
                    volume.remove(force=True)
