"""Compat: what we stand on in TRL and peft, checked against the installed versions.

Belongs here: version differences, names we use of other libraries, lazy exports. Not: features of our own.
"""
