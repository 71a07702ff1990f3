"""The children of child_step.py in other libraries: a process in the library's own Python that times steps on demand.

    PYTHON tests/benchmarks/peers.py larq|torch|torch.compile NUMBER THREADS

NUMBER is that of the cell in cells.py, from 1. larq is `larq.layers` under TF_USE_LEGACY_KERAS=1, told to use oneDNN,
in a `fit`; torch is PyTorch in channels-last memory with Adam's fused kernel. Both use a straight-through sign and clip
the kernels after each step. The process prints a line when it is ready, and then, for each line that it reads, CPU and
wall seconds a step.
"""

import os
import sys

from cells import CELLS, wire
from turns import BATCH, STEPS, clock, random_images


def larq(cell, threads):
    """Function that measures."""
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_ENABLE_ONEDNN_OPTS="1", TF_CPP_MIN_LOG_LEVEL="3")
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads))
    import larq
    import tf_keras as keras

    layers = keras.layers
    binary = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    separable = {f"{part}_quantizer": "ste_sign" for part in ("depthwise", "pointwise")}
    separable |= {f"{part}_constraint": "weight_clip" for part in ("depthwise", "pointwise")} | {"use_bias": False}

    class Library:
        conv = staticmethod(lambda x, *shape: larq.layers.QuantConv2D(*shape, padding="same", **binary)(x))
        dense = staticmethod(lambda x, units: larq.layers.QuantDense(units, **binary)(x))
        separable = staticmethod(
            lambda x, *shape: larq.layers.QuantSeparableConv2D(*shape, padding="same", **separable)(x)
        )
        normalize = staticmethod(lambda x: layers.BatchNormalization()(x))
        activate = staticmethod(lambda x: larq.quantizers.SteSign()(x))
        flatten = staticmethod(lambda x: layers.Flatten()(x))
        concatenate = staticmethod(lambda tensors: layers.Concatenate()(tensors))

        @staticmethod
        def pool(x, kind, size, stride):
            layer = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
            return layer(size, stride, padding="same")(x)

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 == STEPS:
                self.start = clock()
            elif batch + 1 == 2 * STEPS:
                self.seconds = (clock() - self.start) / STEPS

    image = keras.Input((28, 28, 1))
    model = keras.Model(image, wire(cell, image, Library))
    model.compile(keras.optimizers.Adam(1e-3), "squared_hinge", metrics=["accuracy"])
    images, labels = random_images(BATCH * 2 * STEPS)
    timer = Timer()

    def measure():
        model.fit(images, labels, batch_size=BATCH, verbose=0, callbacks=[timer])
        return timer.seconds

    return measure


def torch(cell, threads, compiled=False):
    """Function that measures."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return torch.where(x >= 0, 1.0, -1.0)

        @staticmethod
        def backward(context, gradient):
            (x,) = context.saved_tensors
            return gradient * (x.abs() <= 1)

    class Child(nn.Module):
        """Makes its weights in the first pass, and uses them again, in the same order, in every other one."""

        def __init__(self):
            super().__init__()
            self.kernels, self.norms = nn.ParameterList(), nn.ModuleList()
            self.is_built = False

        def forward(self, image):
            self.used = {"kernels": 0, "norms": 0}
            scores = wire(cell, image, self)
            self.is_built = True
            return scores

        def _next(self, name, make):
            items = getattr(self, name)
            if not self.is_built:
                items.append(make())
            self.used[name] += 1
            return items[self.used[name] - 1]

        def _kernel(self, *shape):
            kernel = self._next("kernels", lambda: nn.Parameter(torch.empty(shape).uniform_(-1, 1)))
            return Sign.apply(kernel)

        def conv(self, x, filters, size, strides):
            kernel = self._kernel(filters, x.shape[1], *size)
            return functional.conv2d(x, kernel, None, strides, [length // 2 for length in size])

        def separable(self, x, filters, size, stride):
            depthwise = self._kernel(x.shape[1], 1, size, size)
            x = functional.conv2d(x, depthwise, None, stride, size // 2, groups=x.shape[1])
            return self.conv(x, filters, (1, 1), (1, 1))

        def dense(self, x, units):
            return functional.linear(x, self._kernel(units, x.shape[1]))

        def pool(self, x, kind, size, stride):
            if kind == "max":
                return functional.max_pool2d(x, size, stride, size // 2)
            return functional.avg_pool2d(x, size, stride, size // 2, count_include_pad=False)

        def normalize(self, x):
            make = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
            return self._next("norms", lambda: make(x.shape[1]))(x)

        def activate(self, x):
            return Sign.apply(x)

        def flatten(self, x):
            return x.flatten(1)

        def concatenate(self, tensors):
            return torch.cat(tensors, 1)

    images, labels = map(torch.from_numpy, random_images(BATCH * 2 * STEPS))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    model = Child()
    model(images[:BATCH])
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    run = torch.compile(model) if compiled else model

    def step(batch):
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        loss = functional.relu(1 - labels[rows] * run(images[rows])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for kernel in model.kernels:
                kernel.clamp_(-1, 1)

    def measure():
        for batch in range(2 * STEPS):
            if batch == STEPS:
                start = clock()
            step(batch)
        return (clock() - start) / STEPS

    return measure


def main():
    name, number, threads = sys.argv[1:]
    cell, threads = CELLS[int(number) - 1], int(threads)
    measure = larq(cell, threads) if name == "larq" else torch(cell, threads, name == "torch.compile")
    measure()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*measure(), flush=True)


if __name__ == "__main__":
    main()
