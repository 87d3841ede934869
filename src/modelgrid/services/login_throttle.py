"""Counts tries at passwords, in bounded memory."""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from math import ceil

from modelgrid.decide.throttle import ACCOUNT_AND_SOURCE, SOURCE, ThrottleRule, Tries, seconds_to_wait, with_a_try
from modelgrid.domain.errors import TooManyRequests
from modelgrid.ports.clock import Clock

MOST_ENTRIES = 10_000
"""Of each kind, about 2 MB. Beyond, who tried longest ago is forgotten first."""


class LoginThrottle:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs = _Counter(ACCOUNT_AND_SOURCE)
        self._sources = _Counter(SOURCE)

    def begin(self, account: str, source: str) -> None:
        """Count a try that begins. Raises `TooManyRequests`, and counts nothing, when it has to wait."""
        now, network = self._clock.monotonic(), _network(source)
        wait = max(self._pairs.wait((account, network), now), self._sources.wait(network, now))
        if wait > 0:
            seconds = ceil(wait)
            raise TooManyRequests(
                f"Too many tries from here. The next one is possible in {seconds} s.",
                fix="Wait, or log in from another address. On the daemon's machine `modelgrid config user passwd` "
                "sets a new password.",
                retry_after=seconds,
            )
        self._pairs.count((account, network), now)
        self._sources.count(network, now)

    def succeeded(self, account: str, source: str) -> None:
        """Forget the tries at this account from there. Those at other accounts still count."""
        network = _network(source)
        self._sources.uncount(network, self._pairs.forget((account, network)))


class _Counter:
    def __init__(self, rule: ThrottleRule) -> None:
        self._rule = rule
        self._tries: dict[Hashable, Tries] = {}
        """Those counted last come last."""

    def wait(self, key: Hashable, now: float) -> float:
        return seconds_to_wait(self._rule, self._tries.get(key), now)

    def count(self, key: Hashable, now: float) -> None:
        self._tries[key] = with_a_try(self._rule, self._tries.pop(key, None), now)
        if len(self._tries) > MOST_ENTRIES:
            del self._tries[next(iter(self._tries))]

    def forget(self, key: Hashable) -> int:
        """Return how many tries were forgotten."""
        tries = self._tries.pop(key, None)
        return tries.count if tries else 0

    def uncount(self, key: Hashable, count: int) -> None:
        if tries := self._tries.get(key):
            self._tries[key] = Tries(count=max(0, tries.count - count), last_at=tries.last_at)


def _network(source: str) -> str:
    """Return what one person can be expected to have: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return source
