// Every operation of a communicator as it looks where one member is missing: the last of its group.
#pragma once

#include <ATen/Functions.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cluster/communicator.h"

namespace medfuse::cluster {

struct Operation {
  std::string name;  ///< as messages begin
  /// What the members that came do, and what the missing one does later, to finish what was begun.
  std::function<void(Communicator&, int missing)> come;
  std::function<void(Communicator&, int missing)> finish;
};

inline at::Tensor ones(Communicator& c, std::int64_t elements) {
  return at::ones({elements}, at::TensorOptions(c.device()).dtype(at::kFloat));
}

template <class F>
void for_others(Communicator& c, const F& f) {
  for (int r = 0; r < c.size(); ++r) {
    if (r != c.rank()) f(r);
  }
}

inline std::vector<Operation> operations() {
  constexpr std::int64_t count = 60000;  // longer than what MPI sends before anyone receives
  const auto send = [](Communicator& c, int to) { c.send(ones(c, count), to)->wait(); };
  const auto short_send = [](Communicator& c, int to) { c.send(ones(c, 1), to)->wait(); };
  const auto receive = [](Communicator& c, int from) { c.receive(ones(c, count), from)->wait(); };
  std::vector<Operation> list{
      {"all_reduce (sum) of", [](Communicator& c, int) { c.all_reduce(ones(c, count), Reduction::sum)->wait(); }, {}},
      {"all_reduce (max) of", [](Communicator& c, int) { c.all_reduce(ones(c, 30), Reduction::max)->wait(); }, {}},
      {"broadcast of", [](Communicator& c, int missing) { c.broadcast(ones(c, count), missing)->wait(); }, {}},
      {"all_gather of",
       [](Communicator& c, int) { c.all_gather(ones(c, count * c.size()), ones(c, count))->wait(); }, {}},
      {"reduce_scatter (sum) of",
       [](Communicator& c, int) {
         c.reduce_scatter(ones(c, count), ones(c, count * c.size()), Reduction::sum)->wait();
       }, {}},
      {"all_to_all of",
       [](Communicator& c, int) { c.all_to_all(ones(c, 60 * c.size()), ones(c, 60 * c.size()))->wait(); }, {}},
      {"barrier among", [](Communicator& c, int) { c.barrier(); }, {}},
      {"send of", send, [=](Communicator& c, int) { for_others(c, [&](int r) { receive(c, r); }); }},
      {"send of", short_send,
       [](Communicator& c, int) { for_others(c, [&](int r) { c.receive(ones(c, 1), r)->wait(); }); }},
      {"receive of", receive, [=](Communicator& c, int) { for_others(c, [&](int r) { send(c, r); }); }}};
  for (Operation& operation : list) {
    if (!operation.finish) operation.finish = operation.come;
  }
  return list;
}

}  // namespace medfuse::cluster
