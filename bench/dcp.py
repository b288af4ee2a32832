"""PyTorch's distributed checkpoint on the tensors of medfuse_bench_checkpoint: bench/dcp.py RANKS FOLDER [MIB ROUNDS].

The same loop of steps, the same figures, without a header."""
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp


class Steps:
    def __init__(self):
        self.matrix = torch.full((384, 384), 1e-3)
        self.product = torch.empty(384, 384)

    def step(self, yes):
        for _ in range(4):
            torch.mm(self.matrix, self.matrix, out=self.product)
        said = torch.tensor(float(yes), dtype=torch.float64)
        dist.all_reduce(said)
        return said.item() == dist.get_world_size()


def work(rank, ranks, store, folder, mib, rounds):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    state = {f"t{i:05}": torch.randn(2048, 2048) for i in range(mib // 16)}
    steps = Steps()
    apart = dist.new_group(backend="gloo")  # its thread talks to other ranks while the steps do

    def place(name):
        path = os.path.join(folder, name)
        dist.barrier()
        if rank == 0:
            shutil.rmtree(path, ignore_errors=True)
        dist.barrier()
        return path

    def background(name):
        path = place(name)
        begin = time.perf_counter()
        future = dcp.async_save(state, checkpoint_id=path, process_group=apart)
        blocked = time.perf_counter() - begin
        done, loop = 0, time.perf_counter()
        complete = False
        while not complete:
            complete = steps.step(future.done())
            done += 1
        beside = done / (time.perf_counter() - loop)
        written = time.perf_counter() - begin
        future.result()
        alone = time.perf_counter()
        for _ in range(done):
            steps.step(True)
        return blocked, written, beside * (time.perf_counter() - alone) / done

    background("warm-up")
    waited, beside = [], []
    for _ in range(rounds):
        path = place("waited")
        begin = time.perf_counter()
        dcp.save(state, checkpoint_id=path)
        waited.append(time.perf_counter() - begin)
        beside.append(background("background"))
    if rank == 0:
        blocked, written, speed = (statistics.median(column) for column in zip(*beside))
        middle = statistics.median(waited)
        print(f"PyTorch dcp.save,{ranks},{mib},{middle:.3f},{middle:.3f},{mib / middle:.0f},")
        print(f"PyTorch dcp.async_save,{ranks},{mib},{blocked:.3f},{written:.3f},{mib / written:.0f},{speed:.2f}", flush=True)
    dist.destroy_process_group()


def main():
    if len(sys.argv) not in (3, 5):
        sys.exit("usage: bench/dcp.py RANKS FOLDER [MIB ROUNDS]")
    mib, rounds = map(int, sys.argv[3:]) if len(sys.argv) == 5 else (512, 5)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with tempfile.TemporaryDirectory() as store:
        mp.spawn(work, (int(sys.argv[1]), os.path.join(store, "store"), sys.argv[2], mib, rounds), nprocs=int(sys.argv[1]))


if __name__ == "__main__":
    main()
