"""The files that a search keeps on disk.

journal (the log and everything beside it), children (children.csv), events (TensorBoard), files (safe reading and
writing).
"""
