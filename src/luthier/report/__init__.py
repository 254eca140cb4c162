"""What a run shows: the report's model, its page, cards, charts and terminal summary.

One decision: `model.RunReport` is the only input of every view; a view computes no statistics of its own.
"""
