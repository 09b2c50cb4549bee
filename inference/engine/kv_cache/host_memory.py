"""Host memory for caches: reserved as address space, taken when written, given back when idle."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

_MADV_DONTNEED = 4
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.madvise.restype = ctypes.c_int


def reserve_zeros(
    shape: tuple[int, ...], dtype: torch.dtype, *, huge: bool = False
) -> torch.Tensor:
    """A zeroed CPU tensor whose pages take memory only once they are written.

    `huge` asks for pages of 2 MB: right where neighbours are written soon after each other. Else a
    token fills a few hundred bytes of each head's stretch, and huge pages would commit 2 MB there.

    Zeros and not garbage: a masked position weighs nothing, but nothing times NaN is NaN. Raises
    MemoryError, OSError or OverflowError where the address space is not there.
    """
    num_elements = math.prod(shape)
    num_bytes = max(1, num_elements) * dtype.itemsize
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
    advice = getattr(mmap, "MADV_HUGEPAGE" if huge else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(advice)
    return torch.frombuffer(pages, dtype=dtype, count=num_elements).view(shape)


def commit_pages(tensor: torch.Tensor, row_bytes: int, num_threads: int) -> int:
    """Take the memory behind the first `row_bytes` of each row of a tensor of `reserve_zeros` now.

    The bytes asked for. What is written already stays. A kernel that cannot takes pages as they are
    written, as without this.
    """
    row_bytes = min(row_bytes, tensor[0].nbytes)

    def commit(row: int) -> None:
        start = tensor.data_ptr() + row * tensor[0].nbytes
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        _libc.madvise(first, start + row_bytes - first, _MADV_POPULATE_WRITE)

    if row_bytes:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(commit, range(len(tensor))))
    return row_bytes * len(tensor)


def release_pages(tensors: Sequence[torch.Tensor], slots: Sequence[int]) -> int:
    """Give back the whole pages behind rows `slots` of tensors made by `reserve_zeros`; the bytes.

    What was given back reads as zeros.
    """
    released = 0
    for tensor in tensors:
        row_bytes = tensor[0].nbytes
        for slot in slots:
            start = tensor.data_ptr() + slot * row_bytes
            first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            last = (start + row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if last > first and _libc.madvise(first, last - first, _MADV_DONTNEED) == 0:
                released += last - first
    return released
