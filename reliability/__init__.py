"""Long runs that try to break a project; `python -m reliability.run` writes what happened to `results/`."""
