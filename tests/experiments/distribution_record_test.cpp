#include "experiments/results/distribution_record.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "experiments/workload/distribution_replay.h"
#include "framework/core/error.h"
#include "framework/io/file_bytes.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Contains;

std::shared_ptr<RecordedDistributions> some_distributions(const Tokens& answer) {
  auto distributions = std::make_shared<RecordedDistributions>(6);
  for (const Token token : answer)
    distributions->add(std::vector<float>{0.5F, 1, 0, 2, -1, static_cast<float>(token)}, token, 3);
  return distributions;
}

// Two conversations, the first of two turns.
std::string distributions_bytes() {
  const auto file = std::filesystem::temp_directory_path() / "foretell-distribution-record-test.bin";
  DistributionHeader header{
      .vocab = 6, .top_k = 3, .context = 64, .max_new_tokens = 4, .answers = 3, .stop_tokens = {5}};
  header.sampling.temperature = 1;
  header.costs = std::make_shared<RowCosts>(std::vector<RowCost>{{1, 100}, {4, 150}}, std::vector<RowCost>{{1, 10}});
  header.draft = {"draft", "0123456789abcdef"};
  DistributionWriter writer(file, header);
  writer.add({"a", "qa", "qa", 0, "stop_token", {1, 2}, some_distributions({3, 5})});
  writer.add({"a", "qa", "qa", 1, "length", {1, 2, 3, 5, 1}, some_distributions({3, 3, 1, 2})});
  writer.add({"b", "chat", "mt_bench", 0, "stop_string", {4}, some_distributions({0})});
  writer.finish();
  std::string bytes = read_file_bytes(file);
  std::filesystem::remove(file);
  return bytes;
}

DistributionRecord parse_distributions(const std::string& bytes) {
  return DistributionRecord::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "probs.bin");
}

TEST_CASE("distributions come back from the file as they were written") {
  const DistributionRecord record = parse_distributions(distributions_bytes());
  CHECK(record.header.vocab == 6);
  CHECK(record.header.stop_tokens == std::vector<Token>{5});
  CHECK(record.header.sampling.temperature == 1);
  CHECK(record.header.draft.hash == "0123456789abcdef");
  CHECK(record.header.costs->target(4) == 150);
  REQUIRE(record.answers.size() == 3);
  const AnswerDistributions& second = record.answers[1];
  CHECK(second.conversation == "a");
  CHECK(second.turn == 1);
  CHECK(second.prompt == Tokens{1, 2, 3, 5, 1});
  const auto expected = some_distributions({3, 3, 1, 2});
  for (int i = 0; i < 4; ++i) CHECK(second.distributions->row(i) == expected->row(i));
}

TEST_CASE("the rest of the distributions is reported") {
  const DistributionRecord::Rest rest = parse_distributions(distributions_bytes()).rest();
  double sum = 0;
  for (const Tokens& answer : {Tokens{3, 5}, Tokens{3, 3, 1, 2}, Tokens{0}})
    for (int i = 0; i < static_cast<int>(answer.size()); ++i) sum += (*some_distributions(answer))[i].rest;
  CHECK(rest.tokens == 7);
  CHECK(rest.mean() == Approx(sum / 7));
  CHECK(rest.highest > rest.mean());
  CHECK_THAT(rest.words(), Contains("on average and at most"));
}

TEST_CASE("a file of distributions that was cut short is one clear line") {
  const std::string bytes = distributions_bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK_THROWS_AS(parse_distributions(bytes.substr(0, size)), Error);
  CHECK_THROWS_WITH(parse_distributions(bytes.substr(0, bytes.size() - 3)),
                    Contains("probs.bin: ends within a distribution's values"));
  CHECK_THROWS_WITH(parse_distributions(bytes + "x"), Contains("1 byte behind the last answer"));
}

TEST_CASE("a hostile file of distributions never does worse than an error") {
  const std::string bytes = distributions_bytes();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const char value : {'\x00', '\x7f', '\xff'}) {
      std::string changed = bytes;
      changed[at] = value;
      try {
        parse_distributions(changed);
      } catch (const Error&) {
      }
    }
  }
  CHECK_THROWS_WITH(parse_distributions("hello, this is no such file"), Contains("is no file of distributions"));
  std::string later = bytes;
  later[8] = 9;
  CHECK_THROWS_WITH(parse_distributions(later), Contains("is version 9 of the format"));
  std::string huge = bytes;
  std::memset(huge.data() + 12, 0xff, 4);
  CHECK_THROWS_WITH(parse_distributions(huge), Contains("a vocabulary of 4294967295 tokens"));
  std::string no_distribution = bytes;
  const float half = 0.5F;
  std::memcpy(no_distribution.data() + no_distribution.size() - 4 * (2 * 3 + 1) - 4, &half,
              4);  // the rest of the last distribution
  CHECK_THROWS_WITH(parse_distributions(no_distribution), Contains("answer 3: the mass of a distribution is"));
}

std::filesystem::path written_distributions() {
  const auto folder = std::filesystem::temp_directory_path() / "foretell-distribution-replay-test";
  std::filesystem::create_directories(folder / "cell");
  std::ofstream(folder / "cell" / kDistributionsFile, std::ios::binary) << distributions_bytes();
  return folder;
}

TEST_CASE("a record is the prompts, answers and limits of a replay") {
  const auto folder = written_distributions();
  DistributionReplay replay(folder, {});  // the study's folder: one cell was recorded
  const Workload workload = replay.workload(parse_yaml("{type: recorded, max_new_tokens: 3}", "study"));
  REQUIRE(workload.conversations.size() == 2);
  CHECK(workload.conversations[0].turns.size() == 2);
  CHECK(workload.tasks == std::vector<std::string>{"qa", "mt_bench"});
  const auto completed = [&](int conversation, int turn) {
    Request request;
    replay.complete(workload.conversations[static_cast<std::size_t>(conversation)], turn, request);
    return request;
  };
  CHECK(completed(0, 0).reference == Tokens{3, 5});
  CHECK(completed(0, 0).max_new_tokens == 3);  // it ended by itself: drafts may reach beyond
  CHECK(completed(0, 1).reference == Tokens{3, 3, 1});
  CHECK(completed(0, 1).max_new_tokens == 3);
  CHECK(completed(1, 0).stop_watcher->push(0));
  CHECK(replay.workload(parse_yaml("{type: recorded, limit: 1}", "study")).conversations.size() == 1);
  CHECK_THROWS_WITH(replay.workload(parse_yaml("{type: random_ids}", "study")),
                    Contains("expected workload: {type: recorded}"));
  std::filesystem::create_directories(folder / "other");
  CHECK_THROWS_WITH(DistributionReplay(folder / "other", {}), Contains("holds no probs.bin"));
  std::filesystem::copy_file(folder / "cell" / kDistributionsFile, folder / "other" / kDistributionsFile);
  CHECK_THROWS_WITH(DistributionReplay(folder, {}), Contains("holds 2 recorded cells"));
  std::filesystem::remove_all(folder);
}

TEST_CASE("rounds of a replay take what rows cost when they were recorded") {
  const DistributionRecord record = parse_distributions(distributions_bytes());
  const ReplayClock clock(record.header, {});
  const std::vector<RoundRecord> rounds{{.drafted = 3, .scored = 4, .depth = 3, .accepted = 1, .emitted = 2}};
  CHECK(clock.times(rounds)->score == 150);
  CHECK(clock.times(rounds)->draft == 0);  // no drafter has loaded a model
  GenerationRecord generation;
  generation.rounds = rounds;
  generation.rounds[0].ns = *clock.times(rounds);
  CHECK(*clock.speedup(std::span(&generation, 1)) == Approx(2 * 100.0 / 150));
  CHECK(clock.costs("")->target(1) == 100);
}

}  // namespace
}  // namespace foretell
