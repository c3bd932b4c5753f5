"""Checks of the inputs before a grid starts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.backbones import build_backbone, build_encoder, check_encoder
from bench.errors import BenchError
from bench.harness.prepare import text_limits
from bench.specs import RunSpec
from bench.systems import SYSTEMS
from bench.tasks import load_texts
from bench.tokenizers import build_encoder_tokenizer, build_tokenizer


def check_inputs(specs: Sequence[RunSpec], data_folder: Path | None) -> None:
    """Reads the files that the runs use, so that a mistake in them stops a grid before it starts.

    Texts, tokenizers and pretrained weights are read completely.

    Raises:
        BenchError: names the folder and, for texts, the file and line.
    """
    for task in {spec.task.name: spec.task for spec in specs if spec.task.source == "files"}.values():
        load_texts(task, data_folder)
    for tokenizer in dict.fromkeys(spec.tokenizer for spec in specs if spec.tokenizer.kind != "bpe"):
        build_tokenizer(tokenizer, ())
    for encoder in dict.fromkeys(spec.encoder for spec in specs if spec.encoder is not None):
        check_encoder(encoder)
        if encoder.source != "scratch":
            build_encoder(encoder, build_encoder_tokenizer(encoder, ()))
    for spec in specs:
        text_limits(spec)
    for backbone, tokenizer in dict.fromkeys(
        (spec.backbone, spec.tokenizer) for spec in specs if SYSTEMS.get(spec.system.name).uses_transformer
    ):
        if backbone.source != "scratch" and tokenizer.kind != "bpe":
            build_backbone(backbone, build_tokenizer(tokenizer, ()))


def check_folder(out: Path) -> None:
    """Creates the folder of the records and writes to it, so that a mistake stops a grid before it starts.

    Raises:
        BenchError: the folder cannot be written; the reason is given.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BenchError(f"cannot write to {out}: {error.strerror}.") from error
