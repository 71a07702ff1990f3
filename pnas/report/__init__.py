"""What a search or a retraining shows: `python -m pnas.report EXPERIMENT_NAME` draws it.

console (progress), recorder (callbacks of a search), figures (the report's sheets), learning_curve (the sheet of a
retraining), cell_drawing (a cell as a graph), ranking (how well rewards were predicted), summary (a network's layers).
"""
