"""A stage as small as can be: `rows` lines into kept.jsonl, one every `pause` seconds, then summary.json; it resumes.

Each line depends on the seed, the line's number and all the text of `source`, so that a lost, doubled or changed line
shows in every later stage. `fail` makes it fail with that sentence; `child` makes it start a process of its own.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    options = yaml.safe_load(Path(parser.parse_args().config).read_text())
    folder = Path(options["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    print("a line before", flush=True)
    if options.get("fail"):
        print(f"trl-r1 count: {options['fail']}", file=sys.stderr)
        raise SystemExit(2)
    if options.get("forget"):
        return
    if options.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    text = Path(options["source"]).read_text() if options.get("source") else ""
    path = folder / "kept.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    done = [line for line in lines if line.endswith("\n")]  # the last may be cut
    path.write_text("".join(done))
    for number in range(len(done), options["rows"]):
        time.sleep(options.get("pause", 0.01))
        row = {"id": hashlib.sha256(f"{text}{options['seed']}{number}".encode()).hexdigest()[:16], "number": number}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"\r{number + 1} of {options['rows']} rows", end="", flush=True)
    after = {"pass@1": options["rows"] / 10, "cons@4": 0.5, "format": 1.0, "language": 0.9}
    before = {**after, "pass@1": 0.1}
    summary = {"stage": "count", "seconds": 1.0, "before": before, "after": after, "kept": options["rows"]}
    (folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
