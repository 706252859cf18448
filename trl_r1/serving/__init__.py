"""Serving: a routed model behind the OpenAI protocol; see docs/serving.md.

requests     a request's body in, what it asks for out; or one sentence on what is wrong with it
access       who may come in
batch_queue  many callers, one model in this process: waiting requests share batches
service      one request -> its choices, their cost, the record of the routing
app          the same over HTTP: streaming, time limits, clients that leave, tokens

Belongs here: one model behind HTTP. Not: how a question is answered (``routing``). A new field of a request is a
field of the body in ``requests.py``, with the sentence for what it cannot be.
"""
