"""Frozen specifications: what a run is, written down completely before it starts.

A spec names everything that can change a number. Its canonical JSON, the versions of the components it uses and the
checksum of its data give the identity of the run. This module imports neither torch nor any component.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

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
"""Entries of a run spec that cannot change a result, or whose content is identified by its digest instead."""


class Spec(BaseModel):
    """A frozen piece of a specification; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class SystemConfig(Spec):
    """Options of a system; a system with options subclasses it and gives every field a default."""


class SystemSpec(Spec):
    """A row of a table.

    Attributes:
        name: registered name of the system.
        options: its complete options, defaults included.
        label: what was typed, for example ``embed+cyclical`` or ``della@layers=2x``; the row's key.
    """

    name: str
    options: dict[str, Any] = {}
    label: str


class PartSpec(Spec):
    """One part of an objective: its registered name and its complete options."""

    name: str
    options: dict[str, Any] = {}


class StageSpec(Spec):
    """A stage of training that others follow.

    Attributes:
        parts: of its objective.
        share: of all epochs.
        reset: weights that go back to their values before training when the stage ends.
    """

    parts: tuple[PartSpec, ...]
    share: float = Field(gt=0, lt=1)
    reset: Literal["decoder"] | None = None


class ObjectiveSpec(Spec):
    """What is optimised: at most one part of each kind (KL-weight schedule, floor, ...), the rest by default.

    Attributes:
        earlier: stages before the last one; most runs have none, and are stored without the key.
        parts: of the last stage, which has the rest of the epochs.
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
    limits: dict[Literal["train", "valid", "test"], int] = {}
    max_tokens: int = Field(256, ge=3)
    max_source_tokens: int = Field(256, ge=3)
    conditional: bool = False


class TokenizerSpec(Spec):
    """How texts become ids.

    Attributes:
        kind: ``bpe`` trains byte-level BPE on the task's own training split; ``folder`` reads a pretrained one.
        vocabulary_size: of a trained tokenizer, special tokens and the 256 bytes included.
        path: folder with tokenizer.json, or vocab.json and merges.txt; identified by its content, not its place.
    """

    kind: Literal["bpe", "folder"] = "bpe"
    vocabulary_size: int = Field(2048, ge=260)
    path: Path | None = None


class StackSpec(Spec):
    """A Transformer stack and where its weights come from.

    Attributes:
        kind: of stack.
        source: ``scratch`` (random weights of the given size), ``folder`` or ``hub`` (pretrained).
        layers: number of blocks, from scratch.
        width: hidden size, from scratch.
        heads: attention heads, from scratch.
        positions: longest sequence, from scratch.
        dropout: of residuals, embeddings and attention, everywhere.
        path: folder of the weights; identified by their digest, not their place.
        name: model name on the hub.
        revision: pinned commit on the hub.
    """

    kind: str
    source: Literal["scratch", "folder", "hub"] = "scratch"
    layers: int = Field(2, ge=1)
    width: int = Field(64, ge=1)
    heads: int = Field(2, ge=1)
    positions: int = Field(256, ge=2)
    dropout: float = Field(0.1, ge=0, lt=1)
    path: Path | None = None
    name: str | None = None
    revision: str | None = None

    def location(self, section: str) -> str:
        """Returns the folder of the weights, or their name on the hub.

        Raises:
            BenchError: it is not set; ``section`` is named.
        """
        key = "path" if self.source == "folder" else "name"
        if (value := getattr(self, key)) is None:
            raise BenchError(f"{section}.source is {self.source!r} but {section}.{key} is not set.")
        return str(value)


class BackboneSpec(StackSpec):
    """The Transformer stack every system stands on; one without a Transformer takes its width and no more.

    Attributes:
        kind: ``decoder-only`` (GPT-2, encoder and decoder in one) or ``encoder-decoder`` (BART).
    """

    kind: BackboneKind = "decoder-only"


class EncoderSpec(StackSpec):
    """The encoder of a system that has one of its own, with a tokenizer of its own.

    A pretrained encoder brings its tokenizer; for one from scratch WordPiece is trained on the training split. A text
    longer than it takes is cut for the encoder alone.

    Attributes:
        kind: ``bert``.
        vocabulary_size: of the WordPiece tokenizer, from scratch.
    """

    kind: EncoderKind = "bert"
    vocabulary_size: int = Field(2048, ge=4)


class TrainingSpec(Spec):
    """How long and how fast a system is trained; what is off by default is stored only where it is on.

    Attributes:
        epochs: passes over the training texts.
        batch_tokens: padded tokens per optimizer step; batches hold texts of similar length.
        micro_batch_tokens: padded tokens per forward and backward pass; the gradients of a step that has more are
            accumulated over several. What an objective averages over a batch, it averages over a pass.
        learning_rate: peak of AdamW's, after a linear warm-up over ``warmup`` of all steps, then constant.
        weight_decay: of weight matrices.
        warmup: fraction of all steps.
        clip_norm: gradients are scaled down to this norm.
        precision: ``auto`` is bf16 autocast on GPUs that have it, else fp32.
        compile: whether ``torch.compile`` makes kernels for the blocks of the stack, which takes a minute or two.
        activation_checkpointing: whether the backward pass computes the activations of each block anew instead of
            keeping them; changes no result.
        checkpoint_seconds: least time between checkpoints inside an epoch; changes no result.
    """

    epochs: int = Field(4, ge=1)
    batch_tokens: int = Field(1024, ge=1)
    micro_batch_tokens: int | None = Field(None, ge=1, exclude_if=lambda tokens: tokens is None)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)
    clip_norm: float = Field(1.0, gt=0)
    precision: Precision = "auto"
    compile: bool = Field(False, exclude_if=lambda compile: not compile)
    activation_checkpointing: bool = False
    checkpoint_seconds: float = Field(60.0, ge=0)


class ScoringSpec(Spec):
    """How a trained system is scored.

    Attributes:
        n_importance_samples: K of the importance-weighted bound; the same samples estimate every other latent term.
        batch_tokens: padded tokens per decoder pass, samples included; changes speed and memory only. So many
            fit into a processor's caches; a GPU is fastest with many more.
        bootstrap_samples: resamples behind every interval.
        n_generations: texts sampled from the prior and stored; on conditional tasks, sources they are sampled for.
    """

    n_importance_samples: int = Field(30, ge=2)
    batch_tokens: int = Field(2048, ge=1)
    bootstrap_samples: int = Field(1000, ge=0)
    n_generations: int = Field(100, ge=0)


class DecodingSpec(Spec):
    """How texts are decoded, the same for all systems.

    Attributes:
        strategy: ``sample``, ``greedy`` or ``beam``.
        temperature: of sampling.
        top_k: sampling from the k likeliest tokens; 0 for all.
        top_p: sampling from the likeliest tokens of this total probability.
        beams: of beam search.
        samples_per_source: texts decoded for each source of a conditional task.
        max_tokens: longest text, EOS included.
        min_tokens: shortest text, EOS left out.
        repetition_penalty: divides the scores of tokens that are there already; 1 is off.
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


class ModelSpec(Spec):
    """A trained system: what must be known, beside its weights and tokenizers, to build it again.

    Attributes:
        system: name and options.
        backbone: the stack it stands on.
        encoder: the encoder of its own, if it has one.
        conditional: whether texts come with conditions.
        objective: what it was trained with, which may have changed it.
        special_tokens: padding, begin and end of text as its tokenizer calls them, where not by the suite's names.
        origin: where the weights come from, if not from a run.
    """

    system: SystemSpec
    backbone: BackboneSpec
    encoder: EncoderSpec | None = None
    conditional: bool = False
    objective: ObjectiveSpec = ObjectiveSpec()
    special_tokens: tuple[str, str, str] | None = None
    origin: str = ""


class RunSpec(Spec):
    """One run: system x objective x task x scale x seed, resolved to the last default.

    ``encoder`` is there only for a system that has one of its own. ``training`` is None where a model that is trained
    already is scored.
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
    seed: int = Field(0, ge=0)

    @property
    def model(self) -> ModelSpec:
        """Returns what must be known of the system once it is trained."""
        return ModelSpec(
            system=self.system,
            backbone=self.backbone,
            encoder=self.encoder,
            conditional=self.task.conditional,
            objective=self.objective,
        )

    @property
    def precision(self) -> Precision:
        """In which it is trained and scored; ``auto`` where it was trained already."""
        return self.training.precision if self.training else "auto"

    @property
    def title(self) -> str:
        """Returns ``task label seed``, as progress lines name a run."""
        return f"{self.task.name} {self.system.label} seed {self.seed}"

    def run_id(self, components: Mapping[str, int | str], data_sha256: str) -> str:
        """Returns 12 hex digits that identify the run.

        Args:
            components: name to version (or content digest) of everything whose code or content decides the result.
            data_sha256: checksum of the texts.

        Folders do not enter (their content does, through ``components``), nor does what cannot change a result.
        """
        spec = self.model_dump(mode="json")
        for section, key in NO_IDENTITY:
            if spec.get(section) is not None:
                del spec[section][key]
        return digest({"spec": spec, "components": dict(components), "data": data_sha256})[:12]
