"""Data sets: data_files reads them, download_mnist finds or downloads MNIST, mnist_data makes arrays for training."""


class DataError(ValueError):
    """A data set that cannot be used; the message is one line that says why."""
