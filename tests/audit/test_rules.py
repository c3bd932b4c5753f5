"""Every rule reports what it forbids, and nothing that rounding, sampling or a missing fact explains."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.audit import RULES, AuditFigure, AuditRow, Location, audit
from bench.audit.inequalities import standard_errors
from bench.audit.table_rules import copied_row
from bench.records.doubts import TrainingEnd

TESTS = Path(__file__).read_text(encoding="utf-8")
LOCATION = Location("paper", "Table 1", "Yelp", "VAE")


def row(*, location: Location = LOCATION, known: dict[str, object] | None = None, **figures: str) -> AuditRow:
    """Returns a printed row; ``known`` holds its other attributes; an underscore in a name stands for a blank."""
    printed = {name.replace("_", " "): AuditFigure.from_text(text) for name, text in figures.items()}
    facts: dict[str, object] = {"n_texts": 10_000, "latent_size": 32, "max_units": 32, **(known or {})}
    return AuditRow(location, {name: figure for name, figure in printed.items() if figure}, **facts)


def recorded(per_text: dict[str, np.ndarray], **known: object) -> AuditRow:
    """Returns the row of a record; its figures are the means over the texts."""
    figures = {name: AuditFigure(float(rows.mean()), f"{rows.mean():.6g}") for name, rows in per_text.items()}
    return AuditRow(
        LOCATION, figures, n_texts=len(next(iter(per_text.values()))), from_record=True, per_text=per_text, **known
    )


def broken(*rows: AuditRow) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in audit(rows)]


def test_every_rule_explains_itself_and_is_tested_here() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.explanation.endswith(".")
        assert "\n" not in rule.explanation
        assert f'"{rule.name}"' in TESTS, f"no test names {rule.name}"


@pytest.mark.parametrize(
    ("text", "low", "high"), [("16.58", 16.57, 16.59), ("0.00", -0.01, 0.01), ("32", 31, 33), ("-1.5", -1.6, -1.4)]
)
def test_a_printed_figure_is_exact_to_one_unit_in_the_last_place(text: str, low: float, high: float) -> None:
    figure = AuditFigure.from_text(text)
    assert (figure.text, figure.value) == (text, float(text))
    assert (figure.low, figure.high) == pytest.approx((low, high))


@pytest.mark.parametrize("text", ["100k", "<=332.1", "", "nan", "inf", "—"])
def test_what_is_no_number_is_no_figure(text: str) -> None:
    assert AuditFigure.from_text(text) is None


def test_mi_above_kl() -> None:
    assert broken(row(MI="7.15", KL="5.04")) == [("mi-above-kl", "impossible")]
    assert broken(row(MI="5.04", KL="7.15")) == []
    assert broken(row(MI="0.01", KL="0.00")) == []
    # five standard errors of log q - log p over 10,000 texts: 5 sqrt((32 / 2 + 2 * 5) / 10,000) = 0.25
    assert broken(row(MI="5.20", KL="5.00")) == []
    assert broken(row(MI="5.30", KL="5.00")) == [("mi-above-kl", "impossible")]
    # a larger latent space has more noise, and fewer texts too
    assert broken(row(MI="5.30", KL="5.00", known={"latent_size": 384})) == []
    assert broken(row(MI="5.30", KL="5.00", known={"n_texts": 1000})) == []


def test_mi_above_kl_is_only_suspicious_if_the_noise_is_not_known() -> None:
    assert broken(row(MI="7.15", KL="5.04", known={"latent_size": None})) == [("mi-above-kl", "suspicious")]


def test_mi_may_exceed_kl_if_the_prior_depends_on_the_source() -> None:
    assert broken(row(MI="7.15", KL="5.04", known={"conditional": True})) == []


def test_mi_above_kl_text_by_text() -> None:
    noise = np.random.default_rng(0).normal(size=1000)
    kl = np.full(1000, 5.0)
    # one standard error is 0.03
    assert broken(recorded({"MI": kl + 0.3 + noise, "KL": kl})) == [("mi-above-kl", "impossible")]
    assert broken(recorded({"MI": kl + 0.1 + noise, "KL": kl})) == []


def test_mi_above_elbo() -> None:
    findings = broken(row(MI="9.0", KL="9.5", ELBO="5.13", PPL="2.00"))
    assert ("mi-above-elbo", "impossible") in findings
    assert broken(row(MI="9.0", KL="9.5", ELBO="50.00", PPL="5.00")) == []


def test_kl_above_elbo() -> None:
    assert broken(row(KL="5.86", ELBO="5.13")) == [("kl-above-elbo", "impossible")]
    assert broken(row(KL="5.13", ELBO="5.13")) == []


def test_bound_above_elbo() -> None:
    assert broken(row(NLL="330.0", ELBO="327.3", KL="4.77")) == [("bound-above-elbo", "impossible")]
    assert broken(row(NLL="327.4", ELBO="327.3", KL="4.77")) == []
    noise = np.random.default_rng(0).normal(size=500)
    elbo = np.full(500, 100.0)
    assert broken(recorded({"NLL": elbo + 1 + noise, "ELBO": elbo})) == [("bound-above-elbo", "impossible")]
    assert broken(recorded({"NLL": elbo + 0.1 + noise, "ELBO": elbo})) == []
    assert broken(recorded({"NLL": elbo, "ELBO": elbo})) == []


def test_below_floor() -> None:
    truth = np.random.default_rng(0).gamma(9.0, 3.0, size=200)
    # over 200 texts, 0.1 nats per text are 20 nats in total
    assert broken(recorded({"NLL": truth - 0.11, "NLL floor": truth})) == [("below-floor", "impossible")]
    assert broken(recorded({"NLL": truth - 0.09, "NLL floor": truth})) == [("below-floor", "suspicious")]
    assert broken(recorded({"NLL": truth, "NLL floor": truth})) == []
    # log p_K / p of a model with an expected ratio of one: its mean is minus half its variance
    ratio = np.random.default_rng(1).normal(-0.5, 1.0, size=200)
    assert broken(recorded({"NLL": truth - ratio, "NLL floor": truth})) == []


def test_below_floor_by_intervals_without_per_text_statistics() -> None:
    entropy = AuditFigure(20.0, "20", interval=(19.0, 21.0))
    for nll, expected in ((17.0, [("below-floor", "impossible")]), (18.5, []), (25.0, [])):
        figures = {"NLL floor": entropy, "NLL": AuditFigure(nll, str(nll), interval=(nll - 1, nll + 1))}
        assert broken(AuditRow(LOCATION, figures, from_record=True)) == expected


@given(st.integers(2, 50), st.integers(0, 2**32 - 1))
def test_no_model_is_ever_impossibly_better_than_the_true_distribution(n: int, seed: int) -> None:
    """Random distributions over five texts as truth and model: no draw of texts breaks the rule."""
    rng = np.random.default_rng(seed)
    truth, model = rng.dirichlet(np.full(5, 0.3), size=2)
    drawn = rng.choice(5, size=n, p=truth)
    with np.errstate(divide="ignore"):
        nll = {"NLL": np.minimum(-np.log(model), 700)[drawn], "NLL floor": -np.log(truth)[drawn]}
    assert ("below-floor", "impossible") not in broken(recorded(nll))


def test_mi_above_ln_n() -> None:
    assert broken(row(MI="12.31", KL="27.84")) == [("mi-above-ln-n", "impossible")]
    assert broken(row(MI="9.20", KL="27.84")) == []
    # an entropy in closed form has noise of its own: 5 sqrt((32 / 2 + 2 * 27.85) / 10,000) = 0.42
    assert broken(row(MI="9.30", KL="27.84")) == [("mi-above-ln-n", "suspicious")]
    assert broken(row(MI="99", KL="100", known={"n_texts": None})) == []
    n = math.log(500)
    assert broken(recorded({"MI": np.full(500, n), "KL": np.full(500, 20.0)})) == []
    assert broken(recorded({"MI": np.full(500, n + 0.01), "KL": np.full(500, 20.0)})) == [
        ("mi-above-ln-n", "impossible")
    ]


def test_mi_negative() -> None:
    assert broken(row(MI="-0.50", KL="0.10")) == [("mi-negative", "impossible")]
    assert broken(row(MI="-0.10", KL="0.10")) == []
    assert broken(recorded({"MI": np.full(1000, -0.021)})) == [("mi-negative", "impossible")]
    assert broken(recorded({"MI": np.full(1000, -0.019)})) == []


def test_sum_of_parts() -> None:
    assert broken(row(ELBO="100.0", Rec="90.0", KL="5.0")) == [("sum-of-parts", "impossible")]
    assert broken(row(ELBO="95.1", Rec="90.0", KL="5.0")) == []
    groups = {"KL": 3.0, "KL[1]": 1.0, "KL[2]": 2.0, "AU": 4.0, "AU[1]": 4.0, "AU[2]": 0.0}
    figures = {name: AuditFigure(value, str(value)) for name, value in groups.items()}
    assert broken(AuditRow(LOCATION, figures)) == []
    for name in ("KL[2]", "AU[1]"):
        wrong = {**figures, name: AuditFigure(groups[name] + 1, "?")}
        assert broken(AuditRow(LOCATION, wrong)) == [("sum-of-parts", "impossible")]
    plain = {"ELBO": AuditFigure(9.0, "9"), "Rec": AuditFigure(9.0, "9"), "NLL": AuditFigure(9.0, "9")}
    assert broken(AuditRow(LOCATION, plain, n_groups=0)) == []
    exact = AuditRow(LOCATION, {**plain, "NLL": AuditFigure(8.9, "8.9")}, n_groups=0)
    assert broken(exact) == [("sum-of-parts", "impossible")]
    assert broken(replace(exact, n_groups=1)) == []


@pytest.mark.parametrize(
    ("name", "allowed", "forbidden"),
    [
        ("PPL", 1.0, 0.97),
        ("PPL word", 350.0, 0.5),
        ("BPB", 0.0, -0.1),
        ("KL", 0.0, -0.1),
        ("KL[3]", 0.0, -0.1),
        ("ELBO", 3.0, -3.0),
        ("ESS", 1.0, 0.9),
        ("ESS", 30.0, 31.0),
    ],
)
def test_out_of_range(name: str, allowed: list[str], forbidden: list[str]) -> None:
    for value, expected in ((allowed, []), (forbidden, [("out-of-range", "impossible")])):
        assert broken(AuditRow(LOCATION, {name: AuditFigure(value, str(value))}, n_samples=30)) == expected


@pytest.mark.parametrize(
    ("name", "unit", "value", "inside"),
    [
        ("Self-BLEU", "%", 100.0, True),
        ("Self-BLEU", "%", 100.5, False),
        ("MAUVE", "%", -0.5, False),
        ("BERTScore", "%", -20.0, True),
        ("BERTScore", "%", 101.0, False),
        ("AU(0.1)", "count", -1.0, False),
        ("CND", "1", 1.95, True),
    ],
)
def test_out_of_range_of_a_unit(name: str, unit: str, value: str, inside: bool) -> None:
    assert bool(broken(AuditRow(LOCATION, {name: AuditFigure(value, str(value), unit)}))) is not inside


def test_active_units() -> None:
    assert broken(row(AU="34")) == [("active-units", "impossible")]
    assert broken(row(AU="32")) == []
    assert broken(row(AU="3.5", known={"n_groups": 1})) == [("active-units", "suspicious")]
    assert broken(row(AU="3.5", known={"n_groups": 12})) == []
    half = {"AU": AuditFigure(3.5, "3.5")}
    assert broken(AuditRow(LOCATION, half, n_groups=1, from_record=True)) == [("active-units", "impossible")]
    falling = {
        "AU": AuditFigure(5, "5"),
        "AU(0.1)": AuditFigure(3, "3"),
        "AU(0.2)": AuditFigure(3, "3"),
        "AU[1]": AuditFigure(5, "5"),
    }
    assert broken(AuditRow(LOCATION, falling)) == []
    assert broken(AuditRow(LOCATION, {**falling, "AU(0.2)": AuditFigure(4, "4")})) == [("active-units", "impossible")]


def baselines(**changes: str) -> list[AuditRow]:
    """Returns three rows of one table, with PPL 20 and 109.2 tokens; the last one with changes."""
    figures = [{"PPL": "19.98", "ELBO": "327.28", "KL": "4.77"}, {"PPL": "19.95", "ELBO": "326.60", "KL": "5.70"}]
    rows = [*figures, {"PPL": "20.14", "ELBO": "328.13", "KL": "7.50", **changes}]
    return [row(location=replace(LOCATION, row=f"VAE {i}"), **changed) for i, changed in enumerate(rows)]


def test_token_counts() -> None:
    assert broken(*baselines()) == []
    (finding,) = audit(baselines(PPL="12.35", ELBO="239.83", KL="29.47"))
    assert (finding.rule, finding.severity) == ("token-counts", "impossible")
    assert finding.location == replace(LOCATION, row="")
    assert finding.figures == "83.7 to 95.4 tokens: VAE 2; 107.7 to 109.1 tokens: VAE 0, VAE 1"
    # rows on another data set are scored on other texts
    elsewhere = baselines(PPL="12.35", ELBO="239.83", KL="29.47")
    elsewhere[2] = replace(elsewhere[2], location=replace(LOCATION, dataset="Yahoo"))
    assert broken(*elsewhere) == []


def test_token_counts_by_exact_likelihoods() -> None:
    two = [
        row(location=replace(LOCATION, row=f"LM {i}"), PPL="50.00", NLL=nll) for i, nll in enumerate(("100.0", "100.4"))
    ]
    assert broken(*two) == []
    two[1] = row(location=replace(LOCATION, row="LM 1"), PPL="50.00", NLL="106.0")
    assert broken(*two) == [("token-counts", "impossible")]


def test_tokens_below_words() -> None:
    words = {"words": AuditFigure.from_text("10")}
    assert broken(row(PPL="5.13", ELBO="10.23", known=words)) == [("tokens-below-words", "impossible")]
    assert broken(row(PPL="5.13", ELBO="20.23", known=words)) == []
    assert broken(row(PPL="5.13", ELBO="10.23")) == []


def copy_of(first: AuditRow, dataset: str, **changes: str) -> AuditRow:
    figures = {name: AuditFigure.from_text(changes.get(name, figure.text)) for name, figure in first.figures.items()}
    return replace(first, location=replace(LOCATION, dataset=dataset), figures=figures)


PRINTED = (None, "0.00", "0", "12.5", "-12.5", "54.59", "0.5459")


LACKING_TWO = [None, None, "54.59", "0.5459"]
"""Figures that two rows lack are not the same in both."""


def test_copied_row() -> None:
    first = row(**{"Self-BLEU": "54.59", "Dist": "21.87", "JS": "0.33"})
    assert broken(first, copy_of(first, "SNLI")) == [("copied-row", "suspicious")]
    assert broken(first, copy_of(first, "Yelp")) == []
    assert broken(first, copy_of(first, "SNLI", JS="0.34")) == []
    collapsed = row(KL="0.00", MI="0.00", AU="0", BLEU="44.25")
    assert broken(collapsed, copy_of(collapsed, "SNLI")) == []
    all_different = row(**{"Dist-3": "100", "Dist-4": "100", "JS": "0.526316"})
    assert broken(all_different, copy_of(all_different, "SNLI")) == []
    copies = [first, copy_of(first, "SNLI"), copy_of(first, "PTB")]
    assert [str(finding.location) for finding in audit(copies)] == [
        "paper, Table 1, SNLI: VAE",
        "paper, Table 1, PTB: VAE",
    ]


@example([("A", ["0", "0", None, None]), ("B", LACKING_TWO), ("C", LACKING_TWO)])
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.lists(st.sampled_from(PRINTED), min_size=4, max_size=4)), max_size=7)
)
def test_copied_row_is_what_its_definition_says_of_every_pair(drawn: list[tuple[str, list[str | None]]]) -> None:
    """Against a loop over all pairs; the first row of those that agree is the original."""
    rows = [
        row(
            location=Location("paper", "Table 1", dataset, f"row {number}"),
            **{name: text for name, text in zip("WXYZ", texts, strict=True) if text is not None},
        )
        for number, (dataset, texts) in enumerate(drawn)
    ]
    expected: dict[str, str] = {}
    for copy, original in product(range(len(rows)), repeat=2):
        same = [a for a, b in zip(drawn[copy][1], drawn[original][1], strict=True) if a == b and a is not None]
        digits = sum(len(text.lstrip("-0.").replace(".", "")) for text in same)
        if original < copy and drawn[copy][0] != drawn[original][0] and len(same) >= 3 and digits >= 8:
            expected.setdefault(f"row {copy}", f"row {original}")
    found = {finding.location.row: finding.reason.rpartition(": ")[2] for finding in copied_row(rows)}
    assert found == expected


def test_misquoted() -> None:
    original = row(location=Location("other", "Table 1", "PTB", "VAE"), PPL="26.69", MI="7.64", KL="8.1")
    for ppl, expected in (("22.79", [("misquoted", "impossible")]), ("26.69", []), ("26.7", [])):
        quoting = row(PPL=ppl, known={"cites": original.location})
        assert broken(original, quoting) == expected
    assert broken(row(PPL="22.79", known={"cites": original.location})) == []


def test_findings_come_worst_first_and_in_the_order_of_the_rows() -> None:
    first = row(MI="9.30", KL="27.84")
    second = row(location=replace(LOCATION, row="worse"), MI="12.31", KL="10.0")
    assert [(finding.severity, finding.location.row) for finding in audit([first, second])] == [
        ("impossible", "worse"),
        ("impossible", "worse"),
        ("suspicious", "VAE"),
    ]


@pytest.mark.parametrize(("fall", "found"), [(0.06, True), (0.0099, False), (-0.2, False), (None, False)])
def test_training_that_had_not_ended_is_named(fall: float | None, found: bool) -> None:
    findings = audit([row(PPL="20", known={"end": TrainingEnd(8, 8, fall)})])
    assert [(f.rule, f.severity) for f in findings] == [("still-falling", "suspicious")] * found
    assert all(f.figures == "6 % an epoch; best epoch 8 of 8" for f in findings)


@pytest.mark.parametrize(
    ("kl", "mi", "found"),
    [
        ("14.4", "0.00", True),
        ("0.9", "0.00", False),
        ("14.4", "1.5", False),
        ("200", "6.0", False),
        ("200", "0.9", True),
    ],
)
def test_a_kl_without_information_is_named(kl: str, mi: str, found: bool) -> None:
    """Over 10,000 texts MI cannot exceed 9.2 nats, so that 6.0 is much whatever the KL."""
    known: dict[str, object] = {"from_record": True, "latent_size": 32}
    assert broken(row(KL=kl, MI=mi, known=known)) == [("uninformative-kl", "suspicious")] * found
    assert broken(row(KL=kl, MI=mi, known={"latent_size": 32})) == []  # of papers only contradictions are reported


@pytest.mark.parametrize(
    ("differences", "expected"), [([1e200, -1e200], math.inf), ([1.0, 3.0], 5.0), ([1.0], math.inf)]
)
def test_standard_errors_of_huge_differences_are_infinite(differences: list[float], expected: float) -> None:
    assert standard_errors(np.array(differences)) == pytest.approx(expected, rel=1e-12)
