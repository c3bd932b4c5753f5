"""The fenced blocks of the pages, and the commands in them; which of these are run smaller, and which are not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]))

LANGUAGES = {"console", "python", "yaml", "toml", "mermaid", ""}
"""Of all blocks; a block without language holds no commands."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    r"\bpython -m tox\b": "an environment of its own, of minutes; its name and the tests that it is given are checked",
    r"^(python -m )?pip install (?!-e )": "the tests are run in what is installed; the names of extras are checked",
    r"della-bench data (build|verify)": "needs the hub; tests/cli/test_data.py has one on the loopback interface",
    r"examples/smollm2": "needs real weights and texts, and an hour; tox -e pretrained runs it",
    r"--launcher slurm": "needs a cluster; tests/slurm has one",
    r"--encoder gpt2-large": "needs weights from the network and the extra mauve; tox -e encoders runs MAUVE",
}
"""Commands that are parsed and not run, with the reason."""

MODEL = "$(ls -d MODEL runs/first/snli.della.* 2> /dev/null | head -n 1)"
"""The model of a page: imported, or trained."""

SMALLER = {
    r"(della-bench (?:reconstruct|sample|interpolate|swap|analogy|neighbours|figure latent-map)) MODEL": rf"\1 {MODEL}",
    r"(della-bench human sheet runs/\S+)": r"\1 --texts 2",
    r"(della-bench human sheet .*--out study.*)": r"\1 && python -m tests.documentation.rated study",
    r"(della-bench run (\w+) (?!.*--out).*--scale) (\w+)": r"\1 \3.yaml --out runs/\2-\3",
    r"(della-bench (?:run|evaluate) .*--scale) (\w+)(?!.*\.yaml)": r"\1 \2.yaml",
    r"(della-bench evaluate \S+ --task \w+)$": r"\1 --scale smoke.yaml",
    r"(della-bench run all)": r"\1 --systems lm,della --tasks snli,quora",
    r"--system optimus --heads 12": "--system optimus:encoder_heads=3 --heads 2",
    r"^pip install -e (\S+)": r"python -m tests.documentation.installed \1",
}
"""What takes minutes, and what takes seconds instead: each scale is a file of micro sizes, which has its name, and so
have the folders of its runs.

Pip may have no network; ``tests.documentation.installed`` leaves what pip leaves. Raters are people;
``tests.documentation.rated`` fills in their sheets.
"""

EXIT_CODES = {r"della-bench audit (results/published|mine.csv)": 1}
"""Commands that end with another code than 0, as their page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: name of the page.
        line: number of its first line.
        language: as after the quotes.
        text: between the quotes.
    """

    page: str
    line: int
    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """Yields the command lines of a block of the language ``console``, without comments."""
        if self.language == "console":
            for line in self.text.replace("\\\n", " ").splitlines():
                if words := _without_comment(line).strip():
                    yield words


def _without_comment(line: str) -> str:
    """Returns a line up to the ``#`` of a comment, which follows a blank and is not quoted."""
    for match in re.finditer(r"(^|\s)#", line):
        try:
            shlex.split(line[: match.start()])
        except ValueError:  # inside a quote
            continue
        return line[: match.start()]
    return line


def blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text[: match.start()].count("\n") + 2, match[1], match[2]) for match in _BLOCK.finditer(text)
    ]


def reason_not_to_run(command: str) -> str | None:
    """Returns why a command is parsed only; None for one that is run."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command)), None)


def smaller(command: str) -> str:
    """Returns the command as the tests run it."""
    for pattern, replacement in SMALLER.items():
        command = re.sub(pattern, replacement, command)
    return command


def exit_code(command: str) -> int:
    """Returns the code with which a command ends."""
    return next((code for pattern, code in EXIT_CODES.items() if re.search(pattern, command)), 0)
