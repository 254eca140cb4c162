"""Planted triggers: what a text has that may be one, and what its other words say about its label.

One decision: nothing here knows any particular trigger; features are counted, and a model of the words judges.
"""
