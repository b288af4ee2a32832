#include "launch/train_options.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "cluster/stop_signals.h"
#include "launch/ranges.h"

namespace medfuse::launch {

namespace {

void one_of(const std::string& key, const std::string& value, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) == known.end()) {
    usage_error("{} = '{}' is not known: {}", key, value, fmt::join(known, ", "));
  }
}

void check_length(const std::string& stage, const train::LengthOptions& length) {
  between(stage + ".steps", length.steps, std::int64_t{0}, std::int64_t{1} << 40);
  between(stage + ".epochs", length.epochs, 0, 1e6);
  if (length.steps == 0 && length.epochs == 0) {
    usage_error("{0}.steps = {1}, {0}.epochs = {2}: one of them must be positive", stage, length.steps, length.epochs);
  }
}

void add_run_options(OptionTable& table, train::TrainOptions& o) {
  table.group("The run");
  table.add("stages", &o.stages, "stages to train, in order: encoders, fusion");
  table.add("batch", &o.batch, "samples per global step, over all ranks");
  table.add("micro_batch", &o.micro_batch, "samples per forward pass on a rank; changes memory and speed, not the result");
  table.add("seed", &o.seed, "of the order of samples, masks, dropout and initial values");
  table.add("precision", &o.precision, "f32; bf16: the text encoder computes in bfloat16; f64: all in double");
  table.add("recompute", &o.recompute,
            "what the encoders' blocks compute again in the backward pass to save memory: none, attention or full; the "
            "result is the same");
  table.add("learning_rate", &o.learning_rate, "of the text encoder's LoRA and head");
  table.add("weight_decay", &o.weight_decay, "of matrices (AdamW)");
  table.add("adam.beta1", &o.adam.beta1, "decay of the mean of gradients");
  table.add("adam.beta2", &o.adam.beta2, "decay of the mean of squared gradients");
  table.add("adam.epsilon", &o.adam.epsilon, "gradients much smaller than this hardly move a parameter");
  table.add("warmup", &o.warmup, "share of a stage's steps in which the learning rate rises");
  table.add("final_rate", &o.final_rate, "learning rate at the end of the cosine, as a share of its peak");
  table.add("clip", &o.clip, "largest global gradient norm; 0: no clipping");
  table.add("device", &o.device, "auto, cpu or cuda");
  table.add("checkpoint.every", &o.checkpoint_every, "steps between checkpoints; 0: only at the end of a stage");
  table.add("checkpoint.background", &o.checkpoint_background,
            "write them while training goes on, from a copy in memory; no: training waits until they are complete");
  table.add("checkpoint.keep", &o.checkpoint_keep, "newest checkpoints to keep");
  table.add("checkpoint.keep_every", &o.checkpoint_keep_every,
            "keep also those whose step of their stage is a multiple of this, and the ends of stages; 0: none");
  table.add("checkpoint.best", &o.checkpoint_best, "keep also the one with the highest validation score");
  table.add("validate.every", &o.validate_every,
            "steps of the fusion stage after which the validation split is scored, as it then is at checkpoints too; 0: never");
  table.add("bad_steps", &o.bad_steps,
            "steps in a row whose loss or gradient is not finite, which change nothing; then the run goes back to its last "
            "checkpoint, once, and the next time ends with exit code 5");
}

void add_stop_options(OptionTable& table, train::StopOptions& o) {
  table.group("Stopping with a checkpoint and exit code 85");
  table.add("stop.signals", &o.signals, "signals that stop the run: TERM, USR1, USR2, INT, HUP, XCPU; or none");
  table.add("stop.file", &o.file, "the run stops where this file appears, and removes it; empty: RUN/stop");
  table.add("stop.after", &o.after, "seconds from the start, after which to stop; 0: never");
  table.add("stop.limit", &o.limit,
            "seconds from the start, before which the checkpoint must be complete, for time limits that are not Slurm's; 0: none");
  table.add("stop.margin", &o.margin, "seconds to keep free before a time limit, beside those for a step and a save");
  table.add("stop.slurm_every", &o.slurm_every,
            "seconds between questions to Slurm (squeue) about the job's time limit; 0: do not ask, and know of none");
}

void add_timeout_options(OptionTable& table, train::TimeoutOptions& o) {
  table.group("Limits behind which a job that hangs ends with exit code 4, naming the rank that holds it up");
  table.add("timeout.start", &o.start,
            "seconds for each part of the start: MPI, opening the data, loading the weights, the first step of a stage");
  table.add("timeout.step", &o.step, "seconds for a step; three times the longest one so far if that is more");
  table.add("timeout.save", &o.save, "seconds for a checkpoint");
  table.add("timeout.lock", &o.lock, "seconds to wait for another job's end in the run folder (then exit code 2)");
}

void add_parallel_options(OptionTable& table, train::TrainOptions& o) {
  table.group("Ranks");
  table.add("parallel.zero", &o.parallel.zero,
            "what ranks share instead of keeping it each: 0 nothing, 1 optimiser states, 2 also gradients, 3 also the text "
            "encoder's weights, which are gathered block by block (ZeRO)");
  table.add("parallel.tensor", &o.parallel.tensor, "ranks that hold one text encoder together (tensor parallelism)");
  table.add("parallel.sequence", &o.parallel.sequence,
            "let those also share the tokens between its projections (sequence parallelism): less memory, as much traffic");
  table.add("parallel.across_nodes", &o.parallel.across_nodes, "let those be on several nodes");
  table.add("parallel.layout", &o.parallel.layout,
            "interleaved: each rank trains both encoders in the encoder stage; split: some pretrain the lab transformer while "
            "the others fine-tune the text encoder; the result is the same");
  table.add("parallel.lab_ranks", &o.parallel.lab_ranks,
            "split layout: ranks for the lab transformer, a multiple of parallel.tensor; 0: about one in eight");
  table.add("parallel.bucket_mib", &o.parallel.bucket_mib,
            "MiB of gradients that travel together, while the backward pass computes the next");
  table.add("parallel.reduce_dtype", &o.parallel.reduce_dtype,
            "type in which gradients travel: auto (as computed), f32, f64, bf16 or f16, which ends at 65504; sums of bf16 "
            "and f16 are rounded once");
}

void add_model_options(OptionTable& table, train::TrainOptions& o) {
  table.group("Text encoder (Llama family with LoRA)");
  table.add("text.model", &o.text.model, "Hugging Face folder: config.json, safetensors, tokenizer.json");
  table.add("text.layers", &o.text.layers, "use only the first N blocks; 0: all");
  table.add("text.lora_rank", &o.text.lora.rank, "rank of the adapters; 0: no adapters");
  table.add("text.lora_alpha", &o.text.lora.alpha, "adapters are scaled by alpha / rank");
  table.add("text.lora_dropout", &o.text.lora.dropout, "dropout in front of the adapters");
  table.add("text.lora_targets", &o.text.lora.targets, "adapted projections");
  table.add("text.lora_layers", &o.text.lora.layers, "adapted blocks: all, last:N, or a list such as 0-3,28");

  table.add("text.cache_mib", &o.text_cache_mib,
            "MiB on each rank to keep texts' states below the lowest adapted block (there are some with text.lora_layers = "
            "last:N), where a text seen before then starts; 0: off");

  table.group("Lab transformer (masked pretraining)");
  table.add("labs.width", &o.labs.width, "width of a token");
  table.add("labs.encoder_layers", &o.labs.encoder_layers, "blocks of the encoder");
  table.add("labs.decoder_layers", &o.labs.decoder_layers, "blocks of the decoder");
  table.add("labs.heads", &o.labs.heads, "attention heads");
  table.add("labs.mask_ratio", &o.labs.mask_ratio, "share of the observed cells that is masked");
  table.add("labs.dropout", &o.labs.dropout, "dropout in its blocks");

  table.group("Fusion (disentangled transformer)");
  table.add("fusion.views", &o.fusion.views, "both, or for comparison: text or labs alone");
  table.add("fusion.tokens", &o.fusion.tokens, "tokens of each view, at least 4");
  table.add("fusion.width", &o.fusion.width, "width of a token");
  table.add("fusion.heads", &o.fusion.heads, "attention heads");
  table.add("fusion.kronecker", &o.fusion.kronecker, "width of each factor of the Kronecker product");
  table.add("fusion.dropout", &o.fusion.dropout, "dropout in front of the classifier");
  table.add("fusion.mutual_information", &o.fusion.mutual_information, "weight of the vCLUB loss (nats over features of S_C)");
  table.add("fusion.estimator_width", &o.fusion.estimator_width, "width of the vCLUB estimator's hidden layers");
}

void add_stage_options(OptionTable& table, train::TrainOptions& o) {
  table.group("Stage: encoders (LoRA fine-tuning and masked pretraining)");
  table.add("encoders.steps", &o.encoders.length.steps, "steps of the text encoder; 0: as many as .epochs says");
  table.add("encoders.epochs", &o.encoders.length.epochs, "the same in epochs of the training split");
  table.add("encoders.lab_steps", &o.encoders.lab_steps,
            "steps of the lab transformer, 0: as the text encoder's; the longer of the two makes the stage");
  table.add("encoders.lab_learning_rate", &o.encoders.lab_learning_rate, "of the lab transformer");
  table.add("encoders.lab_batch", &o.encoders.lab_batch, "samples per step of the lab transformer; 0: batch");

  table.group("Stage: fusion (all three models jointly)");
  table.add("fusion.steps", &o.fusion_stage.length.steps, "length in steps; 0: as many as .epochs says");
  table.add("fusion.epochs", &o.fusion_stage.length.epochs, "length in epochs of the training split");
  table.add("fusion.learning_rate", &o.fusion_stage.learning_rate, "of the fusion transformer");
  table.add("fusion.encoder_factor", &o.fusion_stage.encoder_factor, "scales both encoders' learning rates; 0: frozen");
  table.add("fusion.estimator_learning_rate", &o.fusion_stage.estimator_learning_rate, "of the vCLUB estimator");
  table.add("fusion.estimator_steps", &o.fusion_stage.estimator_steps, "updates of the vCLUB estimator in each step");
}

}  // namespace

void add_train_options(OptionTable& table, train::TrainOptions& options) {
  table.group("Data");
  table.add("data.path", &options.data, "packed data set: what `medfuse pack` wrote");
  add_run_options(table, options);
  add_stop_options(table, options.stop);
  add_timeout_options(table, options.timeout);
  add_parallel_options(table, options);
  add_model_options(table, options);
  add_stage_options(table, options);
}

train::TrainOptions read_run_options(const std::string& run) {
  const std::filesystem::path config = std::filesystem::path(run) / "config.cfg";
  if (!std::filesystem::exists(config)) data_error("{}: no run folder: config.cfg is missing; run `medfuse train`", run);
  train::TrainOptions options;
  OptionTable table;
  add_train_options(table, options);
  // Runs of before there were several limits.
  OptionTable former;
  double timeout = 0;
  former.add("timeout", &timeout, "");
  table.tolerate(former);
  table.parse({}, config);
  return options;
}

void check(const train::TrainOptions& o) {
  if (o.data.empty()) usage_error("data.path is missing: the folder that `medfuse pack` wrote");
  check_settings(o);
}

void check_settings(const train::TrainOptions& o) {
  if (o.text.model.empty()) usage_error("text.model is missing: a Hugging Face folder of a Llama model");
  if (o.stages.empty()) usage_error("stages is empty: encoders, fusion or both");
  for (std::size_t i = 0; i < o.stages.size(); ++i) {
    one_of("stages", o.stages[i], {"encoders", "fusion"});
    if (std::count(o.stages.begin(), o.stages.end(), o.stages[i]) > 1) usage_error("stages names '{}' twice", o.stages[i]);
  }
  if (o.stages.size() == 2 && o.stages[0] == "fusion") usage_error("stages: encoders comes before fusion");
  one_of("precision", o.precision, {"f32", "bf16", "f64"});
  one_of("recompute", o.recompute, {"none", "attention", "full"});
  one_of("device", o.device, {"auto", "cpu", "cuda"});
  one_of("parallel.reduce_dtype", o.parallel.reduce_dtype, {"auto", "f32", "f64", "bf16", "f16"});
  between("parallel.tensor", o.parallel.tensor, std::int64_t{1}, std::int64_t{65536});
  one_of("parallel.layout", o.parallel.layout, {"interleaved", "split"});
  between("parallel.lab_ranks", o.parallel.lab_ranks, std::int64_t{0}, std::int64_t{1048576});
  between("parallel.zero", o.parallel.zero, std::int64_t{0}, std::int64_t{3});
  if (o.parallel.zero == 3 && o.text_cache_mib > 0) {
    usage_error("text.cache_mib = {}: with parallel.zero = 3 all ranks pass through the frozen blocks together, so none may "
                "skip them; set it to 0", o.text_cache_mib);
  }
  if (!(o.text.lora.alpha > 0 && o.text.lora.alpha <= 1e6)) {
    usage_error("text.lora_alpha = {} must lie between 0 and 1000000", o.text.lora.alpha);
  }
  between("parallel.bucket_mib", o.parallel.bucket_mib, 0.001, 65536);
  one_of("fusion.views", o.fusion.views, {"both", "text", "labs"});
  between("batch", o.batch, std::int64_t{1}, std::int64_t{1048576});
  between("micro_batch", o.micro_batch, std::int64_t{1}, std::int64_t{1048576});
  between("fusion.estimator_steps", o.fusion_stage.estimator_steps, std::int64_t{1}, std::int64_t{1000});
  between("text.cache_mib", o.text_cache_mib, std::int64_t{0}, std::int64_t{1} << 30);
  between("text.layers", o.text.layers, std::int64_t{0}, std::int64_t{1000});
  between("text.lora_rank", o.text.lora.rank, std::int64_t{0}, std::int64_t{4096});
  between("labs.width", o.labs.width, std::int64_t{4}, std::int64_t{16384});
  between("labs.encoder_layers", o.labs.encoder_layers, std::int64_t{1}, std::int64_t{256});
  between("labs.decoder_layers", o.labs.decoder_layers, std::int64_t{1}, std::int64_t{256});
  between("labs.heads", o.labs.heads, std::int64_t{1}, std::int64_t{1024});
  between("fusion.tokens", o.fusion.tokens, std::int64_t{4}, std::int64_t{256});
  between("fusion.width", o.fusion.width, std::int64_t{4}, std::int64_t{16384});
  between("fusion.heads", o.fusion.heads, std::int64_t{1}, std::int64_t{1024});
  between("fusion.kronecker", o.fusion.kronecker, std::int64_t{2}, std::int64_t{256});
  between("fusion.estimator_width", o.fusion.estimator_width, std::int64_t{1}, std::int64_t{65536});
  between("encoders.lab_batch", o.encoders.lab_batch, std::int64_t{0}, std::int64_t{1048576});
  between("encoders.lab_steps", o.encoders.lab_steps, std::int64_t{0}, std::int64_t{1} << 40);
  between("checkpoint.every", o.checkpoint_every, std::int64_t{0}, std::int64_t{1000000000000});
  between("checkpoint.keep", o.checkpoint_keep, std::int64_t{1}, std::int64_t{1000000});
  between("checkpoint.keep_every", o.checkpoint_keep_every, std::int64_t{0}, std::int64_t{1000000000000});
  between("validate.every", o.validate_every, std::int64_t{0}, std::int64_t{1000000000000});
  between("bad_steps", o.bad_steps, std::int64_t{1}, std::int64_t{1000000});
  if (o.labs.width % o.labs.heads != 0) {
    usage_error("labs.width = {} is not a multiple of labs.heads = {}", o.labs.width, o.labs.heads);
  }
  if (o.fusion.width % o.fusion.heads != 0) {
    usage_error("fusion.width = {} is not a multiple of fusion.heads = {}", o.fusion.width, o.fusion.heads);
  }
  between("labs.mask_ratio", o.labs.mask_ratio, 0.01, 0.99);
  between("labs.dropout", o.labs.dropout, 0, 0.99);
  between("text.lora_dropout", o.text.lora.dropout, 0, 0.99);
  between("fusion.dropout", o.fusion.dropout, 0, 0.99);
  between("fusion.mutual_information", o.fusion.mutual_information, 0, 1e6);
  between("adam.beta1", o.adam.beta1, 0, 0.999999);
  between("adam.beta2", o.adam.beta2, 0, 0.999999);
  between("adam.epsilon", o.adam.epsilon, 1e-30, 1);
  between("warmup", o.warmup, 0, 1);
  between("final_rate", o.final_rate, 0, 1);
  between("learning_rate", o.learning_rate, 0, 10);
  between("weight_decay", o.weight_decay, 0, 10);
  between("clip", o.clip, 0, 1e12);
  between("encoders.lab_learning_rate", o.encoders.lab_learning_rate, 0, 10);
  between("fusion.learning_rate", o.fusion_stage.learning_rate, 0, 10);
  between("fusion.encoder_factor", o.fusion_stage.encoder_factor, 0, 100);
  between("fusion.estimator_learning_rate", o.fusion_stage.estimator_learning_rate, 0, 10);
  cluster::signal_numbers(o.stop.signals);
  between("stop.after", o.stop.after, 0, 1e9);
  between("stop.limit", o.stop.limit, 0, 1e9);
  between("stop.margin", o.stop.margin, 0, 1e6);
  between("stop.slurm_every", o.stop.slurm_every, 0, 1e6);
  if (o.stop.limit > 0 && o.stop.limit <= o.stop.margin) {
    usage_error("stop.limit = {} leaves no time to train before stop.margin = {}: one of them must change", o.stop.limit,
                o.stop.margin);
  }
  between("timeout.start", o.timeout.start, 1, 1e9);
  between("timeout.step", o.timeout.step, 1, 1e9);
  between("timeout.save", o.timeout.save, 1, 1e9);
  between("timeout.lock", o.timeout.lock, 0, 1e9);
  for (const auto& stage : o.stages) {
    check_length(stage, stage == "encoders" ? o.encoders.length : o.fusion_stage.length);
  }
}

}  // namespace medfuse::launch
