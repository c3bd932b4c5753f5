"""The tasks: texts with a checksum, drawn from an embedded grammar or read from files."""

from bench.tasks.data import Example, Kind, Split, TaskData
from bench.tasks.task import Task, get_task, load_task, task_names

__all__ = ["Example", "Kind", "Split", "Task", "TaskData", "get_task", "load_task", "task_names"]
