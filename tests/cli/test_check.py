"""`check`: a line for every check, exit 1 if one fails, and a system found by name or in the folder one works in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.testing.checks import CHECKS
from tests.cli.cli_process import Finished

DellaBench = Callable[..., Finished]

SETTINGS = "unconditional,conditional,encoder-decoder"

MINE = '''
from baselines.language_model import LanguageModel


class Mine(LanguageModel):
    """Returns losses for likelihoods."""

    @classmethod
    def supports(cls, spec):
        return "has no use for sources" if spec.task.conditional else None

    def log_likelihood(self, batch, path):
        return -super().log_likelihood(batch, path)
'''


def test_a_sound_system_passes(della_bench: DellaBench) -> None:
    done = della_bench("check", "lm", "--settings", "unconditional")
    assert done.code == 0
    *lines, total = done.out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["ok", "unconditional", check.name] for check in CHECKS if not check.conditional
    ]
    assert total == f"{len(lines)} ok"
    assert done.err == ""


def test_a_broken_system_of_this_folder_fails(della_bench: DellaBench, workplace: Path) -> None:
    (workplace / "mine.py").write_text(MINE)
    done = della_bench("check", "mine:Mine", "--checks", "first-token,shapes", "--settings", SETTINGS)
    assert done.code == 1
    first, *message, second, third, _, fourth, _, total = done.out.splitlines()
    assert first.split()[:3] == ["FAILED", "unconditional", "first-token"]
    assert message[0].strip().startswith("Expected probabilities of the first token that sum to 1; saw exp(")
    assert "not the loss" in " ".join(line.strip() for line in message)
    assert second.split()[:3] == ["ok", "unconditional", "shapes"]
    assert third.split()[:2] == ["skipped", "conditional"]
    assert fourth.split()[:2] == ["skipped", "encoder-decoder"]
    assert "has no use for sources" in done.out
    assert total == "1 FAILED, 1 ok, 2 skipped"


def test_failures_only(della_bench: DellaBench, workplace: Path) -> None:
    (workplace / "mine.py").write_text(MINE)
    done = della_bench("check", "mine:Mine", "--checks", "first-token,shapes", "--settings", SETTINGS, "--failed")
    assert done.code == 1
    first, *_, total = done.out.splitlines()
    assert first.startswith("FAILED  unconditional   first-token")
    assert not {"ok", "skipped"} & {line.split()[0] for line in done.out.splitlines()}
    assert total == "1 FAILED, 1 ok, 2 skipped"


def test_a_system_that_cannot_be_built_is_described_once(della_bench: DellaBench, workplace: Path) -> None:
    constructor = "    def __init__(self, *arguments):\n        raise ValueError('no such layer')\n\n    @classmethod\n"
    (workplace / "mine.py").write_text(
        MINE.replace("    @classmethod\n", constructor).replace('"has no use', 'None and "')
    )
    done = della_bench("check", "mine:Mine")
    assert done.code == 1
    assert done.out.count("ValueError: no such layer") == 1
    assert done.out.splitlines()[-1] == "4 FAILED; failures of the same cause: 3"


def test_checks_are_listed(della_bench: DellaBench) -> None:
    lines = della_bench("list", "checks").out.splitlines()
    assert [line.split()[0] for line in lines] == [check.name for check in CHECKS]
    assert lines[0].endswith(CHECKS[0].title)


def test_a_check_of_nothing_is_no_success(della_bench: DellaBench, workplace: Path) -> None:
    (workplace / "mine.py").write_text(MINE)
    done = della_bench("check", "mine:Mine", "--settings", "conditional")
    assert (done.code, done.out.splitlines()[-1]) == (1, "1 skipped")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("delal",), "unknown system 'delal'. Did you mean 'della'?"),
        (("della:latent_sise=3",), "unknown key 'latent_sise'. Did you mean 'latent_size'?"),
        (("yours:Yours",), "system 'yours:Yours' cannot be loaded from 'yours:Yours': No module named 'yours'"),
        (("lm", "--checks", "shape"), "unknown check 'shape'. Did you mean 'shapes'?"),
        (("lm", "--settings", "conditonal"), "unknown setting 'conditonal'. Did you mean 'conditional'?"),
    ],
)
def test_mistakes_are_one_line(della_bench: DellaBench, arguments: tuple[str, ...], message: str) -> None:
    done = della_bench("check", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("della-bench: ")
    assert message in done.err
    assert done.err.count("\n") == 1
