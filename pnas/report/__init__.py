"""What a search or a retraining shows: `python -m pnas.report EXPERIMENT_NAME` draws it.

forecast (what a search will take), ranking (how well rewards were predicted), console (progress), summary (a network's
layers), cell_drawing (a cell as a graph), figures (the report's sheets), learning_curve (the sheet of a retraining),
comparison (of searches).
"""
