"""Serving: a routed model behind the OpenAI protocol; see docs/serving.md.

wanted    a request's body in, what is wanted and may be had out
lane      many callers, one model in this process: waiting requests share batches
service   one request -> its choices, their cost, the record of the routing
app       the same over HTTP: streaming, time limits, clients that leave, tokens
"""
