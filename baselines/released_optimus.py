"""Imports checkpoints of the code that Li et al. (2020) released for Optimus.

A full checkpoint (``checkpoint-full-N/training.bin``) holds a state dict as ``model_state_dict``. The state of the
optimizer and the arguments beside it are not read. BERT has L layers of width d, GPT-2 K layers of width w; p is the
latent size. Weights are outputs x inputs, except those of GPT-2's blocks, which are inputs x outputs.

    encoder.{embeddings,encoder.layer.l,pooler}...   BERT
    encoder.linear                                   2p x d    mean and log-variance, of the pooled [CLS]
    decoder.transformer.{wte,wpe,h.k,ln_f}...        GPT-2
    decoder.transformer.linear                       Kw x p    memory: for each layer a vector, both key and value
    decoder.transformer.linear_emb                   w x p     what z adds to every token embedding
    decoder.lm_head                                  tied to wte, whose copy it is
    decoder.transformer.h.k.attn.{bias,masked_bias}  buffers: the causal mask
    encoder.embeddings.position_ids                  buffer of later versions of BERT

On one side only are lm_head and the buffers of the checkpoint, and two buffers of `Optimus` that hold constants,
own_encoder.model.embeddings.position_ids and token_type_ids. LayerNorms are named weight and bias: the released code
renames the gamma and beta of older files when it loads them.

With a memory the released decoder gives token i the position i + 1 (``past_length`` is 1), and `Optimus` the position
i. So the first row of wpe is left out: the same function, with one position fewer. A checkpoint contains both maps of
z, whether they were used or not; which were is an option of the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.optimus import OptimusConfig
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
from bench.interface import ImportedModel
from bench.reading import parse_as
from bench.specs import BackboneSpec, EncoderSpec, ModelSpec, Spec, SystemSpec

DROPOUT = 0.1
"""Dropout of BERT and GPT-2, for training that continues from the checkpoint."""

TOKENS = ("<PAD>", "<BOS>", "<EOS>")
"""Tokens that the released code adds to GPT-2's, in this order."""


class ImportOptions(Spec):
    """What a checkpoint does not contain.

    Attributes:
        injection: option of `optimus`.
        encoder_heads: attention heads of BERT, if GPT-2 has another number.
    """

    injection: Literal["both", "memory", "embedding"] = "both"
    encoder_heads: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a stack.

    Attributes:
        layers: number of blocks.
        width: hidden size.
        positions: length of the longest sequence.
        vocabulary: number of tokens.
    """

    layers: int
    width: int
    positions: int
    vocabulary: int


def bert_shapes(sizes: Sizes) -> Shapes:
    """Returns name and shape of the tensors of BERT with its pooler."""
    d = sizes.width
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (sizes.vocabulary, d),
        "embeddings.position_embeddings.weight": (sizes.positions, d),
        "embeddings.token_type_embeddings.weight": (2, d),
    }
    block: Shapes = {f"attention.self.{name}": (d, d) for name in ("query", "key", "value")}
    block |= {"attention.output.dense": (d, d), "attention.output.LayerNorm": (d,)}
    block |= {"intermediate.dense": (4 * d, d), "output.dense": (d, 4 * d), "output.LayerNorm": (d,)}
    modules: Shapes = {"embeddings.LayerNorm": (d,), "pooler.dense": (d, d)}
    for number in range(sizes.layers):
        modules |= {f"encoder.layer.{number}.{name}": shape for name, shape in block.items()}
    for name, shape in modules.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def import_released(path: Path, options: Mapping[str, Any], heads: int | None = None) -> ImportedModel:
    """Reads a full checkpoint of the released code.

    Args:
        path: the file ``training.bin``; nothing in it is executed.
        options: `ImportOptions`.
        heads: number of attention heads of GPT-2 and, without ``encoder_heads``, of BERT.

    Raises:
        BenchError: the file is no such checkpoint, or the options contradict it.
    """
    given = parse_as(ImportOptions, options, f"options of {path}")
    tensors = read_tensors(path, "model_state_dict")
    encoder = [f"encoder.{name}.weight" for name in ("embeddings.word_embeddings", "embeddings.position_embeddings")]
    decoder = [f"decoder.transformer.{name}.weight" for name in ("wte", "wpe")]
    names = [*encoder, *decoder, "encoder.linear.weight"]
    (words, d), (length, _), (tokens, w), (positions, _), (outputs, _) = read_sizes(tensors, names, "Optimus", path)
    bert = Sizes(number_of(tensors, r"encoder\.encoder\.layer\.(\d+)\."), d, length, words)
    gpt2 = Sizes(number_of(tensors, r"decoder\.transformer\.h\.(\d+)\."), w, positions, tokens)
    latent_size = outputs // 2
    _check(tensors, bert, gpt2, latent_size, path)
    config = OptimusConfig(latent_size=latent_size, injection=given.injection)
    heads = check_heads(heads, gpt2.width, path)
    memory = given.injection != "embedding"
    return ImportedModel(
        spec=ModelSpec(
            system=SystemSpec(name="optimus", options=config.model_dump(mode="json"), label="optimus"),
            backbone=BackboneSpec(
                layers=gpt2.layers,
                width=gpt2.width,
                heads=heads,
                positions=gpt2.positions - memory,
                dropout=DROPOUT,
            ),
            encoder=EncoderSpec(
                layers=bert.layers,
                width=bert.width,
                heads=check_heads(given.encoder_heads or heads, bert.width, path),
                positions=bert.positions,
                dropout=DROPOUT,
                vocabulary_size=bert.vocabulary,
            ),
            special_tokens=TOKENS,
        ),
        weights=dict(_renamed(tensors, bert, gpt2, given.injection)),
        tokens=TOKENS,
        vocabulary_size=gpt2.vocabulary,
    )


def _check(tensors: Mapping[str, Tensor], bert: Sizes, gpt2: Sizes, latent_size: int, where: Path) -> None:
    """Raises a BenchError if a tensor is missing, unknown or of the wrong shape."""
    stack = gpt2_shapes(gpt2.layers, gpt2.width, gpt2.positions, gpt2.vocabulary)
    required = {
        **{f"encoder.{name}": shape for name, shape in bert_shapes(bert).items()},
        "encoder.linear.weight": (2 * latent_size, bert.width),
        **{f"decoder.transformer.{name}": shape for name, shape in stack.items()},
        "decoder.transformer.linear.weight": (gpt2.layers * gpt2.width, latent_size),
        "decoder.transformer.linear_emb.weight": (gpt2.width, latent_size),
        "decoder.lm_head.weight": (gpt2.vocabulary, gpt2.width),
    }
    optional = {f"decoder.transformer.{name}" for name in gpt2_masks(gpt2.layers)} | {"encoder.embeddings.position_ids"}
    copies = {"decoder.lm_head.weight": "decoder.transformer.wte.weight"}
    check_tensors(tensors, required, optional, copies, "an Optimus", where)


def _renamed(tensors: Mapping[str, Tensor], bert: Sizes, gpt2: Sizes, injection: str) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights with their names in `Optimus`."""
    for name in bert_shapes(bert):
        yield f"own_encoder.model.{name}", tensors[f"encoder.{name}"]
    places = torch.arange(bert.positions)[None]
    yield "own_encoder.model.embeddings.position_ids", places
    yield "own_encoder.model.embeddings.token_type_ids", torch.zeros_like(places)
    yield "posterior.weight", tensors["encoder.linear.weight"]
    memory = injection != "embedding"
    for name in gpt2_shapes(gpt2.layers, gpt2.width, gpt2.positions, gpt2.vocabulary):
        tensor = tensors[f"decoder.transformer.{name}"]
        yield f"backbone.model.transformer.{name}", tensor[1:] if memory and name == "wpe.weight" else tensor
    maps = {"embedding": "linear_emb", "memory": "linear"}
    used = [
        tensors[f"decoder.transformer.{name}.weight"] for place, name in maps.items() if injection in ("both", place)
    ]
    yield "projection.weight", torch.cat(used)
