#include "experiments/certify/enumerator.h"

#include <array>
#include <numeric>

namespace foretell::certify {

class ScriptedRng final : public Rng {
 public:
  explicit ScriptedRng(Enumerator& enumerator) : enumerator_(enumerator) {}
  bool bernoulli(double p) override {
    if (p >= 1) return true;
    if (!(p > 0)) return false;
    const std::array<double, 2> options{1 - p, p};
    return enumerator_.decide(options) == 1;
  }
  std::size_t pick(std::span<const double> weights) override {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<double> options;
    for (const double w : weights) options.push_back(w / total);
    return enumerator_.decide(options);
  }

 private:
  Enumerator& enumerator_;
};

std::unique_ptr<Rng> Enumerator::make_rng() { return std::make_unique<ScriptedRng>(*this); }

std::size_t Enumerator::decide(std::span<const double> probabilities) {
  if (at_ == script_.size()) {
    std::size_t first = 0;
    while (probabilities[first] <= 0) ++first;
    script_.push_back({first, {probabilities.begin(), probabilities.end()}});
  }
  const Decision& decision = script_[at_++];
  weight_ *= decision.probabilities[decision.choice];
  return decision.choice;
}

bool Enumerator::advance() {
  while (!script_.empty()) {
    Decision& last = script_.back();
    do ++last.choice;
    while (last.choice < last.probabilities.size() && last.probabilities[last.choice] <= 0);
    if (last.choice < last.probabilities.size()) return true;
    script_.pop_back();
  }
  return false;
}

}  // namespace foretell::certify
