"""Stand-ins for what a worker runs, that crash, hang or overeat; importable by name in a spawned process.

A test puts one in the place of ``sorter.workers.stage``, ``compare`` or ``examine``. Those named after a
decoder do all as usual until encapsulated pixels are decoded.
"""

import os
import signal
import time

import numpy as np

from sorter import decoding, sharing
from sorter import stage as real
from sorter.model import Pixels
from sorter.parser import pixels

POISON = "poison"


def _kill(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(*_args, **_more):
    os._exit(3)


def _hang(*_args, **_more):
    time.sleep(600)


def _overeat(*_args, **_more):
    """Reserve and touch 2 GiB."""
    return np.ones(2 << 30, np.uint8)


def killed_decoder(job):
    pixels.transcode = _kill
    return real.stage(job)


def exiting_decoder(job):
    pixels.transcode = _exit
    return real.stage(job)


def hanging_decoder(job):
    pixels.transcode = _hang
    return real.stage(job)


def hungry_decoder(job):
    pixels.transcode = _overeat
    return real.stage(job)


def leaving_decoder(job):
    """Dies with a half-written file in staging."""

    def decoded(instance, dataset, name, job, behind):
        if job.decode:
            job.staging.write(name, [b"half"], sync=False)
            _kill()
        return decoding.decoded(instance, dataset, name, job, behind)

    real.decoded = decoded
    return real.stage(job)


def sharing_finely(job):
    """Begins a file so that each frame is a share."""
    sharing.SHARE_BYTES = 1
    return real.stage(job)


def killed_portion(*_args):
    _kill()


def hanging_portion(*_args):
    _hang()


def refused_portion(*_args):
    """Finds that a frame cannot be decoded."""
    return Pixels.KEPT_UNDECODABLE, "a frame"


def killed_seal(*_args):
    _kill()


def poisoned(job):
    """Dies over any file named poison, decoding or not."""
    if any(one.name == POISON for one in job.candidates):
        _kill()
    return real.stage(job)


def out_of_memory(job):
    """Memory runs out where nothing catches it."""
    if any(one.name == POISON for one in job.candidates):
        raise MemoryError
    return real.stage(job)


def killed(*_args):
    _kill()


def killed_the_first_time(paths):
    """Dies once, as of a kill from outside; the environment names a file to remember by."""
    try:
        os.close(os.open(os.environ["MISBEHAVING"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return real.compare(paths)
    return _kill()


def hanging(*_args):
    _hang()


def examine_poisoned(paths, keywords, like=None):
    """Dies over any path that ends in poison."""
    if any(path.endswith(POISON) for path in paths):
        _kill()
    return real.examine(paths, keywords, like)


def examine_dying_to_decode(paths, keywords, like=None):
    """Dies wherever it is to decode."""
    if like.decode:
        _kill()
    return real.examine(paths, keywords, like)


def dead_on_arrival(*_args):
    """An initializer that no worker survives."""
    os._exit(1)


def dead_the_first_time(*_args):
    """An initializer that the first worker does not survive; the environment names a file to remember by."""
    try:
        os.close(os.open(os.environ["MISBEHAVING"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(1)
