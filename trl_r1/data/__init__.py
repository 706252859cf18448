"""Data: rows from anywhere in, prompts a trainer can use out.

columns    hub id, file, folder or mini: world -> rows -> named columns -> ``prompt`` and ``solution``
templates  how a question becomes a prompt: by name, or the user's own text with {question}
"""
