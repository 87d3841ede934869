"""Which backups may be restored, and what is said of secrets they lack."""

import re
from dataclasses import replace

import pytest

from modelgrid.decide.backup import allowed, missing_secrets, refusal
from modelgrid.domain.backup import BACKUP_FORMAT, BackupFile, BackupManifest

KNOWN = ("0001", "0002")


def file(name: str) -> BackupFile:
    return BackupFile(name=name, bytes=1, sha256="0" * 64)


GOOD = BackupManifest(
    format=BACKUP_FORMAT,
    made_at=1_760_000_000.0,
    version="1.2.3",
    node="gpu-1",
    schema="0002",
    with_secrets=False,
    files=(file("state.db"), file("config.json"), file("catalog/catalog-registry.json")),
    left_out={"secret.key": "aa", "cluster/node.key": "bb", "cluster/node.pem": "cc"},
)


@pytest.mark.parametrize("manifest", [GOOD, replace(GOOD, schema="0001"), replace(GOOD, schema=None, files=())])
def test_what_this_version_knows_is_restored(manifest: BackupManifest) -> None:
    assert refusal(manifest, KNOWN) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": BACKUP_FORMAT + 1}, "knows up to 1. It was made by ModelGrid 1.2.3"),
        ({"schema": "0003"}, "has schema 0003; this version knows up to 0002. It was made by ModelGrid 1.2.3"),
        ({"files": (file("state.db"), file("../token"))}, "does not belong"),
        ({"files": (file("state.db"), file("state.db"))}, "twice"),
        ({"files": ()}, "contradicts itself"),
        ({"schema": None}, "contradicts itself"),
    ],
)
def test_what_it_cannot_restore_is_refused_with_a_fix(changes: dict[str, object], why: str) -> None:
    refused = refusal(replace(GOOD, **changes), KNOWN)
    assert refused is not None
    assert re.search(re.escape(why), refused.message)
    assert refused.fix
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "catalog/../x",
        "catalog//x",
        "run/daemon.lock",
        "a/b",
        "x\n",
        "catalog/",
        ".x",
    ],
)
def test_no_name_leads_out_of_where_it_belongs(name: str) -> None:
    assert not allowed(name)


def test_secrets_that_are_here_already_are_not_missed() -> None:
    assert list(missing_secrets(GOOD, {"secret.key": "aa", "cluster/node.key": "bb", "cluster/node.pem": "cc"})) == []
    said = list(missing_secrets(GOOD, {"secret.key": "another"}))
    assert len(said) == 2, "one sentence for the cluster's files"
    assert said[0].startswith("cluster/node.key is missing, and the backup has none: nodes of the cluster")
    assert said[1].startswith("secret.key is another one than the backup's: environment values")
