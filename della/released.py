"""Imports checkpoints of the code that Hu et al. (2022) released.

A checkpoint is the state dict of one model, GPT-2 with latent variables, whose encoder and decoder share their stack.
With L layers of width d, latent variables of size p, rank r and vocabulary V it holds these tensors. Weights are
outputs x inputs, except GPT-2's own, which are inputs x outputs.

    encoder.{wte,wpe,ln_f,h.l...}                GPT-2
    encoder.h.l.attn.lmf.text_factor.j           d x (d + 1)      Eq. 9, on [v; 1]
    encoder.h.l.attn.lmf.latent_factor.j         d x (p + 1)      Eq. 9, on [z; 1]
    encoder.recog_network.l                      2p x (d + p)     posterior, on [representation; z_{<l}]
    encoder.prior_network.l                      2p x p           prior, on z_{<l}; 2p x (p + d) on [z_{<l}; c^(l)]
    encoder.reccurnt_cell_weight_{hh,ih}.l       p x p            recurrence
    encoder.pooling.l.attention_weights          d                attention pooling
    decoder.lm_head                              V x d            output layer, not tied
    decoder.mlp_bow                              d x p            bag-of-words loss; not part of the model
    decoder.{wte,wpe,ln_f,h.l...}                the shared stack again
    {encoder,decoder}.h.l.attn.{bias,masked_bias}    buffers: the causal mask

The constant 1 comes AFTER v and z (``LMFLayer`` of the released ``model.py``), so the last column of a factor is a
second bias. The import adds the two biases into one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.checkpoints import (
    Shapes,
    check_heads,
    check_tensors,
    gpt2_masks,
    gpt2_shapes,
    number_of,
    read_sizes,
    read_tensors,
)
from bench.errors import unknown_name
from bench.interface import ImportedModel
from bench.reading import parse_as
from bench.specs import BackboneSpec, ModelSpec, SystemSpec
from della.model import Della2022Config

DROPOUT = 0.1
"""Dropout of every GPT-2, for training that continues from the checkpoint."""

PAD, BOS, EOS = "<|endoftext|>", "<s>", "</s>"
"""The padding of the released code, and the two tokens that it adds to GPT-2's."""

NETWORKS = {
    "posterior": "recog_network",
    "prior": "prior_network",
    "recurrence_hh": "reccurnt_cell_weight_hh",
    "recurrence_ih": "reccurnt_cell_weight_ih",
}
"""Released names of the networks of `LatentHierarchy`."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a checkpoint.

    Attributes:
        layers: L.
        width: d.
        latent_size: p.
        rank: r.
        vocabulary: V.
        positions: length of the longest sequence.
        conditional: whether it is the model for conditional tasks.
    """

    layers: int
    width: int
    latent_size: int
    rank: int
    vocabulary: int
    positions: int
    conditional: bool

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], where: Path) -> Sizes:
        """Reads the sizes from the shapes and numbers of tensors.

        Raises:
            BenchError: one of these tensors is missing or no matrix, so the file is no such checkpoint.
        """
        names = [f"encoder.{name}.weight" for name in ("wte", "wpe", "recog_network.0", "prior_network.0")]
        (vocabulary, width), (positions, _), (outputs, _), (_, prior_inputs) = read_sizes(
            tensors, names, "DELLA", where
        )
        latent_size = outputs // 2
        return cls(
            layers=number_of(tensors, r"encoder\.h\.(\d+)\."),
            width=width,
            latent_size=latent_size,
            rank=number_of(tensors, r"encoder\.h\.0\.attn\.lmf\.text_factor\.(\d+)\."),
            vocabulary=vocabulary,
            positions=positions,
            conditional=prior_inputs != latent_size,
        )

    def stack_shapes(self) -> Shapes:
        """Returns name and shape of the tensors that encoder and decoder share."""
        d, p = self.width, self.latent_size
        shapes = gpt2_shapes(self.layers, d, self.positions, self.vocabulary)
        for number in range(self.layers):
            for j in range(self.rank):
                for factor, inputs in (("text_factor", d), ("latent_factor", p)):
                    name = f"h.{number}.attn.lmf.{factor}.{j}"
                    shapes |= {f"{name}.weight": (d, inputs + 1), f"{name}.bias": (d,)}
        return shapes

    def required_shapes(self) -> Shapes:
        """Returns name and shape of all tensors of the model; of shared ones, the encoder's name."""
        d, p = self.width, self.latent_size
        shapes: Shapes = {f"encoder.{name}": shape for name, shape in self.stack_shapes().items()}
        shapes["decoder.lm_head.weight"] = (self.vocabulary, d)
        networks = {
            "recog_network": (2 * p, d + p),
            "prior_network": (2 * p, p + d if self.conditional else p),
            "reccurnt_cell_weight_hh": (p, p),
            "reccurnt_cell_weight_ih": (p, p),
        }
        for number in range(self.layers):
            shapes[f"encoder.pooling.{number}.attention_weights"] = (d,)
            for name, shape in networks.items():
                shapes |= {f"encoder.{name}.{number}.weight": shape, f"encoder.{name}.{number}.bias": shape[:1]}
        return shapes

    def optional_names(self) -> set[str]:
        """Returns the names of tensors that are not imported: buffers, the bag of words."""
        masks = {f"{half}.{name}" for half in ("encoder", "decoder") for name in gpt2_masks(self.layers)}
        return masks | {"decoder.mlp_bow.weight", "decoder.mlp_bow.bias"}

    def copies(self) -> dict[str, str]:
        """Returns the decoder's names of the shared stack, with the encoder's."""
        return {f"decoder.{name}": f"encoder.{name}" for name in self.stack_shapes()}


def import_released(path: Path, options: Mapping[str, Any], heads: int | None = None) -> ImportedModel:
    """Reads a checkpoint of the released code, unconditional or conditional.

    It is an ``Importer``. Nothing in the file is executed. The only option is ``layers``.

    Raises:
        BenchError: the file is no such checkpoint, or the options contradict it.
    """
    tensors = read_tensors(path)
    sizes = Sizes.of(tensors, path)
    check_tensors(tensors, sizes.required_shapes(), sizes.optional_names(), sizes.copies(), "a DELLA", path)
    heads = check_heads(heads, sizes.width, path)
    if unknown := sorted(options.keys() - {"layers"}, key=str):
        raise unknown_name("option of a released checkpoint", str(unknown[0]), ["layers"])
    known: dict[str, Any] = {"latent_size": sizes.latent_size, "rank": sizes.rank}
    if sizes.conditional:
        known["pairs"] = "joined"
    config = parse_as(Della2022Config, {**options, **known}, f"options of {path}")
    return ImportedModel(
        spec=ModelSpec(
            system=SystemSpec(name="della-2022", options=config.model_dump(mode="json"), label="della-2022"),
            backbone=BackboneSpec(
                layers=sizes.layers, width=sizes.width, heads=heads, positions=sizes.positions, dropout=DROPOUT
            ),
            conditional=sizes.conditional,
            # On pairs the released code puts </s> between source and text, and no <s>.
            special_tokens=(PAD, EOS if sizes.conditional else BOS, EOS),
        ),
        weights=dict(_renamed(tensors, sizes, config.latent_layers(sizes.layers))),
        tokens=(PAD, BOS, EOS),
        vocabulary_size=sizes.vocabulary,
    )


def _renamed(tensors: Mapping[str, Tensor], sizes: Sizes, latent_layers: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights with their names in `Della`."""
    for name in sizes.stack_shapes():
        if ".lmf." not in name:
            yield f"backbone.model.transformer.{name}", tensors[f"encoder.{name}"]
    yield "backbone.model.lm_head.weight", tensors["decoder.lm_head.weight"]
    for group, layer in enumerate(latent_layers):
        yield f"pooling.{group}.attention_weights", tensors[f"encoder.pooling.{layer}.attention_weights"]
        for ours, released in NETWORKS.items():
            for part in ("weight", "bias"):
                yield f"hierarchy.{ours}.{group}.{part}", tensors[f"encoder.{released}.{layer}.{part}"]
    for factor in ("text", "latent"):
        names = [
            [f"encoder.h.{layer}.attn.lmf.{factor}_factor.{j}" for j in range(sizes.rank)] for layer in latent_layers
        ]
        weights = torch.stack([torch.stack([tensors[f"{name}.weight"] for name in row]) for row in names])
        biases = torch.stack([torch.stack([tensors[f"{name}.bias"] for name in row]) for row in names])
        yield f"fusion.{factor}_factor", weights[..., :-1]
        yield f"fusion.{factor}_bias", weights[..., -1] + biases
