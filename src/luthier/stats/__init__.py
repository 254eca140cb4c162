"""From samples to estimates: intervals, paired tests, power and the verdict (numpy and scipy only).

One decision: every statistic is a function of summed per-row counts, so one bootstrap and one
permutation serve a mean, a micro F1 and a macro F1 alike, with rows or whole groups of rows resampled.
"""
