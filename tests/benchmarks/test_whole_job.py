"""A whole job, from texts to scores, beside what a user would write with transformers' Trainer, nltk and sacrebleu.

Both train the plain LM from scratch on the same texts in as many steps, validate it after every epoch, take the
perplexity of the test texts, generate, and score the generations. Ours also computes intervals and writes a record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from tokenizers import Tokenizer as Engine
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from bench.batch import batches_of_similar_length
from bench.harness import prepare as preparation
from bench.harness.plan import plan
from bench.harness.run import run
from bench.specs import RunSpec
from bench.suites import load_suite
from bench.tasks import load_texts
from bench.tokenizers import Tokenizer, build_tokenizer
from tests.benchmarks.figures import Beside
from tests.benchmarks.workloads import BASE, DEVICE, SMALL, Workload, gpt2

GENERATIONS = 20
TOKENS = 64
EPOCHS = 2


def job(workload: Workload, texts: int) -> RunSpec:
    """Returns the spec of our job: ``lm`` at the sizes of the workload, on so many training texts of a grammar."""
    (spec,) = plan(load_suite("all"), "small", systems=["lm"], tasks=["yahoo"])
    assert spec.training is not None
    stack = {"layers": workload.layers, "width": workload.width, "heads": workload.heads, "dropout": workload.dropout}
    limits = {"train": texts, "valid": 16, "test": 32}
    changes: dict[str, Any] = {
        "task": spec.task.model_copy(update={"limits": limits}),
        "backbone": spec.backbone.model_copy(update=stack),
        "training": spec.training.model_copy(update={"epochs": EPOCHS}),
        "scoring": spec.scoring.model_copy(update={"n_generations": GENERATIONS}),
        "decoding": spec.decoding.model_copy(update={"max_tokens": TOKENS}),
    }
    return spec.model_copy(update=changes)


def theirs(spec: RunSpec, workload: Workload, batch: int, folder: Path) -> dict[str, float]:
    """Does the job with batches of so many texts, each padded to its longest, and returns its scores."""
    assert spec.training is not None
    splits = {name: [one.target for one in examples] for name, examples in load_texts(spec.task).splits.items()}
    tokenizer = build_tokenizer(spec.tokenizer, splits["train"])
    pad, bos, eos = "<pad>", "<bos>", "<eos>"
    engine = Engine.from_str(tokenizer.to_bytes().decode())
    fast = PreTrainedTokenizerFast(tokenizer_object=engine, pad_token=pad, bos_token=bos, eos_token=eos)
    data = {name: [{"input_ids": ids} for ids in tokenizer.encode(texts)] for name, texts in splits.items()}
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        learning_rate=spec.training.learning_rate,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=DEVICE.type == "cpu",
        dataloader_pin_memory=DEVICE.type != "cpu",
    )
    model, collator = gpt2(workload), DataCollatorForLanguageModeling(fast, mlm=False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    trainer: Any = Trainer(model, arguments, collator, data["train"], data["valid"])
    trainer.train()
    loss = trainer.evaluate(data["test"])["eval_loss"]
    return {"PPL": math.exp(loss), **text_scores(generated(model, tokenizer), splits["test"])}


def generated(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> list[str]:
    """Returns sampled texts."""
    special = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    begin = torch.full((GENERATIONS, 1), tokenizer.bos, device=DEVICE)
    ids: Any = model.eval().generate(begin, do_sample=True, top_k=0, max_new_tokens=TOKENS, **special)
    return tokenizer.decode(ids.tolist())


def text_scores(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Returns BLEU against all references, Self-BLEU, and the share of distinct bigrams, by loops over the texts."""
    words, smoothed = [text.split() for text in texts], SmoothingFunction().method1
    bleu = [sacrebleu.sentence_bleu(text, references).score for text in texts]
    self_bleu = [
        sentence_bleu([*words[:i], *words[i + 1 :]], text, smoothing_function=smoothed) for i, text in enumerate(words)
    ]
    bigrams = [pair for text in words for pair in pairwise(text)]
    return {
        "BLEU": sum(bleu) / len(bleu),
        "Self-BLEU": sum(self_bleu) / len(self_bleu),
        "Dist-2": len(set(bigrams)) / max(1, len(bigrams)),
    }


@pytest.mark.parametrize(
    ("workload", "texts", "rounds"),
    [pytest.param(SMALL, 600, 3, marks=pytest.mark.main_ratio), (BASE, 64, 1)],
    ids=["small", "base"],
)
def test_whole_job_beside_trainer(
    beside: Beside, workload: Workload, texts: int, rounds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELLA_BENCH_CACHE", "")  # both tokenize every time
    spec = job(workload, texts)
    assert spec.training is not None
    lengths = preparation.prepare(spec).texts["train"].lengths
    batch = -(-texts // len(batches_of_similar_length(lengths, spec.training.batch_tokens)))
    number = count()

    def ours() -> object:
        preparation._build_tokenizer.cache_clear()
        return run(spec, tmp_path / f"ours{next(number)}")

    beside(
        ours,
        lambda: theirs(spec, workload, batch, tmp_path / f"theirs{next(number)}"),
        at_most=0.6,
        rounds=rounds,
        model=f"{workload.layers} x {workload.width}",
        texts=texts,
        epochs=EPOCHS,
        tokens=int(lengths.sum()),
    )
