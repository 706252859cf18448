"""Audit: can a reward be cheated? Exploits, mutated replies, an isolated run of the reward, an explanation.

Belongs here: what examines a reward from outside. Not: rewards themselves. A new exploit is an entry in ``exploits.py``.
"""
