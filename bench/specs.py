"""Frozen specifications of runs, complete before a run starts.

A spec names everything that can change a number. Its canonical JSON, the versions of the components it uses and the
checksums of its data identify the run. This module imports neither torch nor any component.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.errors import BenchError
from bench.identity import digest

DataSource = Literal["grammar", "files"]
BackboneKind = Literal["decoder-only", "encoder-decoder"]
EncoderKind = Literal["bert"]
Precision = Literal["auto", "fp32", "bf16"]


NO_IDENTITY = (
    ("tokenizer", "path"),
    ("backbone", "path"),
    ("encoder", "path"),
    ("training", "activation_checkpointing"),
    ("training", "checkpoint_seconds"),
    ("scoring", "batch_tokens"),
)
"""Entries of a run spec that do not identify the run: they change no result, or a digest of their content does."""

SCORING_STEPS = ("evaluate", "generate")
"""Components of a run that decide its scores, given its weights."""

METRIC = "metric "
"""How the names of the components that are metrics begin. All components but these and the steps decide the weights."""


class Identities(NamedTuple):
    """Digests that identify a run, 12 hex digits each.

    Attributes:
        training: of all that decides the weights.
        scoring: of all that decides the scores, given the weights: the metrics among them.
        run: of all but the metrics, label and scale included. Its first half is that of ``training``, so that runs that
            share weights are found by their names.
    """

    training: str
    scoring: str
    run: str


class Spec(BaseModel):
    """A frozen piece of a specification; an unknown key and a number that is not finite are errors.

    A whole number that is no 64-bit integer is an error too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_64_bits(self) -> Self:
        for name in self.model_fields_set:
            if isinstance(value := getattr(self, name), int) and not -(2**63) <= value < 2**63:
                raise ValueError(f"{name} is no 64-bit integer.")
        return self


class SystemConfig(Spec):
    """Options of a system; a subclass adds fields, each with a default."""


class SystemSpec(Spec):
    """A row of a table.

    Attributes:
        name: registered name of the system.
        options: its complete options, defaults included.
        label: as the user typed it, for example ``embed+cyclical`` or ``della@layers=2x``; the key of the row.
    """

    name: str
    options: dict[str, Any] = {}
    label: str


class PartSpec(Spec):
    """One part of an objective: its registered name and its complete options."""

    name: str
    options: dict[str, Any] = {}


class StageSpec(Spec):
    """A stage of training before the last one.

    Attributes:
        parts: parts of its objective.
        share: its share of all epochs.
        reset: weights that get back their values from before training when the stage ends.
    """

    parts: tuple[PartSpec, ...]
    share: float = Field(gt=0, lt=1)
    reset: Literal["decoder"] | None = None


class ObjectiveSpec(Spec):
    """What is optimised: at most one part of each kind (schedule, KL threshold, ...); other kinds have their default.

    Attributes:
        earlier: stages before the last one; stored only if there are any.
        parts: parts of the last stage, which gets the remaining epochs.
    """

    earlier: tuple[StageSpec, ...] = ()
    parts: tuple[PartSpec, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty_stages(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored: dict[str, Any] = serialize(self)
        return stored if self.earlier else {"parts": stored["parts"]}


class TaskSpec(Spec):
    """The texts of a run.

    Attributes:
        name: registered name of the task.
        source: ``grammar`` (embedded, known entropy) or ``files`` (a folder given at run time).
        limits: first n texts of each split; a split without limit is used whole.
        max_tokens: longer texts are cut to this many tokens, BOS included; the record counts them.
        max_source_tokens: the same for the sources of a conditional task.
        conditional: whether a target is generated from a source.
    """

    name: str
    source: DataSource = "grammar"
    limits: dict[Literal["train", "valid", "test"], Annotated[int, Field(ge=1)]] = {}
    max_tokens: int = Field(256, ge=3)
    max_source_tokens: int = Field(256, ge=3)
    conditional: bool = False


class TokenizerSpec(Spec):
    """How texts become ids.

    Attributes:
        kind: ``bpe`` trains byte-level BPE on the task's own training split; ``folder`` or ``hub`` reads a pretrained
            one.
        vocabulary_size: of a trained tokenizer, special tokens and the 256 bytes included.
        path: folder with tokenizer.json, or vocab.json and merges.txt; identified by its content.
        name: model name on the hub, of the tokenizer.
        revision: commit on the hub, 40 hex digits.
    """

    kind: Literal["bpe", "folder", "hub"] = "bpe"
    vocabulary_size: int = Field(2048, ge=260)
    path: Path | None = None
    name: str | None = Field(None, exclude_if=lambda name: name is None)
    revision: str | None = Field(None, exclude_if=lambda revision: revision is None)

    def location(self) -> str:
        """Returns the folder of the tokenizer, or its name on the hub.

        Raises:
            BenchError: as for ``StackSpec.location``.
        """
        return _location(self, "tokenizer.kind", self.kind)


class StackSpec(Spec):
    """A Transformer stack and where its weights come from.

    Attributes:
        kind: of stack.
        family: of a stack from scratch, where its kind has several, by its name in transformers; None for the first.
            Pretrained weights name their own.
        source: ``scratch`` (random weights of the given size), ``folder`` or ``hub`` (pretrained).
        layers: number of blocks, from scratch.
        width: hidden size, from scratch.
        heads: attention heads, from scratch.
        key_value_heads: heads of keys and values, from scratch, in families that may have fewer; None for ``heads``.
        positions: longest sequence, from scratch.
        dropout: of residuals, embeddings and attention, everywhere.
        path: folder of the weights; identified by their digest.
        name: model name on the hub.
        revision: commit on the hub, 40 hex digits.
    """

    kind: str
    family: str | None = Field(None, exclude_if=lambda family: family is None)
    source: Literal["scratch", "folder", "hub"] = "scratch"
    layers: int = Field(2, ge=1)
    width: int = Field(64, ge=1)
    heads: int = Field(2, ge=1)
    key_value_heads: int | None = Field(None, ge=1, exclude_if=lambda heads: heads is None)
    positions: int = Field(256, ge=2)
    dropout: float = Field(0.1, ge=0, lt=1)
    path: Path | None = None
    name: str | None = None
    revision: str | None = None

    def location(self, section: str) -> str:
        """Returns the folder of the weights, or their name on the hub.

        Raises:
            BenchError: it is not set, or the revision of the hub is no commit; the error names the ``section`` of the
                spec.
        """
        return _location(self, f"{section}.source", self.source)


def _location(spec: TokenizerSpec | StackSpec, key: str, source: str) -> str:
    """Returns the folder or the name on the hub of what is pretrained; ``key`` is the entry that has the ``source``."""
    section, place = key.partition(".")[0], "path" if source == "folder" else "name"
    if (value := getattr(spec, place)) is None:
        raise BenchError(f"{key} is {source!r} but {section}.{place} is not set.")
    if source == "hub" and not re.fullmatch("[0-9a-f]{40}", spec.revision or ""):
        found = "is not set" if spec.revision is None else f"is {spec.revision!r}, which is no commit"
        raise BenchError(
            f"{key} is 'hub' but {section}.revision {found}; name the commit of {value} on the hub, of 40 hex digits:"
            f" --set {section}.revision=COMMIT."
        )
    return str(value)


class BackboneSpec(StackSpec):
    """The Transformer stack of a system; a system that uses none takes only its width.

    Attributes:
        kind: ``decoder-only`` (GPT-2, Llama, Mistral, Qwen2) or ``encoder-decoder`` (BART).
        lora_rank: rank of adapters of the attention projections, which are trained in place of all weights (LoRA; extra
            ``lora``); None trains all weights.
    """

    kind: BackboneKind = "decoder-only"
    lora_rank: int | None = Field(None, ge=1, exclude_if=lambda rank: rank is None)


class EncoderSpec(StackSpec):
    """A separate encoder with its own tokenizer.

    A pretrained encoder has a tokenizer; for an encoder from scratch, WordPiece is trained on the training split. Texts
    that are too long for the encoder are cut for the encoder only.

    Attributes:
        kind: ``bert``.
        vocabulary_size: of the WordPiece tokenizer, from scratch.
    """

    kind: EncoderKind = "bert"
    vocabulary_size: int = Field(2048, ge=4)


class TrainingSpec(Spec):
    """How a system is trained; options that are off by default are stored only if they are on.

    Attributes:
        epochs: passes over the training texts; at most so many with ``patience``.
        patience: epochs of the last stage without a lower validation ELBO after which training ends. Epochs that end
            with a smaller KL weight than others of the stage do not count: they train another loss. None trains all
            epochs.
        batch_tokens: padded tokens per optimizer step; batches hold texts of similar length.
        batch_texts: texts per optimizer step, whatever their length; the batches of ``batch_tokens`` are then those of
            the validation alone.
        micro_batch_tokens: padded tokens per forward and backward pass; a step with more tokens accumulates gradients
            over several passes. An objective then averages over a pass where it would average over a batch.
        learning_rate: peak of AdamW's, after a linear warm-up over ``warmup`` of all steps, then constant.
        weight_decay: of weight matrices.
        warmup: fraction of all steps.
        clip_norm: gradients are scaled down to this norm; None does not scale them.
        precision: ``auto`` is bf16 autocast on GPUs that have it, else fp32.
        compile: whether ``torch.compile`` compiles the blocks of the stack, which takes a minute or two.
        activation_checkpointing: whether the backward pass recomputes the activations of each block instead of storing
            them; changes no result.
        checkpoint_seconds: minimum time between checkpoints inside an epoch; changes no result.
    """

    epochs: int = Field(4, ge=1)
    patience: int | None = Field(None, ge=1, exclude_if=lambda epochs: epochs is None)
    batch_tokens: int = Field(1024, ge=1)
    batch_texts: int | None = Field(None, ge=1, exclude_if=lambda texts: texts is None)
    micro_batch_tokens: int | None = Field(None, ge=1, exclude_if=lambda tokens: tokens is None)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)
    clip_norm: float | None = Field(1.0, gt=0)
    precision: Precision = "auto"
    compile: bool = Field(False, exclude_if=lambda compile: not compile)
    activation_checkpointing: bool = False
    checkpoint_seconds: float = Field(60.0, ge=0)

    @field_validator("clip_norm", mode="before")
    @classmethod
    def _finite(cls, norm: object) -> object:
        if norm == math.inf:
            raise ValueError("must be finite; null switches clipping off.")
        return norm


class ScoringSpec(Spec):
    """How a trained system is scored.

    Attributes:
        n_importance_samples: K of the importance-weighted bound; the other latent terms use the same samples.
        batch_tokens: padded tokens per decoder pass, samples included; changes only speed and memory. The default fits
            into the caches of a CPU; a GPU is fastest with many more.
        bootstrap_samples: resamples for each interval.
        n_generations: number of texts generated from the prior; on conditional tasks, number of sources.
        mauve_encoder: of MAUVE: a folder, or a model on the hub as ``name@revision``; None for the encoder of the extra
            ``text``.
    """

    n_importance_samples: int = Field(30, ge=2)
    batch_tokens: int = Field(2048, ge=1)
    bootstrap_samples: int = Field(1000, ge=0)
    n_generations: int = Field(100, ge=0)
    mauve_encoder: str | None = Field(None, exclude_if=lambda encoder: encoder is None)


class DecodingSpec(Spec):
    """How texts are decoded, the same for all systems.

    Attributes:
        strategy: ``sample``, ``greedy`` or ``beam``.
        temperature: of sampling.
        top_k: sampling from the k likeliest tokens; 0 for all.
        top_p: sampling from the likeliest tokens of this total probability.
        beams: number of beams of beam search.
        samples_per_source: texts decoded for each source of a conditional task.
        max_tokens: longest text, with EOS.
        min_tokens: shortest text, without EOS.
        repetition_penalty: divides the scores of tokens that the text already contains, without its source; 1 is off.
    """

    strategy: Literal["sample", "greedy", "beam"] = "sample"
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    beams: int = Field(10, ge=2)
    samples_per_source: int = Field(1, ge=1)
    max_tokens: int = Field(128, ge=1)
    min_tokens: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _can_end(self) -> DecodingSpec:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}, above max_tokens, {self.max_tokens}.")
        return self


class ModelSpec(Spec):
    """A trained system: all that is needed to build it again except its weights and tokenizers.

    Attributes:
        system: name and options.
        backbone: its stack.
        encoder: its separate encoder, if it has one.
        conditional: whether texts have sources.
        objective: its training objective, whose adaptations changed the system.
        special_tokens: padding, begin and end of text in its tokenizer, if they are not the suite's.
        origin: where the weights come from, if not from a run.
    """

    system: SystemSpec
    backbone: BackboneSpec
    encoder: EncoderSpec | None = None
    conditional: bool = False
    objective: ObjectiveSpec = ObjectiveSpec()
    special_tokens: tuple[str, str, str] | None = None
    origin: str = ""


class SweepSpec(Spec):
    """How the learning rate of each row is chosen: by the lowest validation ELBO of a few runs.

    Attributes:
        learning_rates: that are tried.
        tasks: on which they are tried; the runs of a task get the choice on the first of these of the same kind,
            conditional or not.
        seed: of the runs that try them.
    """

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    tasks: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)

    @field_validator("learning_rates", "tasks")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value is given twice.")
        return values

    @field_validator("learning_rates")
    @classmethod
    def _sorted(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(rates))


class RunSpec(Spec):
    """One run: system x objective x task x scale x seed, with all defaults.

    ``encoder`` is None unless the system has a separate encoder. ``training`` is None if a trained model is scored.
    ``sweep`` is what chose the learning rate, if anything did; it decides neither weights nor scores.
    """

    system: SystemSpec
    objective: ObjectiveSpec
    task: TaskSpec
    scale: str
    tokenizer: TokenizerSpec = TokenizerSpec()
    backbone: BackboneSpec = BackboneSpec()
    encoder: EncoderSpec | None = Field(None, exclude_if=lambda encoder: encoder is None)
    training: TrainingSpec | None = TrainingSpec()
    scoring: ScoringSpec = ScoringSpec()
    decoding: DecodingSpec = DecodingSpec()
    sweep: SweepSpec | None = Field(None, exclude_if=lambda sweep: sweep is None)
    seed: int = Field(0, ge=0)

    @property
    def model(self) -> ModelSpec:
        """The system after training."""
        return ModelSpec(
            system=self.system,
            backbone=self.backbone,
            encoder=self.encoder,
            conditional=self.task.conditional,
            objective=self.objective,
        )

    @property
    def precision(self) -> Precision:
        """Precision of training and scoring; ``auto`` for a trained model."""
        return self.training.precision if self.training else "auto"

    @property
    def title(self) -> str:
        """Name of the run in progress lines."""
        return f"{self.task.name} {self.system.label} seed {self.seed}"

    def identify(self, components: Mapping[str, int | str], data: Mapping[Any, str]) -> Identities:
        """Returns what identifies the run.

        Args:
            components: name to version (or content digest) of all code and content that decides the result.
            data: checksum of the texts of each split.
        """
        spec = self.model_dump(mode="json")
        for section, key in NO_IDENTITY:
            if spec.get(section) is not None:
                del spec[section][key]
        names = {"label": spec["system"].pop("label"), "scale": spec.pop("scale")}
        if self.sweep is not None:
            names["sweep"] = spec.pop("sweep")
        settings = {
            "scoring": spec.pop("scoring"),
            "decoding": spec.pop("decoding"),
            "limit": spec["task"]["limits"].pop("test", None),
            "components": {name: components[name] for name in SCORING_STEPS if name in components},
            "data": data["test"],
        }
        metrics = {name: version for name, version in components.items() if name.startswith(METRIC)}
        others = {
            name: version
            for name, version in components.items()
            if name not in SCORING_STEPS and not name.startswith(METRIC)
        }
        texts = {split: checksum for split, checksum in data.items() if split != "test"}
        training = digest({"spec": spec, "components": others, "data": texts})[:12]
        scoring = digest({**settings, "metrics": metrics})[:12]
        return Identities(training, scoring, training[:6] + digest({**settings, **names, "training": training})[:6])
