"""What a step costs before it is run: floating-point operations, memory and time.

One decision: nothing here imports torch at the top, so `luthier plan` can say what a run needs from a model's
`config.json`, the headers of its safetensors files and the lengths of its rows.
"""
