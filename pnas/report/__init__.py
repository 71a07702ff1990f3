"""What a search shows: `python -m pnas.report EXPERIMENT_NAME` draws it.

console (progress), recorder (callbacks of a search), figures (the report's sheets), cell_drawing (a cell as a graph),
ranking (how well rewards were predicted).
"""
