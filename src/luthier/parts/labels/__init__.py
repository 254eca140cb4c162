"""Which labels are probably wrong: out-of-sample probabilities of a small classifier, and confident learning over them."""
