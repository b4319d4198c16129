"""Ways to prune a network to a budget, one in each file; each gives an architecture."""
