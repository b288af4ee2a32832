// medfuse plan: what a training run would need of a machine, before it waits in a queue.
#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "launch/command.h"
#include "launch/machine_options.h"
#include "launch/pack_options.h"
#include "launch/train_options.h"
#include "src/plan/report.h"
#include "src/plan/search.h"
#include "src/plan/step.h"

namespace medfuse::launch {

namespace {

class PlanCommand : public Command {
 public:
  std::string name() const override { return "plan"; }
  std::string summary() const override { return "memory, traffic and time of a training run, before the queue wait"; }
  std::string usage() const override {
    return "medfuse plan --config FILE --nodes N --gpus-per-node G [--machine FILE] [--KEY VALUE ...]";
  }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("config", &config_, "configuration file of pack and train; the command line wins over it");
    options.add_argument("machine", &machine_, "description of the machine");
    options.add("nodes", &nodes_, "nodes");
    options.add("gpus-per-node", &per_node_, "ranks on a node; 0: as many as the machine has");
    options.add_flag("tables", &tables_, "print weak and strong scaling of the Llama-3 models instead");
    options.group("What the data will be like");
    options.add("text.max_tokens", &tokens_, "all texts are taken to be as long as this");
    options.add("labs.count", &lab_columns_, "lab columns");
    options.add("labels", &diseases_, "diseases that are predicted");
    add_train_options(options, options_);
    add_pack_options(pack_table_, pack_);
    options.tolerate(pack_table_);
  }

  int run(const OptionTable&, cluster::Process& process) override {
    if (process.size() > 1) usage_error("plan computes alone: start it without mpirun");
    plan::Job job;
    job.machine = read_machine(machine_);
    job.options = options_;
    job.tokens = tokens_;
    job.lab_columns = lab_columns_;
    job.diseases = diseases_;
    job.nodes = nodes_;
    job.per_node = per_node_ == 0 ? job.machine.ranks : per_node_;
    if (tables_) return print_tables(job);

    check_settings(options_);
    job.llama = weights::read_llama_config(options_.text.model);
    const plan::Plan planned = plan::plan(job);
    fmt::print("{}{}{}{}", plan::headline(job), plan::memory_table(job, planned), plan::traffic_table(job, planned),
               plan::best_table(job, plan::search(job)));
    std::fflush(stdout);
    if (!planned.fits(job.machine)) usage_error("plan: {}", plan::refusal(job, planned));
    return 0;
  }

 private:
  int print_tables(plan::Job job) {
    std::vector<std::int64_t> sizes;
    for (std::int64_t size = 1; size <= 4096; size *= 2) sizes.push_back(size);
    for (const char* model : {"llama-3-8b", "llama-3-70b"}) {
      job.options.text.model = std::string("configs/shapes/") + model;
      check_settings(job.options);
      job.llama = weights::read_llama_config(job.options.text.model);
      fmt::print("{}", plan::scaling_table(job, model, plan::Scaling::weak, 8, sizes));
      fmt::print("{}", plan::scaling_table(job, model, plan::Scaling::strong, 4096, sizes));
      std::fflush(stdout);
    }
    return 0;
  }

  std::string config_;
  std::string machine_ = "configs/machines/h100-sxm.cfg";
  std::int64_t nodes_ = 1;
  std::int64_t per_node_ = 0;
  bool tables_ = false;
  std::int64_t tokens_ = 512;
  std::int64_t lab_columns_ = 64;
  std::int64_t diseases_ = 10;
  train::TrainOptions options_;
  OptionTable pack_table_;
  PackSettings pack_;
};

}  // namespace

std::unique_ptr<Command> plan_command() { return std::make_unique<PlanCommand>(); }

}  // namespace medfuse::launch
