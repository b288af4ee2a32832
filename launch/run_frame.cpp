#include "launch/run_frame.h"

#include <algorithm>

#include "base/error.h"
#include "cluster/device.h"
#include "cluster/together.h"
#include "launch/ranges.h"
#include "launch/train_options.h"
#include "src/checkpoint/reader.h"
#include "src/train/run_folder.h"
#include "src/train/weights_identity.h"

namespace medfuse::launch {

JobRanks::JobRanks(cluster::Process& process, const std::string& device, const cluster::MeshOptions& mesh) {
  const std::vector<std::string>& hosts = process.hosts();
  cluster::MeshLayout layout;
  cluster::together(process, [&] { layout = cluster::lay_out_mesh(hosts, mesh); });
  rank_map_ = cluster::rank_map(layout, hosts);
  if (layout.lab_rows > 0) first_lab_ = layout.first_lab_row();
  const at::Device chosen = cluster::choose_device(process, device);
  host_ = cluster::make_communicator(process, at::kCPU);
  if (!chosen.is_cpu()) device_ = cluster::make_communicator(process, chosen);
  host_->set_timeout(cluster::no_limit);
  if (device_) device_->set_timeout(cluster::no_limit);
  host_groups_.emplace(*host_, layout);
  if (device_) device_groups_.emplace(*device_, layout);
}

train::Ranks JobRanks::ranks() {
  const cluster::MeshGroups& host = *host_groups_;
  const cluster::MeshGroups& device = device_groups_ ? *device_groups_ : host;
  train::Ranks ranks(host.data(), device.data(), host.world(), host.tensor(), device.tensor());
  if (first_lab_) ranks.split.emplace(host.task(), device.task(), *first_lab_);
  return ranks;
}

model::TensorParallelPtr JobRanks::tensor_parallel(bool sequence) {
  return train::tensor_parallel(*ranks().tensor_device, sequence);
}

void RunSelection::describe_inputs(OptionTable& options, const std::string& run_help, const std::string& data_help) {
  options.add_argument("run", &run, run_help);
  options.add_argument("data", &data, data_help);
}

void RunSelection::describe_rest(OptionTable& options) {
  options.add_argument("checkpoint", &checkpoint, "newest; best: of the highest validation score; or the number of a step");
  options.add_argument("text.model", &model, "where the run's base weights lie now, if they have moved");
  options.add_argument("device", &device, "auto, cpu or cuda");
  options.add("timeout.start", &timeout.start,
              "seconds for each part of the start (opening, loading, the first samples); one that hangs longer ends the job");
  options.add("timeout.step", &timeout.step,
              "seconds for micro_batch samples; three times the longest such part so far if that is more");
  options.add("micro_batch", &micro_batch, "samples per forward pass on a rank");
}

void RunSelection::check() const {
  if (micro_batch < 1) usage_error("--micro_batch {} must be at least 1", micro_batch);
  checkpoint::check_choice(checkpoint);
  between("--timeout.start", timeout.start, 1, 1e9);
  between("--timeout.step", timeout.step, 1, 1e9);
}

namespace {

/// What such a model says looks like any other result.
void warn_if_unfinished(const std::string& run, const OpenRun& open) {
  const auto& planned = open.options.stages;
  const std::string where = train::unfinished(open.loaded, planned);
  if (where.empty()) return;
  const bool fusion_to_come =
      !open.loaded.fused() && std::find(planned.begin(), planned.end(), "fusion") != planned.end();
  fmt::print(stderr, "medfuse: warning: {}: training has not finished ({}){}\n", run, where,
             fusion_to_come ? ": the text encoder speaks alone, labs are not used yet" : "");
}

}  // namespace

OpenRun open_run(cluster::Process& process, const RunSelection& selection) {
  OpenRun open;
  open.patience = std::make_unique<Patience>(process, selection.timeout);
  cluster::together(process, [&] { open.options = read_run_options(selection.run); });
  open.job = std::make_unique<JobRanks>(process, selection.device);
  open.patience->enter(train::Part::start, "opening the run");
  cluster::together(process, [&] {
    if (!selection.model.empty()) open.options.text.model = selection.model;
    open.data = selection.data.empty() ? open.options.data : selection.data;
    open.trained = train::trained_on(selection.run);
    if (selection.needs_data) {
      open.reader = std::make_unique<data::PackedReader>(open.data);
      train::check_same_inputs(open.reader->info(), open.trained, open.data);
    }
  });
  const std::string identity =
      train::weights_identity(open.options.text.model, train::team_of(open.job->ranks().world), process.host());
  cluster::together(process, [&] {
    train::check_trained_with(selection.run, identity, open.options.text.model);
    open.model = std::make_unique<model::MedfuseModel>(train::model_options(open.options, open.trained));
    open.model->to(open.job->device());
    open.model->eval();
  });
  open.patience->enter(train::Part::start, "reading the newest checkpoint");
  open.loaded = train::load_trained(*open.model, selection.run, open.job->ranks(), selection.checkpoint);
  if (process.rank() == 0 && selection.checkpoint == "newest") warn_if_unfinished(selection.run, open);
  return open;
}

}  // namespace medfuse::launch
