"""Models on the Hugging Face hub: the files of a model folder at a commit."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from bench.errors import BenchError, first_line
from bench.harness.model_folder import ENCODER_TOKENIZER, MODEL, TOKENIZER
from bench.harness.weights import WEIGHTS
from bench.records.store import CURVE, RECORD, STATISTICS

OF_THE_RECORD = (STATISTICS, CURVE, RECORD)
"""What tells how a model was trained and scored; not the generations, which stand beside sources of the data."""

FILES = (MODEL, WEIGHTS, TOKENIZER, ENCODER_TOKENIZER, *OF_THE_RECORD)
"""All that is downloaded of a model: nothing that could be executed."""


def find_model(where: str | Path, revision: str | None = None) -> Path:
    """Returns a model folder, or the one that the files of a model on the hub are downloaded to.

    Args:
        where: the folder, or the name on the hub, perhaps with its commit: ``name@commit``.
        revision: the commit of a name, 40 hex digits.

    Raises:
        BenchError: there is no such folder and no commit, a folder has a commit, or the download failed.
    """
    if Path(where).is_dir():
        if revision is not None:
            raise BenchError(f"{where}: a folder has no revision.")
        return Path(where)
    name, _, commit = str(where).partition("@")
    if revision is not None and commit:
        raise BenchError(f"{where}: has a commit, and the revision {revision!r}.")
    commit = revision or commit
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise BenchError(
            f"{where}: no such folder; of a model on the Hugging Face hub, name the commit of 40 hex digits:"
            f" {name}@COMMIT."
        )
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot load the model {name} at {commit}: {first_line(error)}") from error
