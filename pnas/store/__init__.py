"""What a search, or a retraining, keeps on disk.

atomic (safe writing), paths (of an experiment), database (an SQLite file that one run writes), store (a search), events
(TensorBoard), files (what people read of a search), surrogate (kept in a file), architecture (a retraining).
"""
