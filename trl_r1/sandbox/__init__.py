"""Run untrusted Python where it can do no harm, with hard limits, from any thread.

    sandbox = open_sandbox()               # bubblewrap, else unshare, else a refusal that says what to install
    sandbox.run("print(input()[::-1])", "abc").stdout

Linux only; needs the system package ``bubblewrap``, or the right to make namespaces. ``SandboxFusion`` and ``Piston``
keep the same promise on another machine.

Belongs here: processes that may hang, die or attack, and their bounds. Not: what their output means
(``rewards/code.py``). A new remote sandbox is one class in ``remote.py`` with ``run`` and ``describe``; a new local
one a line in ``BACKENDS`` of ``choice.py``.
"""

from trl_r1.sandbox.choice import BACKENDS, NoSandbox, open_sandbox
from trl_r1.sandbox.local import LocalSandbox
from trl_r1.sandbox.protocol import STATUSES, Outcome, ResourceLimits, Sandbox
from trl_r1.sandbox.remote import Piston, SandboxFusion


__all__ = [
    "BACKENDS",
    "STATUSES",
    "ResourceLimits",
    "LocalSandbox",
    "NoSandbox",
    "Outcome",
    "Piston",
    "Sandbox",
    "SandboxFusion",
    "open_sandbox",
]
