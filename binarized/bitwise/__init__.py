"""Packed networks: a bit a weight, run with numpy alone. `python -m binarized.bitwise NETWORK.npz` evaluates one on
MNIST.

packing (from a Keras model), network (the network and its file), layers (its steps), bits, larq (Larq Compute Engine).
"""
