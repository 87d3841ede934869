import asyncio
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import httpx

from modelgrid.adapters.catalog_http.cache import CatalogCache, CopyFacts, digest
from modelgrid.adapters.egress import Egress, Resolve
from modelgrid.config.urls import check_catalog_url
from modelgrid.decide.addresses import is_loopback
from modelgrid.decide.catalog import MAX_CATALOG_BYTES, decode
from modelgrid.domain.errors import InvalidInput, ModelGridError, StorageFull
from modelgrid.domain.model import CatalogEntry
from modelgrid.ports.clock import Clock

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
TOTAL_SECONDS = 60.0
"""For the whole exchange with its redirects, against servers that send a byte now and then."""
MAX_REDIRECTS = 3


class CatalogUnreachable(ModelGridError):
    """The registry did not answer, or not with a catalog. The last good copy stays in use."""

    code = "catalog_unreachable"
    status = 502


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    etag: str
    last_modified: str


class HttpCatalogSource:
    """Implements `ports.catalog.CatalogSource` over a URL, with the last good copy in `folder`.

    https, or http to this machine only. Redirects are followed within those rules, at most three, never from https
    to http. Bodies are taken unencoded and bounded while they arrive. `load` never asks the network. Not safe for
    concurrent calls; `services.catalog` makes them one at a time.
    """

    def __init__(self, name: str, url: str, folder: Path, clock: Clock, resolve: Resolve | None = None) -> None:
        check_registry_url(url)
        self.name = name
        self.url = url
        self._clock = clock
        self._resolve = resolve
        self._cache = CatalogCache(folder, name)
        self._fetched_at: float | None = None

    @property
    def fetched_at(self) -> float | None:
        """When the server last confirmed the copy in use, as far as this process knows."""
        return self._fetched_at

    async def load(self) -> tuple[CatalogEntry, ...]:
        copy = await self._copy()
        if copy is None:
            return ()
        body, facts = copy
        self._fetched_at = facts.fetched_at
        return await self._decode(body)

    async def peek(self) -> tuple[CatalogEntry, ...]:
        """Return what the server has now without keeping it. Raises like `refresh`."""
        copy = await self._copy()
        answer = await self._fetch(copy[1] if copy else None)
        return await self._decode(copy[0] if copy and answer.status == httpx.codes.NOT_MODIFIED else answer.body)

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        copy = await self._copy()
        answer = await self._fetch(copy[1] if copy else None)
        now = self._clock.now()
        fresh = copy is None or answer.status != httpx.codes.NOT_MODIFIED
        body = answer.body if copy is None or fresh else copy[0]
        entries = await self._decode(body)
        facts = CopyFacts(
            url=self.url,
            fetched_at=now,
            sha256=digest(body),
            etag=answer.etag,
            last_modified=answer.last_modified,
        )
        try:
            if fresh:
                await asyncio.to_thread(self._cache.write, body, facts)
            else:
                await asyncio.to_thread(self._cache.write_facts, facts)
        except OSError as error:
            self._not_kept(error)
        self._fetched_at = now
        return entries

    async def _copy(self) -> tuple[bytes, CopyFacts] | None:
        try:
            return await asyncio.to_thread(self._cache.read, self.url)
        except OSError as error:
            raise InvalidInput(
                f"Catalog {self.name}: the last good copy cannot be read: {error.strerror}.",
                fix="Give the daemon's user access to its state directory.",
                source=self.name,
            ) from error

    async def _decode(self, body: bytes) -> tuple[CatalogEntry, ...]:
        return await asyncio.to_thread(decode, body, source=self.name, local_paths=False)

    async def _fetch(self, facts: CopyFacts | None) -> _Answer:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "modelgrid"}
        if facts and facts.etag:
            headers["If-None-Match"] = facts.etag
        elif facts and facts.last_modified:
            headers["If-Modified-Since"] = facts.last_modified
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with (
                asyncio.timeout(TOTAL_SECONDS),
                httpx.AsyncClient(timeout=timeout, transport=self._egress()) as client,
            ):
                url = self.url
                for _ in range(MAX_REDIRECTS + 1):
                    answer, target = await self._exchange(client, url, headers)
                    if answer is not None:
                        if answer.status == httpx.codes.NOT_MODIFIED and facts:
                            kept = (answer.etag or facts.etag, answer.last_modified or facts.last_modified)
                            return _Answer(answer.status, b"", *kept)
                        return answer
                    url = target
                self._refuse(f"more than {MAX_REDIRECTS} redirects")
        except TimeoutError:
            self._refuse(f"no whole answer within {TOTAL_SECONDS:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._refuse(str(error) or type(error).__name__)

    def _egress(self) -> Egress | None:
        """Return what connects. A proxy of the environment resolves names itself, and is the operator's own way out.

        Only an operator who named this machine means it: what a server elsewhere refers to does not lead here."""
        if getproxies():
            return None
        return Egress(loopback=is_loopback(urlsplit(self.url).hostname or ""), resolve=self._resolve)

    async def _exchange(
        self, client: httpx.AsyncClient, url: str, headers: dict[str, str]
    ) -> tuple[_Answer | None, str]:
        async with client.stream("GET", url, headers=headers) as response:
            if response.has_redirect_location:
                return None, self._redirect(url, response.headers["location"])
            known = response.headers.get("etag", "")[:256], response.headers.get("last-modified", "")[:64]
            conditional = "If-None-Match" in headers or "If-Modified-Since" in headers
            if response.status_code == httpx.codes.NOT_MODIFIED and conditional:
                return _Answer(response.status_code, b"", *known), ""
            if response.status_code != httpx.codes.OK:
                self._refuse(f"status {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                self._refuse("an encoded body, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_CATALOG_BYTES:
                    self._refuse(f"more than {MAX_CATALOG_BYTES} bytes")
            return _Answer(response.status_code, bytes(body), *known), ""

    def _redirect(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            self._refuse(f"a redirect from https to {urlsplit(target).scheme or 'nothing'}")
        try:
            check_registry_url(target)
        except InvalidInput:
            self._refuse("a redirect to a place that catalogs are not read from")
        return target

    def _refuse(self, why: str) -> NoReturn:
        raise CatalogUnreachable(
            f"Catalog {self.name}: {self.url} gave no catalog: {why}.",
            fix="Check the node's network and `models` in config.json.",
            source=self.name,
            url=self.url,
        )

    def _not_kept(self, error: OSError) -> NoReturn:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"Catalog {self.name} could not be kept: the disk is full.",
                fix="Free space below the state directory and refresh again.",
                source=self.name,
            ) from error
        raise InvalidInput(
            f"Catalog {self.name} could not be kept: {error.strerror}.",
            fix="Give the daemon's user write access to its state directory.",
            source=self.name,
        ) from error


def check_registry_url(url: str) -> None:
    """Raise `InvalidInput` unless `url` is one that catalogs are read from."""
    try:
        check_catalog_url(url)
    except ValueError as error:
        raise InvalidInput(
            f"A catalog is not read from there: {error}.",
            fix="Use an https URL.",
            path="models.registryUrl",
            value=url[:200],
            expected="https://host/path",
        ) from None
