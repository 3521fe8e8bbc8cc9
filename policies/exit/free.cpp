// A row leaves at one shallow layer if it is sure enough there, or goes through all of them; how sure is learned from
// rows that left and were judged since (FREE, Bae et al. 2023, arXiv 2310.05424). With `kv: recompute` the rows that
// left wait for the next one that goes deeper and are computed with it, the paper's synchronised parallel decoding.
//
// The confidence is the distance of the two highest probabilities. Judgements come from verification, so the threshold
// moves in the drafter `self`; the rows of a target are never judged, and its threshold stays. It is fitted anew once
// `refit_every` judgements have come, `refits` times at most. Deviation: the paper refits once a sequence; the mixture
// is fitted to judged tokens alone, for which the released code's EM ends after one step.
#include <map>
#include <optional>
#include <utility>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/exits/beta_mixture.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct FreeOptions {
  std::optional<int> layer;
  double threshold = 0.9;
  bool adaptive = true;
  int refit_every = 32, refits = 300;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    p.add("layer", layer, "the shallow exit; none: behind a third of the layers", {.min = 1, .max = 4096});
    p.add("threshold", threshold, "the confidence that a row leaves at, at first; 1: never while it stays there",
          {.min = 0, .max = 1});
    p.add("adaptive", adaptive, "whether judged rows move the threshold");
    p.add("refit_every", refit_every, "judged rows between two fits", {.min = 1, .max = 1 << 20});
    p.add("refits", refits, "fits at most", {.min = 0, .max = 1 << 20});
  }
};

class FreeExit final : public ExitPolicy {
 public:
  using Options = FreeOptions;
  FreeExit(const Options& options, const BuildContext&) : options_(options), threshold_(options.threshold) {}

  std::vector<int> layers(int num_layers) const override {
    const int layer = options_.layer.value_or(std::max(num_layers / 3, 1));
    if (options_.layer && layer >= num_layers)
      fail_at(options_.where, "a row cannot leave after layer {}, the model has {}: expected 1 to {}", layer,
              counted(num_layers, "layer"), num_layers - 1);
    return layer < num_layers ? std::vector<int>{layer} : std::vector<int>{};
  }
  ExitWants wants() const override { return {.logits = true}; }

  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    if (confidences_.size() > kMostRows) confidences_.clear();  // of drafts that nobody judged
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      const exits::LogitStatistics found = exits::logit_statistics(probe.of(probe.logits, i));
      const double confidence = found.first - found.second;
      leaves[i] = threshold_ < 1 && confidence >= threshold_ ? 1 : 0;
      if (options_.adaptive && leaves[i] != 0)
        confidences_[{probe.rows[i].request, probe.rows[i].position}] = confidence;
    }
  }

  void observe(std::span<const ExitRecord> records) override {
    for (const ExitRecord& record : records) {
      if (!record.agreed) continue;
      const auto found = confidences_.find({record.row.request, record.row.position});
      if (found == confidences_.end()) continue;  // it did not leave
      judged_.push_back({found->second, *record.agreed});
      confidences_.erase(found);
      ++since_fit_;
    }
    if (since_fit_ < options_.refit_every || fits_ >= options_.refits) return;
    threshold_ = exits::free_threshold(judged_);
    since_fit_ = 0;
    ++fits_;
  }

 private:
  static constexpr std::size_t kMostRows = 1U << 16U;

  Options options_;
  double threshold_;
  std::map<std::pair<std::uint64_t, int>, double> confidences_;  // of rows that left, until they are judged
  std::vector<exits::Judgement> judged_;
  int since_fit_ = 0, fits_ = 0;
};

FORETELL_REGISTER(ExitPolicy, FreeExit, "free",
                  {.summary = "a row leaves at one shallow layer, at a confidence that is learned",
                   .paper = {"Bae et al.", 2023, "2310.05424"},
                   .also_known_as = {"FREE"}});

}  // namespace
}  // namespace foretell::policies::exit
