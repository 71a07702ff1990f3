"""Binarized layers for Keras 3 (Hubara et al. 2016, arXiv:1602.02830)."""
