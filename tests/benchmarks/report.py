"""What benchmarks do with their figures: a table for people, a line of JSON for machines, intervals by bootstrap."""

from __future__ import annotations

import json
import platform

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table


def bootstrap(values, statistic=np.mean, *, draws: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a statistic of independent values."""
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    samples = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)]
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def show(title: str, rows: list[dict], **about) -> None:
    """Print rows of equal keys as a table, then everything as one line of JSON."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key.replace("_", " "))
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table)
    setting = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps({"schema": 1, "benchmark": title, **about, "setting": setting, "rows": rows}))


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (tuple, list)):
        return " to ".join(f"{v:.3f}" for v in value)
    return str(value)
