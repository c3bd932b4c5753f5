"""Everything that the program reads: how a valid input is made, and how it is read as the program does."""

from __future__ import annotations

import csv
import gc
import gzip
import importlib
import io
import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bench import cli
from bench.backbones import build_backbone, build_encoder, check_backbone, check_encoder
from bench.bootstrap import Bootstrap
from bench.corpora import load_corpus
from bench.corpora.build import build as build_texts
from bench.corpora.build import verify as verify_texts
from bench.errors import BenchError
from bench.harness.checkpoint import Checkpoint, Progress, content_sha256
from bench.harness.lock import acquire, lock_of, remove_stale
from bench.harness.model_folder import ModelFolder, import_model
from bench.harness.plan import plan, run_spec
from bench.harness.rescore import rescore
from bench.harness.run import run
from bench.harness.status import PlannedRun, remove_done_plans, write_plan
from bench.human import Key, Study, draw_study, score_sheets
from bench.human.sheets import render_csv, render_form, write_study
from bench.human.study import Item, Shown
from bench.labels import configure, parse_call, parse_label
from bench.metrics.encoders import Encoder
from bench.records.store import RecordStore, load_runs
from bench.registry import Registry, load
from bench.report import build_table, render_table
from bench.scales import Scale, load_scale
from bench.specs import BackboneSpec, EncoderSpec, TaskSpec
from bench.suites import load_suite
from bench.systems import SYSTEMS
from bench.tasks import TaskData, load_texts
from bench.tokenizers import Tokenizer, load_tokenizer, load_wordpiece
from tests import pretrained_models
from tests.released_della import ReleasedDella, save_tokenizer

ROOT = Path(__file__).parents[2]
TEXTS = ("the cat sat on the mat .", "a dog runs", "no", "the dog sat on the brown mat", "naïve 🙂 café")
csv.field_size_limit(2**30)  # a name of three million letters is a cell, too
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Characters that no output may contain."""

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""Bold and colours of a table in a terminal."""

SCALE: dict[str, Any] = {
    "limits": {"train": 12, "valid": 4, "test": 6},
    "max_tokens": 60,
    "tokenizer": {"vocabulary_size": 270},
    "backbone": {"layers": 1, "width": 8, "heads": 1, "positions": 100},
    "training": {"epochs": 1, "batch_tokens": 512},
    "scoring": {"n_importance_samples": 2, "bootstrap_samples": 5, "n_generations": 3},
    "decoding": {"max_tokens": 6},
}


@dataclass(frozen=True)
class Reader:
    """One thing that is read.

    Attributes:
        name: of the thing.
        make: writes a valid input into an empty folder.
        read: reads it; it may raise nothing but a BenchError. It also checks what it read, where something else tells
            what that should be: a failed assertion is a finding.
        mutated: patterns of the files that are damaged, one at a time; by default all.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    mutated: tuple[str, ...] = ("**/*",)


def command(*arguments: object) -> str:
    """Runs the command in this process and returns what it printed, which must be fit for a terminal.

    Raises:
        BenchError: a mistake of the user.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            _program()(args=list(map(str, arguments)), standalone_mode=False)
        except cli.UnexpectedError as error:
            raise (error.__cause__ or error) from None
        except cli.ClickException as error:
            raise BenchError(error.format_message()) from error
        finally:
            gc.unfreeze()  # a command that ends with its process may leave garbage
    for text in (out.getvalue(), err.getvalue()):
        assert not (found := CONTROL.search(STYLE.sub("", text))), f"prints {found[0]!r}"
    return out.getvalue()


@cache
def _program() -> Any:
    """Returns the command as typer builds it, which takes longer than many a reader."""
    return typer.main.get_command(cli.app)


# Suites, scales and labels.


def make_suite(folder: Path) -> None:
    content = yaml.safe_load((files("bench") / "suites" / "table8.yaml").read_text(encoding="utf-8"))
    (folder / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "seeds": [0, 1], **content}))


def read_suite(folder: Path) -> None:
    suite = load_suite(str(folder / "mine.yaml"))
    assert (folder / f"{suite.name}-smoke").resolve().parent == folder.resolve()
    (spec,) = plan(suite, "smoke", systems=["lm"], tasks=["ptb"], seeds=suite.seeds[:1])
    inside(RecordStore(folder).path(spec.model_dump(mode="json"), "0" * 12), folder)
    command("show", folder / "mine.yaml")
    if suite.layout:
        command("table", finished_run() / "..", "--layout", folder / "mine.yaml")
        table = build_table([run.record for run in load_runs([finished_run()])], suite.layout)
        for form in FORMS:
            check_table(render_table(table, form), form)


def inside(path: Path, folder: Path) -> None:
    assert path.parent == folder, f"{path} is outside"
    assert len(os.fsencode(path.name)) < 250


def make_scale(folder: Path) -> None:
    content = yaml.safe_load((files("bench") / "scales" / "small.yaml").read_text(encoding="utf-8"))
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))


def read_scale(folder: Path) -> None:
    scale = load_scale(str(folder / "mine.yaml"))
    for task in ("ptb", "quora"):
        run_spec("optimus", task, 0, str(folder / "mine.yaml"), scale.for_task(task), "files")
    command("show", folder / "mine.yaml")


LABELS = (
    "della:latent_size=16+cyclical:cycles=4+free_bits:0.5@layers=2x,width=64",
    "embed:latent_size=8+bow:0.5@dropout=0.1",
    "beam:beams=4,max_tokens=9,repetition_penalty=1.2",
)


def make_labels(folder: Path) -> None:
    (folder / "labels.txt").write_text("\n".join(LABELS))


def read_labels(folder: Path) -> None:
    text = (folder / "labels.txt").read_bytes().decode("utf-8", "replace")[:20_000]
    for line in text.split("\n")[:8]:
        try:
            run_spec(line, "ptb", 0, "x", Scale.model_validate(SCALE), "files", line if line.startswith("beam") else "")
        except BenchError as error:
            one_line(error)
    first = text.partition("+")[0]
    name, arguments = parse_call(first)
    parse_label(text)
    configure(SYSTEMS.get("della").Config, name, arguments)


# Texts.


def write(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode(), 1) if name.endswith(".gz") else content.encode())


def pairs(n: int = 5) -> str:
    rows = ({"source": f"what {text} ?", "target": text, "id": n} for text in TEXTS[:n])
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def make_texts(suffix: str, content: Callable[[], str]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for split in ("train", "valid", "test"):
            write(folder, f"{split}{suffix}", content())

    return make


def read_task(task: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        data = load_texts(TaskSpec(name=task, source="files", conditional=task == "quora"), folder)
        data.statistics()
        check_texts(data, folder)

    return read


def check_texts(data: TaskData, folder: Path) -> None:
    """Compares with what Python's own readers say."""
    for split, examples in data.splits.items():
        (path,) = folder.glob(f"{split}.*")
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
        lines = text.removesuffix("\r").split("\n")
        if ".jsonl" in path.suffixes:
            expected = [(row["target"], row.get("source")) for row in map(json.loads, lines)]
            assert [(example.target, example.source) for example in examples] == expected
        elif not any("label" in note for note in data.notes):
            assert [example.target for example in examples] == lines
        for example in examples:
            (example.target + (example.source or "")).encode()


def make_scored(folder: Path) -> None:
    write(folder, "generated.txt", "\n".join(TEXTS))
    rows = ({"text": text, "references": [text, "a cat"]} for text in TEXTS)
    write(folder, "references.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(folder, "train.jsonl.gz", pairs())


def read_scored(folder: Path) -> None:
    names = [folder / name for name in ("generated.txt", "references.jsonl", "train.jsonl.gz")]
    metrics = "BLEU,BLEU-all,Self-BLEU,ROUGE-L,Dist-2,Jaccard,CND"
    command("score", names[0], "--references", names[1], "--train", names[2], "--metrics", metrics)
    command("score", names[1], "--json", "--metrics", "Dist-1")


# Records.


def finished_run() -> Path:
    """The folder of a run that trained for a moment, the only one in its folder."""
    return _finished_run(Path(os.environ["DELLA_BENCH_FUZZ"]) / "runs")


@cache
def _finished_run(out: Path) -> Path:
    if not out.exists():
        run(run_spec("embed", "snli", 0, "micro", Scale.model_validate(SCALE), "grammar"), out)
    (record,) = out.glob("*/record.json")
    return record.parent


def make_run(*names: str) -> Callable[[Path], None]:
    """Returns what copies a record and files beside it without their digests, which whoever damages can write."""

    def make(folder: Path) -> None:
        (folder / "run").mkdir()
        for name in ("record.json", *names):
            shutil.copy(finished_run() / name, folder / "run")
        for path in (folder / "run").glob("*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            digests = ("sha256", "files") if path.name in ("record.json", "model.json") else ()
            path.write_text(json.dumps({key: value for key, value in content.items() if key not in digests}))

    return make


FORMS = ("md", "csv", "term", "latex", "html")


def read_record(folder: Path) -> None:
    json.loads(command("status", folder, "--json"), parse_constant=refuse)
    command("status", folder)
    for stored in load_runs([folder]):
        inside(RecordStore(folder).path(stored.record.spec, stored.record.run_id), folder)
    for form in FORMS:
        check_table(command("table", folder, "--format", form), form)
    read_report(folder)
    read_audit(folder)
    command("compare", finished_run(), folder, "--all")
    command("compare", folder, finished_run(), "--all")


def read_report(folder: Path) -> None:
    page = folder / "report.html"
    command("report", folder / "run", "--out", page)
    text = page.read_text(encoding="utf-8")
    assert not CONTROL.search(text.partition("<script>")[0])
    assert text.count("<script") == 4
    data = text.partition('id="data">')[2].partition("</script>")[0]
    json.loads(data, parse_constant=refuse)


def read_audit(folder: Path) -> None:
    for form in ("term", "md", "json"):
        text = command("audit", folder, "--format", form)
        if form == "json":
            json.loads(text, parse_constant=refuse)
        if form == "md":
            check_markdown(text)


def refuse(constant: str) -> None:
    raise AssertionError(f"prints {constant}")


def check_table(text: str, form: str) -> None:
    """Checks that a table is well-formed, and that nothing in it is markup, a formula or not a number."""
    if form == "html":
        root = ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314
        assert not root.findall(".//script")
    if form == "csv":
        for row in check_cells(text):
            for name in ("value", "sd", "low", "high"):
                assert not row[name] or np.isfinite(float(row[name])), f"{name} is {row[name]}"
    if form == "md":
        check_markdown(text)
    if form == "latex":
        assert not re.search(r"\\(input|write|def|csname)\b", text.partition("\\makeatother")[2])  # after our own lines


def check_cells(text: str) -> list[dict[str, str]]:
    """Checks that each row of a CSV has its columns, and no cell a formula; returns the rows."""
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    for row in rows:
        assert None not in row, "more cells than columns"
        for cell in row.values():
            assert not re.match(r"[=+\-@\t\r](?![\d.]+(e[-+]?\d+)?$)", cell), f"formula {cell!r}"
    return rows


def check_markdown(text: str) -> None:
    assert not re.search(
        r"(?<!\\)<(?=[a-zA-Z/!?])(?!/?(sup|br|details|summary)>)", re.sub(r"(?m)`[^`\n]*`", "", text)
    ), "markup"
    assert "<!-- /audit -->" not in text, "ends its part of the page"


def read_statistics(folder: Path) -> None:
    for stored in load_runs([folder]):
        stored.statistics()
    read_audit(folder)
    command("compare", finished_run(), folder)


def read_generations(folder: Path) -> None:
    rescore(load_runs([folder]))


def read_curve(folder: Path) -> None:
    for stored in load_runs([folder]):
        stored.curve()


def make_folder_at_work(folder: Path) -> None:
    """Writes what a command that works in a folder keeps there: a plan and a lock."""
    planned = {"task": "snli", "label": "embed", "scale": "micro", "seed": 0, "folder": "snli.embed.s0.0123456789ab"}
    write_plan([PlannedRun(**planned)], folder)
    with acquire(lock_of(folder, "0123456789ab"), planned["folder"]) as lock:
        lock.report("train", 0.5)
        content = lock.path.read_bytes()
    lock.path.write_bytes(content)


def read_folder_at_work(folder: Path) -> None:
    json.loads(command("status", folder, "--json"), parse_constant=refuse)
    command("status", folder)
    remove_stale(folder)
    remove_done_plans(folder)


# Checkpoints.

PROGRESS = tuple(Progress(step=step, best=2.5, curve=[{"epoch": step, "loss": 3.5}]) for step in (1, 2))
"""Of the checkpoint before the newest one, and of the newest."""


def checkpoint_in(folder: Path) -> Checkpoint:
    """Returns the checkpoint of a training that has ended, with its weights."""
    system = ModelFolder.read(finished_run()).load()
    parameters = dict(system.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    return Checkpoint(folder, system, {}, torch.nn.ModuleDict(), parameters, optimizer, {"bench": "0"})


def make_checkpoint(folder: Path) -> None:
    checkpoint = checkpoint_in(folder)
    for progress in PROGRESS:
        checkpoint.save(progress)


def read_checkpoint(folder: Path) -> None:
    checkpoint = checkpoint_in(folder)
    checkpoint.check_code()
    assert checkpoint.load() in PROGRESS, "goes on from what was never saved"
    assert all(value.equal(trained().get_parameter(name)) for name, value in checkpoint.parameters.items())


def seal(path: Path) -> None:
    """Gives a checkpoint, if it is one at all, the digest of its content."""
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        metadata = {key: value for key, value in (file.metadata() or {}).items() if key != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        path.write_bytes(save(tensors, {**metadata, "sha256": content_sha256(tensors, metadata)}))


def read_sealed_checkpoint(folder: Path) -> None:
    """Reads checkpoints whose digest is that of their content, which whoever damages can write."""
    for path in folder.glob("*.safetensors"):
        seal(path)
    checkpoint = checkpoint_in(folder)
    checkpoint.check_code()
    checkpoint.load()


def make_published(folder: Path) -> None:
    for suffix in (".csv", ".facts.yaml"):
        shutil.copy(ROOT / "results" / "published" / f"optimus-2020{suffix}", folder)


def make_claims(folder: Path) -> None:
    shutil.copy(ROOT / "results" / "published" / "della-2022.claims.yaml", folder / "mine.yaml")


def read_claims_file(folder: Path) -> None:
    for form in ("summary", "md"):
        check_markdown(command("claims", finished_run() / "..", "--paper", folder / "mine.yaml", "--format", form))


def make_page(folder: Path) -> None:
    make_published(folder)
    (folder / "page.md").write_text("# Page\n\n<!-- audit -->\nold\n<!-- /audit -->\nend\n")


def read_page(folder: Path) -> None:
    before = (folder / "page.md").read_bytes()
    try:
        command("audit", folder / "optimus-2020.csv", "--into", folder / "page.md")
    except BenchError:
        assert (folder / "page.md").read_bytes() == before
        raise
    after = (folder / "page.md").read_bytes()
    start, end = b"<!-- audit -->", b"<!-- /audit -->"
    assert after.partition(start)[0] == before.partition(start)[0]
    assert after.partition(start)[2].partition(end)[2] == before.partition(start)[2].partition(end)[2]


# Human evaluation.


def make_study(folder: Path) -> None:
    """Writes a study of two systems on a task with sources and on one without, and fills in its sheets."""
    places = [(task, label, place) for task in ("snli", "quora") for label in ("lm", "embed") for place in range(3)]
    shown = tuple(Shown(f"t0-{n}", TEXTS[place[2]], f"what {n} ?") for n, place in enumerate(places))
    items = tuple(
        Item(name=one.name, task=task, label=label, run_id=f"{label:0>12}", position=place)
        for one, (task, label, place) in zip(shown, places, strict=True)
    )
    raters, titles = ("rater-1", "rater-2"), {"snli": "SNLI", "quora": "Quora"}
    key = Key(criteria=("Fluency", "Novelty"), points=5, raters=raters, titles=titles, items=items)
    for path in write_study(Study(key, dict.fromkeys(raters, shown)), folder):
        if path.suffix == ".csv":
            lines = path.read_text(encoding="utf-8").splitlines()
            filled = [f"{line.removesuffix(',,')},{1 + n % 5},{1 + n % 2}" for n, line in enumerate(lines[1:])]
            path.write_text("\n".join([lines[0], *filled, ""]), encoding="utf-8")


def read_study(folder: Path) -> None:
    sheets = sorted(folder.glob("sheets/*.csv"))
    results = score_sheets(sheets, folder / "key.json", Bootstrap(samples=20))
    for rater, ratings in results.ratings.items():
        assert rater in results.key.raters
        assert set(ratings) == {item.name for item in results.key.items}
        for given in ratings.values():
            assert len(given) == len(results.key.criteria), "a rating for each criterion"
            assert all(1 <= rating <= results.key.points for rating in given)
    table = results.table()
    for form in FORMS:
        check_table(render_table(table, form), form)


def read_drawn_texts(folder: Path) -> None:
    """Draws a study from damaged generations; its sheets must be fit for a spreadsheet and a browser."""
    study = draw_study(load_runs([folder / "run"]), texts=2, criteria=["Fluency"], raters=1)
    ((rater, shown),) = study.sheets.items()
    check_cells(render_csv(study.key, rater, shown))
    form = render_form(study.key, rater, shown)
    assert not CONTROL.search(form)
    assert form.count("<script") == 2
    json.loads(form.partition('id="content">')[2].partition("</script>")[0], parse_constant=refuse)


def make_benchmarks(folder: Path) -> None:
    content = {
        "machine_info": {"cpu": {"brand_raw": "a CPU"}, "python_version": "3.11.9", "threads": 1, "torch": "2.6"},
        "benchmarks": [
            {
                "fullname": f"tests/a.py::test_{name}",
                "stats": {"median": 0.25},
                "extra_info": {"ratio": 1.05, "reference_seconds": 0.2, "sizes": {"texts": 64}},
            }
            for name in ("train", "score")
        ],
    }
    for name in ("before", "after"):
        (folder / f"{name}.json").write_text(json.dumps(content))


def read_benchmarks(folder: Path) -> None:
    command("compare", folder / "before.json", folder / "after.json", "--all")


# Models.


def make_model(folder: Path) -> None:
    make_run("model.json", "model.safetensors", "tokenizer.json")(folder)


def read_model(folder: Path) -> None:
    model = ModelFolder.read(folder / "run")
    inside(folder / model.path.resolve().name, folder)
    check_tokenizer(model.tokenizer)
    system = model.load()
    assert {name for name, _ in system.named_parameters()} == {name for name, _ in trained().named_parameters()}


@cache
def trained() -> torch.nn.Module:
    return ModelFolder.read(finished_run()).load()


def check_tokenizer(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXTS)
    tokenizer.decode(ids)
    tokenizer.byte_counts  # noqa: B018
    assert all(0 <= token < len(tokenizer) for text in ids for token in text)


def make_released(zipped: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        torch.manual_seed(0)
        state = ReleasedDella(layers=1, width=4, heads=1, latent_size=2, rank=1, positions=8).state_dict()
        name = "released.zip.pt" if zipped else "released.pt"
        torch.save(state, folder / name, _use_new_zipfile_serialization=zipped)
        save_tokenizer(folder / "gpt2")

    return make


def read_released(folder: Path) -> None:
    (checkpoint,) = folder.glob("*.pt")
    import_model("della-2022", {}, checkpoint, folder / "imported", folder / "gpt2", heads=1)
    ModelFolder.read(folder / "imported").load()


def make_merges(folder: Path) -> None:
    save_tokenizer(folder / "gpt2")
    words = json.loads((folder / "gpt2" / "vocab.json").read_text())
    for piece in ("th", "the"):
        words[piece] = len(words)
    (folder / "gpt2" / "vocab.json").write_text(json.dumps(words))
    (folder / "gpt2" / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")


def read_merges(folder: Path) -> None:
    check_tokenizer(load_tokenizer(folder / "gpt2"))


def make_tokenizer(folder: Path) -> None:
    (folder / "gpt2").mkdir()
    shutil.copy(finished_run() / "tokenizer.json", folder / "gpt2")


def make_wordpiece(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(pretrained_models.BERT_WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))


def read_wordpiece(folder: Path) -> None:
    check_tokenizer(load_wordpiece(folder))


def make_pretrained(kind: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        pretrained_models.save(kind, folder / "model")

    return make


def read_pretrained(kind: Any) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        spec = BackboneSpec(kind=kind, source="folder", path=folder / "model")
        check_backbone(spec)
        backbone = build_backbone(spec, load_tokenizer(folder / "model"))
        assert backbone.n_layers == 2, "blocks are left out"

    return read


def make_bert(folder: Path) -> None:
    pretrained_models.save_bert(folder / "bert")


def read_bert(folder: Path) -> None:
    spec = EncoderSpec(source="folder", path=folder / "bert")
    check_encoder(spec)
    tokenizer = load_wordpiece(folder / "bert")
    check_tokenizer(tokenizer)
    encoder = build_encoder(spec, tokenizer)
    assert encoder.n_layers == 2, "blocks are left out"


def read_encoder(folder: Path) -> None:
    encoder = Encoder(folder / "bert", "bert")
    encoder.features(TEXTS)
    encoder.token_vectors(TEXTS)


# Real texts.


def make_corpus(folder: Path) -> None:
    (folder / "quora.yaml").write_bytes(files("bench").joinpath("corpora", "quora.yaml").read_bytes())


def read_corpus(folder: Path) -> None:
    load_corpus(str(folder / "quora.yaml"))


def make_built_texts(folder: Path) -> None:
    texts = folder / "texts"
    texts.mkdir()
    for split in ("train", "valid", "test"):
        (texts / f"{split}.jsonl").write_text(pairs())
    build_texts("quora", load_corpus("quora"), folder / "quora", source=texts)


def read_built_texts(folder: Path) -> None:
    verify_texts(folder / "quora")


# Plug-ins.

PLUGIN = '"""A plug-in."""\n\nclass Thing:\n    """A thing of another package."""\n'


def make_plugin(folder: Path) -> None:
    (folder / "acme_fuzzed.py").write_text(PLUGIN)
    metadata = folder / "acme_fuzzed-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-fuzzed\nVersion: 1.0\n")
    points = "".join(
        f"[{group}]\nthing = acme_fuzzed:Thing\n" for group in ("della_bench.systems", "della_bench.tasks")
    )
    (metadata / "entry_points.txt").write_text(points)


def read_plugin(folder: Path) -> None:
    """Whatever a plug-in is, the components of the suite stay usable."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        for group in ("della_bench.systems", "della_bench.tasks"):
            registry: Registry[object] = Registry("thing", {"own": "bench.errors:BenchError"}, group)
            assert {"own"} <= set(registry.names())
            assert registry.get("own") is BenchError
            registry.summaries()
            registry.all()
            for name in registry.names():
                try:
                    registry.get(name)
                except BenchError as error:
                    one_line(error)
        command("list", "systems")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("acme_fuzzed", None)
        load.cache_clear()


def one_line(error: BenchError) -> None:
    """Checks that an error can be printed as one line."""
    text = str(error)
    assert text, "an empty message"
    assert len(text) < 5000, f"a message of {len(text)} characters"
    assert len(text.splitlines()) == 1, "a message of several lines"
    assert not (found := CONTROL.search(text)), f"a message with {found[0]!r}"


def readers() -> Iterator[Reader]:
    """Yields all readers."""
    yield Reader("suite", make_suite, read_suite)
    yield Reader("scale", make_scale, read_scale)
    yield Reader("labels", make_labels, read_labels)
    yield Reader("texts .txt", make_texts(".txt", lambda: "\n".join(TEXTS)), read_task("ptb"))
    yield Reader("texts .txt.gz", make_texts(".txt.gz", lambda: "\n".join(TEXTS)), read_task("ptb"))
    yield Reader("texts .jsonl", make_texts(".jsonl", pairs), read_task("quora"))
    yield Reader("texts .jsonl.gz", make_texts(".jsonl.gz", pairs), read_task("quora"))
    yield Reader("scored files", make_scored, read_scored)
    yield Reader("record", make_run(), read_record)
    yield Reader("statistics", make_run("statistics.npz"), read_statistics, ("run/statistics.npz",))
    yield Reader("curve of a page", make_run("curve.jsonl"), read_report, ("run/curve.jsonl",))
    yield Reader("generations of a page", make_run("generations.jsonl"), read_report, ("run/generations.jsonl",))
    yield Reader("generations", make_run("generations.jsonl"), read_generations, ("run/generations.jsonl",))
    yield Reader("curve", make_run("curve.jsonl"), read_curve, ("run/curve.jsonl",))
    yield Reader("plan and lock", make_folder_at_work, read_folder_at_work)
    yield Reader("checkpoint", make_checkpoint, read_checkpoint)
    yield Reader("checkpoint, sealed", make_checkpoint, read_sealed_checkpoint)
    yield Reader("published figures", make_published, read_audit)
    yield Reader("claims", make_claims, read_claims_file)
    yield Reader("page", make_page, read_page, ("page.md",))
    yield Reader("benchmarks", make_benchmarks, read_benchmarks)
    yield Reader("key of a study", make_study, read_study, ("key.json",))
    yield Reader("sheets of a study", make_study, read_study, ("sheets/*.csv",))
    yield Reader("texts of a study", make_run("generations.jsonl"), read_drawn_texts, ("run/generations.jsonl",))
    yield Reader("model.json", make_model, read_model, ("run/model.json",))
    yield Reader("model tokenizer", make_model, read_model, ("run/tokenizer.json",))
    yield Reader("model weights", make_model, read_model, ("run/model.safetensors",))
    yield Reader("released .pt", make_released(zipped=True), read_released, ("*.pt",))
    yield Reader("released .pt, old", make_released(zipped=False), read_released, ("*.pt",))
    yield Reader("vocab and merges", make_merges, read_merges)
    yield Reader("tokenizer.json", make_tokenizer, read_merges)
    yield Reader("wordpiece", make_wordpiece, read_wordpiece)
    yield Reader("GPT-2 settings", make_pretrained("decoder-only"), read_pretrained("decoder-only"), ("model/*.json",))
    yield Reader(
        "GPT-2 weights", make_pretrained("decoder-only"), read_pretrained("decoder-only"), ("**/*.safetensors",)
    )
    yield Reader(
        "BART settings", make_pretrained("encoder-decoder"), read_pretrained("encoder-decoder"), ("model/*.json",)
    )
    yield Reader("BERT settings", make_bert, read_bert, ("bert/*.json", "bert/*.txt"))
    yield Reader("BERT weights", make_bert, read_bert, ("**/*.safetensors",))
    yield Reader("encoder of metrics", make_bert, read_encoder)
    yield Reader("corpus", make_corpus, read_corpus, ("quora.yaml",))
    yield Reader("facts about texts", make_built_texts, read_built_texts, ("quora/data.json",))
    yield Reader("plug-in", make_plugin, read_plugin)


READERS = {reader.name: reader for reader in readers()}
