// A row leaves at a depth that falls along the answer and depends on nothing else (after SkipDecode, Del Corro et al.
// 2023, arXiv 2307.02628).
//
// depth(t) = round(from - (from - to) t / N) layers at token t of an answer of at most N. Since it never rises, no row
// needs a layer that an earlier row of the answer left out: whatever the KV rule, nothing is missing and nothing is
// owed. Looks at nothing, so it costs nothing but the head where rows leave. Deviations: the paper runs the lowest and
// the highest layers and leaves out those between, here the highest are left out; the prompt goes through all layers.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::policies::exit {
namespace {

struct SkipDecodeOptions {
  std::optional<int> from, to;
  Location where = {};
  void declare(Parameters& p) {
    p.add("from", from, "layers of an answer's first token; none: all", {.min = 1, .max = 4096});
    p.add("to", to, "layers of the last token that an answer may have; none: half of all", {.min = 1, .max = 4096});
    where = p.where();
  }
};

class SkipDecodeExit final : public ExitPolicy {
 public:
  using Options = SkipDecodeOptions;
  SkipDecodeExit(const Options& options, const BuildContext&) : options_(options) {}

  std::vector<int> layers(int num_layers) const override {
    from_ = options_.from.value_or(num_layers);
    to_ = options_.to.value_or(std::max(num_layers / 2, 1));
    if (from_ > num_layers || to_ > from_)
      fail_at(options_.where, "from {} to {} layers: the model has {}, expected from <= {} and to <= from", from_, to_,
              counted(num_layers, "layer"), num_layers);
    std::vector<int> asked;
    for (int layer = to_; layer <= std::min(from_, num_layers - 1); ++layer) asked.push_back(layer);
    return asked;
  }
  ExitWants wants() const override { return {}; }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i] = probe.layer >= depth_at(probe.rows[i]) ? 1 : 0;
  }

 private:
  int depth_at(const ExitRow& row) const {
    const double share = std::min(1.0, static_cast<double>(row.generated) / std::max(row.max_new_tokens, 1));
    return static_cast<int>(std::lround(from_ - (from_ - to_) * share));
  }

  Options options_;
  mutable int from_ = 0, to_ = 0;  // in the model that layers() was last asked about
};

FORETELL_REGISTER(ExitPolicy, SkipDecodeExit, "skipdecode",
                  {.summary = "a row leaves at a depth that falls along the answer",
                   .paper = {"Del Corro et al.", 2023, "2307.02628"}});

}  // namespace
}  // namespace foretell::policies::exit
