"""The record of a run: all that tables, comparisons and audits need, so that they need no model.

A record is strict JSON. A score that is not finite is not stored as a score but in ``skipped``, with its reason.
``python -m bench.records.schema > results/record.schema.json`` writes the JSON Schema.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from bench.errors import BenchError
from bench.metric import Score
from bench.reading import parse_as, parse_json

SCHEMA_VERSION: Final = 1
SHA256 = "sha256"
"""Last key of a record file: SHA-256 of the file with ``NO_DIGEST`` as its value. Older files have none."""
NO_DIGEST = 64 * "0"

SPEED = "tokens_per_second"
"""The entry of a training summary that depends on the machine."""

Scalar = str | int | float | bool | None
Status = Literal["finished", "diverged", "skipped", "failed"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

UPGRADES: Mapping[int, Upgrade] = {}
"""Schema version to the function that converts a record of that version into one of the next version."""


class RecordPart(BaseModel):
    """A frozen part of a record; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class RecordedScore(Score):
    """A score and the split of the data on which it was computed."""

    split: str = "test"

    @classmethod
    def of(cls, score: Score, split: str = "test") -> RecordedScore:
        """Returns ``score`` as computed on ``split``; an interval with an end that is not finite is left out."""
        interval = score.interval
        if interval is not None and not (math.isfinite(interval.low) and math.isfinite(interval.high)):
            interval = None
        return cls(**{**vars(score), "interval": interval, "split": split})


class Skipped(RecordPart):
    """A metric that does not apply to the run, and why."""

    metric: str
    reason: str


class Timing(RecordPart):
    """Wall-clock seconds of one phase of the run."""

    phase: str
    seconds: float


class DataFacts(RecordPart):
    """The texts of the run.

    Attributes:
        task: registered name.
        title: name in tables.
        kind: ``unconditional`` or ``conditional``.
        source: origin of the data, for example ``grammar`` or ``files``.
        version: version of the task's data.
        sha256: checksum of all splits.
        split_sha256: checksum of each split; empty in records made without it.
        statistics: for example sizes and lengths.
        notes: caveats, for example texts that occur in two splits.
    """

    task: str
    title: str
    kind: str
    source: str
    version: str | int
    sha256: Sha256
    split_sha256: dict[str, Sha256] = {}
    statistics: dict[str, JsonValue] = {}
    notes: tuple[str, ...] = ()


class ModelFacts(RecordPart):
    """The trained network.

    Attributes:
        parameters: number of parameters, frozen ones included.
        trainable_parameters: number of those that training changes, None in records made without it.
        weights_sha256: digest of the weights that were scored, None if no weights were stored.
        vocabulary_size: number of token ids.
        details: name to value of further facts.
    """

    parameters: int
    trainable_parameters: int | None = None
    weights_sha256: Sha256 | None = None
    vocabulary_size: int | None = None
    details: dict[str, Scalar] = {}


class Environment(RecordPart):
    """The machine and the versions of libraries; they may change the last digits of a result.

    Attributes:
        python: version.
        platform: operating system.
        device: name of the GPU, or ``cpu``.
        threads: number of threads of torch.
        precision: ``fp32`` or ``bf16``.
        torch: version.
        transformers: version.
        processor: name of the processor, None if not known.
        instruction_set: the one that torch chose on this processor, for example ``AVX512``.
    """

    python: str
    platform: str
    device: str
    threads: int
    precision: str
    torch: str | None = None
    transformers: str | None = None
    processor: str | None = None
    instruction_set: str | None = None


class Revision(RecordPart):
    """A replacement of a record by a newer one in a set of reference records.

    Attributes:
        date: time of the replacement.
        reason: why the record was replaced, in the words of the person who did it.
        run_id: of the record that was replaced.
        created: of the record that was replaced.
        suite_version: of the record that was replaced.
        commit: of the record that was replaced.
        moved: metric to its value before and after, of those that differ; None where a record has no value.
    """

    date: AwareDatetime
    reason: Annotated[str, Field(pattern=r"\S")]
    run_id: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
    created: AwareDatetime
    suite_version: str
    commit: str | None = None
    moved: dict[str, tuple[float | None, float | None]] = {}


class _System(BaseModel):
    label: str


class _Task(BaseModel):
    name: str


class _TableKey(BaseModel):
    """The entries of a spec that determine the cells of a run in a table."""

    system: _System
    task: _Task
    scale: str
    seed: int


def _with_table_key(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _TableKey.model_validate(spec)
    return spec


def _with_digest(schema: dict[str, Any]) -> None:
    """Adds to the JSON Schema the digest, which belongs to the file and not to its content."""
    schema["properties"][SHA256] = {"pattern": "^[0-9a-f]{64}$", "title": "SHA-256 of the rest", "type": "string"}


class Record(RecordPart):
    """One run: system x objective x task x scale x seed.

    Attributes:
        schema_version: version of this schema.
        run_id: 12 hex digits that identify spec, components without metrics, and data.
        training_id: 12 hex digits that identify what decides the weights; None in records made without it.
        scoring_id: 12 hex digits that identify what decides the scores, given the weights; None in records made without
            it.
        created: time at which the record was made (UTC).
        suite_version: version of the package.
        commit: git commit of the code, if known.
        dirty: whether the working tree differed from the commit, if known.
        status: ``finished``, ``diverged`` (a loss was not finite), ``skipped`` (the system does not support the run) or
            ``failed`` (an error ended it, or its process was killed).
        reason: why the run is not finished.
        spec: the resolved run spec; ``system.label``, ``task.name``, ``scale`` and ``seed`` determine its table cells.
        components: name to version or digest of the code and files that determine the result.
        code: digest of each module that decides the weights, by its name; empty in records made without it. In records
            without ``scoring_code`` it holds those modules too.
        scoring_code: digest of each module that decides the scores, given the weights.
        seeds: named seeds, derived from the seed of the run.
        data: the texts.
        model: the network, None if the run was skipped.
        metrics: scores, each with signature, interval and split.
        skipped: metrics that do not apply, with reasons.
        training: summary of the training (steps, epochs, best epoch, tokens per second).
        timings: seconds by phase.
        peak_memory_bytes: peak memory, if known.
        environment: machine and versions.
        history: the records that this one replaced in its set (``compare --update``), the oldest first.
        files: SHA-256 of each file that was written with the record, by its name; empty in records made without it.
    """

    model_config = ConfigDict(json_schema_extra=_with_digest)

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: Id
    training_id: Id | None = None
    scoring_id: Id | None = None
    created: AwareDatetime
    suite_version: str
    commit: str | None = None
    dirty: bool | None = None
    status: Status = "finished"
    reason: str | None = None
    spec: Annotated[dict[str, JsonValue], AfterValidator(_with_table_key)]
    components: dict[str, int | str] = {}
    code: dict[str, str] = {}
    scoring_code: dict[str, str] = {}
    seeds: dict[str, int] = {}
    data: DataFacts
    model: ModelFacts | None = None
    metrics: tuple[RecordedScore, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    training: dict[str, Scalar] = {}
    timings: tuple[Timing, ...] = ()
    peak_memory_bytes: int | None = None
    environment: Environment
    history: tuple[Revision, ...] = ()
    files: dict[str, Sha256] = {}

    @property
    def _key(self) -> _TableKey:
        return _TableKey.model_validate(self.spec)

    @property
    def label(self) -> str:
        """The label of the system as the user typed it, for example ``embed+cyclical``."""
        return self._key.system.label

    @property
    def task(self) -> str:
        """The registered name of the task."""
        return self._key.task.name

    @property
    def scale(self) -> str:
        """The scale of the run."""
        return self._key.scale

    @property
    def seed(self) -> int:
        """The seed from which all named seeds derive."""
        return self._key.seed

    def measurement(self) -> dict[str, Any]:
        """Returns what must be equal if the run is repeated: all but time, memory, commit, machine, past and files."""
        of_repetition = {
            "created",
            "commit",
            "dirty",
            "timings",
            "peak_memory_bytes",
            "environment",
            "history",
            "files",
        }
        content = self.model_dump(mode="json", exclude=of_repetition)
        content["training"].pop(SPEED, None)
        return content

    def to_json(self) -> bytes:
        """Returns the bytes of a record file.

        Raises:
            BenchError: the reader of records would refuse them, for example because a number is not finite.
        """
        try:
            content = {**self.model_dump(mode="json"), SHA256: NO_DIGEST}
            blank = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except ValueError as error:  # a number that is not finite, or half a surrogate pair
            raise BenchError(f"the record of {self.task} {self.label} cannot be stored: {error}") from error
        before, _, after = blank.rpartition(NO_DIGEST.encode())
        data = before + hashlib.sha256(blank).hexdigest().encode() + after
        parse_record(data, f"the record of {self.task} {self.label}, before it is written")
        return data


def parse_record(data: bytes, where: str, upgrades: Mapping[int, Upgrade] = UPGRADES) -> Record:
    """Reads the bytes of a record file; a record of an older schema is upgraded version by version.

    Raises:
        BenchError: the data are not JSON, not a record, or of an unknown schema. The message names ``where``.
    """
    content = parse_json(data, where)
    if isinstance(content, dict) and (digest := content.pop(SHA256, None)) is not None:
        _check_digest(data, digest, where)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise BenchError(f"{where}: not a run record (no schema_version)")
    while version in upgrades:
        content = upgrades[version](content)
        version += 1
    if version != SCHEMA_VERSION:
        raise BenchError(f"{where}: record of schema {version}; this version reads up to {SCHEMA_VERSION}")
    return parse_as(Record, content, f"{where}: not a run record")


def _check_digest(data: bytes, digest: object, where: str) -> None:
    if isinstance(digest, str) and len(digest) == len(NO_DIGEST) and digest.isascii():
        before, _, after = data.rpartition(digest.encode())
        if hashlib.sha256(before + NO_DIGEST.encode() + after).hexdigest() == digest:
            return
    raise BenchError(f"{where}: damaged, or edited without deleting its {SHA256!r}, which is that of other content")


def json_schema() -> str:
    """Returns the JSON Schema of a record file."""
    return json.dumps(Record.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
