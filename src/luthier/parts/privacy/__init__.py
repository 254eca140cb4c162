"""Personal data and secrets: the rules that find them, and the redaction that replaces them.

One decision: these are plain functions over one text, free of any state, so the check, the clean-up, a guard
and a monitor give the same answer for the same text.
"""
