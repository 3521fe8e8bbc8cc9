#include "experiments/cell/replay_options.h"

namespace foretell::cell {

void ReplayDescription::declare(Parameters& p) {
  p.add("answers", answers, "the recorded answers: FastChat's rows; or `probs`", {.required = true});
  p.add("tokenizer", tokenizer, "the recorded model's tokenizer: a file or folder", {.required = true});
  p.add("chat_template", chat_template, "the recorded model's chat template");
  p.add("vocab", vocab, "the recorded model's vocabulary; without it the tokenizer's", {.min = 1});
}

void DistributionReplayDescription::declare(Parameters& p) {
  p.add("probs", distributions,
        "what `foretell run --record probs` wrote: the file, its cell's folder, or the study's if one cell was "
        "recorded",
        {.aliases = {"laws"}, .required = true});
  p.add("tokenizer", tokenizer, "with probs: where the recorded tokenizer is now; without it where it was");
  p.add("cost", cost, "with probs: what forwards take, as recorded or (flat) the same for all rows",
        {.choices = {"recorded", "flat"}});
}

std::vector<ParameterDoc> replay_parameters() {
  std::vector<ParameterDoc> out = Parameters::describe<ReplayDescription>(),
                            of_distributions = Parameters::describe<DistributionReplayDescription>();
  // The tokenizer is a parameter of both.
  std::erase_if(of_distributions, [](const ParameterDoc& doc) { return doc.name == "tokenizer"; });
  out.insert(out.end(), of_distributions.begin(), of_distributions.end());
  return out;
}

}  // namespace foretell::cell
