"""How children are trained, and where.

child (one child), architecture (one cell to convergence), batches, callbacks, optimizer, workers (processes on this
machine or a cluster), dask, backend (imports Keras), private_names (of other packages).
"""
