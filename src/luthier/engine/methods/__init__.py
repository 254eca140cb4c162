"""Tuning methods as the engines see them, one file each; the folder is the registry."""
