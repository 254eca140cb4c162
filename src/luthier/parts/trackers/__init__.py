"""Trackers: where a run's numbers go besides its own folder, one file each."""
