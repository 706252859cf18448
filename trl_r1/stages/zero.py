"""R1-Zero: reinforcement learning on a base model, with no supervised step before it.

    trl-r1 zero --config zero          (or a path, or mini/zero for a CPU)

Reads   problems with a checkable gold answer; see docs/data.md.
Leaves  in `output_dir`: the model, checkpoints, metrics.jsonl, evaluations, report.md with curves, summary.json.
Source  DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.
"""

from __future__ import annotations

from trl_r1.runs.rl import start


def main(argv: list[str] | None = None) -> None:
    start("zero", argv)


if __name__ == "__main__":
    main()
