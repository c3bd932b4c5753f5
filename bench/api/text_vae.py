"""A trained model: texts to latent values and back.

Shapes: N texts, n samples of each, G latent groups of sizes D_1 .. D_G, and D their sum. Arrays hold all groups side by
side, the first one (of the lowest layer) first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from safetensors.torch import save
from typing_extensions import override

from bench.api.card import render_card
from bench.batch import Batch, batches_of_similar_length
from bench.bootstrap import Array
from bench.errors import BenchError
from bench.harness.device import choose_device
from bench.harness.hub import OF_THE_RECORD, find_model
from bench.harness.model_folder import ModelFolder, save_model
from bench.harness.scoring import score_texts
from bench.harness.tokenized_texts import TokenizedTexts, tokenize
from bench.harness.weights import weights
from bench.interface import System
from bench.metrics.likelihood import log_mean_exp
from bench.reading import parse_as, read_bytes
from bench.records.store import RECORD, StoredRun, load_runs
from bench.seeds import derive_seed
from bench.specs import DecodingSpec, ModelSpec, ScoringSpec
from bench.storage import atomic_write_all
from bench.tasks import Example

TOKENS_AT_ONCE = 4096
"""Padded tokens of an encoder pass; changes only speed and memory."""

ROWS_AT_ONCE = 100
"""Texts that are decoded at once; changes only speed and memory."""

MEAN_SAMPLES = 30
"""Samples over whose ancestors the posterior means of a hierarchy are averaged, as many as most scales score."""

SHOWN = 40
"""Characters of a text in an error."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Latents:
    """Posterior of N texts.

    Attributes:
        mean: posterior means (N x D). In a hierarchy the mean of a group depends on the groups below it; this is its
            average over the samples.
        samples: joint samples of all groups (N x n x D).
        groups: sizes of the groups, whose sum is D.
    """

    mean: Array
    samples: Array
    groups: tuple[int, ...]

    def of_group(self, layer: int) -> Latents:
        """Returns the part of one group, counted from 1.

        Raises:
            BenchError: there is no such group.
        """
        (columns,) = columns_of(self.groups, [layer])
        return Latents(self.mean[:, columns], self.samples[..., columns], (self.groups[layer - 1],))


def columns_of(groups: Sequence[int], layers: Sequence[int] | int | None) -> list[slice]:
    """Returns the columns of latent groups, counted from 1; of all groups if ``layers`` is None.

    Raises:
        BenchError: there is no such group.
    """
    ends = np.cumsum([0, *groups]).tolist()
    chosen = range(1, len(groups) + 1) if layers is None else [layers] if isinstance(layers, int) else layers
    for layer in chosen:
        if not isinstance(layer, int):
            raise BenchError(f"layers: expected whole numbers, got {layer!r}.")
        if not 1 <= layer <= len(groups):
            raise BenchError(f"there is no latent group {layer}; the model has groups 1 to {len(groups)}.")
    return [slice(ends[layer - 1], ends[layer]) for layer in chosen]


def load(where: str | Path, device: str = "cpu", revision: str | None = None) -> TextVAE:
    """Returns a trained model; none of its files is executed, and none makes the program download another model.

    Args:
        where: folder of a run, of an imported checkpoint or of ``save_pretrained``; or a name on the Hugging Face hub.
        device: of its weights.
        revision: commit of a name on the hub, 40 hex digits; it may also stand in the name: ``name@commit``.

    Raises:
        BenchError: the folder is no model, or is damaged; the download failed; or an unknown device.
    """
    found = ModelFolder.read(find_model(where, revision))
    model = TextVAE(found.load().to(choose_device(device)), found.spec)
    model.folder = found.path
    return model


class TextVAE(ModelHubMixin, library_name="della-bench", tags=["variational-autoencoder", "text-generation"]):
    """A trained model. Its random draws depend on the seeds that its methods are given, and on nothing else.

    Methods that decode take the entries of a `DecodingSpec` by name, for example ``strategy="sample"``,
    ``temperature=0.7``, ``top_p=0.9``, ``max_tokens=40``. ``sample`` draws tokens unless they say otherwise, all other
    methods decode greedily.

    Attributes:
        system: the trained system.
        spec: what it is: system, options, backbone, objective.
        folder: from which it was loaded, if it was.
    """

    def __init__(self, system: System, spec: ModelSpec) -> None:
        self.system = system.eval()
        self.spec = spec
        self.folder: Path | None = None

    def __repr__(self) -> str:
        return f"TextVAE({self.spec.system.label}, groups={self.groups})"

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the latent groups; empty for a language model without latent variables."""
        return self.system.groups

    @classmethod
    @override
    def from_pretrained(  # the base would let the files of the model choose arguments of the constructor
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        **model_kwargs: Any,
    ) -> TextVAE:
        """Returns a trained model, as ``bench.load`` does; it takes no further arguments."""
        if model_kwargs:
            raise BenchError(f"from_pretrained has no argument {next(iter(model_kwargs))!r}.")
        return load(pretrained_model_name_or_path, device, revision)

    @override
    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes the model folder, and the record of the run that trained these weights.

        Raises:
            BenchError: the folder holds the record of other weights, or cannot be written.
        """
        run = self._run()
        here = save_directory / RECORD
        if here.exists() and (run is None or load_runs([here])[0].record != run.record):
            raise BenchError(f"{save_directory}: holds the record of another model.")
        save_model(save_directory, self.spec, self.system.tokenizer, self.system)
        if run is not None:
            files = (run.path.with_name(name) for name in OF_THE_RECORD)
            atomic_write_all({save_directory / file.name: read_bytes(file, None) for file in files if file.is_file()})

    @override
    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Returns the card of the model, from its record if it has one."""
        return ModelCard(render_card(self.spec, self._run(), self._hub_mixin_info.model_card_data))

    def _run(self) -> StoredRun | None:
        """Returns the run that trained the model; None if there is none, or the weights have changed since."""
        if self.folder is None or not (self.folder / RECORD).is_file():
            return None
        (run,) = load_runs([self.folder / RECORD])
        trained = run.record.model.weights_sha256 if run.record.model else None
        return run if trained == hashlib.sha256(save(weights(self.system))).hexdigest() else None

    @torch.no_grad()
    def encode(
        self, texts: Sequence[str], sources: Sequence[str] | None = None, *, n: int = MEAN_SAMPLES, seed: int = 0
    ) -> Latents:
        """Returns posterior means and samples, which do not depend on the other texts: all texts share their noise.

        Args:
            texts: N texts.
            sources: of conditional models, the source of each text.
            n: samples of each text.
            seed: of the samples.

        Raises:
            BenchError: no latent variables, sources that are missing or not wanted, or a text that is too long.
        """
        self._require_latents()
        _check_positive("n", n)
        tokenized = self._tokenized(texts, sources)

        def encoded(batch: Batch) -> Iterator[tuple[Array, Array]]:
            streams = [torch.Generator().manual_seed(derive_seed(seed, "encode")) for _ in range(len(batch))]
            path = self.system.encode(batch).sample(n, streams)
            return zip(_joined(path.mean).mean(axis=1), _joined(path.z), strict=True)

        rows = self._in_batches(tokenized, encoded)
        size = sum(self.groups)
        means = np.array([mean for mean, _ in rows]).reshape(len(texts), size)
        return Latents(means, np.array([samples for _, samples in rows]).reshape(len(texts), n, size), self.groups)

    @torch.no_grad()
    def decode(self, z: Array, sources: Sequence[str] | None = None, *, seed: int = 0, **decoding: Any) -> list[str]:
        """Returns a text for each row of latent values (N x D).

        Raises:
            BenchError: values of another size, sources that are missing or not wanted, or an unknown decoding.
        """
        self._require_latents()
        z = np.asarray(z, dtype=np.float64)
        if z.ndim != 2 or z.shape[1] != sum(self.groups):
            raise BenchError(f"latent values of the shape {z.shape}; expected (texts, {sum(self.groups)}).")
        if not np.isfinite(z).all():
            raise BenchError("latent values that are not finite.")
        settings = _decoding("greedy", decoding)
        conditions = self._conditions(sources, len(z))
        device, dtype = next((each.device, each.dtype) for each in self.system.parameters())
        columns = columns_of(self.groups, None)
        texts: list[str] = []
        for start in range(0, len(z), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(z)))
            values = torch.tensor(z[rows.start : rows.stop], device=device, dtype=dtype)[:, None]
            condition = None if conditions is None else conditions.conditions(rows)
            condition = condition and condition.to(device)
            path = self.system.path_of([values[..., part] for part in columns], condition)
            seeds = [derive_seed(seed, "decode", row) for row in rows]
            texts += self.system.tokenizer.decode(self.system.generate(path, condition, settings, seeds))
        return texts

    @torch.no_grad()
    def sample(self, n: int = 1, sources: Sequence[str] | None = None, *, seed: int = 0, **decoding: Any) -> list[str]:
        """Returns texts of latent values from the prior: n texts, or n for each source, source by source.

        Raises:
            BenchError: sources that are missing or not wanted, or an unknown decoding.
        """
        from bench.harness.generate import generate_texts

        _check_positive("n", n)
        settings = _decoding("sample", decoding).model_copy(update={"samples_per_source": n})
        conditions = self._conditions(sources, 0 if sources is None else len(sources))
        texts = conditions or self._tokenized([], None)
        return generate_texts(self.system, n if sources is None else len(sources), texts, settings, seed)

    def reconstruct(
        self, texts: Sequence[str], sources: Sequence[str] | None = None, *, seed: int = 0, **decoding: Any
    ) -> list[str]:
        """Returns each text decoded from its posterior mean; the errors are those of ``encode`` and ``decode``."""
        return self.decode(self.encode(texts, sources).mean, sources, seed=seed, **decoding)

    def interpolate(
        self,
        a: str,
        b: str,
        steps: int = 7,
        layers: Sequence[int] | int | None = None,
        source: str | None = None,
        **decoding: Any,
    ) -> list[str]:
        """Returns texts along the line from the posterior mean of ``a`` to that of ``b``, both ends included.

        Args:
            a: first text.
            b: second text.
            steps: number of texts, at least 2.
            layers: latent groups that move, counted from 1; the others stay those of ``a``. None moves all.
            source: of conditional models, the source of both texts.
            **decoding: see the class.
        """
        if steps < 2:
            raise BenchError(f"steps is {steps}; the two ends are 2 steps.")
        start, end = self._means([a, b], source)
        moved = self._with_groups_of(start, end, layers)
        z = np.linspace(start, moved, steps)
        return self.decode(z, None if source is None else [source] * steps, **decoding)

    def swap(self, a: str, b: str, layers: Sequence[int] | int, source: str | None = None, **decoding: Any) -> str:
        """Returns the text of the posterior mean of ``a`` with some groups, counted from 1, of that of ``b``."""
        first, second = self._means([a, b], source)
        z = self._with_groups_of(first, second, layers)
        return self.decode(z[None], None if source is None else [source], **decoding)[0]

    def analogy(self, a: str, b: str, c: str, source: str | None = None, **decoding: Any) -> str:
        """Returns the text that is to ``c`` as ``b`` is to ``a``: that of z_b - z_a + z_c, posterior means."""
        of_a, of_b, of_c = self._means([a, b, c], source)
        return self.decode((of_b - of_a + of_c)[None], None if source is None else [source], **decoding)[0]

    def neighbours(
        self,
        text: str,
        texts: Sequence[str],
        k: int = 5,
        layers: Sequence[int] | int | None = None,
        source: str | None = None,
    ) -> list[tuple[str, float]]:
        """Returns the k texts with the nearest posterior means and their Euclidean distances, the nearest first.

        Args:
            text: the text.
            texts: the texts to search.
            k: number of neighbours.
            layers: latent groups that count, from 1; None for all.
            source: of conditional models, the source of all these texts.
        """
        _check_positive("k", k)
        _check_texts(texts)
        means = self._means([text, *texts], source)
        columns = np.concatenate([np.arange(part.start, part.stop) for part in columns_of(self.groups, layers)])
        distances = np.linalg.norm(means[1:, columns] - means[0, columns], axis=1)
        return [(texts[i], float(distances[i])) for i in np.argsort(distances, kind="stable")[:k].tolist()]

    def log_likelihood(
        self, texts: Sequence[str], sources: Sequence[str] | None = None, *, n_samples: int = 30, seed: int = 0
    ) -> Array:
        """Returns the importance-weighted bound on log p(x) of each text, in nats (N); exact without latent variables.

        The tokens that count are all but BOS, EOS included. More samples make the bound tighter. The samples of a text
        depend on its place in ``texts``, as in a run.

        Args:
            texts: N texts.
            sources: of conditional models, the source of each text; the bound is then on log p(x | c).
            n_samples: importance samples, at least 2.
            seed: of the samples.

        Raises:
            BenchError: sources that are missing or not wanted, or a text that is too long.
        """
        if n_samples < 2:
            raise BenchError(f"n_samples is {n_samples}; at least 2.")
        scoring = ScoringSpec(n_importance_samples=n_samples)
        tokenized = self._tokenized(texts, sources)
        if not texts:
            return np.zeros(0)
        scored = score_texts(self.system, tokenized, scoring, "fp32", seed)
        return log_mean_exp(scored.log_weights)

    def _means(self, texts: Sequence[str], source: str | None) -> Array:
        return self.encode(texts, None if source is None else [source] * len(texts)).mean

    def _with_groups_of(self, z: Array, other: Array, layers: Sequence[int] | int | None) -> Array:
        mixed = z.copy()
        for columns in columns_of(self.groups, layers):
            mixed[..., columns] = other[..., columns]
        return mixed

    def _require_latents(self) -> None:
        if not self.groups:
            raise BenchError(f"{self.spec.system.label} has no latent variables.")

    def _conditions(self, sources: Sequence[str] | None, n: int) -> TokenizedTexts | None:
        """Returns the sources as those of empty texts, None for unconditional models."""
        tokenized = self._tokenized([""] * n, sources)
        return tokenized if tokenized.sources is not None else None

    def _tokenized(self, texts: Sequence[str], sources: Sequence[str] | None) -> TokenizedTexts:
        """Tokenizes texts and sources.

        Raises:
            BenchError: a source is missing or not wanted, or a text is longer than the positions of the model.
        """
        _check_texts(texts)
        _check_texts(sources or [])
        conditional = self.spec.conditional
        if conditional != (sources is not None):
            raise BenchError(
                f"{self.spec.system.label} {'needs the source of each text' if conditional else 'has no sources'}."
            )
        if sources is not None and len(sources) != len(texts):
            raise BenchError(f"{len(texts)} texts, but {len(sources)} sources.")
        limit = getattr(self.system.backbone, "positions", None) or np.iinfo(np.int32).max
        examples = [Example(text, sources[i] if sources else None) for i, text in enumerate(texts)]
        tokenized = tokenize(examples, self.system.tokenizer, limit, limit if conditional else None)
        for what, given, ids in (("text", texts, tokenized.ids), ("source", sources, tokenized.sources)):
            for tokens in (ids, ids and ids.encoder):
                if given is not None and tokens is not None and tokens.cut.any():
                    place = int(tokens.cut.argmax())
                    start = given[place] if len(given[place]) <= SHOWN else f"{given[place][:SHOWN]}…"
                    raise BenchError(
                        f"{what} {place + 1}, {start!r}, is too long: the model has {tokens.lengths[place]} positions."
                    )
        return tokenized

    def _in_batches(self, texts: TokenizedTexts, work: Callable[[Batch], Iterator[Row]]) -> list[Row]:
        """Returns a row for each text, in order; ``work`` gets batches of similar length."""
        device = next(self.system.parameters()).device
        rows: dict[int, Row] = {}
        for indices in filter(len, batches_of_similar_length(texts.lengths, TOKENS_AT_ONCE)):
            rows |= dict(zip(indices, work(texts.batch(indices).to(device)), strict=True))
        return [rows[index] for index in range(len(texts))]


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise BenchError("expected a list of texts, got one text.")
    for text in texts:
        if not isinstance(text, str):
            raise BenchError(f"expected a list of texts, got {text!r} in it.")


def _check_positive(name: str, number: int) -> None:
    if number < 1:
        raise BenchError(f"{name} is {number}; at least 1.")


def _joined(groups: Sequence[torch.Tensor]) -> Array:
    """Returns all groups side by side (B x n x D)."""
    return torch.cat([group.double() for group in groups], dim=-1).cpu().numpy()


OF_SAMPLING, OF_BEAM_SEARCH = ("temperature", "top_k", "top_p"), ("beams",)
"""Entries of a decoding that other strategies do not use."""


def _decoding(strategy: str, entries: dict[str, Any]) -> DecodingSpec:
    """Returns a decoding; ``strategy`` is that of entries which name none.

    Raises:
        BenchError: an entry is unknown, or would have no effect.
    """
    found = parse_as(DecodingSpec, {"strategy": strategy, **entries}, "decoding")
    if "samples_per_source" in entries:
        raise BenchError("decoding: samples_per_source has no effect here: arguments give the number of texts.")
    for needed, names in (("sample", OF_SAMPLING), ("beam", OF_BEAM_SEARCH)):
        for name in names:
            if name in entries and found.strategy != needed:
                raise BenchError(
                    f"decoding: {name} has no effect with the strategy {found.strategy!r}, only with {needed!r}."
                )
    return found
