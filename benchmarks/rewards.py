r"""Our accuracy reward beside TRL's, on the same completions; hostile answers; the language reward's speed.

    python benchmarks/rewards.py [--data ../shared/data] [--repeats 5]          (about four minutes on one core)

Corpus     125 problems of 16 completions, made from the files and a fixed seed: 60 of GSM8K, 30 of AIME 2024, 10 of
           CMATH, and 25 whose gold is an expression (a formula of an AIME solution, since the files have numbers only;
           MATH has about as many). A thought is three to twelve worked solutions of the files (<<calculations>>
           removed, half of the numbers in them as formulas). Of the final answers about half are right; some are
           missing, written in another form, or expressions. About a quarter of the texts are equal to another one.
CPU        user and system seconds of the process and all its children, for 125 calls of 16, after 4 calls to warm up
           (imports, parser tables, our worker). A fresh process per repetition, so that no cache helps; one worker;
           the two sides alternate; median.
Hostile    40 answers that never end or fill memory, half of them against golds that need math-verify, from a worker
           thread, as TRL's asynchronous trainer calls. TRL runs in a process that is killed, on the first three.
Language   characters per second on texts of 100,000 characters, the best of five passes: Chinese and English mixed, and
           English alone, by script; English solutions with a French sentence after every other one, with the classifier
           (same_script="classifier", extra lang), to the targets en and fr, the slower one. Nothing is cached between
           calls. The classifier is loaded before the clock starts.

The last line is JSON. ``cpu_ratio`` is ours over TRL's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any


for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false",
                    "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}.items():  # fmt: skip
    os.environ.setdefault(name, value)

GROUP = 16
WARM_UP = 4  # calls
FILES = ("gsm8k_model_solutions.jsonl", "gsm8k_test.jsonl", "aime24.jsonl", "cmath.jsonl")


def corpus(data: Path) -> tuple[list[list[str]], list[str]]:
    """(125 groups of 16 completions, 125 golds)."""
    chance = random.Random(20250120)
    files = {name: [json.loads(line) for line in (data / name).read_text().splitlines()] for name in FILES}
    models = [key for key, value in files[FILES[0]][0].items() if isinstance(value, dict)]
    worked = [clean(row["answer"]) for row in files["gsm8k_test.jsonl"]] + [
        r["solution"] for r in files["aime24.jsonl"]
    ]
    problems = []  # (gold, own solutions)
    for row in chance.sample(files[FILES[0]], 60):
        problems.append((row["ground_truth"].rpartition("A:")[2].strip(), [clean(row[m]["solution"]) for m in models]))
    problems += [(str(row["answer"]), [row["solution"]]) for row in files["aime24.jsonl"]]
    problems += [(row["answer"], [row["question"]]) for row in chance.sample(files["cmath.jsonl"], 10)]
    formulas_of = {gold: row["solution"] for row in files["aime24.jsonl"] for gold in expressions(row["solution"])}
    problems += [(gold, [formulas_of[gold]]) for gold in chance.sample(sorted(formulas_of), 25)]
    groups = []
    for gold, own in problems:
        group: list[str] = []
        for _ in range(GROUP):
            if group and chance.random() < 0.25:
                group.append(chance.choice(group))
                continue
            steps = [chance.choice(worked) for _ in range(chance.randint(2, 11))] + [chance.choice(own)]
            steps = [formulas(step) if chance.random() < 0.5 else step for step in steps]
            group.append("<think>\n" + "\n\n".join(steps) + "\n</think>\n\n" + final(gold, chance))
        groups.append(group)
    return groups, [gold for gold, _ in problems]


def clean(solution: str) -> str:
    return re.sub(r"<<[^>]*>>", "", solution).replace("####", "So the result is").replace("\nA:", "\nSo it is")


def expressions(solution: str) -> list[str]:
    """Formulas of a solution that could be a gold answer: a root, a fraction or a power, no relation, short."""
    found = re.findall(r"\$([^$=<>&]{4,60})\$", solution)
    found += re.findall(r"=\s*([^$=<>&\n]{4,60}?)\s*(?:[,.]?\s*\$|\\\\|\\\])", solution)
    plain = r"(?:\\(?:d?frac|sqrt|pi|left|right|cdot|theta|alpha|beta)(?![a-z])|[\w{}()^+\-*/. ])+"
    wanted = [f.strip(" .") for f in found if re.search(r"frac|sqrt|\^|[a-z]", f) and re.fullmatch(plain, f)]
    wanted = [f for f in wanted if len(f) > 3 and not re.search(r"(?<![\\A-Za-z])[A-Za-z]{3,}|[A-Za-z] [A-Za-z]", f)]
    return [
        f for f in wanted if f.count("{") == f.count("}") and f.count("(") == f.count(")") and f[-1] not in "+-*/^_"
    ]


def formulas(text: str) -> str:
    return re.sub(r"(?<![\w$.])\d+(?:\.\d+)?(?: ?[-+*/=] ?\d+(?:\.\d+)?)*(?![\w$])", lambda m: f"${m.group()}$", text)


def final(gold: str, chance: random.Random) -> str:
    """The end of a reply."""
    number = gold.replace(",", "")
    whole = number.lstrip("-").isdigit()
    kind = chance.random()
    if kind < 0.05:
        return "I am not sure about the answer."
    if kind < 0.45:
        answer = gold
    elif kind < 0.55:
        value = int(number) if whole else 1
        answer = (
            chance.choice([f"\\frac{{{2 * value}}}{{2}}", f"{number}.0", f"{number} \\text{{ units}}"])
            if whole
            else gold
        )
    elif kind < 0.85:
        answer = str(int(number) + chance.randint(-9, 9)) if whole else str(chance.randint(1, 99))
    else:
        a, b = chance.randint(2, 40), chance.randint(2, 9)
        answer = chance.choice(
            [f"{a}\\sqrt{{{b}}}", f"\\frac{{{a}\\pi}}{{{b}}}", f"x^2 + {a}x - {b}", f"{a}^{{{b}}} + 1"]
        )
    return f"The final answer is \\boxed{{{answer}}}."


def reward_of(side: str) -> Any:
    if side == "ours":
        from trl_r1.rewards import accuracy_reward
    else:
        from trl.rewards import accuracy_reward
    return accuracy_reward


def tree_cpu() -> float:
    """User and system seconds of this process, its living descendants, and the dead ones they waited for."""
    import psutil

    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and those of children waited for
        except psutil.NoSuchProcess:
            continue  # counted in its parent
    return total


def measure(side: str, data: Path) -> dict[str, Any]:
    """One repetition, in this process."""
    groups, golds = corpus(data)
    reward = reward_of(side)
    calls = [([[{"role": "assistant", "content": text}] for text in group], [f"${gold}$"] * GROUP)
             for group, gold in zip(groups, golds, strict=True)]  # fmt: skip
    for number in range(WARM_UP):  # other texts than those measured
        warm = [[{"role": "assistant", "content": f"<think>warm</think> It is \\boxed{{{number}x^2 + {i}}}."}]
                for i in range(GROUP)]  # fmt: skip
        reward(completions=warm, solution=[f"${number} x^2 + \\frac{{1}}{{2}}$"] * GROUP)
    cpu, wall = tree_cpu(), time.perf_counter()
    scores = [score for completions, solution in calls for score in reward(completions=completions, solution=solution)]
    spent = {"cpu": tree_cpu() - cpu, "wall": time.perf_counter() - wall, "scores": scores}
    if side == "ours":
        from trl_r1.rewards import accuracy

        spent["math_verify"] = len(accuracy._VERDICTS) - WARM_UP * GROUP
    return spent


def hostile() -> list[tuple[str, str]]:
    """40 (answer, gold)."""
    answers = [
        "10^{10^{10}}", "9^{9^{9^9}}+1", "9^{9^{9^9}}x+y", "2^{2^{2^{2^{2^{2}}}}}", "99999999!", "(2^{30})!",
        "\\sum_{k=1}^{10^9} \\frac{1}{k}", "\\prod_{k=1}^{10^8} k", "\\int_0^1 x^{x^{x^x}} dx", "1" * 100_000,
        "\\frac{1}{" * 300 + "2" + "}" * 300, "(" * 500 + "1" + ")" * 500, "x^{" * 200 + "y" + "}" * 200,
        "\\sqrt{" * 300 + "2" + "}" * 300, "+".join(f"x_{{{i}}}^{i}" for i in range(200)),
        "(x+y+z)^{500}", "\\sin(" * 100 + "x" + ")" * 100, "\\binom{10^9}{10^8}", "7^{7^{7^7}} \\bmod 10", "0.1^{-10^9}",
    ]  # fmt: skip
    return [(answer, gold) for gold in ("5", "x + \\sqrt{2}") for answer in answers]


def survive() -> dict[str, Any]:
    """The hostile answers through ours, from a worker thread."""
    import psutil

    from trl_r1.rewards import accuracy_reward
    from trl_r1.rewards.accuracy import verify
    from trl_r1.sandbox import pool as verifier

    verify("1+x", "x+1")  # starts the worker
    peak = 0
    scores: list[float | None] = []
    pairs = hostile()

    def work() -> None:
        texts = [f"\\boxed{{{answer}}}" for answer, _ in pairs]
        scores.extend(accuracy_reward(completions=texts, solution=[gold for _, gold in pairs]))

    started = time.perf_counter()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive() and time.perf_counter() - started < 300:
        thread.join(0.2)
        sizes = [p.memory_info().rss for p in psutil.Process().children(recursive=True) if p.is_running()]
        peak = max([peak, *sizes])
    healthy = bool(scores) and verify("2+x", "x+2") is True and verify("2+x", "x+3") is False
    verifier.close()
    return {"answers": len(pairs), "judged": len(scores), "seconds": time.perf_counter() - started,
            "paid": sum(score == 1.0 for score in scores), "peak_child_mib": peak >> 20, "healthy": healthy}  # fmt: skip


def trl_hangs(seconds: float = 8.0, most: int = 3) -> int:
    """How many of the first hostile answers TRL's reward, off the main thread, is killed on."""
    from trl_r1.audit.isolated import IsolatedReward

    hung = 0
    with IsolatedReward("trl.rewards:accuracy_reward", worker_thread=True) as isolated:
        for answer, gold in hostile()[:most]:
            completion = [{"role": "assistant", "content": f"\\boxed{{{answer}}}"}]
            hung += isolated.score([completion], {"solution": [f"${gold}$"]}, seconds).problem == "hang"
    return hung


FRENCH = (
    "Nous ajoutons d'abord les deux nombres, puis nous divisons le résultat par trois.",
    "Attends, je devrais vérifier si cela découle vraiment de l'énoncé.",
    "Chacun des enfants reçoit quatre pommes, il y a donc 12 pommes en tout.",
    "Écrivons encore une fois l'équation et résolvons-la pour l'inconnue.",
    "Le train part à huit heures et roule à 80 km/h pendant deux heures et demie.",
)


def language_speed(data: Path) -> dict[str, float]:
    """Million characters per second of CPU time, the best of five."""
    from trl_r1.rewards.language import consistency

    solutions = [clean(json.loads(line)["answer"]) for line in (data / FILES[1]).read_text().splitlines()]
    chinese = "\n".join(json.loads(line)["question"] for line in (data / "cmath.jsonl").read_text().splitlines())
    english = "\n".join(solutions)
    pieces = [english[i * 400 : i * 400 + 200] + chinese[i * 60 : i * 60 + 200] for i in range(250)]
    french = "\n".join(f"{s}\n{FRENCH[i % 5]}" if i % 2 else s for i, s in enumerate(solutions))
    jobs = {
        "mixed": [("\n".join(pieces)[:100_000], "zh", "ignore")],
        "english": [(english[:100_000], "zh", "ignore")],
        "same_script": [(french[:100_000], language, "classifier") for language in ("en", "fr")],
    }
    consistency("this loads the classifier", "fr", same_script="classifier")
    speeds: dict[str, float] = {}
    for name, texts in jobs.items():
        for text, language, how in texts:
            times = []
            for _ in range(5):
                started = time.process_time()
                for _ in range(20 if how == "ignore" else 4):
                    consistency(text, language, same_script=how)
                times.append((time.process_time() - started) / (20 if how == "ignore" else 4))
            speeds[name] = min(speeds.get(name, math.inf), len(text) / min(times) / 1e6)
    return speeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1].parent / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=("ours", "trl"), help=argparse.SUPPRESS)  # one repetition, in this process
    chosen = parser.parse_args()
    os.environ["TRL_R1_VERIFIER_WORKERS"] = "1"
    missing = [name for name in FILES if not (chosen.data / name).is_file()]
    if missing:
        print(f"Skipped: {chosen.data} has no {missing[0]}. Name the folder of GSM8K, AIME and CMATH with --data.")
        return 0
    if chosen.side:
        print(json.dumps(measure(chosen.side, chosen.data)))
        return 0

    groups, golds = corpus(chosen.data)
    texts = [text for group in groups for text in group]
    repeated = len(texts) - len(set(texts))
    assert len(texts) == 2000
    assert repeated <= 0.3 * len(texts), repeated
    print(f"corpus: {len(texts)} completions, {len(golds)} golds, {repeated / len(texts):.1%} equal to an earlier one, "
          f"{statistics.mean(map(len, texts)):.0f} characters on average")  # fmt: skip
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for repeat in range(chosen.repeats):
        for side in ("trl", "ours") if repeat % 2 else ("ours", "trl"):
            command = [sys.executable, __file__, "--data", str(chosen.data), "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{side:<5} {runs[side][-1]['cpu']:6.2f} CPU s  {runs[side][-1]['wall']:6.2f} s", flush=True)
    cpu = {side: statistics.median(run["cpu"] for run in found) for side, found in runs.items()}
    pairs = list(zip(runs["ours"][0]["scores"], runs["trl"][0]["scores"], strict=True))
    differ = Counter(pair for pair in pairs if pair[0] != pair[1])
    print(f"verdicts: {sum(a == b for a, b in pairs)} of {len(pairs)} equal; (ours, TRL's) where not: {dict(differ)}")
    print(f"math-verify was asked about {runs['ours'][0]['math_verify']} different (answer, gold) pairs")
    survived = survive()
    print(f"hostile: {survived}")
    hung = trl_hangs()
    print(f"hostile, TRL off the main thread: {hung} of the first 3 killed after 8 s each")
    speeds = language_speed(chosen.data)
    print(f"language: {speeds['mixed']:.1f} M characters/s mixed scripts, {speeds['english']:.1f} M English alone, "
          f"{speeds['same_script']:.1f} M English and French told apart")  # fmt: skip
    print(json.dumps({
        "cpu_ours": round(cpu["ours"], 3), "cpu_trl": round(cpu["trl"], 3), "cpu_ratio": round(cpu["ours"] / cpu["trl"], 3),
        "equal_verdicts": sum(a == b for a, b in pairs), "repeated_texts": round(repeated / len(texts), 3),
        "hostile_seconds": round(survived["seconds"], 1), "hostile_judged": survived["judged"],
        "hostile_peak_mib": survived["peak_child_mib"], "pool_healthy": survived["healthy"], "trl_hung_of_3": hung,
        "language_mixed_mchars": round(speeds["mixed"], 2), "language_english_mchars": round(speeds["english"], 2),
        "language_same_script_mchars": round(speeds["same_script"], 2),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
