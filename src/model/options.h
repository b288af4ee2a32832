// Sizes and choices of the three models. Defaults are those of the method's sources where they state one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace medfuse::model {

/// Low-rank adaptation (Hu et al., arXiv 2106.09685): W x + (alpha / rank) B A dropout(x).
struct LoraOptions {
  std::int64_t rank = 16;
  double alpha = 32;
  double dropout = 0.05;
  std::vector<std::string> targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  std::string layers = "all";  ///< "all", "last:N", or a list such as "0-3,28"
};

struct TextOptions {
  std::string model;            ///< Hugging Face folder
  std::int64_t layers = 0;      ///< use only the first N blocks; 0: all
  LoraOptions lora;
};

/// Masked lab transformer (ReMasker, arXiv 2309.13793).
struct LabOptions {
  std::int64_t width = 64;
  std::int64_t encoder_layers = 4;
  std::int64_t decoder_layers = 2;
  std::int64_t heads = 4;
  double mask_ratio = 0.5;
  double dropout = 0.0;
};

/// Disentangled fusion (MEDFuse, arXiv 2407.12309).
struct FusionOptions {
  std::int64_t tokens = 4;      ///< tokens of each view, at least 4: attention over one token is constant
  std::int64_t width = 64;      ///< of each token
  std::int64_t heads = 4;
  std::int64_t kronecker = 8;   ///< width of each factor of the Kronecker product
  double dropout = 0.1;
  double mutual_information = 0.1;  ///< weight of the vCLUB loss (nats over features of S_C)
  std::int64_t estimator_width = 128;
  std::string views = "both";   ///< "both", "text" or "labs"
};

}  // namespace medfuse::model
