"""Storage: files that survive a kill: atomic writes, manifests, checkpoints, shards of resumable work.

Belongs here: how bytes reach the disk. Not: what they mean.

A new kind of resumable work is a call of ``shards.Shards``; a recipe's list of entries is a dataclass and
``structured.read_entries``.
"""
