"""Network: the one HTTP client, for judges, sampling servers and sandboxes on other machines.

Belongs here: how a request reaches a server and how long we wait. Not: what is asked, or what an answer means.

A new kind of server is a client of ``Endpoint`` where its answers are understood (``models/engines.py``,
``models/judge.py``, ``sandbox/remote.py``).
"""
