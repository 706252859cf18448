"""Compat: what we stand on in TRL and peft, checked against the installed versions.

Belongs here: version differences, names we use of other libraries, lazy exports. Not: features of our own.

A new seam of TRL or peft is an entry of ``SEAMS`` in ``trl.py`` (or ``host.py``, if a mixin stands on it), with what
breaks without it.
"""
