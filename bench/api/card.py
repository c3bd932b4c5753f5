"""The model card: README.md of a model folder, filled from the record of the run that trained the model."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from huggingface_hub import ModelCardData
from markupsafe import Markup

from bench.audit import audit, rows_of_runs
from bench.escape import markdown, markdown_code
from bench.records.store import StoredRun
from bench.report.table import format_spread
from bench.specs import ModelSpec, StackSpec
from bench.templates import environment

TEMPLATE = "card.md"


def render_card(spec: ModelSpec, run: StoredRun | None, metadata: ModelCardData) -> str:
    """Returns the card in Markdown: use, data, scores with intervals and signatures, findings of the audit, training.

    Args:
        spec: of the model.
        run: that trained it; None if there is no record of it.
        metadata: of the library, for the head of the card.
    """
    stacks: list[StackSpec] = [stack for stack in (spec.backbone, spec.encoder) if stack is not None]
    pretrained = [stack for stack in stacks if stack.source != "scratch"]
    head = copy(metadata)
    head.base_model = [stack.name for stack in pretrained if stack.source == "hub" and stack.name] or None
    filters: dict[str, Callable[..., str]] = {
        "code": lambda text: Markup(markdown_code(text)),  # noqa: S704  # no HTML
        "number": format_spread,
    }
    return (
        environment("bench.api", filters, markdown)
        .get_template(TEMPLATE)
        .render(
            head=Markup(head.to_yaml()),  # noqa: S704
            spec=spec,
            objective="+".join(part.name for part in spec.objective.parts),
            pretrained=pretrained,
            record=run and run.record,
            findings=audit(rows_of_runs([run])) if run else [],
        )
    )
