"""Data: rows from anywhere in, prompts a trainer can use out.

columns    hub id, file, folder or mini: world -> rows -> named columns -> ``prompt`` and ``solution``
templates  how a question becomes a prompt: by name, or the user's own text with {question}
pools      the kinds of prompts a data set is made of, each with its source, its filters and its number
engines    prompts to texts: a model in this process, or any OpenAI-compatible server
shards     work in numbered units, each written whole or not at all
filters    why a sample should not become training data
near_duplicates  nearly the same twice, 10-grams of evaluation sets, too much of one prompt
mix        pools in the wanted proportions
funnel     what each filter let through, as a table and a picture
"""
