"""Storage: files that survive a kill: atomic writes, manifests, checkpoints, shards of resumable work.

Belongs here: how bytes reach the disk. Not: what they mean.
"""
