"""Transformable architecture search: widths and depths of a network by gradient descent.

Dong and Yang, "Network Pruning via Transformable Architecture Search" (arXiv 1905.09717).
"""
