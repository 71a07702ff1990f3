"""How children are trained, and where.

child (one child), architecture (one cell to convergence), data (checks of the images), batches, callbacks, optimizer,
workers (distributes children), local and dask (processes on this machine or a cluster), stopping (on signals), backend
(imports Keras), private_names (of other packages).
"""
