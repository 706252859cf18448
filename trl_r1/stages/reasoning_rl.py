"""Reasoning RL: reinforcement learning from the cold-started model, paid for accuracy, format and one language.

    trl-r1 reasoning-rl --config reasoning_rl      (or a path, or mini/reasoning_rl for a CPU)

The act is that of R1-Zero; what differs is the recipe: the start (a model after the cold start), and the
`language_consistency` reward added to the others with equal weight, which ends the mixing of languages at a small price
in accuracy.

Reads   problems with a checkable gold answer and a language; see docs/data.md. The model may be an adapter's folder: it
        is merged first.
Leaves  in `output_dir`: the model, checkpoints, metrics.jsonl, evaluations, report.md with curves, summary.json.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.2; v2, Sec. 3.2.1 and Eq. 7 (settings, language reward).
"""

from __future__ import annotations

from trl_r1.runs.rl import start


def main(argv: list[str] | None = None) -> None:
    start("reasoning_rl", argv)


if __name__ == "__main__":
    main()
