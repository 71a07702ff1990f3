"""MNIST: download_mnist finds or downloads its four files, mnist_data makes arrays of them."""
