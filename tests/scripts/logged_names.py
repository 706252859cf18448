"""Not a test: what test_logged_names.py starts under torch.distributed.run, once per rank.

Any failed assertion is an exit code. Prints the process ids of the rank's verifier.
"""

import threading

import torch.distributed as dist

from trl_r1.rewards import accuracy_reward, format_reward, geometry_reward, language_consistency_reward, logic_reward
from trl_r1.sandbox.pool import _shared_pool


ANSWERS = [  # (answer, gold, score): what is decided here, what math-verify decides, what never ends
    ("5", "5", 1.0), ("5.0", "5", 1.0), ("6", "5", 0.0), (r"\frac{2}{4}", "0.5", 1.0), ("B", "B", 1.0), ("yes", "No", 0.0),
    ("x + 1", "1 + x", 1.0), ("x - 1", "1 + x", 0.0), (r"2\sqrt{2}", r"\sqrt{8}", 1.0), (r"(2, \infty)", "x > 2", 1.0),
    (r"\{2, 1\}", "1, 2", 1.0), ("(3, 5)", "(5, 3)", 0.0), (r"9^{9^{9^9}}x + y", "x + y", 0.0), ("5", "", None),
]  # fmt: skip


def scores() -> list[float | None]:
    completions = [f"<think>so</think> \\boxed{{{answer}}}" for answer, _, _ in ANSWERS]
    return accuracy_reward(completions, solution=[gold for _, gold, _ in ANSWERS])


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    here = scores()
    beside: list[float | None] = []
    thread = threading.Thread(target=lambda: beside.extend(scores()))
    thread.start()
    thread.join(60)
    assert here == beside == [score for _, _, score in ANSWERS], (here, beside)
    gathered: list = [None, None]
    dist.all_gather_object(gathered, here)
    assert gathered[0] == gathered[1]

    names: list[str] = []
    rows = (
        ["", None] if rank else ["<think>A(0, 0), B(3, 4): AB = 5, 2 + 3 = 5, and so on</think><answer>5</answer>"] * 2
    )
    for reward in (accuracy_reward, format_reward, geometry_reward, language_consistency_reward, logic_reward):
        reward(
            rows, prompts=["2 + 3?"] * 2, solution=[None if rank else "5"] * 2, language=["en"] * 2,
            log_metric=lambda name, value: names.append(name), log_extra=lambda name, values: names.append(name),
        )  # fmt: skip
    dist.all_gather_object(gathered, names)
    assert gathered[0] == gathered[1], gathered
    print("keepers", *_shared_pool().processes(), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
