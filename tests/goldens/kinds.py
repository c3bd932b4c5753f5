"""All kinds of components with golden values."""

from __future__ import annotations

from tests.goldens.choices import DECODING, IMPORTER
from tests.goldens.metrics import MODEL_METRIC, TEXT_METRIC
from tests.goldens.objectives import OBJECTIVE
from tests.goldens.steps import STEP
from tests.goldens.systems import SYSTEM
from tests.goldens.texts import TASK, TOKENS

KINDS = (SYSTEM, OBJECTIVE, STEP, TASK, TOKENS, MODEL_METRIC, TEXT_METRIC, DECODING, IMPORTER)
