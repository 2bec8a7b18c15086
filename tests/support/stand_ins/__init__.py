"""Text encoders of random numbers in place of real ones, which cannot be small. Only for the tests.

The tests put this folder, with a texts.json, into the custom_nodes of the server that they start. CLIPLoader,
DualCLIPLoader and CheckpointLoaderSimple then give such an encoder. All else that they do is ComfyUI's own.
"""

import json
import zlib
from pathlib import Path

import comfy.sd
import torch

import nodes

TEXTS = json.loads((Path(__file__).parent / "texts.json").read_text())
"""Shape of the encoder's output: {"tokens", "width", "pooled", "extra"}, by type of encoder or checkpoint."""


class StandInEncoder:
    """What CLIPTextEncode calls. The same text always gives the same numbers."""

    def __init__(self, tokens, width, pooled, extra):
        self.tokens, self.width, self.pooled, self.extra = tokens, width, pooled, extra

    def tokenize(self, text):
        return zlib.crc32(text.encode())

    def encode_from_tokens_scheduled(self, tokens):
        generator = torch.Generator().manual_seed(tokens)
        entries = {"pooled_output": torch.randn((1, self.pooled), generator=generator)} if self.pooled else {}
        for name, value in self.extra.items():
            entries[name] = torch.ones((1, self.tokens), dtype=torch.int64) if value == "ones" else value
        return [[torch.randn((1, self.tokens, self.width), generator=generator), entries]]


def load_clip(ckpt_paths, clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION, **_):
    return StandInEncoder(**TEXTS[clip_type.name])


class CheckpointLoader(nodes.CheckpointLoaderSimple):
    def load_checkpoint(self, ckpt_name):
        model, _, vae = super().load_checkpoint(ckpt_name)
        return model, StandInEncoder(**TEXTS[ckpt_name]), vae


comfy.sd.load_clip = load_clip
nodes.NODE_CLASS_MAPPINGS["CheckpointLoaderSimple"] = CheckpointLoader
NODE_CLASS_MAPPINGS = {}
