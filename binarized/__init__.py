"""Binarized layers for Keras 3 (Hubara et al. 2016, arXiv:1602.02830).

binary_ops (functions of numbers), binary_layers, normalization, depthwise, padding, seeds; bitwise, packed networks for
numpy.
"""
