"""Which backups this version can restore, and what is missing afterwards."""

import re
from collections.abc import Collection, Iterator, Mapping

from modelgrid.domain.backup import BACKUP_FORMAT, BackupManifest
from modelgrid.domain.errors import InvalidInput, ModelGridError

_NAME = re.compile(r"(?:(?:catalog|cluster)/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

LOST_WITHOUT: Mapping[str, str] = {
    "secret.key": "environment values of engines cannot be opened (set them anew), nor the audit log be verified",
    "token": "scripts that use the local operator's token need the new one",
    "cluster": "nodes of the cluster do not know this machine; join them anew",
}


def allowed(name: str) -> bool:
    """Whether a file of this name may be in a backup: none leads out of the folders it belongs to."""
    return _NAME.fullmatch(name) is not None


def refusal(manifest: BackupManifest, known_schemas: Collection[str]) -> ModelGridError | None:
    """Return why this version cannot restore a backup; `None` when it can."""
    made_by = f"It was made by ModelGrid {manifest.version[:40]}"
    if manifest.format > BACKUP_FORMAT:
        return InvalidInput(
            f"The backup has format {manifest.format}, and this version knows up to {BACKUP_FORMAT}. {made_by}.",
            fix="Install that version or a newer one, then restore.",
            format=manifest.format,
        )
    if manifest.schema is not None and manifest.schema not in known_schemas:
        newest = max(known_schemas)
        return InvalidInput(
            f"The backup's database has schema {manifest.schema[:40]}; this version knows up to {newest}. {made_by}.",
            fix="Install that version or a newer one, then restore.",
            schema=manifest.schema,
            newest_known=newest,
        )
    names = [file.name for file in manifest.files]
    if wrong := [name for name in names if not allowed(name)]:
        return InvalidInput(f"The backup names a file that does not belong in one: {wrong[0]!r}.", fix="Take another.")
    if len(set(names)) != len(names):
        return InvalidInput("The backup names a file twice.", fix="Take another.")
    if (manifest.schema is not None) != ("state.db" in names):
        return InvalidInput("The backup's manifest contradicts itself about its database.", fix="Take another.")
    return None


def missing_secrets(manifest: BackupManifest, here: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each secret that the restored state needs and will not have.

    `here`: the SHA-256 of each such file that is on this machine."""
    told: set[str] = set()
    for name, digest in sorted(manifest.left_out.items()):
        kind = name.partition("/")[0]
        if here.get(name) == digest or kind in told:
            continue
        told.add(kind)
        what = "is another one than the backup's" if name in here else "is missing, and the backup has none"
        yield f"{name} {what}: {LOST_WITHOUT.get(kind, 'what needs it has to be set up anew')}."
