// The kernels for every processor of the architecture.
#define MEDFUSE_KERNEL_SET baseline
#include "src/ops/kernel_loops.h"
