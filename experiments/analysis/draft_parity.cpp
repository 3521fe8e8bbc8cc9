#include "experiments/analysis/draft_parity.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/softmax.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/model/heads/state_places.h"

namespace foretell::analysis {
namespace {

using decoding::heads::DraftTrace;
using model::heads::kFinalState;

at::Tensor tensor_of_numbers(const DumpedNumbers& numbers) {
  return at::from_blob(const_cast<float*>(numbers.values.data()), {numbers.rows, numbers.columns}, at::kFloat).clone();
}

DumpedNumbers numbers_of(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU, at::kFloat).contiguous();
  const float* values = host.const_data_ptr<float>();
  return {host.size(0), host.size(1), {values, values + host.numel()}};
}

// The largest difference of a row in units of our largest value there; not a number counts as infinity.
at::Tensor apart_by_row(const at::Tensor& theirs, const at::Tensor& ours) {
  const at::Tensor scale = ours.abs().amax(1).clamp_min(1e-6);
  return ((theirs - ours).abs().amax(1) / scale).nan_to_num(std::numeric_limits<double>::infinity());
}

double worst_of(const at::Tensor& theirs, const at::Tensor& ours) {
  return apart_by_row(theirs, ours).max().item<double>();
}

std::string shape_words(const at::Tensor& theirs, const at::Tensor& ours) {
  return fmt::format("is [{}, {}], here [{}, {}]", theirs.size(0), theirs.size(1), ours.size(0), ours.size(1));
}

std::string place_name(int place) {
  return place == kFinalState ? "the final normed state"
         : place == 0         ? "the embeddings"
                              : fmt::format("the state behind layer {}", place - 1);
}

// The first row and column beyond the tolerance.
std::string where_apart(const at::Tensor& theirs, const at::Tensor& ours, double tolerance) {
  const at::Tensor row_apart = apart_by_row(theirs, ours);
  for (std::int64_t row = 0; row < ours.size(0); ++row) {
    if (row_apart[row].item<double>() <= tolerance) continue;
    const auto column = (theirs[row] - ours[row]).abs().nan_to_num(1e30).argmax().item<std::int64_t>();
    return fmt::format("row {}, column {}: theirs {:.5g}, here {:.5g}", row, column, theirs[row][column].item<double>(),
                       ours[row][column].item<double>());
  }
  return "";
}

class Comparison {
 public:
  Comparison(const DraftDump& dump, const model::LanguageModel& target, const decoding::heads::DraftTracer& tracer,
             double tolerance)
      : dump_(dump), target_(target), tracer_(tracer), tolerance_(tolerance), places_(tracer.places()) {
    for (const std::int64_t id : dump.text) {
      if (id < 0 || id >= target.config().vocab_size)
        fail("the dump's text holds the token {}, the target has ids 0 to {}", id, target.config().vocab_size - 1);
      text_.push_back(static_cast<Token>(id));
    }
  }

  std::vector<ParityStep> run() {
    std::vector<ParityStep> steps{taps()};
    const int drafted = dump_.logits ? static_cast<int>(dump_.logits->rows) : 1;
    const DraftTrace ours = tracer_.trace(text_, states_, drafted);
    steps.push_back(integers("draft_input_ids", dump_.input_ids, {ours.ids.begin(), ours.ids.end()}));
    steps.push_back(integers("positions", dump_.positions, {ours.positions.begin(), ours.positions.end()}));
    steps.push_back(mask(ours.mask));
    steps.push_back(logits(ours.logits));
    return steps;
  }

 private:
  // Ours of all places; what the tracer reads is the dump's where it fits.
  ParityStep taps() {
    ParityStep step{.quantity = "taps", .given = dump_.taps.has_value()};
    if (places_.empty()) {
      step.given = false;
      return step;
    }
    const std::vector<at::Tensor> all = decoding::heads::all_states(target_, text_);
    const auto state = [&](int place) {
      return (place == kFinalState ? all.back() : all[static_cast<std::size_t>(place)]).to(at::kCPU, at::kFloat);
    };
    std::vector<at::Tensor> parts;
    for (const int place : places_) parts.push_back(state(place));
    const at::Tensor ours = at::cat(parts, 1);
    states_ = ours;
    if (!step.given) return step;
    at::Tensor theirs = tensor_of_numbers(*dump_.taps);
    // Some engines keep the root's row, too.
    if (theirs.size(0) == ours.size(0) + 1) theirs = theirs.narrow(0, 0, ours.size(0));
    if (theirs.sizes() != ours.sizes()) {
      step.equal = false;
      step.worst = std::numeric_limits<double>::infinity();
      step.words = shape_words(theirs, ours);
      return step;
    }
    step.worst = worst_of(theirs, ours);
    step.equal = step.worst <= tolerance_;
    states_ = theirs;
    if (!step.equal) step.words = where_apart(theirs, ours, tolerance_) + other_places(theirs, state);
    return step;
  }

  // Of each place whose columns differ, which other one they are equal to.
  template <class State>
  std::string other_places(const at::Tensor& theirs, const State& state) const {
    std::string words;
    const std::int64_t width = target_.config().hidden_size;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const at::Tensor columns = theirs.narrow(1, static_cast<std::int64_t>(i) * width, width);
      if (worst_of(columns, state(places_[i])) <= tolerance_) continue;
      words += fmt::format("; columns {} to {}, {} here", i * static_cast<std::size_t>(width),
                           (i + 1) * static_cast<std::size_t>(width) - 1, place_name(places_[i]));
      for (int place = kFinalState; place <= target_.config().num_layers; ++place)
        if (worst_of(columns, state(place)) <= tolerance_) words += fmt::format(", are {}", place_name(place));
    }
    return words;
  }

  static ParityStep integers(const char* name, const std::optional<std::vector<std::int64_t>>& theirs,
                             const std::vector<std::int64_t>& ours) {
    ParityStep step{.quantity = name, .given = theirs.has_value()};
    if (!theirs || *theirs == ours) return step;
    step.equal = false;
    if (theirs->size() != ours.size()) {
      step.words = fmt::format("are {}, here {}", theirs->size(), ours.size());
      return step;
    }
    bool shifted = true;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      if ((*theirs)[i] - (*theirs)[0] != ours[i] - ours[0]) shifted = false;
      if ((*theirs)[i] != ours[i] && step.words.empty())
        step.words = fmt::format("row {}: theirs {}, here {}", i, (*theirs)[i], ours[i]);
    }
    if (shifted && ours.size() > 1)
      step.words += fmt::format("; all rows are shifted by {}", static_cast<double>((*theirs)[0]) - ours[0]);
    return step;
  }

  ParityStep mask(const at::Tensor& ours) const {
    ParityStep step{.quantity = "mask", .given = dump_.mask.has_value()};
    if (!step.given) return step;
    const at::Tensor theirs = tensor_of_numbers(*dump_.mask).ne(0);
    if (theirs.sizes() != ours.sizes()) {
      step.equal = false;
      step.words = shape_words(theirs, ours);
      return step;
    }
    const at::Tensor apart = theirs.ne(ours).nonzero();
    step.equal = apart.size(0) == 0;
    if (step.equal) return step;
    const auto row = apart[0][0].item<std::int64_t>(), key = apart[0][1].item<std::int64_t>();
    step.words = fmt::format("row {} sees key {} {}; {} of {} entries differ", row, key,
                             theirs[row][key].item<bool>() ? "there and not here" : "here and not there", apart.size(0),
                             ours.numel());
    return step;
  }

  ParityStep logits(const at::Tensor& all) const {
    ParityStep step{.quantity = "draft_logits", .given = dump_.logits.has_value()};
    if (!step.given) return step;
    const c10::InferenceMode inference;
    at::Tensor theirs = tensor_of_numbers(*dump_.logits), ours = all.to(at::kCPU, at::kFloat);
    // The last rows speak; a vocabulary may be padded.
    const std::int64_t rows = std::min(theirs.size(0), ours.size(0));
    const bool fits = rows > 0 && theirs.size(1) >= ours.size(1);
    if (!fits) {
      step.equal = false;
      step.words = shape_words(theirs, ours);
      return step;
    }
    theirs = theirs.narrow(0, theirs.size(0) - rows, rows).narrow(1, 0, ours.size(1));
    ours = ours.narrow(0, ours.size(0) - rows, rows);
    step.worst = worst_of(theirs, ours);
    step.equal = step.worst <= tolerance_;
    if (step.equal) return step;
    const at::Tensor agree = theirs.argmax(1).eq(ours.argmax(1));
    const at::Tensor covered = at::minimum(at::softmax(theirs, 1), at::softmax(ours, 1)).sum(1);
    step.words = fmt::format("{}; the most probable token is the same in {} of {}, the distributions share {:.3f}",
                             where_apart(theirs, ours, tolerance_), agree.sum().item<std::int64_t>(),
                             counted(static_cast<int>(rows), "row"), covered.mean().item<double>());
    // The same up to a factor: a multiplier or a scale that one side lacks.
    const at::Tensor flat = ours.reshape({-1}), other = theirs.reshape({-1});
    const double norm = at::dot(flat, flat).item<double>();
    const double factor = norm > 0 ? at::dot(flat, other).item<double>() / norm : 1;
    if (std::abs(factor - 1) > tolerance_ && worst_of(theirs / factor, ours) <= tolerance_)
      step.words += fmt::format("; theirs are {:.5g} times those here", factor);
    return step;
  }

  const DraftDump& dump_;
  const model::LanguageModel& target_;
  const decoding::heads::DraftTracer& tracer_;
  double tolerance_;
  std::vector<int> places_;
  Tokens text_;
  at::Tensor states_;
};

}  // namespace

std::vector<ParityStep> compare_draft(const DraftDump& dump, const model::LanguageModel& target,
                                      const decoding::heads::DraftTracer& tracer, double tolerance) {
  const c10::InferenceMode inference;
  return Comparison(dump, target, tracer, tolerance).run();
}

DraftDump own_dump(TokenSpan text, const model::LanguageModel& target, const decoding::heads::DraftTracer& tracer,
                   int drafted) {
  const c10::InferenceMode inference;
  DraftDump out;
  out.text.assign(text.begin(), text.end());
  at::Tensor states;
  if (const std::vector<int> places = tracer.places(); !places.empty()) {
    const std::vector<at::Tensor> all = decoding::heads::all_states(target, text);
    std::vector<at::Tensor> parts;
    parts.reserve(places.size());
    for (const int place : places)
      parts.push_back(place == kFinalState ? all.back() : all[static_cast<std::size_t>(place)]);
    states = at::cat(parts, 1);
    out.taps = numbers_of(states);
  }
  const DraftTrace ours = tracer.trace(text, states, drafted);
  out.input_ids.emplace(ours.ids.begin(), ours.ids.end());
  out.positions.emplace(ours.positions.begin(), ours.positions.end());
  out.mask = numbers_of(ours.mask);
  out.logits = numbers_of(ours.logits);
  return out;
}

}  // namespace foretell::analysis
