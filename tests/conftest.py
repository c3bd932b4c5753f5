"""Shared pieces: a few texts and their tokenizer, and manners for every test."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from tests.hub import COMMIT, Hub, served

if TYPE_CHECKING:
    from bench.batch import Batch
    from bench.records.schema import Record
    from bench.tokenizers import Tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"

TEXTS = (
    "the cat sat on the mat .",
    "a dog runs",
    "the quick brown fox jumps over the lazy dog again and again",
    "no",
    "the dog sat on the brown mat and the cat runs",
)
SOURCES = ("where is the cat ?", "what does it do", "the fox and the lazy dog .", "who", "where do they all go")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the tests out of the user's cache."""
    os.environ["DELLA_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Micro models are slowed down, not sped up, by threads that wait for each other, in child processes too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real texts; tests that need it are skipped without it."""
    named = os.environ.get("DELLA_BENCH_DATA")
    if not named:
        pytest.skip("DELLA_BENCH_DATA does not name a folder of real texts")
    return Path(named)


@pytest.fixture
def write_yaml(tmp_path: Path) -> Callable[[str, Any], str]:
    """Writes a YAML file and returns its path as a user would type it."""

    def write(name: str, content: Any) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a package as pip leaves it: modules, and a dist-info folder with entry points."""

    def install(package: str, entries: dict[str, str], group: str = "della_bench.systems", **modules: str) -> Path:
        folder = tmp_path / f"site-{package}"
        (folder / package).mkdir(parents=True)
        for module, source in {"__init__": "", **modules}.items():
            (folder / package / f"{module}.py").write_text(source, encoding="utf-8")
        metadata = folder / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    yield install
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Makes the historic record anew, with changes."""
    from bench.records.schema import Record

    historic = json.loads((Path(__file__).parent / "records" / "historic" / "v1.json").read_text())
    return lambda **changes: Record.model_validate({**historic, **changes})


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Puts the files of a folder where the hub's client keeps what it has downloaded, as of ``COMMIT``.

    Returns their name.
    """
    from huggingface_hub import constants

    def put(folder: Path) -> str:
        cache = tmp_path_factory.mktemp("hub")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        repository = cache / "models--somebody--something"
        shutil.copytree(folder, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        return "somebody/something"

    return put


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub on the loopback interface, to which its client talks; the client's cache is empty too."""
    from huggingface_hub import constants

    with served() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants._HF_DEFAULT_ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield hub


@pytest.fixture
def filled_server(server: Hub) -> Hub:
    """A hub with the data sets of all tasks, of 60 rows a split."""
    from bench.corpora import corpora, load_corpus
    from tests.parquet_files import files_of

    for name in corpora():
        corpus = load_corpus(name)
        server.put(corpus.repository, files_of(corpus, dict.fromkeys(corpus.files, 30)), corpus.revision)
    return server


@pytest.fixture(scope="session")
def tokenizer(_own_cache: None) -> Tokenizer:
    # Imported here: it takes seconds, which tests without a model need not wait for.
    from bench.specs import TokenizerSpec
    from bench.tokenizers import build_tokenizer

    return build_tokenizer(TokenizerSpec(vocabulary_size=300), TEXTS * 3)


@pytest.fixture(scope="session")
def encoder_tokenizer(_own_cache: None) -> Tokenizer:
    """For systems with an encoder of their own."""
    from bench.specs import EncoderSpec
    from bench.tokenizers import build_encoder_tokenizer

    return build_encoder_tokenizer(EncoderSpec(vocabulary_size=60), (*TEXTS, *SOURCES) * 3)


@pytest.fixture(scope="session")
def collate(tokenizer: Tokenizer, encoder_tokenizer: Tokenizer) -> Callable[..., Batch]:
    """Makes a batch of texts given as ids, perhaps with sources, beside the tokens of an encoder of a system's own."""
    from bench.batch import Batch

    def collate(ids: Sequence[Sequence[int]], condition: Batch | None = None) -> Batch:
        own = Batch.collate(encoder_tokenizer.encode(tokenizer.decode(ids)), encoder_tokenizer.pad)
        return Batch.collate(ids, tokenizer.pad, condition, own)

    return collate


@pytest.fixture(scope="session")
def batch(tokenizer: Tokenizer, collate: Callable[..., Batch]) -> Batch:
    """The texts."""
    return collate(tokenizer.encode(TEXTS))


@pytest.fixture(scope="session")
def pairs(tokenizer: Tokenizer, collate: Callable[..., Batch]) -> Batch:
    """The texts, each with a source of another length."""
    return collate(tokenizer.encode(TEXTS), collate(tokenizer.encode(SOURCES)))
