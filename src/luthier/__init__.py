"""Luthier: from an objective and raw data to a fine-tuned language model that is proven better.

Importing this module imports no torch; `luthier.load("luthier.yaml").run()` is the whole flow.
"""

__version__ = "0.1.0"
