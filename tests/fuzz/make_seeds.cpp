// Writes those seeds of corpus/ that are in formats of our own: make_seeds CORPUS
#include "base/files.h"
#include "data/packed/info_json.h"
#include "launch/option_table.h"
#include "launch/train_options.h"
#include "src/checkpoint/manifest.h"
#include "tests/fuzz/packed_sample.h"

namespace {

namespace fs = std::filesystem;
using namespace medfuse;

/// A tensor in two blocks, one of 1 MiB and a byte, and a scalar.
checkpoint::Manifest manifest() {
  checkpoint::Manifest manifest;
  manifest.step = 7;
  manifest.extra = {{"stage", "encoders"}, {"score", 0.5}};
  manifest.files = {{"rank-00000.h5", 2 << 20, 0x1234}};
  const std::int64_t rows = checkpoint::kBlockBytes + 1;
  manifest.tensors = {{{"a", at::kByte, {rows + 3}},
                       {{0, "a@0", 4096, {{0}, {rows}}, {1, 2}}, {0, "a@1048577", 4096 + rows, {{rows}, {3}}, {3}}}},
                      {{"b/c", at::kBFloat16, {}}, {{0, "b/c", 0, {{}, {}}, {4}}}},
                      {{"d", at::kFloat, {0, 5}}, {}}};
  return manifest;
}

std::string every_option() {
  train::TrainOptions options;
  launch::OptionTable table;
  add_train_options(table, options);
  return table.resolved();
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) return 2;
  const fs::path corpus = words[1];
  const data::PackedIndex index = fuzz::write_packed_sample();
  fs::copy_file(fuzz::folder() / index.shards[0].file, corpus / "packed/shard", fs::copy_options::overwrite_existing);
  data::write_index(fuzz::folder().path(), index);
  fs::copy_file(fuzz::folder() / "index.json", corpus / "packed_index/index", fs::copy_options::overwrite_existing);
  write_file_atomically(corpus / "manifest/three", checkpoint::to_text(manifest()));
  write_file_atomically(corpus / "config/every_option", every_option());
}
