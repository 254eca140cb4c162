"""The proofs of `luthier doctor`, one file each; the folder is the registry."""
