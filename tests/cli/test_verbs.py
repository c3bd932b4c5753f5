"""The verbs: what they list and show, and the whole way from a suite to its table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from bench import resources
from bench.harness.model_folder import load_model
from bench.harness.plan import run_spec
from bench.objectives import OBJECTIVES, resolve_objective
from bench.records.store import load_runs
from bench.scales import Scale, load_scale
from bench.specs import ObjectiveSpec, RunSpec
from bench.suites import Suite
from bench.systems import SYSTEMS
from bench.tasks import TASKS
from tests.cli.cli_process import Finished
from tests.released_della import ReleasedDella, save_tokenizer

DellaBench = Callable[..., Finished]
VERBS = ("run", "table", "compare", "audit", "list", "show", "score", "rescore", "import-released", "evaluate")


def printed(done: Finished) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out


def test_help_names_every_verb(della_bench: DellaBench) -> None:
    text = printed(della_bench("--help"))
    assert printed(della_bench()) == text
    for verb in VERBS:
        assert f"\n  {verb} " in text
        assert f"Usage: della-bench {verb} " in printed(della_bench(verb, "--help"))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("systems", SYSTEMS.names()),
        ("tasks", TASKS.names()),
        ("objectives", OBJECTIVES.names()),
        ("suites", resources.names("suites")),
        ("scales", resources.names("scales")),
        ("metrics", ("PPL", "ELBO", "KL", "MI", "AU", "Self-BLEU", "CND")),
    ],
)
def test_list_names_everything_with_a_line_about_it(della_bench: DellaBench, kind: str, names: tuple[str, ...]) -> None:
    listed = json.loads(printed(della_bench("list", kind, "--json")))
    summaries = {one["name"]: one["summary"] for one in listed}
    assert set(names) <= summaries.keys() if kind == "metrics" else set(names) == summaries.keys()
    assert all(summary and "\n" not in summary for summary in summaries.values())
    lines = printed(della_bench("list", kind)).splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == list(summaries)
    assert all(summary in line for summary, line in zip(summaries.values(), lines, strict=True))


def test_show_prints_a_spec_that_can_be_read_back(della_bench: DellaBench) -> None:
    for label in (*SYSTEMS.names(), "embed:latent_size=8,representation=attention_pool+cyclical:2"):
        shown = yaml.safe_load(printed(della_bench("show", label, "--task", "snli", "--seed", "3")))
        scale = load_scale("smoke").for_task("snli")
        assert RunSpec.model_validate(shown) == run_spec(label, "snli", 3, "smoke", scale, "grammar")


def test_show_writes_an_objective_out_and_says_what_its_options_are(della_bench: DellaBench) -> None:
    label = "li-2019:target=4+bow"
    text = printed(della_bench("show", label))
    assert ObjectiveSpec.model_validate(yaml.safe_load(text)) == resolve_objective(label.split("+"))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[0].startswith("# li-2019: An autoencoder first;")
    assert any(line.startswith("#     target: free nats of a whole text") for line in comments)
    assert any(line.startswith("# bow: The bag-of-words loss") for line in comments)


def test_show_prints_suites_of_the_package_and_of_ones_own(della_bench: DellaBench) -> None:
    for name in (*resources.names("suites"), "mine.yaml"):
        suite = Suite.model_validate(yaml.safe_load(printed(della_bench("show", name))))
        assert suite.name == Path(name).stem
        assert suite.systems
        assert suite.seeds


def test_show_prints_scales_of_the_package_and_of_ones_own(della_bench: DellaBench, workplace: Path) -> None:
    for name in (*resources.names("scales"), "micro.yaml"):
        shown = Scale.model_validate(yaml.safe_load(printed(della_bench("show", name))))
        scale = load_scale(name if name in resources.names("scales") else str(workplace / name))
        assert all(shown.for_task(task) == scale.for_task(task) for task in ("ptb", "quora"))


def test_a_setting_makes_the_runs_of_a_scale_that_has_it(della_bench: DellaBench, workplace: Path) -> None:
    """The run id is that of a file with the entry, and not that of the file without it."""
    written = yaml.safe_load((workplace / "micro.yaml").read_text())
    written["training"]["epochs"] += 1
    (workplace / "own").mkdir()
    (workplace / "own" / "micro.yaml").write_text(yaml.safe_dump(written))
    run, setting = (
        ("run", "mine.yaml", "--systems", "lm", "--scale"),
        f"training.epochs={written['training']['epochs']}",
    )
    commands = {
        "set": (*run, "micro.yaml", "--set", setting),
        "file": (*run, "own/micro.yaml"),
        "plain": (*run, "micro.yaml"),
    }
    for folder, command in commands.items():
        assert della_bench(*command, "--out", folder).code == 0
    runs = {folder: load_runs([workplace / folder])[0].record for folder in commands}
    assert runs["set"].run_id == runs["file"].run_id != runs["plain"].run_id
    assert runs["set"].spec == runs["file"].spec
    for shown in (("lm", "--scale", "micro.yaml"), ("micro.yaml",)):
        entries = yaml.safe_load(printed(della_bench("show", *shown, "--set", setting)))
        assert entries["training"]["epochs"] == written["training"]["epochs"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(della_bench: DellaBench, workplace: Path) -> None:
    before = sorted(workplace.rglob("*"))
    done = della_bench(
        "run", "table8", "--systems", "lm", "--scale", "paper", "--dry-run", "--tokens-per-second", "2e4"
    )
    head, *runs = printed(done).splitlines()
    assert head.split() == [
        *("task", "system", "seed", "texts", "parameters", "tokens", "FLOPs", "memory", "tokens/s", "hours")
    ]
    assert [line.split()[:7] for line in runs[:2]] == [
        [task, "lm", "0", texts, "x", "40", "124,442,112"] for task, texts in (("ptb", "42,068"), ("snli", "100,000"))
    ]
    assert "Weights of the hub: openai-community/gpt2 0.50 GB, openai-community/gpt2-large 3.10 GB." in runs
    assert sorted(workplace.rglob("*")) == before


def test_from_a_suite_to_its_table(della_bench: DellaBench, workplace: Path) -> None:
    """Run, run again, tabulate in every form, compare: all on the records of one small grid."""
    command = ("run", "mine.yaml", "--scale", "micro.yaml", "--seeds", "0,1", "--jobs", "1")
    first = della_bench(*command)
    folder = workplace / "runs" / "mine-micro"
    assert first.code == 0, first.err
    assert [line.split(";")[0] for line in first.err.splitlines()] == [
        f"[{number}/4] snli {label} seed {seed}: finished"
        for number, (label, seed) in enumerate([("lm", 0), ("lm", 1), ("embed", 0), ("embed", 1)], start=1)
    ]
    records = [run.record for run in load_runs([folder])]
    assert sorted((record.label, record.seed) for record in records) == [
        *(("embed", 0), ("embed", 1), ("lm", 0), ("lm", 1))
    ]
    assert {record.scale for record in records} == {"micro"}
    assert "The table lies in runs/mine-micro/table-mine.md and runs/mine-micro/table-mine.csv" in first.out

    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}
    again = della_bench(*command)
    assert (again.code, again.out) == (0, first.out)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")} == stamps

    forms = {
        form: printed(della_bench("table", folder, "--format", form)) for form in ("md", "csv", "term", "latex", "html")
    }
    assert forms["md"] == (folder / "table-mine.md").read_text()
    assert forms["csv"] == (folder / "table-mine.csv").read_text()
    assert first.out.startswith(forms["term"])
    perplexities = [score.value for record in records for score in record.metrics if score.name == "PPL"]
    ppl_of_embed = sum(perplexities[:2]) / 2  # folders are sorted
    for text in forms.values():
        assert f"{ppl_of_embed:.1f}" in text
        assert "lm" in text
    unknown = della_bench("table", folder, "--layout", "tabel8")
    assert (unknown.code, unknown.out) == (2, "")
    assert "unknown suite 'tabel8'. Did you mean 'table8'?" in unknown.err


def test_a_suite_with_a_sweep_chooses_its_learning_rates_first(della_bench: DellaBench, workplace: Path) -> None:
    sweep = {"learning_rates": [0.001, 0.1], "tasks": ["snli"]}
    rows = {"rows": ["lm", "embed"], "tasks": ["snli"], "metrics": ["PPL"]}
    (workplace / "tuned.yaml").write_text(yaml.safe_dump({"sweep": sweep, "layout": rows, "seeds": [0, 1]}))
    first = della_bench("run", "tuned.yaml", "--scale", "micro.yaml", "--out", "runs", "--jobs", 1)
    assert first.code == 0, first.err
    assert "Learning rates: for each row, the one of 0.001, 0.1" in " ".join(first.out.split())
    records = [stored.record for stored in load_runs([workplace / "runs"])]
    assert sum(record.spec.get("sweep") is None for record in records) == 4
    assert sum(record.spec.get("sweep") is not None for record in records) == 4
    assert "@learning_rate" not in first.out
    again = della_bench("run", "tuned.yaml", "--scale", "micro.yaml", "--out", "runs", "--jobs", 1)
    assert (again.code, again.out) == (0, first.out)
    assert [stored.record for stored in load_runs([workplace / "runs"])] == records


def test_real_texts_from_a_folder(della_bench: DellaBench, workplace: Path) -> None:
    texts = [
        f"the {animal} {verb} {where} .\n"
        for animal in ("cat", "dog", "hen")
        for verb in ("sits", "runs", "eats")
        for where in ("here", "there")
    ]
    (workplace / "data" / "snli").mkdir(parents=True)
    for split, part in (("train", texts[:10]), ("valid", texts[10:14]), ("test", texts[14:])):
        (workplace / "data" / "snli" / f"{split}.txt").write_text("".join(part))
    done = della_bench(
        *("run", "mine.yaml", "--scale", "micro.yaml", "--data-dir", "data", "--out", "out", "--systems", "lm")
    )
    assert done.code == 0, done.err
    (run,) = load_runs([workplace / "out"])
    assert run.record.data.source == "files"
    assert run.record.data.statistics["test"]["texts"] == 4
    assert {skipped.metric for skipped in run.record.skipped} >= {"PPL floor"}


def test_a_failing_run_is_named_and_the_others_are_tabulated(della_bench: DellaBench, workplace: Path) -> None:
    (workplace / "weights").mkdir()
    (workplace / "weights" / "config.json").write_text('{"model_type": "gpt2"}')
    (workplace / "weights" / "model.safetensors").write_text("junk")
    scale = yaml.safe_load((workplace / "micro.yaml").read_text())
    scale["tasks"] = {"ptb": {"backbone": {"source": "folder", "path": "weights"}}}
    (workplace / "micro.yaml").write_text(yaml.safe_dump(scale))
    done = della_bench(
        *("run", "mine.yaml", "--scale", "micro.yaml", "--tasks", "ptb,snli", "--systems", "lm", "--out", "out"),
        "--jobs",
        "1",
    )
    assert done.code == 1
    reason = "cannot load the backbone from weights: "
    assert done.err.splitlines()[0].startswith(f"[1/2] ptb lm seed 0: failed: {reason}")
    assert done.err.splitlines()[-1].startswith(f"della-bench: ptb lm seed 0: {reason}")
    assert "The table lies in out/table-mine.md" in done.out
    (run,) = load_runs([workplace / "out"])
    assert run.record.task == "snli"


def test_audit(della_bench: DellaBench, workplace: Path) -> None:
    head = "paper,table,dataset,model,variant,metric,value,direction,note"
    lines = [
        head,
        *(f"Mine,Table 1,PTB,VAE,,{metric},{value},," for metric, value in (("KL", "-1.0"), ("PPL", "20.1"))),
    ]
    (workplace / "mine.csv").write_text("\n".join(lines))
    done = della_bench("audit", "mine.csv")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[0] == "impossible (out-of-range) mine, Table 1, PTB: VAE"
    assert json.loads(della_bench("audit", "mine.csv", "--format", "json").out)[0]["figures"] == "KL -1.0"
    (workplace / "mine.csv").write_text("\n".join(lines).replace("-1.0", "1.0"))
    assert printed(della_bench("audit", "mine.csv")) == "0 impossible, 0 suspicious; 2 figures read\n"
    (workplace / "page.md").write_text("<!-- audit -->\n<!-- /audit -->\n")
    assert printed(della_bench("audit", "mine.csv", "--format", "md", "--into", "page.md")) == ""
    assert "0 impossible, 0 suspicious; 2 figures read." in (workplace / "page.md").read_text()
    assert "\nbelow-floor\n    A model gives texts more probability" in printed(della_bench("audit", "--rules"))


def test_the_table_of_a_suite_holds_what_all_commands_recorded(della_bench: DellaBench, workplace: Path) -> None:
    """Runs of another suite, or that do not share a table with those of the last command, are not in it."""
    command = ("run", "mine.yaml", "--scale", "micro.yaml", "--out", "out")

    def rows() -> set[str]:
        lines = (workplace / "out" / "table-mine.csv").read_text().splitlines()[1:]
        return {line.split(",")[2] for line in lines if ",floor," not in line}

    (workplace / "yours.yaml").write_text(yaml.safe_dump({"systems": ["memory"], "tasks": ["snli"]}))
    assert della_bench("run", "yours.yaml", *command[2:]).code == 0
    assert della_bench(*command, "--systems", "lm").code == 0
    assert rows() == {"lm"}
    second = della_bench(*command, "--systems", "embed")
    assert rows() == {"lm", "embed"}
    runs = [path for label in ("lm", "embed") for path in (workplace / "out").glob(f"snli.{label}.*")]
    assert second.out.startswith(printed(della_bench("table", *runs)))
    other = della_bench(*command, "--systems", "embed", "--set", "scoring.n_importance_samples=3")
    assert other.code == 0
    assert rows() == {"embed"}
    assert re.search(r"It holds the runs of this command alone: .* differ in .*n_importance_samples", other.out)


def test_a_model_is_scored_at_the_scale_of_its_run(della_bench: DellaBench, workplace: Path) -> None:
    """A scale from a file must be named again, and so must one whose sizes the run replaced."""
    assert della_bench("run", "mine.yaml", "--systems", "lm", "--scale", "micro.yaml", "--out", "out").code == 0
    (run,) = load_runs([workplace / "out"])
    evaluate = ("evaluate", run.path.parent, "--task", "snli")
    refused = della_bench(*evaluate)
    assert (refused.code, refused.out) == (2, "")
    assert "record.json: the scale 'micro' is that of a file; name it with --scale." in refused.err
    content = json.loads(run.path.read_text())
    del content["sha256"]  # by which the changes would be noticed
    content["spec"]["scale"] = "study"
    run.path.write_text(json.dumps(content))
    refused = della_bench(*evaluate)
    assert (refused.code, refused.out) == (2, "")
    assert "record.json: not the sizes of the scale 'study'; name a scale with --scale." in refused.err
    content["spec"] = run_spec("lm", "snli", 0, "study", load_scale("study").for_task("snli"), "grammar").model_dump()
    run.path.write_text(json.dumps(content))
    assert della_bench(*evaluate).code == 0
    (scored,) = load_runs([workplace / "runs"])
    assert (scored.record.scale, scored.record.spec["scoring"]) == ("study", content["spec"]["scoring"])


def test_a_run_audits_itself(della_bench: DellaBench, workplace: Path) -> None:
    """A record with a figure that cannot be fails the run that it belongs to, and its table is made all the same."""
    command = ("run", "mine.yaml", "--scale", "micro.yaml", "--systems", "embed", "--out", "out")
    first = della_bench(*command)
    assert (first.code, "impossible" in first.err) == (0, False)
    (run,) = load_runs([workplace / "out"])
    record = json.loads(run.path.read_text())
    (divergence,) = (score for score in record["metrics"] if score["name"] == "KL")
    divergence["value"] += 1.0
    del record["sha256"]  # by which the change would be noticed
    run.path.write_text(json.dumps(record))
    again = della_bench(*command)
    assert again.code == 1
    assert "The table lies in out/table-mine.md" in again.out
    assert f"impossible (sum-of-parts) records, micro, snli: embed seed 0 ({run.record.run_id})" in again.err


def test_import_released(della_bench: DellaBench, workplace: Path) -> None:
    save_tokenizer(workplace / "gpt2")
    torch.manual_seed(0)
    torch.save(ReleasedDella(conditional=True, positions=300).state_dict(), workplace / "model.pt")
    command = ("import-released", "model.pt", "model", "--tokenizer", "gpt2")
    done = della_bench(*command, "--system", "della-2022")
    assert (done.code, done.out) == (2, "")
    assert "model.pt: a state dict does not contain the number of attention heads; name it (--heads)." in done.err
    assert not (workplace / "model").exists()
    line = printed(della_bench(*command, "--heads", "2", "--system", "della-2022:layers=1-2"))
    assert line.startswith("model: della-2022, conditional, 3 layers x 16, from model.pt, sha256 ")
    assert load_model(workplace / "model").groups == (4, 4)
    scored = della_bench("evaluate", "model", "--task", "quora", "--scale", "micro.yaml")
    assert (scored.code, scored.err.split(";")[0]) == (0, "[1/1] quora model seed 0: finished")
    assert "The table lies in runs/model-micro/table-model-quora.md" in scored.out
    (run,) = load_runs([workplace / "runs"])
    assert f"{next(one.value for one in run.record.metrics if one.name == 'PPL'):.1f}" in scored.out
    refused = della_bench("evaluate", "model", "--task", "snli")
    assert (refused.code, refused.out) == (2, "")
    assert "the model in model is conditional; task 'snli' is unconditional." in refused.err
    unknown = della_bench(*command, "--system", "della-2002")
    assert "unknown importer 'della-2002'. Did you mean 'della-2022'?" in unknown.err


def test_tables_of_several_suites_lie_in_one_folder(della_bench: DellaBench, workplace: Path) -> None:
    """The file of a suite is not overwritten; ``table`` narrows, chooses and adds rows, columns and seeds."""
    content = yaml.safe_load((workplace / "mine.yaml").read_text())
    layout = {"rows": ["lm", "della"], "tasks": ["ptb", "snli"], "metrics": ["PPL", "KL"]}
    (workplace / "yours.yaml").write_text(yaml.safe_dump({**content, "systems": ["lm"], "layout": layout}))
    for suite in ("mine", "yours"):
        done = della_bench("run", f"{suite}.yaml", "--scale", "micro.yaml", "--jobs", "1", "--out", "out")
        assert done.code == 0, done.err
    assert sorted(path.name for path in (workplace / "out").glob("table*")) == [
        *("table-mine.csv", "table-mine.md", "table-yours.csv", "table-yours.md")
    ]

    def rows(*options: str) -> list[tuple[str, ...]]:
        lines = printed(della_bench("table", "out", "--format", "csv", *options)).splitlines()
        return [tuple(line.split(",")[1:4]) for line in lines[1:] if ",floor," not in line]

    columns = ("PPL", "KL")
    assert rows("--layout", "yours.yaml") == [("snli", "lm", name) for name in columns]
    assert rows("--layout", "yours.yaml", "--others") == [
        ("snli", row, name) for row in ("lm", "embed") for name in columns
    ]
    assert rows("--systems", "embed", "--metrics", "KL,ESS") == [("snli", "embed", name) for name in ("KL", "ESS")]
    assert rows("--tasks", "snli", "--seeds", "0,1", "--systems", "lm", "--metrics", "PPL") == [("snli", "lm", "PPL")]
    missing = della_bench("table", "out", "--seeds", "7")
    assert (missing.code, missing.err) == (2, "della-bench: no record to tabulate with seeds 7.\n")
    unknown = della_bench("table", "out", "--systems", "embd")
    assert "unknown system in these records 'embd'. Did you mean 'embed'?" in unknown.err


def test_a_scale_file_named_like_a_packaged_scale_is_another_scale(della_bench: DellaBench, workplace: Path) -> None:
    (workplace / "smoke.yaml").write_text((workplace / "micro.yaml").read_text())
    done = della_bench("run", "mine.yaml", "--scale", "smoke.yaml", "--systems", "lm")
    assert done.code == 0, done.err
    (run,) = load_runs([workplace / "runs" / "mine-smoke.yaml"])
    assert run.record.scale == "smoke.yaml"
