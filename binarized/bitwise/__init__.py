"""Packed networks: one bit per weight, run with numpy alone.

packing: from a Keras model. network: the network and its file. layers: its steps. bits: arithmetic on words.
larq: conversion with Larq Compute Engine. `python -m binarized.bitwise NETWORK.npz` evaluates a network on MNIST.
"""
