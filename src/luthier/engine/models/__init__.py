"""Where base models come from: a folder, the hub, a GGUF file or an embedded name, all ending as a checked folder.

One decision: safetensors only, and no code from a model's repository is ever run.
"""
