#include "experiments/certify/certificate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "experiments/registry_names.h"
#include "framework/base/error.h"
#include "framework/decode/verifier.h"

namespace foretell::certify {
namespace {

constexpr double kSignificance = 1e-3;
constexpr std::int64_t kLossyPaths = 500'000;  // a minute or two: its distance is worth knowing, but proves nothing

// Every form that a draft can take, small enough that all branches can be walked.
const std::vector<DraftCase>& forms() {
  static const std::vector<DraftCase> all = {
      {"chain", "{type: model, num_speculative_tokens: 2}", ""},
      {"chain, another temperature", "{type: model, num_speculative_tokens: 2, temperature: 0.6}", ""},
      {"one token", "{type: model, num_speculative_tokens: 1}", ""},
      {"tree, chosen", "{type: model, draft_sample_method: top_k}", "{type: widths, widths: [2, 2]}", true},
      {"tree, without replacement", "{type: model}", "{type: widths, widths: [2, 2]}", true},
      {"tree, with replacement", "{type: model, replacement: true}", "{type: widths, widths: [2, 1]}", true},
      {"three draws, without replacement", "{type: model}", "{type: widths, widths: [3]}", true},
      {"three draws, with replacement", "{type: model, replacement: true}", "{type: widths, widths: [3]}", true},
  };
  return all;
}

// Proposals at one node from several laws, drawn and chosen.
const std::vector<DraftCase>& merged_forms() {
  static const std::vector<DraftCase> all = {
      {"two models, merged",
       "{type: merged, drafters: [{type: model, replacement: true, num_speculative_tokens: 2}, "
       "{type: model, model: other, replacement: true, num_speculative_tokens: 1}]}",
       "", true},
      {"drawn and chosen, merged",
       "{type: merged, drafters: [{type: model, num_speculative_tokens: 1}, {type: model, draft_sample_method: top_k, "
       "num_speculative_tokens: 2}]}",
       "", true},
  };
  return all;
}

// Other drafters whose defaults say little: those made of drafters, and those that match or collect n-grams, which have to be short, because an answer
// that can be enumerated has six tokens with its prompt.
const std::vector<DraftCase>& made_forms(const std::string& drafter) {
  static const std::map<std::string, std::vector<DraftCase>> all = {
      {"first_of",
       {{"first_of: copies, then a model",
         "{type: first_of, drafters: [{type: prompt_lookup, whole_continuation: false, prompt_lookup_min: 2, num_speculative_tokens: 2}, "
         "{type: model, num_speculative_tokens: 2}]}",
         ""}}},
      {"cascade",
       {{"cascade of two models",
         "{type: cascade, model: other, drafter: {type: model, num_speculative_tokens: 1}, num_speculative_tokens: 2}", ""}}},
      {"universal", {{"universal: shared tokens", "{type: universal, num_speculative_tokens: 2}", ""}}},
      {"rest", {{"rest", "{type: rest, shortest_match: 1}", ""}}},
      {"lookahead", {{"lookahead", "{type: lookahead, window: 2, ngram: 2, guess_set_size: 2}", ""}}},
  };
  static const std::vector<DraftCase> none;
  const auto found = all.find(drafter);
  return found == all.end() ? none : found->second;
}

// A model drafts in every form, alone and with others; the other drafters with their defaults.
std::vector<DraftCase> cases(const std::string& drafter) {
  std::vector<DraftCase> all;
  for (const std::string& name : names_of<Drafter>(drafter)) {
    if (name == "model")
      all.insert(all.begin(), forms().begin(), forms().end());
    else if (name == "merged")
      all.insert(all.end(), merged_forms().begin(), merged_forms().end());
    else if (const auto& made = made_forms(name); !made.empty())
      all.insert(all.end(), made.begin(), made.end());
    else
      all.push_back({name, name, ""});
  }
  return all;
}

// Three tokens, so that the decisions of three tokens can all be walked; in full more laws and more tokens.
struct ToyLaw {
  std::shared_ptr<const ToyModel> target;
  double temperature;
};
std::vector<ToyLaw> laws(bool full, bool many_branches, bool lossless) {
  std::vector<ToyLaw> all;
  all.push_back({toy_target(3, 4096, 7), 1.0});
  // A proof needs every law; how far off a lossy verifier is can be said of one.
  if (many_branches && !lossless) return all;
  if (!many_branches || full) all.push_back({toy_target(3, 4096, 8), 0.6});
  if (!full) return all;
  for (const std::uint64_t seed : {9, 10, 11}) all.push_back({toy_target(3, 4096, seed), 1.0});
  if (!many_branches) all.push_back({toy_target(4, 4096, 12), 1.0});
  return all;
}

ExactFindings worst(const ExactFindings& a, const ExactFindings& b) {
  ExactFindings out = a;  // expectations stay those of the first law
  out.total_variation = std::max(a.total_variation, b.total_variation);
  out.later_variation = std::max(a.later_variation, b.later_variation);
  if (b.residual_variation) out.residual_variation = std::max(a.residual_variation.value_or(0), *b.residual_variation);
  return out;
}

CertificateRow certify_pair(const std::string& verifier, const DraftCase& draft, bool full) {
  const auto& info = Registry<Verifier>::instance().find(verifier, {}).info;
  CertificateRow row{.verifier = verifier, .draft = draft.name, .registered_lossless = info.lossless.value_or(false)};
  const auto setup_on = [&](const std::shared_ptr<const ToyModel>& target) {
    return toy_setup(draft.drafter, verifier, draft.tree, target);
  };

  const Setup large = setup_on(toy_target(11));
  if (const auto why = misfit(large, 0.0)) {
    row.reason = *why;
    return row;
  }
  const Complaint difference = check_identity(large);
  row.identical = !difference;
  if (difference) row.reason = *difference;

  if (!misfit(large, 1.0)) {
    for (const ToyLaw& law : laws(full, draft.many_branches, row.registered_lossless)) {
      if (draft.many_branches && !row.registered_lossless && !full) break;
      ExactOptions options{.temperature = law.temperature};
      if (!row.registered_lossless) options.most_paths = kLossyPaths;
      const auto found = enumerate_up_to(setup_on(law.target), options);
      if (!found) break;
      row.exact = row.exact ? worst(*row.exact, *found) : *found;
      if (row.reason.empty()) row.reason = complaint_of(*found).value_or("");
    }
    row.p_value = chi_square(setup_on(toy_target(5)), full ? 100000 : 4000).p_value;
  }
  row.verdict = !row.registered_lossless ? Ruling::Lossy : row.reason.empty() ? Ruling::Lossless : Ruling::Failed;
  if (!row.registered_lossless) row.reason.clear();
  return row;
}

// The step-down rule of Holm: the i-th smallest of n p-values is significant if it and all smaller ones are below level / (n - i).
void judge_chi_squares(std::vector<CertificateRow>& rows) {
  std::vector<CertificateRow*> tested;
  for (CertificateRow& row : rows)
    if (row.registered_lossless && row.p_value) tested.push_back(&row);
  std::sort(tested.begin(), tested.end(), [](const auto* a, const auto* b) { return *a->p_value < *b->p_value; });
  for (std::size_t i = 0; i < tested.size(); ++i) {
    if (*tested[i]->p_value >= kSignificance / static_cast<double>(tested.size() - i)) return;
    tested[i]->verdict = Ruling::Failed;
    if (tested[i]->reason.empty())
      tested[i]->reason = fmt::format("chi-square test with the production generator: p = {:.2g}", *tested[i]->p_value);
  }
}

}  // namespace

const char* to_string(Ruling ruling) {
  switch (ruling) {
    case Ruling::Lossless: return "lossless";
    case Ruling::Lossy: return "lossy";
    case Ruling::Failed: return "FAILED";
    case Ruling::NotApplicable: break;
  }
  return "refused";
}

std::vector<CertificateRow> certify(const CertificateOptions& options) {
  const std::vector<std::string> names = names_of<Verifier>(options.verifier);
  const std::vector<DraftCase> drafts = cases(options.drafter);
  std::vector<CertificateRow> rows;
  const int count = static_cast<int>(names.size() * drafts.size());
  for (const std::string& name : names) {
    for (const DraftCase& draft : drafts) {
      if (options.on_row) options.on_row(static_cast<int>(rows.size()), count);
      rows.push_back(certify_pair(name, draft, options.full));
    }
  }
  judge_chi_squares(rows);
  return rows;
}

}  // namespace foretell::certify
