"""How children are trained, and where.

data (checks of the images), recipe (optimizer, loss, learning rates, augmentation: edit it), batches, callbacks,
optimizer, private_names (of other packages), child (one child), architecture (one cell to convergence), early_stopping,
reuse (of an earlier experiment's children), stopping (on signals), local and dask (processes on this machine or a
cluster), workers (distributes children), speed (how fast they train, from a few steps).
"""
