"""Serving: a routed model behind the OpenAI protocol; see docs/serving.md.

requests     a request's body in, what it asks for out; or one sentence on what is wrong with it
fields       what each field may ask for, here and in front of an engine
access       who may come in
batch_queue  many callers, one model in this process: waiting requests share batches
service      one request -> its choices, their cost, the record of the routing
choices      a drawn text -> the message or the deltas that a client gets, reasoning beside the content
responses    a result -> the bodies and events of the protocol; errors
app          the same over HTTP: streaming, time limits, clients that leave, tokens
server       uvicorn with an end that open requests hear of

Belongs here: one model behind HTTP. Not: how a question is answered (``routing``). A new field of a request is a
field of the body in ``requests.py``, with the sentence for what it cannot be in ``fields.py``.
"""
