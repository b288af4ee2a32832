// The kernels for x86-64 processors with AVX2 (compile option -mavx2), without fused multiply-add.
#define MEDFUSE_KERNEL_SET avx2
#include "src/ops/kernel_loops.h"
