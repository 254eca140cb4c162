"""Text to tokens: the tokenizer, the sandboxed chat template, and the renderer that both training and serving load.

One decision: a row is turned into tokens in one place only, and the object that does it has a hash.
"""
