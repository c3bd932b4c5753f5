"""The audit finds every known contradiction among the published figures, and the page lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.audit import AuditRow, Finding, Location, audit, read_rows, render_findings
from bench.errors import BenchError
from bench.records.published import COLUMNS
from bench.storage import replace_block
from tests.reference_records import REFERENCE, needs_reference

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit-of-published-tables.md"

KNOWN = {
    "SNLI, DELLA: MI 16.58 > KL 5.86": ("mi-above-kl", "Table 8", "SNLI", "DELLA", "MI 16.58, KL 5.86"),
    "GPT-2 medium, DELLA: MI 23.69 > KL 17.09": ("mi-above-kl", "Table 5", "Yelp", "medium", "MI 23.69, KL 17.09"),
    "Softmax of 384: MI 7.15 > KL 5.04": ("mi-above-kl", "Table 4", "Yelp", "Softmax", "MI 7.15, KL 5.04"),
    "Yelp: MI 10.78 > ln 10,000": ("mi-above-ln-n", "Table 1", "Yelp", "DELLA", "MI 10.78"),
    "Yahoo: MI 12.31 > ln 10,000": ("mi-above-ln-n", "Table 1", "Yahoo", "DELLA", "MI 12.31"),
    "PTB: MI 12.35 > ln 3,761": ("mi-above-ln-n", "Table 8", "PTB", "DELLA", "MI 12.35"),
    "SNLI: MI 16.58 > ln 10,000": ("mi-above-ln-n", "Table 8", "SNLI", "DELLA", "MI 16.58"),
    "GPT-2 medium: MI 23.69 > ln 10,000": ("mi-above-ln-n", "Table 5", "Yelp", "medium", "MI 23.69"),
    "Yelp: at most 95.4 tokens": ("token-counts", "Table 1", "Yelp", "", "to 95.4 tokens: DELLA"),
    "Yahoo: at most 82.5 tokens": ("token-counts", "Table 1", "Yahoo", "", "to 82.5 tokens: DELLA"),
    "PTB: at most 25.1 tokens": ("token-counts", "Table 8", "PTB", "", "to 25.1 tokens: DELLA"),
    "SNLI: at most 6.3 tokens": ("token-counts", "Table 8", "SNLI", "", "to 6.3 tokens: DELLA"),
    "PTB, Optimus is the row of Yelp": ("copied-row", "Table 8", "PTB", "Optimus", "PPL 22.79, ELBO 344.10"),
    "PTB, Embed is the row of Yelp": ("copied-row", "Table 8", "PTB", "Embed", "PPL 19.98, ELBO 327.28"),
    "PTB, Optimus is misquoted": ("misquoted", "Table 8", "PTB", "Optimus", "PPL 22.79, MI 7.67"),
    "SNLI, Memory is part of Yahoo's": ("copied-row", "Table 8", "SNLI", "Memory", "Self-BLEU 54.59, Dist 21.87, JS"),
}


@pytest.fixture(scope="module")
def rows() -> list[AuditRow]:
    return read_rows([ROOT / "results" / "published"])


@pytest.fixture(scope="module")
def findings(rows: list[AuditRow]) -> list[Finding]:
    return audit(rows)


@pytest.mark.parametrize(("rule", "table", "dataset", "row", "figures"), KNOWN.values(), ids=KNOWN)
def test_every_known_contradiction_is_reported(
    findings: list[Finding], rule: str, table: str, dataset: str, row: str, figures: set[str]
) -> None:
    assert any(
        (f.rule, f.location.source, f.location.table, f.location.dataset) == (rule, "della-2022", table, dataset)
        and row in f.location.row
        and figures in f.figures
        for f in findings
    )


@pytest.mark.parametrize(
    ("table", "dataset", "tokens"), [("1", "Yelp", 109.2), ("1", "Yahoo", 92.4), ("8", "SNLI", 12.5)]
)
def test_rows_that_agree_need_the_true_number_of_tokens(
    findings: list[Finding], table: str, dataset: str, tokens: float
) -> None:
    """The released Yahoo texts have 89.8 byte-pair tokens on average; the code also counts begin and end: 91.8."""
    location = Location("della-2022", f"Table {table}", dataset)
    (finding,) = (f for f in findings if (f.rule, f.location) == ("token-counts", location))
    low, high = map(float, finding.figures.split("; ")[-1].partition(" tokens")[0].split(" to "))
    assert low - 0.2 <= tokens <= high + 0.2


def test_a_correct_quotation_is_not_reported(findings: list[Finding]) -> None:
    misquoted = {f.location.dataset for f in findings if f.rule == "misquoted"}
    assert misquoted == {"PTB"}


def test_consistent_papers_have_no_impossible_figure(findings: list[Finding]) -> None:
    assert {f.location.source for f in findings if f.severity == "impossible"} == {"della-2022"}


def test_a_saturated_estimate_is_only_suspicious(findings: list[Finding]) -> None:
    saturated = [f for f in findings if f.location.source == "optimus-2020"]
    assert {(f.rule, f.severity, f.figures) for f in saturated} == {
        ("mi-above-ln-n", "suspicious", "MI 9.24"),
        ("mi-above-ln-n", "suspicious", "MI 9.26"),
    }


@needs_reference
def test_our_reference_records_hold_nothing_impossible() -> None:
    rows = read_rows([REFERENCE])
    assert len(rows) >= 12
    assert all(row.from_record and row.per_text for row in rows)
    found = {(finding.rule, finding.severity) for finding in audit(rows)}
    # A model that was not trained writes the same texts on every task, and the active units of 30 layers saturate.
    copied = [finding for finding in audit(rows) if finding.rule == "copied-row"]
    assert all("smollm2" in str(finding.location) for finding in copied)
    assert found - {("copied-row", "suspicious")} == {
        ("still-falling", "suspicious"),
        ("uninformative-kl", "suspicious"),
    }


def test_the_page_contains_the_output_of_the_command(findings: list[Finding], rows: list[AuditRow]) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(f"{'<!-- audit -->'}\n")
    block, mark, _ = rest.partition("<!-- /audit -->")
    assert before
    assert mark
    assert block == render_findings(findings, "md", rows)


HEAD = f"{','.join(COLUMNS)}\n"


def test_any_csv_of_published_figures_can_be_audited(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(f"{HEAD}Mine,Table 1,PTB,VAE,,KL,1.0,,\nMine,Table 1,PTB,VAE,,MI,12.0,up,\n")
    (finding,) = audit(read_rows([tmp_path / "mine.csv"]))
    assert (finding.rule, finding.severity, str(finding.location)) == (
        "mi-above-kl",
        "suspicious",
        "mine, Table 1, PTB: VAE",
    )
    (tmp_path / "mine.facts.yaml").write_text("datasets: {PTB: {texts: 3761}}\nrows: [{latent_size: 32}]\n")
    findings = audit(read_rows([tmp_path]))
    assert {(f.rule, f.severity) for f in findings} == {
        ("mi-above-kl", "impossible"),
        ("mi-above-ln-n", "impossible"),
    }


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "nothing to audit in"),
        ({"mine.csv": "paper,value\nx,1\n"}, "mine.csv: expected the columns paper, table"),
        ({"mine.csv": HEAD, "mine.facts.yaml": "dataset: {}"}, "unknown key 'dataset'. Did you mean 'datasets'?"),
        ({"mine.csv": HEAD, "mine.facts.yaml": "- PTB"}, "mine.facts.yaml: expected keys and values, got list."),
        ({"mine.csv": HEAD, "mine.facts.yaml": "datasets: ["}, "mine.facts.yaml: not YAML"),
        (
            {"mine.csv": HEAD, "mine.facts.yaml": "datasets: {PTB: {texts: 0}}"},
            "datasets.PTB.texts: Input should be greater than or equal to 1",
        ),
        (
            {"mine.csv": HEAD, "mine.facts.yaml": "rows: [{latent_size: -1}]"},
            "rows.0.latent_size: Input should be greater than or equal to 0",
        ),
    ],
)
def test_the_error_names_what_cannot_be_audited(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(BenchError) as caught:
        read_rows([tmp_path])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_names_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot read .*mine\.csv: No such file"):
        read_rows([tmp_path / "mine.csv"])
    (tmp_path / "mine.csv").write_bytes(HEAD.encode() + b"caf\xe9")
    with pytest.raises(BenchError, match=r"mine\.csv: not UTF-8"):
        read_rows([tmp_path / "mine.csv"])


def test_the_summary_tells_how_many_figures_were_read_and_which_were_not(tmp_path: Path) -> None:
    figures = ("1.5", "\N{MINUS SIGN}1.0", "12,345.6", "100k", "<=3", "nan", "12.5%")
    lines = [f'p,T,D,M{number},,KL,"{figure}",,' for number, figure in enumerate(figures)]
    (tmp_path / "mine.csv").write_text(HEAD + "\n".join(lines), encoding="utf-8")
    rows = read_rows([tmp_path / "mine.csv"])
    text = render_findings(audit(rows), "term", rows)
    assert text.splitlines()[-1] == "1 impossible, 0 suspicious; 3 figures read, 4 not: 100k, <=3, nan, 12.5%"
    assert "KL \N{MINUS SIGN}1.0" in text


@pytest.mark.parametrize(("ends", "mark"), [("\n", b""), ("\r\n", b"\xef\xbb\xbf")])
def test_a_page_keeps_its_line_ends(tmp_path: Path, ends: str, mark: bytes) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(mark + ends.join(["a", "<!-- audit -->", "<!-- /audit -->", "b", ""]).encode())
    replace_block(page, "audit", "one\ntwo\n")
    assert (
        page.read_bytes()
        == mark + ends.join(["a", "<!-- audit -->", "one", "two", "<!-- /audit -->", "b", ""]).encode()
    )
    page.write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(BenchError, match=r"page\.md: not UTF-8"):
        replace_block(page, "audit", "")
