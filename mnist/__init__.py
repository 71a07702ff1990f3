"""Data sets: download_mnist finds or downloads MNIST, npz_files reads a user's own, mnist_data makes arrays of them."""
