"""Completions as TRL hands them over, with what is known of them; shared by the tests of rewards inside trainers."""

import json

from trl_r1.rewards.reasoning_gym_entry import Entry, to_text


READY_MADE = [
    "accuracy_reward",
    "format_reward",
    "language_consistency_reward",
    "logic_reward",
    "geometry_reward",
    "overlong_reward",
    "cosine_length_reward",
    "repetition_reward",
    "code_reward",
    "symbolic_reward",
    "semantic_reward",
    "layered_reward",
    "helpfulness_reward",
    "harmlessness_reward",
    "agser_reward",
    "reasoning_gym_reward",
]
PROMPT = "How many marbles are 2 and 3 marbles? The corners are A(0, 0) and B(3, 4)."
RIGHT = "<think>We take both heaps and add them: 2 + 3 = 5, and AB = 5.</think><answer>\\boxed{5}</answer>"
WRONG = "<think>We take both heaps and add them: 2 + 3 = 6, and AB = 4.</think><answer>6</answer>"
CHINESE = "<think>我们先看两堆一共有多少，所以两堆加起来就是答案。</think><answer>5</answer>"
PROGRAM = (
    "<think>Reading two numbers is enough.</think>\n```python\na, b = map(int, input().split())\nprint(a + b)\n```"
)
TOOL_CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}

TEXTS = [RIGHT, WRONG, "", RIGHT, "", RIGHT, CHINESE, PROGRAM]
MESSAGES = [
    [{"role": "assistant", "content": RIGHT}],
    [{"role": "assistant", "content": WRONG}],
    [{"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}],
    [
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "tool", "name": "add", "content": "5"},
        {"role": "assistant", "content": RIGHT},
    ],
    [],
    [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}],
    [{"role": "assistant", "content": CHINESE}],
    [{"role": "assistant", "content": PROGRAM}],
]  # the same as TEXTS, after trl_r1.text.completions.reply
ROW = {
    "solution": "5",
    "language": "en",
    "question": "How many marbles are 2 and 3 marbles?",
    "verification_info": json.dumps({"inputs": ["2 3\n", "10 -4\n"], "outputs": ["5\n", "6\n"]}),
    "reward_for": ["helpfulness", "harmlessness"],
    "reasoning_gym": to_text(Entry("chain_sum", {}, {"question": "2 + 3 =", "answer": "5", "metadata": {}})),
}
KNOWN = {  # scores anyone can check by hand; None: not judged
    "accuracy": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    "format": [1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    "logic": [1.0, 0.0, None, 1.0, None, 1.0, None, None],  # 2 + 3 = 5, and 2 + 3 = 6
    "geometry": [1.0, 0.0, None, 1.0, None, 1.0, None, None],  # |(3, 4)| = 5
    "reasoning_gym": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    "code": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
}


def columns(rows: int) -> dict:
    """The columns of ``rows`` equal rows, as a trainer passes them."""
    return {key: [value] * rows for key, value in ROW.items()}
