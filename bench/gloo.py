"""The collectives of torch.distributed over gloo on the loopback device: bench/gloo.py RANKS [SMALLEST LARGEST ROUNDS].

Sizes, columns and bus bandwidth are those of medfuse_bench_collectives."""
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def pattern(rank, count):
    return ((torch.arange(count) * 7 + rank * 13) % 1009).to(torch.float32)


def contests(rank, ranks, block):
    """Per collective: name, steps of the bus, call, input, result, expected."""
    link = (ranks - 1) / ranks
    whole, part = torch.empty(ranks * block), torch.empty(block)
    total = sum(pattern(r, ranks * block) for r in range(ranks))
    yield "all_reduce", 2 * link, lambda: dist.all_reduce(whole), whole, whole, total
    yield ("reduce_scatter", link, lambda: dist.reduce_scatter_tensor(part, whole), whole, part,
           total[rank * block:(rank + 1) * block])
    yield ("all_gather", link, lambda: dist.all_gather_into_tensor(whole, part), part, whole,
           torch.cat([pattern(r, block) for r in range(ranks)]))


def measure(rank, call, repeats, rounds):
    """The median of this rank over the rounds, of the slowest rank."""
    seconds = []
    for _ in range(rounds):
        dist.barrier()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        seconds.append((time.perf_counter() - start) / repeats)
    median = torch.tensor(statistics.median(seconds), dtype=torch.float64)
    dist.all_reduce(median, dist.ReduceOp.MAX)
    return median.item()


def work(rank, ranks, store, smallest, largest, rounds):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    if rank == 0:
        print("operation,bytes,gloo_us,gloo_GB/s", flush=True)
    size = smallest
    while size <= largest:
        block = max(1, size // 4 // ranks)
        data_bytes = block * ranks * 4
        for name, steps, call, given, result, expected in contests(rank, ranks, block):
            result.fill_(-1)
            given.copy_(pattern(rank, given.numel()))
            call()
            assert torch.equal(result, expected), f"rank {rank}: wrong values from gloo's {name} of {size} bytes"
            given.zero_()
            seconds = measure(rank, call, max(1, (1 << 18) // data_bytes), rounds)
            if rank == 0:
                print(f"{name},{data_bytes},{seconds * 1e6:.1f},{data_bytes / seconds * steps / 1e9:.3f}", flush=True)
        size *= 4
    dist.destroy_process_group()


def main():
    if len(sys.argv) not in (2, 5):
        sys.exit("usage: bench/gloo.py RANKS [SMALLEST LARGEST ROUNDS]")
    ranks = int(sys.argv[1])
    smallest, largest, rounds = map(int, sys.argv[2:]) if len(sys.argv) == 5 else (1 << 10, 256 << 20, 10)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (ranks, os.path.join(folder, "store"), smallest, largest, rounds), nprocs=ranks)


if __name__ == "__main__":
    main()
