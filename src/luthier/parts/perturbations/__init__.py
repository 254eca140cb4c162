"""Perturbations: small changes of what is asked, to see whether the answers hold.

One decision: a perturbation changes words with rules and closed lists and asks no model, so it is the same on every machine, and
what it does to a text can be read in its file.
"""
