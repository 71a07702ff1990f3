"""What benchmarks that compare variants in turn share: a process for each, what is timed, and random images."""

import multiprocessing
import time

import numpy as np

BATCH, STEPS = 128, 10  # images a step, timed steps (as many as the project does at once); as many before are not timed


def clock():
    """Array of the CPU seconds of this process and of wall seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def take_turns(prepare, variants, rounds, *arguments):
    """Lets variants measure something in turn, each in a process of its own that waits while another one measures.

    Args:
        prepare: function of a module's top level, (variant, *arguments) -> (what it has to say first, function without
            arguments that measures once).
        variants: list of str; one is made ready after the other.
        rounds: how often each measures.
    Yields:
        dict, variant -> what it said first; then, for each round, dict, variant -> what it measured.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes, first = {}, [], {}
    try:
        for variant in variants:
            pipes[variant], other = context.Pipe()
            processes.append(context.Process(target=_serve, args=(other, prepare, variant, *arguments)))
            processes[-1].start()
            other.close()  # so that a process that dies is noticed
            first[variant] = pipes[variant].recv()
        yield first
        for _ in range(rounds):
            measured = {}
            for variant, pipe in pipes.items():
                pipe.send(True)
                measured[variant] = pipe.recv()
            yield measured
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join()


def _serve(pipe, prepare, variant, *arguments):
    first, measure = prepare(variant, *arguments)
    pipe.send(first)
    try:
        while pipe.recv():
            pipe.send(measure())
    except EOFError:  # the other end is closed: all rounds are over
        pass


def random_images(count):
    """Images (count, 28, 28, 1) in [-1, +1] and labels ±1 one-hot (count, 10), the same each time."""
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (count, 28, 28, 1)).astype("float32")
    return images, np.eye(10, dtype="float32")[random.integers(0, 10, count)] * 2 - 1
