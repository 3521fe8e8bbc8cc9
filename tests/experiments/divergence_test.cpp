// Ties and differences that are none; what a run and a report say of them.
#include "experiments/analysis/divergence_search.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <nlohmann/json.hpp>

#include "experiments/analysis/report.h"
#include "experiments/certify/toy_model.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

// Says the same whatever it reads; in forwards of several rows its first token gains `jitter` a row.
class Fixed final : public LanguageModel {
 public:
  Fixed(std::vector<float> logits, float jitter) : logits_(std::move(logits)), jitter_(jitter), inner_({.vocab = 4}) {}
  const ModelConfig& config() const override { return inner_.config(); }
  std::unique_ptr<KvCache> make_cache(int capacity) const override { return inner_.make_cache(capacity); }
  at::Device device() const override { return at::kCPU; }
  ForwardResult forward(std::span<const ForwardItem> batch, const ForwardOptions&) const override {
    std::vector<float> row = logits_;
    row[0] += jitter_ * static_cast<float>(std::get<TokenSpan>(batch[0].input).size() - 1);
    return {.logits = at::tensor(row, at::kFloat).view({1, 4}),
            .aux_states = {},
            .final_state = {},
            .last_state = {},
            .routed = {}};
  }
  using LanguageModel::forward;

 private:
  std::vector<float> logits_;
  float jitter_;
  certify::ToyModel inner_;
};

const Tokens kText = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1};

const TextBefore kBefore = {TokenSpan(kText).first(8), TokenSpan(kText).subspan(8)};  // "2 1" is the answer so far

Divergence judged(const LanguageModel& model, Token a, std::optional<Token> b, const SamplingOptions& sampling = {}) {
  Divergence difference{.a = a, .b = b};
  judge(model, kBefore, Sampler(sampling, 4), Precision::of("f32"), difference);
  return difference;
}

TEST_CASE("a difference between two nearly equal logits that move with the rows is a tie") {
  const Divergence found = judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, 0);
  CHECK(found.best == 1);
  CHECK(found.second == 0);
  CHECK(found.margin == Approx(0.002).epsilon(1e-3));
  CHECK(found.noise == Approx(4 * 0.008).epsilon(1e-3));
  CHECK(found.is_tie);
}

TEST_CASE("a margin above the noise is not explained, and neither is a token that was never close") {
  CHECK_FALSE(judged(Fixed({1.0f, 1.1f, 0.0f, -1.0f}, 0.001f), 1, 0).is_tie);
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, 2).is_tie);
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.0f), 1, 0).is_tie);
}

TEST_CASE("the rounding of the dtype counts as noise") {
  const Fixed model({10.0f, 10.03f, 0.0f, -1.0f}, 0.0f);
  const Sampler greedy({}, 4);
  CHECK(measure_margin(model, kBefore, greedy, Precision::of("bf16")).noise == Approx(4 * 0.004 * 10.03).epsilon(1e-3));
  CHECK(measure_margin(model, kBefore, greedy, Precision::of("f32")).noise < 1e-3);
}

TEST_CASE("which logits are nearly equal is decided behind penalties and bias, as the runs decided it") {
  // Token 1 leads by far until what stands in the prompt (1, 2, 3) is divided by two and what stands in the answer (1,
  // 3) loses one more.
  const Fixed model({1.0f, 4.0f, 2.002f, 0.5f}, 0.001f);
  CHECK(judged(model, 1, 2).margin > 1);
  const Divergence found = judged(model, 1, 2, {.repetition_penalty = 2.0, .presence_penalty = 1.0});
  CHECK((found.best == 2 && found.second == 0));
  CHECK(found.margin == Approx(0.001).epsilon(0.01));
  CHECK(found.is_tie);  // token 1 is level with token 0: three tokens that are not told apart
  CHECK(judged(model, 0, 2, {.repetition_penalty = 2.0, .presence_penalty = 1.0}).is_tie);
  CHECK(judged(model, 1, 3, {.logit_bias = {"3:3.498"}}).margin == Approx(0.002).epsilon(0.01));
}

TEST_CASE("an answer that ended early is compared with what went on") {
  CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, std::nullopt).is_tie);
}

TEST_CASE("a token that the vocabulary does not have is no tie") {
  for (const Token foreign : {4, 1000000, -1})
    CHECK_FALSE(judged(Fixed({1.0f, 1.002f, 0.0f, -1.0f}, 0.001f), 1, foreign).is_tie);
}

GenerationRecord answer(const std::string& id, const std::string& task, PipelineVariant arm, Tokens tokens) {
  return {.conversation = id,
          .task = task,
          .arm = arm,
          .prompt_tokens = static_cast<int>(kText.size()),
          .tokens = std::move(tokens)};
}

CellResult diverging_cell() {
  const std::vector<GenerationRecord> records = {
      answer("7", "qa", PipelineVariant::Method, {1, 0, 3}), answer("7", "qa", PipelineVariant::Baseline, {1, 1}),
      answer("8", "qa", PipelineVariant::Method, {1, 2}),    answer("8", "qa", PipelineVariant::Baseline, {1, 1, 1}),
      answer("9", "rag", PipelineVariant::Method, {1, 1}),   answer("9", "rag", PipelineVariant::Baseline, {1, 1})};
  const Fixed model({1.0f, 1.002f, 0.1f, -1.0f}, 0.001f);
  const SamplingOptions sampling;
  CellResult result;
  result.cell.name = "chain";
  result.tasks = {"qa", "rag"};
  result.divergences = find_divergences(
      answers_by_place(records, PipelineVariant::Method), answers_by_place(records, PipelineVariant::Baseline),
      {.target = model, .sampling = sampling, .precision = Precision::of("f32"), .prompt = [](const GenerationRecord&) {
         return kText;
       }});
  for (const char* task : {"qa", "overall"}) result.summary[task].same_as_baseline = 0.5;
  result.summary["rag"].same_as_baseline = 1.0;
  return result;
}

TEST_CASE("a lossless cell whose tokens differ says where, and whether the target's logits are tied there") {
  const CellResult result = diverging_cell();
  const Divergences& found = *result.divergences;
  CHECK(found.compared == 3);
  CHECK(found.same == 1);
  REQUIRE(found.found.size() == 2);
  CHECK(found.ties() == 1);
  CHECK(found.found[0].words ==
        "prompt 7 differs at token 1: 0 and 1; their logits are 0.002 apart, within 0.032, the epsilon of f32 there: a "
        "tie");
  CHECK(found.found[1].words ==
        "prompt 8 differs at token 1: 2 and 1; NOT a tie: logits 0.9 below the target's best, above 0.032, the epsilon "
        "of f32 there: NOT "
        "explained by noise, a fault; please report it");
  const std::string note = divergence_note({result}), table = results_table({result});
  CHECK_THAT(note, Catch::Contains(
                       "chain: 2 of 3 answers are not the baseline's: 1 tie, 1 NOT EXPLAINED\n  prompt 8 differs"));
  CHECK_THAT(table, Catch::Contains("50% (1 tie, 1 NOT EXPLAINED)"));
  CHECK_THAT(table, Catch::Contains("100%\n"));
}

TEST_CASE("a lossy cell's other tokens are no finding, and what was not examined says so") {
  CellResult result = diverging_cell();
  result.lossless = false;
  CHECK(divergence_note({result}).empty());
  CHECK_THAT(results_table({result}), Catch::Contains("50% (lossy)"));
  result.lossless = true;
  result.divergences.reset();
  CHECK_THAT(results_table({result}), Catch::Contains("50% (not examined)"));
}

TEST_CASE("differences survive the disk") {
  Divergences written = *diverging_cell().divergences;
  written.found[0].gap = std::numeric_limits<double>::infinity();
  const auto read = divergences_from(ResultJson(to_json(written).dump(), "divergence.json"));
  REQUIRE(read);
  CHECK(to_json(*read) == to_json(written));
  CHECK(read->found[1].words == written.found[1].words);
  CHECK_THROWS_WITH(divergences_from(ResultJson(R"({"compared": "x"})", "divergence.json")),
                    Catch::Contains("divergence.json"));
  CHECK_FALSE(divergences_from(std::nullopt));
}

}  // namespace
}  // namespace foretell
