// How far two models agree, what that predicts, and the texts that are cut up for it.
#include "experiments/analysis/overlap.h"

#include "experiments/util/text_prompts.h"
#include "experiments/util/text_reader.h"
#include "framework/core/error.h"
#include "framework/formats/bitllama.h"
#include "framework/formats/llama2c.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::data_file;
using testing::TemporaryFolder;

std::shared_ptr<const LanguageModel> random_model(const TemporaryFolder& folder, std::uint64_t seed, int vocab = 31,
                                                  int context = 64) {
  const auto config =
      folder.write("config.json", fmt::format(R"({{"model_type": "llama", "vocab_size": {}, "hidden_size": 16,
      "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": {}, "dtype": "float32"}})",
                                              vocab, context));
  const auto out = folder.path() / fmt::format("{}-{}-{}", vocab, context, seed);
  make_random(config, out, seed);
  return load_model(out);
}

SamplingOptions at_temperature(double temperature) {
  SamplingOptions options;
  options.temperature = temperature;
  return options;
}

TEST_CASE("the predicted length is the geometric sum") {
  CHECK(predicted_acceptance_length(0.5, 2) == Approx(1.75));
  CHECK(predicted_acceptance_length(0.765, 4) == Approx((1 - std::pow(0.765, 5)) / (1 - 0.765)));
  CHECK(predicted_acceptance_length(1.0, 4) == Approx(5.0));
  CHECK(predicted_acceptance_length(0.0, 8) == Approx(1.0));
}

TEST_CASE("a reader's rows are the model's, whatever chunks they are computed in") {
  const TemporaryFolder folder;
  const auto model = random_model(folder, 1, 31, 600);
  Tokens text;
  for (int i = 0; i < 560; ++i) text.push_back((7 * i * i + i) % 31);
  const auto cache = model->make_cache(560);
  const at::Tensor whole =
      model->forward(ForwardItem{text, ChainShape{}, cache.get(), LogitRows::All}).logits.contiguous();
  TextReader reader(*model, text);
  for (const std::size_t row : {0, 255, 256, 511, 559}) {
    const std::span<const float> logits = reader.row(row);
    double sum = 0;
    for (Token token = 0; token < 31; ++token) {
      CHECK(logits[token] == Approx(whole[static_cast<std::int64_t>(row)][token].item<float>()).margin(1e-5));
      sum += std::exp(log_probability(logits, token));
    }
    CHECK(sum == Approx(1.0));
  }
  const std::vector<float> damaged = {0, std::nanf(""), 1};
  CHECK_THROWS_WITH(log_probability(damaged, 0), Catch::Contains("NaN"));
}

TEST_CASE("a model agrees with itself, and two models as far as their distributions overlap") {
  const TemporaryFolder folder;
  const auto target = random_model(folder, 1), draft = random_model(folder, 2);
  std::vector<Passage> passages = {{{1, 5, 9, 2, 30, 7}, 1}, {{4, 4, 4}, 2}};
  const OverlapReport same = measure_overlap(*target, *target, passages, at_temperature(1));
  CHECK(same.positions == 6);
  CHECK(same.argmax_agreement == 1.0);
  CHECK(same.expected_acceptance == Approx(1.0));
  CHECK(same.target_perplexity == same.draft_perplexity);

  const OverlapReport warm = measure_overlap(*target, *draft, passages, at_temperature(1));
  const OverlapReport cold = measure_overlap(*target, *draft, passages, at_temperature(0));
  CHECK(warm.expected_acceptance > 0);
  CHECK(warm.expected_acceptance < 0.9);
  CHECK(cold.expected_acceptance == cold.argmax_agreement);
  CHECK(cold.argmax_agreement == warm.argmax_agreement);
  CHECK_THROWS_WITH(measure_overlap(*target, *random_model(folder, 1, 32), passages, at_temperature(1)),
                    Catch::Contains("a vocabulary of 32 tokens, the target has 31"));
  CHECK_THROWS_WITH(measure_overlap(*target, *draft, std::vector<Passage>{{{1}, 1}}, at_temperature(1)),
                    Catch::Contains("no position"));
}

TEST_CASE("prompts are cut from the beginnings of lines to the ends of words, spread over the text") {
  std::string text;
  for (int line = 0; line < 50; ++line) text += fmt::format("line{} has a few words\n\n", line);
  const auto prompts = cut_prompts(text, 5, 14);
  REQUIRE(prompts.size() == 5);
  CHECK(prompts[0] == "line0 has a");
  CHECK(prompts[4].substr(0, 5) == "line4");
  for (const std::string& prompt : prompts) CHECK(prompt.starts_with("line"));
  CHECK(cut_prompts("one two three four\nfive six seven eight", 2, 7) == std::vector<std::string>{"one two", "five"});
  CHECK(cut_prompts("short", 3, 100).empty());
  CHECK(cut_prompts("unbrokenword\nx", 1, 4) == std::vector<std::string>{"unbrokenword"});
}

TEST_CASE("the real pair overlaps as was computed elsewhere") {
  const auto corpus = data_file("data/corpora/tinystories_sample.txt");
  if (!corpus) return;
  const TemporaryFolder folder;
  const auto words = *data_file("data/weights/stories260K/tok512.bin");
  import_bitllama(*data_file("data/weights/bitllama/bitllama_3M.bin"), words, folder.path() / "target");
  import_llama2c(*data_file("data/weights/stories260K/stories260K.bin"), words, folder.path() / "draft");
  const auto target = load_model(folder.path() / "target"), draft = load_model(folder.path() / "draft");
  const auto passages = cut_passages(*corpus, *load_tokenizer(folder.path() / "target"), 12, 256);
  CHECK(passages.size() == 12);
  const OverlapReport report = measure_overlap(*target, *draft, passages, at_temperature(1));
  CHECK(report.positions == 12 * 256);
  // Which 12 windows were taken elsewhere is not known; from one choice to the next these numbers have a deviation of
  // about 0.01.
  CHECK(report.argmax_agreement == Approx(0.724).margin(0.02));
  CHECK(report.expected_acceptance == Approx(0.765).margin(0.02));
}

}  // namespace
}  // namespace foretell
