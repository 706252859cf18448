"""Routing: a question in; as much thought as it needs; one answer with a record of how it came about.

from trl_r1.routing import ModelPaths, Router
router = Router(ModelPaths(model, tokenizer))
found = router.answer("User: Compute ①2 ②9 ③4. Assistant:")
print(found.answer, found.route, found.agreement, found.tokens)

Belongs here: how much thought a question gets, and which of several answers is given. Not: HTTP (``serving``). A new
way to choose among answers is a function and one line in ``CHOICES`` of ``choice.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_r1.compat.lazy import lazy_exports


if TYPE_CHECKING:
    from trl_r1.routing.cache import PathCache as PathCache
    from trl_r1.routing.complexity import Complexity as Complexity
    from trl_r1.routing.paths import Ask as Ask
    from trl_r1.routing.paths import Candidate as Candidate
    from trl_r1.routing.paths import EndpointPaths as EndpointPaths
    from trl_r1.routing.paths import ModelPaths as ModelPaths
    from trl_r1.routing.paths import Settings as Settings
    from trl_r1.routing.router import Routed as Routed
    from trl_r1.routing.router import Router as Router
    from trl_r1.routing.router import RoutingLimits as RoutingLimits

_HOME = {  # exported name -> module it lives in
    "Ask": "trl_r1.routing.paths",
    "Complexity": "trl_r1.routing.complexity",
    "EndpointPaths": "trl_r1.routing.paths",
    "RoutingLimits": "trl_r1.routing.router",
    "ModelPaths": "trl_r1.routing.paths",
    "Candidate": "trl_r1.routing.paths",
    "PathCache": "trl_r1.routing.cache",
    "Routed": "trl_r1.routing.router",
    "Router": "trl_r1.routing.router",
    "Settings": "trl_r1.routing.paths",
}
__all__ = [
    "Ask",
    "Complexity",
    "EndpointPaths",
    "RoutingLimits",
    "ModelPaths",
    "Candidate",
    "PathCache",
    "Routed",
    "Router",
    "Settings",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOME)
