"""Mistakes of a user's: one line that names the thing and the nearest match, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.cli_process import Finished

DellaBench = Callable[..., Finished]

MINE = ("run", "mine.yaml", "--scale", "micro.yaml")

NAMES = {
    "suite": (("run", "tabel1"), "unknown suite 'tabel1'. Did you mean 'table1'?"),
    "system": ((*MINE, "--systems", "lm,embd"), "unknown system 'embd'. Did you mean 'embed'?"),
    "system, objective, suite or scale": (
        ("show", "table88"),
        "unknown system, objective, suite or scale 'table88'. Did you mean 'table8'?",
    ),
    "task": ((*MINE, "--tasks", "snil"), "unknown task 'snil'. Did you mean 'snli'?"),
    "task of a spec": (("show", "lm", "--task", "ptbb"), "unknown task 'ptbb'. Did you mean 'ptb'?"),
    "objective": ((*MINE, "--systems", "embed+cyclicle"), "unknown objective 'cyclicle'. Did you mean 'cyclical'?"),
    "scale": (("run", "mine.yaml", "--scale", "smoek"), "unknown scale 'smoek'. Did you mean 'smoke'?"),
    "entry of the scale": (
        (*MINE, "--set", "training.epoch=2"),
        "scale 'micro.yaml' with training.epoch=2: unknown key 'training.epoch'. Did you mean 'epochs'?",
    ),
    "format": (("table", "runs", "--format", "mdd"), "unknown format 'mdd'. Did you mean 'md'?"),
    "launcher": ((*MINE, "--launcher", "slrum"), "unknown launcher 'slrum'. Did you mean 'slurm'?"),
    "option of Slurm": (
        (*MINE, "--launcher", "slurm", "--slurm", "partion=gpu"),
        "--slurm: unknown key 'partion'. Did you mean 'partition'?",
    ),
    "kind": (("list", "system"), "unknown list 'system'. Did you mean 'systems'?"),
    "thing to make": (("new", "sistem", "mine"), "unknown thing to make 'sistem'. Did you mean 'system'?"),
    "verb": (("tabel",), "No such command 'tabel'. Did you mean 'table'?"),
    "option": ((*MINE, "--sytems", "lm"), "No such option: --sytems"),
}

VALUES = {
    "option of a system": (("show", "embed:latent_sise=3"), "unknown key 'latent_sise'. Did you mean 'latent_size'?"),
    "value of an option": (("show", "embed:latent_size=big"), "latent_size: Input should be a valid integer"),
    "endless number": (("show", "embed:latent_size=1e400"), "latent_size: Input should be a finite number (got inf)."),
    "endless target": (
        (*MINE, "--systems", "embed+free-bits:.inf"),
        "target: Input should be a finite number (got inf)",
    ),
    "value of an entry": ((*MINE, "--set", "training.epochs=two"), "training.epochs: Input should be a valid integer"),
    "entry without a value": ((*MINE, "--set", "training.epochs"), "--set 'training.epochs': write key=value, for"),
    "entry that is given twice": (
        (*MINE, "--set", "max_tokens=5", "--set", "max_tokens=6"),
        "--set 'max_tokens=6': 'max_tokens' is given twice.",
    ),
    "entry of a suite": (
        ("show", "mine.yaml", "--set", "max_tokens=5"),
        "--set: only for the run of a system, not for",
    ),
    "no number": ((*MINE, "--systems", "embed+free-bits:.nan"), "target: Input should be a finite number (got nan)."),
    "decoding that cannot end": (
        (*MINE, "--decoding", "sample:min_tokens=50,max_tokens=10"),
        "min_tokens is 50, above max_tokens, 10.",
    ),
    "endless temperature": ((*MINE, "--decoding", "sample:temperature=.inf"), "temperature: Input should be a finite"),
    "seed of too many digits": ((*MINE, "--seeds", "1" * 5000), "is not a seed"),
    "value that is none": (("show", "embed:latent_size=["), "not a value: ["),
    "option of an objective": (
        (*MINE, "--systems", "embed+cyclical:cycels=2"),
        "unknown key 'cycels'. Did you mean 'cycles'?",
    ),
    "two of a kind": ((*MINE, "--systems", "embed+cyclical+linear"), "'cyclical' and 'linear' are both a schedule"),
    "seeds": ((*MINE, "--seeds", "x"), "--seeds: 'x' is not a seed; allowed are whole numbers from 0"),
    "negative seed": ((*MINE, "--seeds=0,-1"), "--seeds: '-1' is not a seed"),
    "option of Slurm without Slurm": ((*MINE, "--slurm", "gpus=1"), "--slurm: only with --launcher slurm."),
    "throughput of a run": (
        (*MINE, "--tokens-per-second", "9"),
        "--tokens-per-second: only with --dry-run.",
    ),
    "calibration of a run": ((*MINE, "--calibrate"), "--calibrate: only with --dry-run."),
    "two throughputs": (
        (*MINE, "--dry-run", "--calibrate", "--tokens-per-second", "9"),
        "--calibrate and --tokens-per-second exclude each other.",
    ),
    "grammars at a scale of real texts": (
        ("run", "mine.yaml", "--scale", "paper"),
        "task 'snli': needs real texts; name their folder with --data-dir",
    ),
    "waiting without Slurm": ((*MINE, "--wait"), "--wait: only with --launcher slurm."),
    "new start with Slurm": ((*MINE, "--launcher", "slurm", "--no-reuse"), "--no-reuse: not with --launcher slurm,"),
    "jobs": ((*MINE, "--jobs", "two"), "Invalid value for '--jobs'"),
    "nothing to audit": (
        ("audit",),
        "nothing to audit: name records, CSVs of published figures,",
    ),
    "nothing to list": (
        ("list",),
        "nothing to list: name one of systems, tasks, objectives, metrics, suites, scales, checks.",
    ),
    "nothing beside a plus": ((*MINE, "--systems", "embed++bow"), "'embed++bow': an empty name; write system, "),
    "nothing behind the last plus": (("show", "bow+"), "'bow+': an empty name; write system, "),
    "stage without parts": ((*MINE, "--systems", "embed+then:0.5"), "'then:0.5': a stage without parts; name some on"),
    "part given twice": ((*MINE, "--systems", "embed+bow+bow"), "objective 'bow+bow': 'bow' is given twice."),
    "task of a suite": (("show", "table8", "--task", "snli"), "--task: only for the run of a system, not for a suite."),
    "scale of a suite": (
        ("show", "mine.yaml", "--scale", "small"),
        "--scale: only for the run of a system, not",
    ),
    "task of a scale": (
        ("show", "micro.yaml", "--task", "snli"),
        "--task: only for the run of a system, not for a scale.",
    ),
    "run of an objective": (
        ("show", "bow", "--task", "snli", "--seed", "0"),
        "--task, --seed: only for the run of a system, not for an objective.",
    ),
    "missing argument": (("run",), "Missing argument 'suite'."),
    "seed of a spec": (("show", "lm", "--seed", "-1"), "Invalid value for '--seed'"),
}

PATHS = {
    "suite file": (("run", "your.yaml"), "cannot read your.yaml: No such file or directory."),
    "scale file": (("run", "mine.yaml", "--scale", "your.yaml"), "cannot read your.yaml: No such file or directory."),
    "data folder": ((*MINE, "--data-dir", "nowhere"), "no folder nowhere."),
    "records": (("table", "nowhere"), "nowhere: no such record file or folder"),
    "folder without records": (("table", "."), "no records in ."),
    "file that is no record": (("table", "mine.yaml"), "mine.yaml: not JSON"),
    "folder without anything to audit": (("audit", "."), "nothing to audit in .: neither records nor CSVs"),
    "table to audit": (("audit", "nowhere.csv"), "cannot read nowhere.csv: No such file or directory."),
    "folder of a model": (("evaluate", ".", "--task", "snli"), "no model in .: it lacks model.json, model.safetensors"),
    "checkpoint": (
        ("import-released", "x.pt", "x", "--tokenizer", ".", "--system", "della-2022"),
        "cannot read x.pt: No such file or directory.",
    ),
    "tokenizer of no encoder": (
        ("import-released", "x.pt", "x", "--tokenizer", ".", "--system", "della-2022", "--encoder-tokenizer", "."),
        "--encoder-tokenizer: della-2022 has no encoder of its own.",
    ),
    "records to compare": (("compare", "nowhere", "."), "nowhere: no such record file or folder"),
    "benchmarks beside a folder": (
        ("compare", ".", "benchmark.json"),
        ".: not a benchmark file; a benchmark file can be compared only with another (a folder)",
    ),
    "benchmarks beside nothing": (("compare", "nowhere", "benchmark.json"), "cannot read nowhere: No such file"),
    "benchmarks beside a suite": (("compare", "mine.yaml", "benchmark.json"), "mine.yaml: not JSON"),
    "a file beside itself": (
        ("compare", "benchmark.json", "./benchmark.json"),
        "nothing to compare: benchmark.json and benchmark.json are one file.",
    ),
    "a folder beside itself": (("compare", ".", "."), "nothing to compare: . and . are one folder."),
    "no benchmarks": (
        ("compare", "benchmark.json", "copy.json"),
        "benchmark.json: no benchmark has a ratio, and seconds are not compared",
    ),
    "out is a file": ((*MINE, "--out", "micro.yaml"), "cannot write to micro.yaml: File exists."),
    "out is below a file": ((*MINE, "--out", "micro.yaml/runs"), "cannot write to micro.yaml/runs: Not a directory."),
}

FILES = {
    "misspelt key of a suite": ("mine.yaml", "system: [lm]\nsystems: [lm]\ntasks: [snli]", "unknown key 'system'."),
    "misspelt key of a layout": (
        "mine.yaml",
        "systems: [lm]\ntasks: [snli]\nlayout: {rows: [lm], tasks: [snli], metric: [PPL], metrics: [PPL]}",
        "unknown key 'layout.metric'. Did you mean 'metrics'?",
    ),
    "misspelt key of a scale": ("micro.yaml", "trainig: {}", "unknown key 'trainig'. Did you mean 'training'?"),
    "misspelt key of a part": (
        "micro.yaml",
        "training: {epoch: 3}",
        "unknown key 'training.epoch'. Did you mean 'epochs'?",
    ),
    "misspelt key for a task that does not run": (
        "micro.yaml",
        "tasks: {ptb: {trainig: {}}}",
        "scale entries of task 'ptb': unknown key 'trainig'. Did you mean 'training'?",
    ),
    "unknown task of a scale": ("micro.yaml", "tasks: {snil: {}}", "'snil'. Did you mean 'snli'?"),
    "value out of range": ("micro.yaml", "training: {epochs: 0}", "training.epochs: Input should be greater than"),
    "endless number": (
        "micro.yaml",
        "training: {learning_rate: .inf}",
        "training.learning_rate: Input should be a finite number (got inf).",
    ),
    "endless norm": (
        "micro.yaml",
        "training: {clip_norm: .inf}",
        "training.clip_norm: must be finite; null switches clipping off.",
    ),
    "decoding that cannot end": (
        "micro.yaml",
        "decoding: {min_tokens: 200}",
        "decoding: min_tokens is 200, above max_tokens, ",
    ),
    "no texts": ("micro.yaml", "limits: {train: 0}", "limits.train: Input should be greater than or equal to 1"),
    "less than no texts": ("micro.yaml", "limits: {train: -1}", "limits.train: Input should be greater than or equal"),
    "texts without tokens": ("micro.yaml", "max_tokens: 2", "max_tokens: Input should be greater than or equal to 3"),
    "key twice": ("micro.yaml", "training: {epochs: 1, epochs: 2}", "micro.yaml: 'epochs' is given twice."),
    "heads that do not fit": (
        "micro.yaml",
        "backbone: {width: 15}",
        "backbone.width is 15, no multiple of",
    ),
    "tokenizer without a folder": (
        "micro.yaml",
        "tokenizer: {kind: folder}",
        "tokenizer.kind is 'folder' but tokenizer.path is not set.",
    ),
    "folder without a tokenizer": (
        "micro.yaml",
        "tokenizer: {kind: folder, path: .}",
        "no tokenizer in .: expected tokenizer.json, or vocab.json and merges.txt.",
    ),
    "folder without a model": (
        "micro.yaml",
        "backbone: {source: folder, path: .}",
        "no model in .: expected config.json and model.safetensors.",
    ),
    "unknown task of a suite": (
        "mine.yaml",
        "systems: [lm]\ntasks: [snil]",
        "unknown task 'snil'. Did you mean 'snli'?",
    ),
    "no systems": ("mine.yaml", "systems: []\ntasks: [snli]", "systems: Tuple should have at least 1 item"),
    "a list": ("mine.yaml", "- lm", "mine.yaml: expected keys and values, got list."),
    "nothing": ("micro.yaml", "", "micro.yaml: expected keys and values, got NoneType."),
    "broken YAML": ("micro.yaml", "training: {epochs: [", "micro.yaml: not YAML: "),
    "not UTF-8": ("mine.yaml", b"title: caf\xe9", "mine.yaml: not UTF-8 (byte 11)."),
}

DATA = {
    "empty file": (b"", "train.txt: the file is empty."),
    "blank line": (b"one\n\nthree\n", "train.txt, line 2: the line is blank."),
    "not UTF-8": (b"one\ncaf\xe9\n", "train.txt, line 2: not UTF-8"),
    "label missing": (b"1\tone\ntwo\n", "train.txt, line 2: expected label<TAB>text"),
}


def assert_one_line(done: Finished, message: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("della-bench: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "message"), [*NAMES.values(), *VALUES.values(), *PATHS.values()])
def test_what_is_typed_wrong(
    della_bench: DellaBench, workplace: Path, arguments: tuple[str, ...], message: str
) -> None:
    for name in ("benchmark.json", "copy.json"):
        (workplace / name).write_text('{"machine_info": {"python_version": "3.11"}, "benchmarks": []}')
    before = content(workplace)
    assert_one_line(della_bench(*arguments), message)
    assert content(workplace) == before
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(("name", "text", "message"), FILES.values(), ids=FILES)
def test_what_is_written_wrong(
    della_bench: DellaBench, workplace: Path, name: str, text: str | bytes, message: str
) -> None:
    (workplace / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = content(workplace)
    assert_one_line(della_bench(*MINE), message)
    assert content(workplace) == before
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(("train", "message"), DATA.values(), ids=DATA)
def test_bad_data_stops_the_grid_before_it_starts(
    della_bench: DellaBench, workplace: Path, train: bytes, message: str
) -> None:
    folder = workplace / "data" / "snli"
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_bytes(train if split == "train" else b"one\ntwo\n")
    assert_one_line(della_bench(*MINE, "--data-dir", "data"), message)
    assert not (workplace / "runs").exists()


def test_a_missing_split_is_named(della_bench: DellaBench, workplace: Path) -> None:
    folder = workplace / "data" / "snli"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("one\n")
    assert_one_line(della_bench(*MINE, "--data-dir", "data"), "task 'snli': no valid split: looked for valid.txt")


def test_a_damaged_record_is_named(della_bench: DellaBench, workplace: Path) -> None:
    for name, text in (
        ("half", '{"schema_version": 1, "run'),
        ("other", '{"a": 1}'),
        ("newer", '{"schema_version": 99}'),
    ):
        (workplace / "out" / name).mkdir(parents=True)
        (workplace / "out" / name / "record.json").write_text(text)
        assert_one_line(della_bench("table", f"out/{name}"), f"out/{name}/record.json: ")
