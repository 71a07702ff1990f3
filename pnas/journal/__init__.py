"""The files that a search, or a retraining, keeps on disk.

journal (the log and everything beside it), children (children.csv), finalists, architecture (a retraining), events
(TensorBoard), files (safe reading and writing).
"""
