"""A small classifier of toxic English text that ships with the package: its weights, its words, and how it is run.

One decision: it runs in NumPy from a safetensors file, so that a check of data or of traffic needs neither torch nor a download.
"""
