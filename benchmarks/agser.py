"""What AGSER's contributions cost: memory and CPU time beside output_attentions=True and beside nothing at all.

    python benchmarks/agser.py                  (about fifteen minutes on one busy core; --quick: two)

Each cell runs in a process of its own. Seconds are CPU seconds of one prefill, the median of five; the variants of a
length take turns, so that a slow minute of the machine hits all of them. MiB is the peak resident memory above the
loaded model's. Model: a random Llama, 8 layers, hidden 512, 8 heads, 2 of them for keys and values, float32, sdpa
(eager for output_attentions, which sdpa cannot give). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


LENGTHS = (128, 256, 512, 1024, 2048)
VARIANTS = ("plain", "agser", "output_attentions")
RUNS = 5


def build(variant: str, length: int):
    """A model and the function that runs one prefill of a variant."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from trl_r1.agser.recorder import Recorder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=8192,
    )  # fmt: skip
    implementation = "eager" if variant == "output_attentions" else "sdpa"
    model = LlamaForCausalLM._from_config(config, attn_implementation=implementation).eval()
    ids = torch.randint(0, 1000, (1, length))
    positions = torch.arange(length)[None]

    def generate(**options):
        return model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False, pad_token_id=0, **options
        )

    def plain():
        generate()

    def agser():
        with Recorder(model, positions, length) as recorder:
            generate()
        return recorder.norms.mean(0)

    def output_attentions():
        """The same norms from the attentions that transformers hands out."""
        inputs, hooks = [], []
        for layer in model.model.layers:
            hooks.append(
                layer.self_attn.register_forward_pre_hook(
                    lambda module, given, options: inputs.append(options["hidden_states"]), with_kwargs=True
                )
            )
        attentions = generate(output_attentions=True, return_dict_in_generate=True).attentions[0]
        for hook in hooks:
            hook.remove()
        norms = []
        with torch.no_grad():
            for layer, x, attention in zip(model.model.layers, inputs, attentions):
                module = layer.self_attn
                v = module.v_proj(x).view(1, length, 2, 64).repeat_interleave(4, dim=2)  # (B, M, H, hd)
                u = attention[:, :, -1].transpose(1, 2)[..., None] * v
                norms.append(module.o_proj(u.flatten(2)).norm(dim=-1))
        return torch.stack(norms).mean(0)

    return {"plain": plain, "agser": agser, "output_attentions": output_attentions}[variant]


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(variant: str, length: int) -> float:
    """Peak MiB of one prefill above the process after one of 16 tokens, which loads what there is to load."""
    build(variant, 16)()
    run = build(variant, length)
    before = peak_mib()
    run()
    return peak_mib() - before


def seconds(length: int) -> dict[str, float]:
    """Median CPU seconds of each variant, taking turns; time includes our registering and switching."""
    runs = {variant: build(variant, length) for variant in VARIANTS}
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(RUNS):
        for variant in VARIANTS[turn % 3 :] + VARIANTS[: turn % 3]:
            repeats = max(1, 512 // length)
            started = time.process_time()
            for _ in range(repeats):
                runs[variant]()
            found[variant].append((time.process_time() - started) / repeats)
    pairs = zip(found["agser"], found["plain"])
    return {**{variant: statistics.median(values) for variant, values in found.items()},
            "overhead": statistics.median([ours / plain for ours, plain in pairs]) - 1.0}  # fmt: skip


def rouge() -> dict[str, float]:
    """CPU seconds of one pair of answers of 1,000 words, ours and rouge-score's own path, and both values."""
    import random

    from trl_r1.agser.consistency import library_rouge_l, rouge_l_of, words

    draw = random.Random(0)
    first, second = (" ".join(f"w{draw.randrange(300)}" for _ in range(1000)) for _ in range(2))

    def rouge_l(first: str, second: str) -> float:
        return rouge_l_of(words(first), words(second))  # the function itself would remember the words

    rouge_l(first, second), library_rouge_l("a", "a")
    found = {}
    for name, function, repeats in (("ours", rouge_l, 20), ("rouge_score", library_rouge_l, 1)):
        times = []
        for _ in range(RUNS):
            started = time.process_time()
            for _ in range(repeats):
                value = function(first, second)
            times.append((time.process_time() - started) / repeats)
        found[name], found[f"{name}_value"] = statistics.median(times), value
    return found


def child(*arguments: str) -> dict:
    """Runs one measurement in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="lengths up to 512 only")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.cell:
        what, variant, length = chosen.cell[0], chosen.cell[1], int(chosen.cell[2])
        found = (
            {"mib": memory(variant, length)} if what == "memory" else seconds(length) if what == "time" else rouge()
        )
        print(json.dumps(found))
        return 0
    lengths = LENGTHS[:3] if chosen.quick else LENGTHS
    cells = {}
    print(f"{'tokens':>6} | {'plain':>18} | {'AGSER':>18} {'overhead':>9} | {'output_attentions':>18}")
    for length in lengths:
        times = child("--cell", "time", "all", str(length))
        mib = {variant: child("--cell", "memory", variant, str(length))["mib"] for variant in VARIANTS}
        cells[length] = {"seconds": times, "mib": mib}
        shown = {variant: f"{1000 * times[variant]:6.0f} ms {mib[variant]:5.0f} MiB" for variant in VARIANTS}
        ours = f"{shown['agser']:>18} {times['overhead']:>8.0%}"
        print(f"{length:>6} | {shown['plain']:>18} | {ours} | {shown['output_attentions']:>18}", flush=True)
    pair = child("--cell", "rouge", "all", "0")
    faster = pair["rouge_score"] / pair["ours"]
    told = f"{1000 * pair['ours']:.2f} ms, rouge-score {1000 * pair['rouge_score']:.0f} ms"
    print(f"Rouge-L of 1,000 words: {told}: {faster:.0f} times")
    last = cells[lengths[-1]]
    checks = {
        "memory_share": last["mib"]["agser"] / last["mib"]["output_attentions"],
        "time_share": last["seconds"]["agser"] / last["seconds"]["output_attentions"],
        "overhead": {length: cell["seconds"]["overhead"] for length, cell in cells.items()},
        "mib_per_token": {length: cell["mib"]["agser"] / length for length, cell in cells.items()},
        "rouge_faster": faster,
        "rouge_same": pair["ours_value"] == pair["rouge_score_value"],
    }
    passed = (
        checks["memory_share"] <= 0.1
        and checks["time_share"] <= 0.5
        and all(share <= (0.3 if length < 1024 else 0.15) for length, share in checks["overhead"].items())
        and faster >= 100
        and checks["rouge_same"]
    )
    print(json.dumps({"passed": passed, **checks, "cells": cells}))
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
