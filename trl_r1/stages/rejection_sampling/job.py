"""What a run of rejection sampling is handed from step to step, and how it writes rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_r1.data.near_duplicates import Contamination
from trl_r1.runs.folder import RunFolder
from trl_r1.stages.rejection_sampling.pools import Pool
from trl_r1.storage.shards import write_or_tell


STAGE = "rejection_sampling"
Row = dict[str, Any]


@dataclass
class PreparedRejection:
    """What `prepare_rejection` found in order: nothing has been sampled yet."""

    pools: dict[str, Pool]
    problems: dict[str, list[Row]]  # by pool, without those an evaluation set holds
    contaminated: dict[str, int]  # by pool, how many prompts those were
    known: Contamination
    model: str  # for load_policy, or the server's name for it
    model_hash: str
    folder: RunFolder
    settings: Row


def write_lines(path: Path, rows: list[Row]) -> None:
    """JSON lines, whole or not at all."""
    write_or_tell(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
