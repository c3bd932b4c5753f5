"""The tasks: examples with a checksum, drawn from an embedded grammar or read from files."""

from bench.tasks.data import SPLITS, Example, Kind, Split, TaskData
from bench.tasks.task import TASKS, Task, load_texts

__all__ = ["SPLITS", "TASKS", "Example", "Kind", "Split", "Task", "TaskData", "load_texts"]
