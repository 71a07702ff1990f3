"""MNIST: its four files, found or downloaded, and the arrays made of them."""
