"""Job files of other tools, one module a format: the folder is the registry.

One decision: a module has `NAME`, `fits(data)` (how many of its own keys the file has) and `carry(job)`; anything that
`carry` does not mention is reported as not carried over by the job itself, so nothing can be lost in silence.
"""
