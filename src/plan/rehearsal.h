// One rank's step in miniature: tensors have a size and no content, and a clock runs on by what operations would take.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/plan/crew.h"
#include "src/plan/job.h"
#include "src/plan/ledger.h"
#include "src/plan/links.h"

namespace medfuse::plan {

/// What travels.
enum class Flow : std::size_t {
  gradients,   ///< over those that divide the samples
  parameters,  ///< updated adapters, from their owners (ZeRO)
  weights,     ///< frozen blocks (ZeRO-3)
  tensor,      ///< sums and gathers within a tensor group
  statistics,  ///< moments of the fusion's features, norms, counts
};
inline constexpr std::size_t kFlows = static_cast<std::size_t>(Flow::statistics) + 1;

/// Name in tables.
const char* name_of(Flow flow);

/// With whom a rank shares its work (train::Ranks).
enum class Group : std::size_t {
  tensor,
  data,     ///< whose samples make the fusion stage's batch
  task,     ///< whose samples make that of the encoder it trains
  sharing,  ///< whose shares make the text encoder's weights (ZeRO-3)
};

/// What a rank did so far.
struct Tally {
  double seconds = 0;                      ///< of the clock
  double flops = 0;                        ///< of products
  std::array<double, kFlows> sent{};       ///< bytes by this rank
  std::array<double, kFlows> waited{};     ///< seconds that the clock stood still for it

  Tally& operator+=(const Tally& other);
  Tally operator-(const Tally& other) const;
  Tally operator*(double factor) const;
};

class Rehearsal {
 public:
  Rehearsal(const Job& job, const Crew& crew);

  Ledger& memory() { return memory_; }
  const Tally& tally() const { return tally_; }

  /// The result of an operation: held, and written once and read once by what comes.
  Held make(Item item, std::int64_t elements, std::int64_t element_bytes);
  /// Memory that costs no time: what is already there.
  Held hold(Item item, std::int64_t bytes) { return memory_.hold(item, bytes); }
  /// A product [rows, in] x [in, out], the matrix read from memory.
  void multiply(double rows, double in, double out);
  /// An operation that reads or writes so many bytes in all.
  void touch(double bytes);
  /// Products that never leave the processor's caches (attention).
  void products(double flops);

  std::int64_t ranks(Group group) const { return link(group).ranks; }
  /// A collective that computing waits for, on a whole tensor of `bytes` among this rank's tensor group.
  void among_tensor(Collective collective, double bytes);
  /// The same among others.
  void among(Group group, Flow flow, Collective collective, double bytes);
  /// Starts one among others than the tensor group, which goes on beside computing, after those before it. Returns when it
  /// ends, by the clock.
  double start(Group group, Flow flow, Collective collective, double bytes);
  /// Lets the clock stand still until then.
  void wait(Flow flow, double until);
  /// What a reduction holds beside its input: the parts of others, where MPI brings them from other nodes.
  Held staging(Item item, double bytes, Group group);

  /// Adds what further steps of the same kind would add.
  void repeat(const Tally& what, double times);

 private:
  void spend(double seconds) { tally_.seconds += seconds; }
  const Link& link(Group group) const { return links_[static_cast<std::size_t>(group)]; }

  Ledger memory_;
  Tally tally_;
  std::array<Link, 4> links_;
  double free_ = 0;       // when all has been sent that was started
  double flops_, bandwidth_, least_;
  double matrix_bytes_;   // of an element of a weight
  bool cuda_;
};

}  // namespace medfuse::plan
