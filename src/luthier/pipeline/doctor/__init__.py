"""luthier doctor: is this machine fit, and is training correct on this project's own model and rows?

One decision: each proof is a file in `proofs/` and says what was proven, the error that was measured with its bound, and
where it would hurt; nothing is repaired here and nothing of the project changes.
"""
