"""Any transformers decoder over prefix-tree packs, by torch's autograd and transformers' own modules."""
