"""The record of a run: everything a table, a comparison or a sceptic needs, and no model to get it.

A record is strict JSON. A score that is not finite is no score: it belongs into ``skipped`` with its reason.
``python -m bench.records.schema > results/record.schema.json`` writes the JSON Schema.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from bench.errors import BenchError
from bench.metric import Score
from bench.reading import parse_as, parse_json

SCHEMA_VERSION: Final = 1
SPEED = "tokens_per_second"
"""The entry of a training summary that depends on the machine and not on the spec."""

Scalar = str | int | float | bool | None
Status = Literal["finished", "diverged", "skipped"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

UPGRADES: Mapping[int, Upgrade] = {}
"""Schema version to the step that turns a record of it into one of the next version."""


class Part(BaseModel):
    """A frozen piece of a record; a key it does not know is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class RecordedScore(Score):
    """A score and the split of the data it was measured on."""

    split: str = "test"

    @classmethod
    def of(cls, score: Score, split: str = "test") -> RecordedScore:
        """Returns ``score`` as measured on ``split``."""
        return cls(**{**vars(score), "split": split})


class Skipped(Part):
    """A metric that does not apply, and why its cell stays empty."""

    metric: str
    reason: str


class Timing(Part):
    """Wall-clock seconds of one phase of the run."""

    phase: str
    seconds: float


class DataFacts(Part):
    """The texts of the run.

    Attributes:
        task: registered name.
        title: name in tables.
        kind: ``unconditional`` or ``conditional``.
        source: ``grammar``, ``files`` or another source of the task.
        version: version of the task's data.
        sha256: checksum over all splits.
        statistics: sizes, lengths and the like.
        notes: what a reader should know, for example repeated texts between splits.
    """

    task: str
    title: str
    kind: str
    source: str
    version: str | int
    sha256: Sha256
    statistics: dict[str, JsonValue] = {}
    notes: tuple[str, ...] = ()


class ModelFacts(Part):
    """The trained network.

    Attributes:
        parameters: number of trained numbers.
        weights_sha256: digest of the weights that were scored, None where none were kept.
        vocabulary_size: number of token ids.
        details: further figures by name.
    """

    parameters: int
    weights_sha256: Sha256 | None = None
    vocabulary_size: int | None = None
    details: dict[str, Scalar] = {}


class Environment(Part):
    """The machine and the versions that may move a number in its last digits."""

    python: str
    platform: str
    device: str
    threads: int
    precision: str
    torch: str | None = None
    transformers: str | None = None


class _System(BaseModel):
    label: str


class _Task(BaseModel):
    name: str


class _Key(BaseModel):
    """The four entries of a spec that place a run in a table."""

    system: _System
    task: _Task
    scale: str
    seed: int


def _placed(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _Key.model_validate(spec)
    return spec


class Record(Part):
    """One run: system x objective x task x scale x seed.

    Attributes:
        schema_version: version of this layout.
        run_id: 12 hex digits that identify spec, components and data.
        created: when the record was made (UTC).
        suite_version: version of the package.
        commit: git commit of the suite, where known.
        dirty: whether the working tree differed from the commit, where known.
        status: ``finished``, ``diverged`` (a loss that is not finite) or ``skipped`` (the system does not support it).
        reason: why the run is not finished.
        spec: the resolved run spec; ``system.label``, ``task.name``, ``scale`` and ``seed`` place it in a table.
        components: name to version or content digest of what decided the result.
        seeds: named seeds derived from the run's.
        data: the texts.
        model: the network, None where the run was skipped.
        metrics: scores, each with signature, interval and split.
        skipped: metrics that do not apply, with reasons.
        training: summary of the training (steps, epochs, best epoch, tokens per second).
        timings: seconds by phase.
        peak_memory_bytes: largest memory held, where known.
        environment: machine and versions.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
    created: AwareDatetime
    suite_version: str
    commit: str | None = None
    dirty: bool | None = None
    status: Status = "finished"
    reason: str | None = None
    spec: Annotated[dict[str, JsonValue], AfterValidator(_placed)]
    components: dict[str, int | str] = {}
    seeds: dict[str, int] = {}
    data: DataFacts
    model: ModelFacts | None = None
    metrics: tuple[RecordedScore, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    training: dict[str, Scalar] = {}
    timings: tuple[Timing, ...] = ()
    peak_memory_bytes: int | None = None
    environment: Environment

    @property
    def _key(self) -> _Key:
        return _Key.model_validate(self.spec)

    @property
    def label(self) -> str:
        """The system as it was asked for, for example ``embed+cyclical``."""
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
        """The seed all named seeds derive from."""
        return self._key.seed

    def measurement(self) -> dict[str, Any]:
        """Returns what the same spec, data and seed give again: all but times, memory, commit and machine."""
        kept = self.model_dump(
            mode="json", exclude={"created", "commit", "dirty", "timings", "peak_memory_bytes", "environment"}
        )
        kept["training"].pop(SPEED, None)
        return kept

    def to_json(self) -> bytes:
        """Returns the bytes of a record file."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def parse_record(data: bytes, where: str, upgrades: Mapping[int, Upgrade] = UPGRADES) -> Record:
    """Reads the bytes of a record file; a record of an older schema is upgraded step by step.

    Raises:
        BenchError: not JSON, not a record, or of a schema this version does not know. ``where`` is named.
    """
    content = parse_json(data, where)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise BenchError(f"{where}: not a run record (no schema_version)")
    while version in upgrades:
        content = upgrades[version](content)
        version += 1
    if version != SCHEMA_VERSION:
        raise BenchError(f"{where}: record of schema {version}; this version reads up to {SCHEMA_VERSION}")
    return parse_as(Record, content, f"{where}: not a run record")


def json_schema() -> str:
    """Returns the JSON Schema of a record file."""
    return json.dumps(Record.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
