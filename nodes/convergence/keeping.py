"""Runs that were made before: reused as long as nothing changes that decides them."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .entries import Entry
from .running import Outcome, Setting

MOST_BYTES = 2**30
"""Of latents kept for one node; beyond it the oldest go."""

Key = tuple[Entry, tuple[float, ...]]

_identities: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_numbers = itertools.count()
_kept: WeakKeyDictionary[Any, dict[str, Kept]] = WeakKeyDictionary()
"""By model, so that runs go when ComfyUI lets go of theirs, and by node."""


class Kept:
    """The runs of one node in one setting, on the CPU."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self._outcomes: dict[Key, Outcome] = {}

    def get(self, entry: Entry, sigmas: Tensor) -> Outcome | None:
        return self._outcomes.get(_key(entry, sigmas))

    def put(self, entry: Entry, sigmas: Tensor, outcome: Outcome) -> None:
        if outcome.latent is None:  # out of memory: the next time there may be more
            return
        self._outcomes[_key(entry, sigmas)] = outcome
        while len(self._outcomes) > 1 and sum(map(_size, self._outcomes.values())) > MOST_BYTES:
            del self._outcomes[next(iter(self._outcomes))]


def kept_for(node: str | None, setting: Setting) -> Kept:
    """What is kept for a node in this setting. What it kept in another one is let go of."""
    if node is None:
        return Kept("")
    digest = _digest(setting)
    kept = _kept.get(setting.model, {}).get(node)
    if kept is not None and kept.digest == digest:
        return kept
    for nodes in list(_kept.values()):
        nodes.pop(node, None)
    kept = Kept(digest)
    _kept.setdefault(setting.model, {})[node] = kept
    return kept


def _key(entry: Entry, sigmas: Tensor) -> Key:
    return entry, tuple(sigmas.tolist())


def _size(outcome: Outcome) -> int:
    latent = outcome.latent
    if latent is None:
        return 0
    return sum(part.nbytes for part in (latent.unbind() if latent.is_nested else [latent]))


def _digest(setting: Setting) -> str:
    """Of everything beside sampler and schedule that decides a run."""
    sha = hashlib.sha256()
    patches = str(getattr(setting.model, "patches_uuid", ""))
    _feed(sha, [patches, setting.positive, setting.negative, setting.latent, setting.seed, setting.cfg])
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    """Tensors and plain values by what they hold, other objects (a ControlNet, hooks) by which they are."""
    sha.update(type(value).__name__.encode())
    if isinstance(value, Tensor) or getattr(value, "is_nested", False):
        for part in value.unbind() if value.is_nested else [value]:
            sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
            sha.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            _feed(sha, str(key))
            _feed(sha, value[key])
        sha.update(b"}")
    elif isinstance(value, (list, tuple)):
        for part in value:
            _feed(sha, part)
        sha.update(b"]")
    elif isinstance(value, (str, bytes, int, float, bool, type(None))):
        sha.update(repr(value).encode() + b";")
    else:
        sha.update(f"{_identity(value)};".encode())


def _identity(value: Any) -> int:
    """A number that no other object has or will have, as ids may."""
    try:
        if value not in _identities:
            _identities[value] = next(_numbers)
        return _identities[value]
    except TypeError:  # cannot be remembered, so it is never found again
        return next(_numbers)
