"""Binarized layers for Keras 3 (Hubara et al. 2016, arXiv:1602.02830).

binary_ops: activations and their gradients. binary_layers: dense and convolutional layers. normalization: batch
normalization with binarization. kernels, depthwise, padding, seeds: what these share. bitwise: packed networks, run
with numpy.
"""
