// LoRA fine-tuning of a text encoder of any size, with random weights: how fast it is and what memory it takes, beside
// what `medfuse plan` says of the same job.
//   medfuse_bench_finetune SHAPE TOKENS TEXTS STEPS [--machine FILE] [--KEY VALUE ...]
// SHAPE: a folder with a config.json, such as configs/shapes/llama-3-8b; TEXTS of TOKENS random tokens each for a rank
// and step; keys are those of `medfuse train` that describe() below names. Adapters are on all projections, of rank 16
// and without dropout; weights are bf16 on a GPU, f32 on a CPU. A step is that of the encoder stage for the text:
// forward, backward, reduction, AdamW.
// Prints a line about the job and CSV: step_ms is the median without the first two steps, of the slowest rank;
// tensors_mib what the tensors of a rank took at most; on a GPU reserved_mib what the allocator took for them; rank_mib
// all memory that is in use on the GPU, or the most that the process had resident, the making of the weights included.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <set>

#include "base/stopwatch.h"
#include "bench/arguments.h"
#include "bench/median.h"
#include "bench/tensor_meter.h"
#include "bench/text_training.h"
#include "cluster/device.h"
#include "cluster/mesh.h"
#include "cluster/together.h"
#include "launch/machine_options.h"
#include "launch/option_table.h"
#include "launch/train_options.h"
#include "src/plan/step.h"
#include "src/train/memory.h"

namespace medfuse::bench {
namespace {

constexpr std::int64_t warm_up = 2;  // steps in which libraries choose kernels and memory is touched first

struct Settings {
  std::string machine;
  train::TrainOptions train;
};

void describe(launch::OptionTable& table, Settings& settings) {
  train::TrainOptions& o = settings.train;
  table.add("machine", &settings.machine, "description of the machine");
  table.add("device", &o.device, "auto, cpu or cuda");
  table.add("precision", &o.precision, "of weights and compute");
  table.add("recompute", &o.recompute, "none, attention or full");
  table.add("parallel.tensor", &o.parallel.tensor, "ranks to an encoder");
  table.add("parallel.sequence", &o.parallel.sequence, "whether those share tokens, too");
  table.add("parallel.across_nodes", &o.parallel.across_nodes, "whether those may be on several nodes");
  table.add("parallel.zero", &o.parallel.zero, "0 to 3");
  table.add("text.layers", &o.text.layers, "only the first so many blocks; 0: all");
  table.add("text.lora_rank", &o.text.lora.rank, "rank of the adapters");
  table.add("text.lora_layers", &o.text.lora.layers, "adapted blocks");
}

Settings read_settings(int argc, char** argv, bool cuda_if_auto) {
  Settings settings;
  settings.train.text.model = argv[1];
  settings.train.text.lora.dropout = 0;
  launch::OptionTable table;
  describe(table, settings);
  table.parse({argv + 5, argv + argc});
  const bool cuda = settings.train.device == "cuda" || (settings.train.device == "auto" && cuda_if_auto);
  if (!table.set("precision")) settings.train.precision = cuda ? "bf16" : "f32";
  if (!table.set("machine")) {
    settings.machine = cuda ? "configs/machines/h100-sxm.cfg" : "configs/machines/cpu-2core.cfg";
  }
  return settings;
}

/// Most that one rank took, or will.
struct Memory {
  std::int64_t tensors = 0;
  std::int64_t reserved = 0;  ///< by the caching allocator; 0 on a CPU
  std::int64_t all = 0;
};

void restart_meters(at::Device device) {
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
  else TensorMeter::instance().restart();
}

Memory read_meters(at::Device device) {
  if (!device.is_cuda()) return {TensorMeter::instance().peak(), 0, train::peak_resident_bytes()};
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  constexpr auto sum = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  // The allocator gives nothing back, so what is in use now is the most that was.
  std::size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {stats.allocated_bytes[sum].peak, stats.reserved_bytes[sum].peak, static_cast<std::int64_t>(total - free)};
}

std::string name_of(at::Device device) {
  return device.is_cuda() ? at::cuda::getDeviceProperties(device.index())->name : "CPU";
}

/// The same job for `medfuse plan`, with a lab transformer and a fusion, which every plan has, as small as can be.
plan::Job job_of(const Settings& settings, const weights::LlamaConfig& shape, const TextWork& work,
                 const cluster::Process& process) {
  plan::Job job;
  job.options = settings.train;
  job.options.stages = {"encoders"};
  job.options.labs = {.width = 8, .encoder_layers = 1, .decoder_layers = 1, .heads = 1};
  job.options.encoders.lab_batch = 1;
  job.options.fusion.width = 8;
  job.options.fusion.estimator_width = 8;
  job.llama = shape;
  job.tokens = work.tokens;
  job.lab_columns = 1;
  job.diseases = diseases;
  job.machine = launch::read_machine(settings.machine);
  const std::set<std::string> nodes(process.hosts().begin(), process.hosts().end());
  job.nodes = std::ssize(nodes);
  job.per_node = process.size() / job.nodes;
  return job;
}

/// The ranks on a mesh, with what they talk over.
struct Groups {
  Groups(cluster::Process& process, at::Device device, const cluster::MeshLayout& layout)
      : host_world(cluster::make_communicator(process, at::kCPU)), host(*host_world, layout) {
    if (device.is_cpu()) return;
    device_world = cluster::make_communicator(process, device);
    on_device.emplace(*device_world, layout);
  }
  train::Ranks ranks() {
    const cluster::MeshGroups& device = on_device ? *on_device : host;
    return {host.data(), device.data(), host.world(), host.tensor(), device.tensor()};
  }

  std::unique_ptr<cluster::Communicator> host_world, device_world;
  cluster::MeshGroups host;
  std::optional<cluster::MeshGroups> on_device;
};

/// Seconds of each step, on this rank.
std::vector<double> run_steps(TextTraining& training, std::int64_t steps, at::Device device) {
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < steps; ++i) {
    const Stopwatch watch;
    training.step();
    if (device.is_cuda()) c10::cuda::device_synchronize();
    seconds.push_back(watch.seconds());
  }
  return seconds;
}

int run(cluster::Process& process, int argc, char** argv) {
  if (argc < 5) {
    usage_error("usage: medfuse_bench_finetune SHAPE TOKENS TEXTS STEPS [--machine FILE] [--KEY VALUE ...]");
  }
  const TextWork work{number(argv[3], 1), number(argv[2], 1)};
  const std::int64_t steps = number(argv[4], warm_up + 1);
  Settings settings = read_settings(argc, argv, c10::cuda::device_count() > 0);
  train::TrainOptions& options = settings.train;
  launch::check_settings(options);
  const weights::LlamaConfig shape = weights::read_llama_config(options.text.model);
  const cluster::MeshLayout layout = cluster::lay_out_mesh(
      process.hosts(),
      {.tensor = static_cast<int>(options.parallel.tensor), .across_nodes = options.parallel.across_nodes});
  options.batch = work.texts * layout.data;
  options.micro_batch = work.texts;
  const plan::Job job = job_of(settings, shape, work, process);
  const plan::Plan planned = plan::plan(job);

  const at::Device device = cluster::choose_device(process, options.device);
  TensorMeter::instance();
  Groups groups(process, device, layout);
  TextTraining training(options, shape, work, groups.ranks());
  restart_meters(device);
  std::vector<double> seconds = run_steps(training, steps, device);
  seconds.erase(seconds.begin(), seconds.begin() + warm_up);
  const double step = process.all_reduce(median(std::move(seconds)), cluster::Combine::max);
  const Memory own = read_meters(device);
  const auto most = process.all_reduce(std::vector<std::int64_t>{own.tensors, own.reserved, own.all},
                                       cluster::Combine::max);
  if (process.rank() != 0) return 0;

  const auto rate = [&](double of_step) {
    return static_cast<double>(work.texts * work.tokens) / (layout.tensor * of_step);
  };
  const auto print = [](const char* name, double measured, double expected, double unit) {
    fmt::print("{},{:.1f},{:.1f}\n", name, measured / unit, expected / unit);
  };
  const auto tensors = static_cast<double>(planned.largest().peak_bytes);
  const std::filesystem::path folder = std::filesystem::absolute(options.text.model).lexically_normal();
  fmt::print("# {}: {}, {}, LoRA rank {} without dropout, {} texts of {} tokens a rank, {} data x {} tensor, zero {}, "
             "recompute {}; planned for {}\n",
             name_of(device), folder.filename().string(), options.precision, options.text.lora.rank, work.texts,
             work.tokens, layout.data, layout.tensor, options.parallel.zero, options.recompute, job.machine.name);
  fmt::print("figure,measured,planned\n");
  print("step_ms", step, planned.seconds(), 1e-3);
  print("tokens_per_second_of_a_rank", rate(step), rate(planned.seconds()), 1);
  print("tensors_mib", static_cast<double>(most[0]), tensors, 0x1p20);
  if (device.is_cuda()) {
    print("reserved_mib", static_cast<double>(most[1]), tensors * (1 + job.machine.slack), 0x1p20);
  }
  print("rank_mib", static_cast<double>(most[2]), planned.needed_bytes(job.machine), 0x1p20);
  return 0;
}

}  // namespace
}  // namespace medfuse::bench

int main(int argc, char** argv) {
  medfuse::cluster::Process process(&argc, &argv);
  return medfuse::cluster::run_job(process, [&] { return medfuse::bench::run(process, argc, argv); });
}
