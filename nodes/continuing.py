"""Runs in pieces: what a run that ended with leftover noise knows is kept for the sampler that goes on from its latent.

ComfyUI's own nodes have no place for it in a LATENT. So it is kept here, in the host's memory, and given to a run only
where it proves to belong: the node takes its latent directly from the other node, untouched, at the level where that
ended, with the same options. It is kept while ComfyUI may hand out that latent again from its cache, because otherwise
the picture would depend on what was cached.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import erk
from .compat import intermediate_dtype
from .predictor import innermost, predictor

AT_MOST = 2**29
"""How many bytes the kept runs may hold together; beyond that, the older ones are forgotten.

A run of abm with order 3 holds nine latents: 9 MB for a picture of FLUX with 1024 x 1024 pixels, and 175 MB for 81
frames of Wan at 1280 x 720.
"""

_ROUNDINGS = 4
"""How many roundings of its largest number a latent may be away: ComfyUI rescales it between two samplers."""


class Place(NamedTuple):
    """Which node samples, with which inputs, for which item of a list, in which prompt."""

    node: str
    inputs: dict[str, Any]
    item: int | None
    prompt: str


@dataclass(frozen=True)
class _Kept:
    """A run that ended above sigma 0: where, with which options, what predicted, and what it knows."""

    place: Place | None
    options: Any
    model: weakref.ref[Any]
    predictor: Any
    continuation: erk.Continuation


_kept: list[_Kept] = []


class Piece:
    """A run that is about to begin. It may continue a kept run, and be continued.

    options  what was chosen, beside solver and mode
    region   where the picture is sampled, or None
    """

    def __init__(self, model: Any, options: Any, region: Tensor | None) -> None:
        self._options, self._region = options, region
        self._place, self._graph = _here()
        self._model, self._predictor = innermost(model), predictor(model)

    def earlier(
        self, x: Tensor, sigmas: Tensor, solver: erk.Solver, mode: str, parts: tuple[torch.Size, ...]
    ) -> erk.Continuation | None:
        """What the run that this one continues knew; None: this one begins anew.

        Runs are forgotten here once nobody can continue them.
        """
        found = None
        for kept in [kept for kept in _kept if kept.options == self._options and self._takes_from(kept.place)]:
            known = kept.continuation
            if known.leads_to(x, sigmas.tolist(), solver, mode, self._region, parts) and is_untouched(x, known.x):
                same = self._predictor is not None and self._region is None and kept.predictor == self._predictor
                found = replace(known, same_model=same)
        _keep_only(self._may_return)
        return found

    def keep(self, continuation: erk.Continuation) -> None:
        """What this run knows at its end. It is forgotten with its model."""
        where = _of_node(self._place)
        _keep_only(lambda kept: _of_node(kept.place) != where)
        model = weakref.ref(self._model, lambda gone: _keep_only(lambda kept: kept.model is not gone))
        _kept.append(_Kept(self._place, self._options, model, self._predictor, continuation.to("cpu")))
        while len(_kept) > 1 and sum(kept.continuation.bytes for kept in _kept) > AT_MOST:
            del _kept[0]

    def _takes_from(self, place: Place | None) -> bool:
        """Whether this node takes its latent from a node there, or is that node, at its next stage."""
        if place is None or self._place is None:
            return place is self._place
        if place.node == self._place.node:
            return place == self._place
        linked = any(isinstance(link, list) and link[:1] == [place.node] for link in self._place.inputs.values())
        return linked and place.item == self._place.item

    def _may_return(self, kept: _Kept) -> bool:
        """Whether ComfyUI may hand out that run's latent again: its node is in the graph, as it was."""
        if kept.place is None or self._graph is None or not self._graph.has_node(kept.place.node):
            return False
        return self._graph.get_node(kept.place.node)["inputs"] == kept.place.inputs


def _keep_only(wanted: Callable[[_Kept], bool]) -> None:
    _kept[:] = [kept for kept in _kept if wanted(kept)]


def _of_node(place: Place | None) -> tuple[str, int | None] | None:
    return None if place is None else (place.node, place.item)


def _here() -> tuple[Place | None, Any]:
    """Where this runs, and the graph; None where no server runs one, as in a script."""
    try:
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        if context is not None:
            graph = get_progress_state().dynprompt
            inputs = graph.get_node(context.node_id)["inputs"]
            return Place(context.node_id, inputs, context.list_index, context.prompt_id), graph
    except Exception as error:  # a ComfyUI that keeps them elsewhere
        logging.debug("ERK-Guid: no graph to look for an earlier sampler in (%s).", error)
    return None, None


def is_untouched(x: Tensor, kept: Tensor) -> bool:
    """Whether a latent is the kept one, but for what ComfyUI's rescaling between two samplers rounds off."""
    kept = kept.to(x.device)
    rounding = max(torch.finfo(dtype).eps for dtype in (x.dtype, intermediate_dtype()))
    return bool((x - kept).abs().max() <= _ROUNDINGS * rounding * kept.abs().max())
