// The first tokens and the newest ones (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453; as a draft MagicDec, Chen et
// al. 2024, arXiv 2408.11049).
//
// A row sees the `sinks` first positions, which attention leans on whatever they say, and the last `window` ones, its
// own included. The window is that of the forward's first row: the rows of a draft are seen in addition. Deviations:
// positions stay those of the text (attention_policy.h says why), and what is not seen stays in the cache. Holds no
// state: no memory but one list of at most sinks + window rows in a layer's forward.
#include <algorithm>
#include <numeric>

#include "framework/api/attention_policy.h"

namespace foretell::policies::attention {
namespace {

struct StreamingOptions {
  int sinks = 4;
  int window = 256;
  void declare(Parameters& p) {
    p.add("sinks", sinks, "first positions, always seen",
          {.min = 0, .max = 1 << 20, .aliases = {"start_size", "num_sink_tokens"}});
    p.add("window", window, "newest positions, the row's own included",
          {.min = 1, .max = 1 << 30, .aliases = {"recent_size"}});
  }
};

class StreamingAttention final : public AttentionPolicy {
 public:
  using Options = StreamingOptions;
  StreamingAttention(const Options& options, const BuildContext&) : options_(options) {}

  std::unique_ptr<AttentionPolicy> fresh() const override { return std::make_unique<StreamingAttention>(*this); }

  KvSelection select_kv(const AttentionView& view) override {
    const int sinks = std::min(options_.sinks, view.cached);
    const int recent = std::max(sinks, view.cached - options_.window + 1);
    KvSelection seen;
    seen.rows.resize(static_cast<std::size_t>(sinks + view.cached - recent));
    const auto middle = seen.rows.begin() + sinks;
    std::iota(seen.rows.begin(), middle, 0);
    std::iota(middle, seen.rows.end(), recent);
    return seen;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(AttentionPolicy, StreamingAttention, "streaming",
                  {.summary = "the first and the newest positions (StreamingLLM)",
                   .paper = {"Xiao et al.", 2023, "2309.17453"},
                   .also_known_as = {"StreamingLLM"}});

}  // namespace
}  // namespace foretell::policies::attention
