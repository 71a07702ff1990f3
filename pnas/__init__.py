"""Progressive search of cells (Liu et al. 2018, arXiv:1712.00559) over binarized networks."""
