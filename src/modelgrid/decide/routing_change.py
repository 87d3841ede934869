"""How one state of the cluster's routing differs from another, and back. Pure.

A state is what says all (`since` is 0); a change says what is new or other, and what is gone, by what names it. Lists
are in the order of those names, so that a state made of changes is the same as the one that they were made from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.routing import KeyGrant, ModelRoute, Peer

T = TypeVar("T")
K = TypeVar("K", bound=str | tuple[str, str])


def change_between(before: SharedRouting, after: SharedRouting) -> SharedRouting | None:
    """Return what turns the state `before` into the state `after`; `None` where they say the same."""
    models, gone_models = _difference(before.models, after.models, _model)
    keys, gone_keys = _difference(before.keys, after.keys, _key)
    peers, gone_peers = _difference(before.peers, after.peers, _peer)
    if (
        not (models or gone_models or keys or gone_keys or peers or gone_peers)
        and before.requests_per_minute == after.requests_per_minute
    ):
        return None
    return replace(
        after,
        since=before.generation,
        models=models,
        keys=keys,
        peers=peers,
        gone_models=gone_models,
        gone_keys=gone_keys,
        gone_peers=gone_peers,
    )


def with_change(known: SharedRouting, said: SharedRouting) -> SharedRouting:
    """Return the state after `said`, which says all or what is new since `known`.

    Raises `ValueError` for a change of another state than the one that is known."""
    if not said.since:
        known = SharedRouting(epoch=said.epoch, generation=0)
    if (known.epoch, known.generation) != (said.epoch, said.since):
        raise ValueError(f"a change since {said.epoch}.{said.since}, and {known.epoch}.{known.generation} is known")
    return _combined(known, said)


def merged(changes: Sequence[SharedRouting]) -> SharedRouting:
    """Return one change that says what several say, each of which follows the one before. There is at least one."""
    first, *others = changes
    for change in others:
        first = replace(
            _combined(first, change),
            since=first.since,
            gone_models=_gone(first.gone_models, change.gone_models, change.models, _model),
            gone_keys=_gone(first.gone_keys, change.gone_keys, change.keys, _key),
            gone_peers=_gone(first.gone_peers, change.gone_peers, change.peers, _peer),
        )
    return first


def _combined(before: SharedRouting, change: SharedRouting) -> SharedRouting:
    """What both say, the second having the last word; without what is gone."""
    return SharedRouting(
        epoch=change.epoch,
        generation=change.generation,
        models=_together(before.models, change.models, change.gone_models, _model),
        keys=_together(before.keys, change.keys, change.gone_keys, _key),
        peers=_together(before.peers, change.peers, change.gone_peers, _peer),
        requests_per_minute=change.requests_per_minute,
    )


def _model(route: ModelRoute) -> str:
    return route.id


def _key(grant: KeyGrant) -> str:
    return grant.id


def _peer(peer: Peer) -> tuple[str, str]:
    return peer.node, peer.digest  # a node has two credentials while it changes them


def _difference(before: Iterable[T], after: Iterable[T], name: Callable[[T], K]) -> tuple[tuple[T, ...], tuple[K, ...]]:
    old = {name(item): item for item in before}
    new = {name(item): item for item in after}
    other = tuple(item for key, item in sorted(new.items(), key=lambda pair: pair[0]) if old.get(key) != item)
    return other, tuple(sorted(old.keys() - new.keys()))


def _together(before: Iterable[T], new: Iterable[T], gone: Iterable[K], name: Callable[[T], K]) -> tuple[T, ...]:
    found = {name(item): item for item in before}
    for key in gone:
        found.pop(key, None)
    found.update((name(item), item) for item in new)
    return tuple(item for _, item in sorted(found.items(), key=lambda pair: pair[0]))


def _gone(before: Iterable[K], new: Iterable[K], there: Iterable[T], name: Callable[[T], K]) -> tuple[K, ...]:
    return tuple(sorted({*before, *new} - {name(item) for item in there}))
