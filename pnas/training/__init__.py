"""How children are trained, and where.

data (checks of the images), batches, callbacks, optimizer, private_names (of other packages), child (one child),
architecture (one cell to convergence), early_stopping, stopping (on signals), local and dask (processes on this machine
or a cluster), workers (distributes children), speed (how fast they train, from a few steps).
"""
