"""Folders of real texts, from a hub on the loopback interface: what is drawn, and every way in which it can fail."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.corpora import Corpus, corpora, load_corpus
from bench.corpora.build import build, verify
from bench.errors import BenchError
from bench.reading import read_json
from bench.specs import TaskSpec
from bench.storage import file_sha256
from bench.tasks import SPLITS, TASKS, Split, load_texts
from tests.full_disk import files_of_at_most
from tests.hub import Hub
from tests.parquet_files import parquet

SIZES: dict[Split, int] = {"train": 20, "valid": 6, "test": 7}


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def corpus_of(repository: str = "somebody/texts", **changes: Any) -> Corpus:
    content: dict[str, Any] = {
        "summary": "",
        "licence": "none",
        "repository": repository,
        "files": {"train": "a/train-*.parquet", "test": "a/test-*.parquet"},
        "target": ["text"],
        "sizes": {"train": 5, "valid": 3, "test": 4},
        "words": {"target": 3},
    }
    return Corpus.model_validate({**content, **changes})


@pytest.mark.parametrize("name", corpora())
def test_every_task_is_built_and_read(filled_server: Hub, tmp_path: Path, name: str) -> None:
    corpus, folder = load_corpus(name), tmp_path / "data" / name
    facts = build(name, corpus, folder, SIZES, quiet=True)
    commit = filled_server.revisions[corpus.repository].get(corpus.revision, corpus.revision)
    assert (facts["repository"], facts["revision"], facts["sizes"]) == (corpus.repository, commit, SIZES)
    assert facts == read_json(folder / "data.json") == verify(folder)
    kind = TASKS.get(name).kind
    data = load_texts(TaskSpec(name=name, source="files", conditional=kind == "conditional"), tmp_path / "data")
    assert {split: len(data.splits[split]) for split in SPLITS} == SIZES
    assert data.sha256 == facts["texts_sha256"]
    assert set(lines(folder / "train.jsonl.gz")[0]) == ({"target", "source"} if kind == "conditional" else {"target"})
    texts = [example for split in SPLITS for example in data.splits[split]]
    assert len(set(texts)) == len(texts)  # no split has texts of another
    words = [len(example.target.split()) for example in texts]
    assert facts["mean_words"]["target"] == pytest.approx(sum(words) / len(words), abs=0.01)


def test_all_tasks_have_a_corpus_with_their_columns() -> None:
    assert set(corpora()) == set(TASKS.names())
    for name in corpora():
        corpus = load_corpus(name)
        assert (corpus.source is not None) == (TASKS.get(name).kind == "conditional") == ("source" in corpus.words)
        assert set(corpus.sizes) == set(SPLITS)


def test_the_choice_is_random_and_always_the_same(server: Hub, tmp_path: Path) -> None:
    """Of a whole data set all texts stay in their order; a split without files takes none of train."""
    texts = [f"text number {number}" for number in range(40)]
    server.put(
        "somebody/texts",
        {"a/train-0.parquet": parquet({"text": texts}), "a/test-0.parquet": parquet({"text": texts[:4]})},
    )
    folders = [tmp_path / each / "snli" for each in "ab"]
    for folder in folders:
        build("snli", corpus_of(), folder, quiet=True)
    first, second = ([(folder / f"{split}.jsonl.gz").read_bytes() for split in SPLITS] for folder in folders)
    assert first == second
    train, valid, test = ([line["target"] for line in lines(folders[0] / f"{split}.jsonl.gz")] for split in SPLITS)
    assert (len(train), len(valid), test) == (5, 3, texts[:4])
    assert not set(train) & set(valid)
    assert train != sorted(train, key=texts.index)
    assert set(train) | set(valid) <= set(texts)


def test_texts_are_cleaned_and_empty_ones_left_out(server: Hub, tmp_path: Path) -> None:
    rows = [
        "two\nlines  and\ttabs",
        "an \\n escape",
        "",
        None,
        "  ",
        "two lines and tabs",
        "last \ud83d\ude42".encode("utf-16", "surrogatepass").decode("utf-16"),
    ]
    server.put(
        "somebody/texts",
        {f"a/{split}-0.parquet": parquet({"text": rows, "more": ["x"] * 7}) for split in ("train", "test")},
    )
    corpus = corpus_of(
        target=["text", "more"],
        distinct=True,
        replace={"\\n": " "},
        files={split: f"a/{split.replace('valid', 'test')}-*.parquet" for split in SPLITS},
        sizes=dict.fromkeys(SPLITS, 9),
    )
    build("snli", corpus, tmp_path / "snli", quiet=True)
    expected = ["two lines and tabs", "x", "an escape", "last 🙂"]
    assert [line["target"] for line in lines(tmp_path / "snli" / "train.jsonl.gz")] == expected
    joined = corpus_of(target=["text more"], sizes=dict.fromkeys(SPLITS, 3))
    build("snli", joined, tmp_path / "joined" / "snli", quiet=True)
    both = {line["target"] for line in lines(tmp_path / "joined" / "snli" / "test.jsonl.gz")}
    assert both <= {f"{text} x" for text in expected if text != "x"} | {"an \\n escape x", "x"}


def test_released_files_of_labels_and_texts_are_read(tmp_path: Path) -> None:
    """Under their released names, by run itself too."""
    released = tmp_path / "yelp_data"
    released.mkdir()
    for split in SPLITS:
        (released / f"yelp.{split}.txt").write_text("".join(f"{n % 5}\treview {split} {n} .\n" for n in range(9)))
    facts = build("yelp", load_corpus("yelp"), tmp_path / "yelp", {"train": 4, "valid": 9, "test": 9}, released)
    assert (facts["folder"], facts["sizes"]) == ("yelp_data", {"train": 4, "valid": 9, "test": 9})
    assert lines(tmp_path / "yelp" / "valid.jsonl.gz")[0] == {"target": "review valid 0 ."}
    data = load_texts(TaskSpec(name="yelp", source="files"), released)
    assert data.splits["test"][8].target == "review test 8 ."


# --- faults ------------------------------------------------------------------------------------------------------


def one_line(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(BenchError) as error:
        build(*arguments, **keywords, quiet=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_transfer_that_is_cut_is_resumed(filled_server: Hub, tmp_path: Path) -> None:
    filled_server.cut = [10, 100]
    build("ptb", load_corpus("ptb"), tmp_path / "ptb", SIZES, quiet=True)
    assert not filled_server.cut
    assert verify(tmp_path / "ptb")["sizes"] == SIZES


def test_a_wrong_checksum_is_named_and_the_file_downloaded_again(filled_server: Hub, tmp_path: Path) -> None:
    filled_server.wrong = True
    message = one_line("ptb", load_corpus("ptb"), tmp_path / "ptb", SIZES)
    assert message.endswith("damaged: its SHA-256 is not that of the hub; the same command downloads it again.")
    assert not (tmp_path / "ptb").exists()
    filled_server.wrong = False
    for _ in range(5):  # each of the damaged files is found in its turn
        assert one_line("ptb", load_corpus("ptb"), tmp_path / "ptb", SIZES).endswith("downloads it again.")
    build("ptb", load_corpus("ptb"), tmp_path / "ptb", SIZES, quiet=True)
    assert verify(tmp_path / "ptb")["sizes"] == SIZES


def test_a_moved_revision_makes_other_texts_and_a_commit_the_same(server: Hub, tmp_path: Path) -> None:
    def put(word: str) -> str:
        texts = {"text": [f"{word} {number}" for number in range(9)]}
        return server.put("somebody/texts", {f"a/{split}-0.parquet": parquet(texts) for split in ("train", "test")})

    old = put("old")
    build("snli", corpus_of(), tmp_path / "snli", quiet=True)
    new = put("new")
    assert verify(tmp_path / "snli")["revision"] == old
    pinned = build("snli", corpus_of(revision=old), tmp_path / "pinned" / "snli", quiet=True)
    moved = build("snli", corpus_of(), tmp_path / "moved" / "snli", quiet=True)
    assert (pinned["revision"], moved["revision"]) == (old, new)
    assert pinned["texts_sha256"] == verify(tmp_path / "snli")["texts_sha256"] != moved["texts_sha256"]
    gone = one_line("snli", corpus_of(revision="f" * 40), tmp_path / "gone")
    assert gone == f"somebody/texts has no revision {'f' * 40!r}; --revision names another."


def test_without_a_network_the_cache_serves(
    filled_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    for offline in ("HF_HUB_OFFLINE", None):
        first = build("quora", load_corpus("quora"), tmp_path / "a" / "quora", SIZES, quiet=True)
        with monkeypatch.context() as changes:
            if offline:
                changes.setattr(constants, offline, True)
            else:
                changes.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
            second = build("quora", load_corpus("quora"), tmp_path / "b" / "quora", SIZES, quiet=True)
            assert second == first
            message = one_line("ptb", load_corpus("ptb"), tmp_path / "ptb")
        assert message.startswith("cannot download ptb-text-only/ptb_text_only@refs/convert/parquet: ")
        assert message.endswith(
            " Without a network, put texts of your own into DATA/ptb: train, valid and test as .txt or .jsonl"
            " (docs/data.md)."
        )


def test_a_disk_that_is_full_leaves_what_was_there(filled_server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "quora"
    build("quora", load_corpus("quora"), folder, SIZES, quiet=True)
    before = {file.name: file_sha256(file) for file in folder.iterdir()}
    with files_of_at_most(150):
        message = one_line("quora", load_corpus("quora"), folder, {"train": 40, "valid": 6, "test": 7})
        download = one_line("ptb", load_corpus("ptb"), tmp_path / "ptb")
    assert message == f"cannot write to {folder}: File too large"
    assert "ptb" in download
    assert {file.name: file_sha256(file) for file in folder.iterdir()} == before


def test_other_mistakes_are_named_in_one_line(server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "snli"
    assert "the hub has no data set 'somebody/texts'" in one_line("snli", corpus_of(), folder)
    rows = {"text": [None, ""], "other": ["a", "b"]}
    server.put("somebody/texts", {"a/train-0.parquet": parquet(rows)})
    assert one_line("snli", corpus_of(), folder).endswith("no file 'a/test-*.parquet' for the split 'test'.")
    server.put("somebody/texts", {f"a/{split}-0.parquet": parquet(rows) for split in ("train", "test")})
    assert one_line("snli", corpus_of(target=["txt"]), folder) == (
        "train-0.parquet: no column 'txt'; there are text, other."
    )
    assert one_line("snli", corpus_of(), folder) == "task 'snli': no text for the split 'train'."
    server.put("somebody/texts", {f"a/{split}-0.parquet": b"PAR1 and more" for split in ("train", "test")})
    assert one_line("snli", corpus_of(), folder).startswith("cannot read train-0.parquet: ")
    folder.mkdir()
    (folder / "train.txt").write_text("mine\n")
    assert one_line("snli", corpus_of(), folder) == (
        f"{folder} holds train.txt, which was not built here; name another folder with --out."
    )


@pytest.mark.parametrize("name", ["train.jsonl.gz", "data.json"])
def test_a_damaged_folder_is_named(filled_server: Hub, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ptb"
    build("ptb", load_corpus("ptb"), folder, SIZES, quiet=True)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(BenchError, match=r"damaged: its SHA-256|does not name the three splits"):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(BenchError, match=r"cannot read|no data\.json"):
        verify(folder)
