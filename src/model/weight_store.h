// Where the weights of a model lie while nobody uses them, and in which order its passes ask for them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace medfuse::model {

/// Keeps the weights of units, in the order in which they were adopted, and fetches them for use. A tensor that was adopted
/// (what is trained may be left as it is) has no content but between fetch() of its unit and the next fetch(). Knows no communicator, but may be collective: the
/// ranks behind it make the same passes.
struct WeightStore {
  std::function<void(const std::vector<at::Tensor>& frozen, const std::vector<at::Tensor>& trained)> adopt;
  /// `next`: what will be asked for then.
  std::function<void(std::size_t unit, std::optional<std::size_t> next)> fetch;
};
/// Null: the weights are there at all times.
using WeightStorePtr = std::shared_ptr<const WeightStore>;

/// The passes of a model over its units: forward from the first to the last, backward down to the lowest that gradients
/// reach (`units` if they reach none). Does nothing without a store.
class WeightPasses {
 public:
  WeightPasses() = default;
  WeightPasses(WeightStorePtr store, std::size_t units, std::size_t lowest)
      : store_(std::move(store)), units_(units), lowest_(lowest) {}

  /// Before `unit` is used in a forward pass.
  void forward(std::size_t unit) const;
  /// x, the result of `unit`, such that the unit is there when a gradient comes back to it.
  at::Tensor on_the_way_back(std::size_t unit, const at::Tensor& x) const;
  /// A whole pass, or its way back, on a rank that has nothing to compute while others have.
  void idle_forward() const;
  void idle_backward() const;

 private:
  void backward(std::size_t unit) const;

  WeightStorePtr store_;
  std::size_t units_ = 0;
  std::size_t lowest_ = 0;
};

}  // namespace medfuse::model
