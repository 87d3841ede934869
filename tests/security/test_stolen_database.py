"""S13: whoever steals the database, its log or a backup finds no secret in it."""

import hashlib
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import argon2

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from store_values import api_key, deployment, event, record, target, user

from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.adapters.store_sql import open_store


def _found_in(folder: Path, secrets: dict[str, str]) -> set[str]:
    """Return `<file>: <what>` for each secret that stands in a file of `folder`, as text or as its hex form."""
    return {
        f"{file.name}: {what}"
        for file in folder.iterdir()
        if file.name != "secret.key"
        for what, secret in secrets.items()
        if secret.encode() in file.read_bytes() or secret.encode().hex().encode() in file.read_bytes().lower()
    }


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def test_no_secret_in_database_log_or_backup(tmp_path: Path) -> None:
    sealing = FileSecrets(tmp_path)
    key_secret = "mg-" + sealing.token(160)
    secrets = {
        "API key": key_secret,
        "Hugging Face token": "hf_" + sealing.token(160),
        "password": "correct horse " + sealing.token(64),
    }
    sealed = {"HF_TOKEN": sealing.seal(secrets["Hugging Face token"])}
    secrets["sealing key"] = (tmp_path / "secret.key").read_text().strip()

    store = await open_store(f"sqlite:///{tmp_path}/state.db")
    await store.add_api_key(
        api_key(prefix=key_secret[:8], digest=hashlib.sha256(key_secret.encode()).hexdigest()), events=[event()]
    )
    spec = replace(target().spec, env=sealed)
    await store.put_target(target(spec=spec))
    saved = await store.save_deployment(deployment(spec=spec))
    await store.archive_deployment(record(deployment=saved))
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    await store.put_user(user(password_hash=quick.hash(secrets["password"])))

    with sqlite3.connect(tmp_path / "state.db") as thief:
        thief.execute("VACUUM INTO ?", [str(tmp_path / "backup.db")])
    thief.close()
    assert _names(tmp_path) >= {"state.db", "state.db-wal", "state.db-shm", "backup.db"}
    assert _found_in(tmp_path, secrets) == set()
    await store.close()
    assert _found_in(tmp_path, secrets) == set()

    # What was stored still serves its purpose, and the search would have found what is there.
    again = await open_store(f"sqlite:///{tmp_path}/state.db")
    (read,) = await again.targets()
    assert FileSecrets(tmp_path).unseal(read.spec.env["HF_TOKEN"]) == secrets["Hugging Face token"]
    await again.put_setting("careless", secrets["password"])
    await again.close()
    assert _found_in(tmp_path, secrets) == {"state.db: password"}
