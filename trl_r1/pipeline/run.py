"""A plan carried out: what is ready starts, what is finished stays, one failure does not stop the others.

Leaves in the pipeline's folder: pipeline.json (the record), configs/<stage>.yaml (exactly what a stage read),
logs/<stage>.log (all it said), <stage>/ (its run), and when all is done summary.json and report.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from trl_r1 import errors
from trl_r1.pipeline import report
from trl_r1.pipeline.console import Console, clock, log_lines
from trl_r1.pipeline.orders import command_line, config_path, config_text, log_path, order_of, runs_in_fork
from trl_r1.pipeline.plan import MODULES, Pipeline, Step
from trl_r1.pipeline.record import SUMMARY, Record, refuse
from trl_r1.pipeline.supervisor import MARKER, Order, sweep
from trl_r1.storage import manifest
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


HEARTBEAT = 5.0  # seconds between two notes of how long a stage has run
ONLY_PARSE = "TRL_R1_ONLY_PARSE"  # in a stage's environment: read the options, then stop (trl_r1.runs.options)


class Run:
    """One carrying-out of a plan.

    Raises:
        ValueError: from :meth:`prepare`: the folder is another's, a finished stage is asked for otherwise now, or a
            stage does not accept its recipe. Nothing was started by then.
    """

    def __init__(
        self,
        plan: Pipeline,
        console: Console | None = None,
        command: str = "trl-r1 run",
        describe: Callable[[str, Json], str] = lambda name, summary: "",
    ):
        self.plan, self.console, self.command = plan, console or Console(), command
        self.describe = describe  # what else is said of a finished stage, from its summary
        self.messages: queue.Queue[Json | None] = queue.Queue()
        self.running: dict[str, float] = {}  # stage -> since when its seconds are not yet noted
        self.failed: dict[str, str] = {}
        self.awaiting_person: dict[str, str] = {}  # stages that wait for a person
        self.pulse = time.monotonic()

    # --- before anything starts

    def prepare(self, redo: list[str] | None = None) -> None:
        earlier = Record.load(self.plan.folder)
        record = earlier or Record.begin(self.plan)
        if earlier is None:
            self.plan.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock = manifest.hold(self.plan.folder)
        except ValueError:
            raise ValueError(
                f"Another process runs the pipeline in {self.plan.folder} right now. `{self.command} --status` shows how "
                "far it is; wait for it, stop it, or choose another --output_dir."
            ) from None
        record = Record.load(self.plan.folder) or record  # it may have changed until the lock was ours
        record.complete_redo()
        for name in redo or []:
            _ = self.plan[name]
        if redo:
            again = record.redo(self.plan, redo)
            self.console.event(
                f"Run again: {', '.join(again)}; what they left is under {self.plan.folder / 'previous'}."
            )
        restarted = record.repair(self.plan)
        if restarted:
            record.redo(self.plan, restarted)
            self.console.event(
                f"{', '.join(restarted)} had failed and is asked for otherwise now, so it starts anew; what it had left is "
                f"under {self.plan.folder / 'previous'}."
            )
        changes = record.changes(self.plan)
        if changes:
            raise ValueError(refuse(changes, self.plan, self.command))
        orphans = sweep(str(self.plan.folder.resolve()))
        if orphans:
            self.console.event(f"Stopped {len(orphans)} process(es) that an earlier run of this pipeline had left.")
        self.record = record
        self.tell_versions()
        record.save()
        for step in self.plan.steps:
            replace_file(config_path(self.plan, step), config_text(self.plan, step))
        (self.plan.folder / "logs").mkdir(exist_ok=True)

    def tell_versions(self) -> None:
        before, today = self.record.content["versions"], manifest.versions()
        changed_product = [
            f"{name} was {before.get(name)} and is {today[name]}" for name in today if before.get(name) != today[name]
        ]
        if changed_product:
            self.console.event(
                f"Other versions than when this pipeline began: {'; '.join(changed_product)}. Its report says so too."
            )

    # --- the run

    def go(self) -> int:
        """Runs what is not finished.

        Returns:
            0, 1 after a failure, 2 when a recipe is refused, 4 while a stage waits for a person, 130 after an interrupt.
        """
        for warning in self.plan.warnings:
            self.console.event(f"Note: {warning}")
        finished = [step.name for step in self.plan.steps if self.is_finished(step)]
        todo = [step for step in self.plan.steps if step.name not in finished]
        if finished:
            self.console.event(f"Finished already: {', '.join(finished)}.")
        if todo:
            self.open_supervisor([step.module for step in todo if runs_in_fork(step)])
            # raises KeyboardInterrupt, also where SIGINT itself is ignored: in a shell's background, under nohup
            earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                if not self.check(todo):
                    return 2
                self.loop()
            except KeyboardInterrupt:
                self.stop_all()
                self.console.event("Stopped. The same command goes on from here.")
                return errors.INTERRUPTED
            finally:
                signal.signal(signal.SIGTERM, earlier)
                self.close_supervisor()
        return self.close()

    def close(self) -> int:
        """The reports, and the last word."""
        report.write(self.plan, self.record)
        waiting = [
            step.name for step in self.plan.steps if not self.is_finished(step) and step.name not in self.failed
        ]
        if self.failed:
            self.console.event(
                f"{len(self.failed)} of {len(self.plan.steps)} stages failed: {', '.join(self.failed)}."
                + (f" Not started, because they rest on them: {', '.join(waiting)}." if waiting else "")
                + " The same command tries again and keeps what is finished."
            )
            return 1
        if self.awaiting_person:
            self.console.event(
                f"{' and '.join(self.awaiting_person)} waits for a person; afterwards the same command goes on."
            )
            return errors.PERSON
        seconds = self.record.content["seconds"]
        self.console.event(
            f"All {len(self.plan.steps)} stages are finished, {clock(seconds)} of work. "
            f"Report: {self.plan.folder / 'report.md'}"
        )
        return 0

    def is_finished(self, step: Step) -> bool:
        return self.record.finished(step)

    def loop(self) -> None:
        began, earlier = time.monotonic(), self.record.content["seconds"]
        while True:
            for step in self.ready():
                if len(self.running) >= self.plan.max_parallel:
                    break
                self.start(step)
            if not self.running:
                return
            self.console.running(
                [
                    (name, self.record.of(name)["seconds"] + time.monotonic() - since, self.last_line(name))
                    for name, since in self.running.items()
                ]
            )
            try:
                message = self.messages.get(timeout=0.5)
            except queue.Empty:
                message = {}
            self.record.content["seconds"] = round(earlier + time.monotonic() - began, 1)
            if message is None:
                for name in list(self.running):
                    self.end(name, None)
                sweep(str(self.plan.folder.resolve()))
                return
            if "ended" in message:
                self.end(message["ended"], message["code"])
            elif time.monotonic() - self.pulse > HEARTBEAT:
                self.beat()

    def ready(self) -> list[Step]:
        """Steps that could start now, in the plan's order."""
        return [
            step
            for step in self.plan.steps
            if step.name not in self.running
            and step.name not in self.failed
            and step.name not in self.awaiting_person
            and not self.is_finished(step)
            and all(self.is_finished(self.plan[name]) for name in step.after)
        ]

    def start(self, step: Step) -> None:
        again = self.record.of(step.name).get("starts", 0)
        changed_product = self.record.changed_product(self.plan, step) if again else None
        if changed_product:
            self.record.fail(step, changed_product)
            self.fail(step, f"{changed_product}. `{self.command} --redo {step.name}` runs it again from the new one.")
            return
        self.record.start(self.plan, step)
        log = log_path(self.plan, step)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"=== start {again + 1} of {step.name}: {command_line(self.plan, step)}\n")
        self.send(order_of(self.plan, step, step.name, log, {}))
        self.running[step.name] = time.monotonic()
        self.console.event(f"{step.name} {'goes on' if again else 'starts'}; it writes to {log}")

    def end(self, name: str, code: int | None) -> None:
        """A stage's process has ended: with an exit status, by a signal (negative), or with its keeper (None)."""
        step = self.plan[name]
        self.beat()
        self.running.pop(name)
        log = log_path(self.plan, step)
        if code == 0 and (step.folder / SUMMARY).is_file():
            self.record.finish(step)
            entry = self.record.of(name)
            summary = json.loads((step.folder / SUMMARY).read_text(encoding="utf-8"))
            result = report.result_line(step, summary)
            self.console.event(f"{name} finished in {clock(entry['seconds'])}{': ' + result if result else ''}")
            more = self.describe(name, summary)
            if more:
                self.console.event(f"\n{more}\n")
            report.write(self.plan, self.record)
            self.compare_followers(name)
            return
        lines = [line for line in log_lines(log) if not line.startswith("=== start")]
        if code == errors.PERSON and step.module.startswith(MODULES + "."):
            self.awaiting_person[name] = lines[-1] if lines else f"see {log}"
            self.record.pause(step, self.awaiting_person[name])
            self.console.event(f"{name} waits for a person: {self.awaiting_person[name]}")
            return
        if code is None:
            reason = "the process that watches the stages was stopped from outside"
        elif code < 0:
            reason = f"it was killed by {signal.Signals(-code).name}" + (
                " (the system does that when memory runs out)" if -code == signal.SIGKILL else ""
            )
        elif code == 0:
            reason = f"it ended without leaving {step.folder / SUMMARY}"
        else:
            own = [line for line in lines if line.startswith("trl-r1 ")]
            reason = (own or lines or [f"exit code {code}, and it said nothing"])[-1]
        self.record.fail(step, reason)
        self.fail(step, f"{reason.rstrip('.')}. Its log: {log}", lines[-12:])

    def compare_followers(self, name: str) -> None:
        """A stage that ran again may have left something else than what a finished one was made from."""
        for step in self.plan.steps:
            if name in step.after and self.is_finished(step):
                changed_product = self.record.changed_product(self.plan, step)
                if changed_product:
                    self.record.fail(step, changed_product)
                    self.fail(
                        step, f"{changed_product}. `{self.command} --redo {step.name}` runs it again from the new one."
                    )

    def fail(self, step: Step, reason: str, tail: list[str] | None = None) -> None:
        self.failed[step.name] = reason
        self.console.event(
            "\n".join([f"{step.name} failed: {reason}", *[f"    | {line[:300]}" for line in tail or []]])
        )

    def beat(self) -> None:
        """Notes how long each stage has run, for a later start that finds this one killed."""
        self.pulse, now = time.monotonic(), time.monotonic()
        for name, since in self.running.items():
            entry = self.record.of(name)
            entry["seconds"] = round(entry["seconds"] + now - since, 1)
            self.running[name] = now
        self.record.save()

    def last_line(self, name: str) -> str:
        lines = log_lines(log_path(self.plan, self.plan[name]))
        return lines[-1] if lines and not lines[-1].startswith("=== start") else "starting"

    # --- the supervisor

    def open_supervisor(self, modules: list[str]) -> None:
        env = {**os.environ, **self.plan.env, MARKER: str(self.plan.folder.resolve())}
        with open(self.plan.folder / "logs" / "pipeline.log", "ab") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "trl_r1.pipeline.supervisor"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                start_new_session=True,
                bufsize=0,
            )
        threading.Thread(target=self.listen, daemon=True).start()
        if modules:
            self.send({"preload": sorted(set(modules))})

    def listen(self) -> None:
        assert self.supervisor.stdout is not None
        for line in self.supervisor.stdout:
            self.messages.put(json.loads(line))
        self.messages.put(None)

    def send(self, order: Order) -> None:
        assert self.supervisor.stdin is not None
        try:
            self.supervisor.stdin.write((json.dumps(order) + "\n").encode())
        except BrokenPipeError:
            return  # it was killed; `listen` is about to say so

    def close_supervisor(self) -> None:
        assert self.supervisor.stdin is not None
        self.supervisor.stdin.close()  # it ends, and everything below it
        self.supervisor.wait()

    def stop_all(self) -> None:
        for name in self.running:
            self.send({"stop": name})
        deadline = time.monotonic() + 8.0
        while self.running and time.monotonic() < deadline:
            try:
                message = self.messages.get(timeout=0.5)
            except queue.Empty:
                continue
            if message is None:
                break
            if message.get("ended") in self.running:
                self.beat()
                self.running.pop(message["ended"])
        self.record.save()

    # --- do the stages accept their recipes?

    def check(self, steps: list[Step]) -> bool:
        """Has every stage of ours read its options and stop there, so that a typo in the last one is told at once."""
        done = self.record.content.setdefault("checked", {})
        todo = {}
        for step in steps:
            mark = hashlib.sha256(config_text(self.plan, step).encode()).hexdigest()
            if step.module.startswith(MODULES + ".") and done.get(step.name) != mark:
                todo[step.name] = mark
        if not todo:
            return True
        self.console.event(f"Reading the recipes of {len(todo)} stages ...")
        refused: dict[str, str] = {}
        waiting = list(todo)
        open_: set[str] = set()
        while waiting or open_:
            while waiting and len(open_) < self.plan.max_parallel:
                step = self.plan[waiting.pop(0)]
                log = self.plan.folder / "logs" / f"{step.name}.check.log"
                log.unlink(missing_ok=True)
                self.send(order_of(self.plan, step, step.name, log, {ONLY_PARSE: "1"}))
                open_.add(step.name)
            message = self.messages.get()
            if message is None:
                self.console.event("The process that watches the stages was stopped from outside; start again.")
                return False
            if "ended" not in message:
                continue
            name = message["ended"]
            open_.discard(name)
            log = self.plan.folder / "logs" / f"{name}.check.log"
            if message["code"] == 0:
                done[name] = todo[name]
                log.unlink(missing_ok=True)
            else:
                lines = log_lines(log)
                own = [line for line in lines if line.startswith("trl-r1 ")]
                refused[name] = (own or lines or [f"exit code {message['code']}"])[-1]
        self.record.save()
        for name, reason in refused.items():
            self.console.event(f"{name} does not accept its recipe: {reason}")
        if refused:
            self.console.event(f"Nothing was started. Change {self.plan.source} or the recipe, and start again.")
        return not refused
