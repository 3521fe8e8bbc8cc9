// Conversations as samples, samples as batches, settings, curves.
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "framework/training/curve.h"
#include "tests/support/catch.h"
#include "tests/training/helpers.h"

namespace foretell {
namespace {

using testing::sample_of;

const TaskExample kTwoTurns = {"multi_turn", "x-0", {{"Say a.", "a"}, {"And b?", "b c"}}};

std::string weighted_text(const Tokenizer& tokenizer, const Sample& sample, float weight) {
  Tokens tokens;
  for (std::size_t i = 0; i < sample.tokens.size(); ++i)
    if (sample.weights[i] == weight) tokens.push_back(sample.tokens[i]);
  return tokenizer.decode(tokens);
}

TEST_CASE("Answers weigh 1, to the token that ends them; all else weighs prompt_weight") {
  const auto tokenizer = testing::byte_tokenizer();
  const ConversationWriter writer{tokenizer, &ChatTemplate::get("chatml"), 0.25};
  const Sample sample = writer.write(kTwoTurns);
  CHECK(sample.family == "multi_turn");
  CHECK(weighted_text(*tokenizer, sample, 1) == "a<|im_end|>b c<|im_end|>");
  CHECK(sample.weights[0] == 0);
  CHECK(sample.weights[1] == 0.25f);
  CHECK(tokenizer->decode(sample.tokens) ==
        "<|im_start|>user\nSay a.<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nAnd "
        "b?<|im_end|>\n<|im_start|>assistant\nb "
        "c<|im_end|>\n");
  const Tokens prompt = writer.prompt(kTwoTurns, 1);
  CHECK(std::equal(prompt.begin(), prompt.end(), sample.tokens.begin()));
}

TEST_CASE("A template without an end marker gets the tokenizer's end token") {
  const auto tokenizer = testing::byte_tokenizer();
  const Sample sample =
      ConversationWriter{tokenizer, &ChatTemplate::get("none"), 0}.write({"qa", "x-0", {{"Say a.", " a"}}});
  CHECK(weighted_text(*tokenizer, sample, 1) == " a<|endoftext|>");
}

TEST_CASE("Batches: groups of nearly equal lengths, positions from 0, no loss on padding or on weight 0") {
  std::vector<Sample> samples = {sample_of({1, 2, 3}), sample_of({4, 5, 6, 7, 8, 9, 10, 11, 12, 13}),
                                 sample_of({14, 15, 16, 17})};
  samples[2].weights = {0, 0.5, 0, 1};
  const TrainBatch batch = make_batch(samples, at::kCPU);
  REQUIRE(batch.groups.size() == 2);
  CHECK(batch.groups[0].length == 9);
  CHECK(batch.groups[1].first_row == 9);
  CHECK(batch.groups[1].sequences == 2);
  CHECK(batch.groups[1].length == 3);
  CHECK(at::equal(batch.tokens.narrow(0, 9, 6), at::tensor({14, 15, 16, 1, 2, 0}, at::kLong)));
  CHECK(at::equal(batch.positions.narrow(0, 9, 6), at::tensor({0, 1, 2, 0, 1, 2}, at::kLong)));
  CHECK(at::equal(batch.loss_rows.narrow(0, 9, 4), at::tensor({9, 11, 12, 13}, at::kLong)));
  CHECK(at::equal(batch.targets.narrow(0, 9, 4), at::tensor({15, 17, 2, 3}, at::kLong)));
  CHECK(at::equal(batch.weights.narrow(0, 9, 4), at::tensor({0.5f, 1.0f, 1.0f, 1.0f})));
  CHECK(batch.normaliser == Approx(9 + 1.5 + 2));
}

class Lengths final : public SampleSource {
 public:
  explicit Lengths(std::vector<int> lengths) : lengths_(std::move(lengths)) {}
  Sample sample(std::uint64_t index) const override {
    return sample_of(Tokens(static_cast<std::size_t>(lengths_[index % lengths_.size()]), 1));
  }

 private:
  std::vector<int> lengths_;
};

TEST_CASE("Samples are taken in order as far as the batch goes; too long ones are counted") {
  DataPosition position;
  const TrainBatchSettings settings{.rows = 2, .length = 10, .accumulate = 1};
  const Lengths source({9, 20, 8, 9, 3});
  const auto first = take_samples(source, settings, position);
  CHECK(first.size() == 2);  // 8 + 7 rows; 8 more do not fit into 20
  CHECK(position.next_sample == 3);
  CHECK(position.skipped == 1);
  CHECK(position.tokens == 15);
  const auto second = take_samples(source, settings, position);
  CHECK(second.size() == 3);
  CHECK(position.next_sample == 7);  // 20 again, left out
  CHECK_THROWS_WITH(take_samples(Lengths({20}), settings, position), Catch::Contains("longer than 10"));
}

TEST_CASE("A curve as CSV has a column for each measure and gaps where nothing was measured") {
  const Curve curve = {{10, {{"loss", 2.5}}}, {20, {{"loss", 1.25}, {"heldout_loss", 1.5}, {"exact_match", 0.5}}}};
  CHECK(curve_csv(curve) == "step,loss,heldout_loss,exact_match\n10,2.5,,\n20,1.25,1.5,0.5\n");
  const std::string svg = curve_svg(curve, "a <b>");
  CHECK(svg.starts_with("<svg"));
  CHECK(svg.find("a &lt;b&gt;") != std::string::npos);
  CHECK(svg.find("exact_match") != std::string::npos);
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(curve_svg({}, "").ends_with("</svg>\n"));
}

TEST_CASE("A curriculum starts with short conversations and ends with those of the settings") {
  TrainDataSettings data, easy;
  easy.families = data.families = {"retrieval"};
  easy.curriculum = 1000;
  const auto length = [](const TrainDataSettings& settings, std::uint64_t first) {
    std::size_t sum = 0;
    for (std::uint64_t i = first; i < first + 50; ++i) sum += training_example(settings, i).turns[0].prompt.size();
    return static_cast<double>(sum) / 50;
  };
  CHECK(length(easy, 0) < 0.5 * length(data, 0));
  CHECK(length(easy, 0) < length(easy, 500));
  CHECK(length(easy, 500) < length(easy, 950));
  CHECK(training_example(easy, 1000).turns[0].prompt == training_example(data, 1000).turns[0].prompt);
}

TrainSettings parsed(const std::string& more) {
  return read_train_settings(parse_yaml("train: t\nmodel: {config: c.json, tokenizer: t}\n" + more, "train.yaml"));
}

TEST_CASE("Settings: defaults, and what is refused names its line") {
  const TrainSettings settings =
      parsed("data: {families: [qa], weights: {qa: 2}, prompt_weight: 0.1}\nrun: {steps: 7}\n");
  CHECK(settings.run.steps == 7);
  CHECK(settings.data.weights.at("qa") == 2);
  CHECK(parsed("").data.families.size() == task_families().size());
  const std::string resolved = resolved_document(settings).to_yaml();
  CHECK(resolved_document(read_train_settings(parse_yaml(resolved, "again.yaml"))).to_yaml() == resolved);
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"optimizer: {learning_rat: 1}", "did you mean 'learning_rate'"},
           {"data: {families: [qq]}", "unknown task family 'qq'"},
           {"data: {weights: {qa: -1}}", "below 0"},
           {"data: {type: text}", "needs 'files'"},
           {"data: {chat_template: chatmI}", "did you mean 'chatml'"},
           {"data: {prompt_weight: 2}", "from 0 to 1"},
           {"optimizer: {betas: [0.9]}", "two numbers"},
           {"optimizer: {betas: [0.9, 1]}", "outside of [0, 1)"},
           {"run: {dtype: f16}", "f32"},
           {"run: {steps: 0}", "at least 1"}}) {
    INFO(text);
    CHECK_THROWS_WITH(parsed(text), Catch::Contains(message) && Catch::Contains("train.yaml:3"));
  }
  CHECK_THROWS_WITH(read_train_settings(parse_yaml("train: t\nmodel: {from: a, config: b}", "x.yaml")),
                    Catch::Contains("exactly one"));
}

}  // namespace
}  // namespace foretell
