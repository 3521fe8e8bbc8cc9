#include "experiments/results/summary.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/results/store.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/core/rng.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;

namespace {

RoundRecord chain_round(int drafted, int accepted) {
  return {.drafted = drafted,
          .scored = drafted + 1,
          .depth = drafted,
          .accepted = accepted,
          .emitted = accepted + 1,
          .kind = accepted < drafted ? NextKind::Correction : NextKind::Bonus,
          .ns = {10, 20, 30, 40}};
}

GenerationRecord record(const std::string& id, const std::string& task, PipelineVariant arm, int repeat,
                        std::int64_t ms, std::vector<RoundRecord> rounds) {
  GenerationRecord out{.conversation = id,
                       .category = task,
                       .task = task,
                       .repeat = repeat,
                       .arm = arm,
                       .prompt_tokens = 3,
                       .finish = "length"};
  for (const RoundRecord& round : rounds) out.tokens.insert(out.tokens.end(), round.emitted, 7);
  out.wall_ns = ms * 1'000'000;
  out.prefill_ns = 1'000'000;
  out.rounds = std::move(rounds);
  return out;
}

std::vector<GenerationRecord> sample() {
  const std::vector<RoundRecord> plain(4, chain_round(0, 0));
  return {
      record("1", "qa", PipelineVariant::Baseline, 0, 40, plain),
      record("1", "qa", PipelineVariant::Baseline, 1, 44, plain),
      record("1", "qa", PipelineVariant::Baseline, 2, 90, plain),
      record("1", "qa", PipelineVariant::Method, 0, 20, {chain_round(3, 3)}),
      record("1", "qa", PipelineVariant::Method, 1, 22, {chain_round(3, 3)}),
      record("1", "qa", PipelineVariant::Method, 2, 21, {chain_round(3, 3)}),
      record("2", "rag", PipelineVariant::Method, 0, 10, {chain_round(3, 0), chain_round(3, 0)}),
  };
}

}  // namespace

TEST_CASE("a cell's numbers: acceptance of the first repeat, medians of times, the speed-up on shared requests only") {
  const Summary summary = fold(sample(), {});
  const TaskSummary& qa = summary.at("qa");
  CHECK(qa.requests == 1);
  CHECK(qa.tokens == 4);
  CHECK(qa.rounds == 1);
  CHECK(*qa.mean_acceptance_length == 4.0);
  CHECK(*qa.draft_acceptance_rate == 1.0);
  CHECK(*qa.tokens_per_second == Approx(4 / 0.021));
  CHECK(*qa.decode_tokens_per_second == Approx(4 / 0.020));
  CHECK(*qa.speedup == Approx(44.0 / 21));
  CHECK(*qa.same_as_baseline == 1.0);

  const TaskSummary& overall = summary.at("overall");
  CHECK(overall.requests == 2);
  CHECK(*overall.mean_acceptance_length == 2.0);
  CHECK(*overall.mean_acceptance_length_per_request == 2.5);
  CHECK(*overall.draft_acceptance_rate == Approx(3.0 / 9));
  CHECK(*overall.speedup == Approx(44.0 / 21));
  CHECK_FALSE(summary.at("rag").speedup.has_value());
  CHECK(overall.phases.score == 60);
}

TEST_CASE("answers that differ from the baseline's are counted") {
  std::vector<GenerationRecord> records = sample();
  records.push_back(
      record("2", "rag", PipelineVariant::Baseline, 0, 20, std::vector<RoundRecord>(2, chain_round(0, 0))));
  CHECK(*fold(records, {}).at("overall").same_as_baseline == 1.0);
  // Of two requests one differs, in its last token alone; other repeats do not count.
  for (GenerationRecord& r : records)
    if (r.conversation == "2" && r.arm == PipelineVariant::Method) r.tokens.back() = 8;
  for (GenerationRecord& r : records)
    if (r.conversation == "1" && r.repeat == 2) r.tokens.clear();
  const Summary summary = fold(records, {});
  CHECK(*summary.at("overall").same_as_baseline == 0.5);
  CHECK(*summary.at("qa").same_as_baseline == 1.0);
  CHECK(*summary.at("rag").same_as_baseline == 0.0);
}

TEST_CASE("a speed-up is all tokens over all time, so long answers weigh more") {
  const auto plain = [](int tokens) {
    return std::vector<RoundRecord>(static_cast<std::size_t>(tokens), chain_round(0, 0));
  };
  // 10 tokens twice as fast, 90 as fast as the baseline: 110 ms to 100 ms, where the mean of the two ratios would
  // be 1.5.
  const std::vector<GenerationRecord> records = {record("short", "qa", PipelineVariant::Baseline, 0, 20, plain(10)),
                                                 record("short", "qa", PipelineVariant::Method, 0, 10, plain(10)),
                                                 record("long", "qa", PipelineVariant::Baseline, 0, 90, plain(90)),
                                                 record("long", "qa", PipelineVariant::Method, 0, 90, plain(90))};
  const TaskSummary qa = fold(records, {}).at("qa");
  CHECK(*qa.speedup == Approx(1.1));
  CHECK(*qa.decode_speedup == Approx(108.0 / 98));  // 1 ms each is prefill
  CHECK(*qa.speedup_estimate.value == Approx(1.1));
  CHECK(*qa.tokens_per_second == Approx(1000.0));
}

TEST_CASE("each limit of goodput counts by itself") {
  const std::vector<RoundRecord> plain(4, chain_round(0, 0));
  GenerationRecord quick = record("1", "qa", PipelineVariant::Method, 0, 40, plain),
                   slow = record("2", "qa", PipelineVariant::Method, 0, 60, plain);
  quick.round_ends = {10'000'000, 20'000'000, 30'000'000, 40'000'000};
  slow.round_ends = {15'000'000, 30'000'000, 45'000'000, 60'000'000};
  const std::vector<GenerationRecord> records = {quick, slow};
  const auto goodput_of = [&](const LatencyTargets& targets) {
    return fold(records, {.targets = targets}).at("qa").goodput;
  };
  CHECK_FALSE(goodput_of({}).has_value());
  // One after the other the two take 100 ms.
  CHECK(*goodput_of({.time_to_first_token_ns = 12e6}) == Approx(10));
  CHECK(*goodput_of({.time_per_output_token_ns = 12e6}) == Approx(10));
  CHECK(*goodput_of({.end_to_end_ns = 50e6}) == Approx(10));
  CHECK(*goodput_of({.time_to_first_token_ns = 20e6, .time_per_output_token_ns = 20e6, .end_to_end_ns = 70e6}) ==
        Approx(20));
  CHECK(*goodput_of({.time_to_first_token_ns = 20e6, .time_per_output_token_ns = 20e6, .end_to_end_ns = 30e6}) ==
        Approx(0));
}

TEST_CASE("times that mean nothing are not reported, and the baseline's speed-up is 1") {
  const Summary replayed = fold(sample(), {.timed = false});
  CHECK_FALSE(replayed.at("overall").tokens_per_second.has_value());
  CHECK_FALSE(replayed.at("overall").speedup.has_value());
  CHECK(to_json(replayed, {})["overall"]["speedup"].is_null());
  CHECK(*fold(sample(), {.is_baseline = true}).at("qa").speedup == 1.0);
}

TEST_CASE("right answers are counted where the workload knows them, on both pipelines") {
  std::vector<GenerationRecord> records = sample();
  CHECK_FALSE(fold(records, {}).at("overall").exact_match.has_value());
  for (GenerationRecord& r : records)
    if (r.task == "qa") r.exact = r.arm == PipelineVariant::Method;
  const Summary summary = fold(records, {});
  CHECK(*summary.at("qa").exact_match == 1.0);
  CHECK(*summary.at("qa").baseline_exact_match == 0.0);
  CHECK_FALSE(summary.at("rag").exact_match.has_value());
  CHECK(*summary.at("overall").exact_match == 1.0);
}

TEST_CASE("quality is folded by request and by token") {
  std::vector<GenerationRecord> records = sample();
  CHECK_FALSE(fold(records, {}).at("overall").perplexity.has_value());
  for (GenerationRecord& r : records)
    if (r.repeat == 0)
      r.quality = AnswerQuality{.log_probability = -0.5 * static_cast<double>(r.tokens.size()),
                                .greedy_rouge_l = r.task == "qa" ? 1.0 : 0.5,
                                .same_as_greedy = r.task == "qa"};
  const Summary summary = fold(records, {});
  CHECK(*summary.at("overall").perplexity == Approx(std::exp(0.5)));
  CHECK(*summary.at("qa").baseline_perplexity == Approx(std::exp(0.5)));
  CHECK(*summary.at("qa").greedy_rouge_l == 1.0);
  CHECK(*summary.at("qa").same_as_greedy == 1.0);
  CHECK(*summary.at("rag").greedy_rouge_l == 0.5);
  CHECK(*summary.at("overall").same_as_greedy == Approx(0.5));
}

TEST_CASE("a drafter that got nothing accepted never wins, whatever the clock says") {
  std::vector<GenerationRecord> records;
  for (int i = 0; i < 12; ++i) {
    records.push_back(record(std::to_string(i), "qa", PipelineVariant::Baseline, 0, 60 + i,
                             std::vector<RoundRecord>(2, chain_round(0, 0))));
    records.push_back(record(std::to_string(i), "qa", PipelineVariant::Method, 0, 30 + i % 3,
                             std::vector<RoundRecord>(2, chain_round(3, 0))));
  }
  const Judgement drafted = fold(records, {.drafts = true}).at("overall").judgement;
  CHECK(drafted.unreliable());
  CHECK_THAT(drafted.words, Catch::Matchers::StartsWith("unreliable timing: no drafted token was accepted"));
  CHECK(fold(records, {}).at("overall").judgement.wins());  // what is faster for another reason than drafting
  for (GenerationRecord& r : records)
    if (r.arm == PipelineVariant::Method && r.conversation == "3") r.rounds[0].accepted = 1;
  CHECK(fold(records, {.drafts = true}).at("overall").judgement.wins());
}

TEST_CASE("drawn tokens are not compared with the baseline's") {
  CHECK_FALSE(fold(sample(), {.sampled = true}).at("qa").same_as_baseline.has_value());
}

TEST_CASE("prompts of a batch share a clock: the batch is resampled, and a single one has no interval") {
  std::vector<GenerationRecord> records;
  const auto add = [&](int count, int batch_size) {
    records.clear();
    for (int i = 0; i < count; ++i)
      for (const PipelineVariant arm : {PipelineVariant::Method, PipelineVariant::Baseline}) {
        // Every sequence of a batch is booked with the same share of its time.
        const int batch = i / batch_size, ms = arm == PipelineVariant::Method ? 20 + batch : 30;
        records.push_back(record(std::to_string(i), "qa", arm, 0, ms, {chain_round(3, 3)}));
        if (batch_size > 1) records.back().batch = batch;
      }
    return fold(records, {}).at("overall");
  };
  const TaskSummary whole = add(6, 6);
  CHECK(whole.speedup == Approx(1.5));
  CHECK_FALSE(whole.speedup_estimate.interval);
  CHECK_FALSE(whole.judgement.verdict);
  CHECK(whole.judgement.words == "not judged: all 6 prompts ran in one batch, which is one sample");
  CHECK(to_json(fold(records, {}), {})["overall"]["speedup_units"] == "1 batch of 6 prompts");

  const TaskSummary halves = add(6, 3), apart = add(6, 1);
  CHECK(halves.speedup_estimate.samples == 2);
  CHECK(units_of(halves.speedup_estimate) == "2 batches of 6 prompts");
  CHECK(units_of(apart.speedup_estimate) == "6 prompts");
  CHECK_FALSE(halves.speedup_estimate.interval);
  CHECK(halves.judgement.words == "not judged: an interval needs at least 6 batches, there are 2 batches of 6 prompts");
  REQUIRE(apart.speedup_estimate.interval);
}

TEST_CASE("what was timed beside other work gets no verdict of speed") {
  std::vector<GenerationRecord> records;
  for (int i = 0; i < 20; ++i)
    for (const PipelineVariant arm : {PipelineVariant::Method, PipelineVariant::Baseline})
      for (int repeat = 0; repeat < 3; ++repeat)
        records.push_back(record(std::to_string(i), "qa", arm, repeat, arm == PipelineVariant::Method ? 20 : 60 + i,
                                 {chain_round(3, 3)}));
  const auto with = [&](PipelineVariant arm, double first, double others) {
    for (GenerationRecord& r : records) r.contention = r.arm != arm ? 0.01 : r.repeat == 0 ? first : others;
    return fold(records, {}).at("overall");
  };
  CHECK(with(PipelineVariant::Method, 0.01, 0.01).judgement.verdict == SpeedupVerdict::Faster);
  for (const PipelineVariant arm : {PipelineVariant::Method, PipelineVariant::Baseline})
    CHECK(with(arm, 0.3, 0.3).judgement.verdict == SpeedupVerdict::UnreliableTiming);
  CHECK(with(PipelineVariant::Baseline, 0.3, 0.3).baseline_contention == Approx(0.3));
  // A spell that the median leaves out changes nothing.
  CHECK(with(PipelineVariant::Method, 0.9, 0.02).judgement.verdict == SpeedupVerdict::Faster);
  CHECK(with(PipelineVariant::Method, 0.9, 0.02).contention == Approx(0.02));
}

TEST_CASE("the fold depends on the set of records, not on their order") {
  auto records = sample();
  const auto expected = to_json(fold(records, {}), {"qa"});
  PhiloxRng rng({.seed = 5});
  for (int trial = 0; trial < 20; ++trial) {
    for (std::size_t i = records.size(); i > 1; --i) std::swap(records[i - 1], records[rng.below(i)]);
    CHECK(to_json(fold(records, {}), {"qa"}) == expected);
  }
}

TEST_CASE("what the store has written folds to the same numbers, also after a kill in the middle of a line") {
  const testing::TemporaryFolder folder;
  const Cell cell;
  const auto path = folder.path() / "a" / "b";
  CHECK(read_records(path).records.empty());
  CHECK_FALSE(Store(path).manifest());
  {
    Store store(path);
    store.begin(cell, {{"revision", "x"}}, {});
    store.append(sample());
    auto measured = sample();
    measured[0].quality = AnswerQuality{.log_probability = -1.25, .greedy_rouge_l = 0.75, .same_as_greedy = false};
    store.write_quality(measured);
    auto summary = to_json(fold(measured, {}), {});
    CHECK_FALSE(store.finished());
    summary["complete"] = true;
    store.write_summary(summary);
    CHECK(store.finished());
    CHECK(store.manifest()->json()["revision"] == "x");
  }
  const auto read = undamaged_records(path);
  CHECK(read.size() == sample().size());
  CHECK(damage_of(path).empty());
  auto written = nlohmann::ordered_json::parse(testing::read_file(path / "summary.json"));
  written.erase("complete");
  for (const char* seal : {"records", "files", "checksum"}) written.erase(seal);
  CHECK(to_json(fold(read, {}), {}) == written);

  std::ofstream(path / "generations.jsonl", std::ios::app) << "{\"conversation\": \"3\", \"tu";
  std::ofstream(path / "rounds.jsonl", std::ios::app) << "{\"conv";
  CHECK(to_json(fold(undamaged_records(path), {}), {}) == to_json(fold(read, {}), {}));

  // Gone on with: what is kept stays, and the line that was cut short is gone.
  Store again(path);
  again.begin(cell, nlohmann::ordered_json::object(), std::span(read).first(2));
  again.append(std::span(read).subspan(2, 1));
  CHECK(undamaged_records(path).size() == 3);
  CHECK_FALSE(std::filesystem::exists(path / "summary.json"));
  CHECK(testing::read_file(path / "generations.jsonl").find("\"tu\n") == std::string::npos);
}

TEST_CASE("every field of a record survives the disk") {
  GenerationRecord record = sample().front();
  record.arm = PipelineVariant::Method;
  record.exact = false;
  record.joules = 1.5;
  record.batch = 3;
  record.contention = 0.25;
  record.text = "a\n\"b\"";
  record.round_ends = {10, 20, 30, 40};
  record.rounds[1] = {.drafted = 5,
                      .scored = 7,
                      .depth = 4,
                      .accepted = 0,
                      .emitted = 1,
                      .kind = NextKind::Correction,
                      .ns = {11, 12, 13, 14},
                      .work = StepWork{21, 22, 23, 24, 25, 26}};
  const testing::TemporaryFolder folder;
  Store store(folder.path() / "c");
  store.begin(Cell{}, nlohmann::ordered_json::object(), {});
  store.append(std::span(&record, 1));
  const auto read = undamaged_records(folder.path() / "c");
  REQUIRE(read.size() == 1);
  CHECK(read[0].text == record.text);
  CHECK(read[0].joules == record.joules);
  CHECK(read[0].exact == record.exact);
  CHECK(read[0].batch == record.batch);
  CHECK(read[0].contention == record.contention);
  CHECK(read[0].round_ends == record.round_ends);
  CHECK(read[0].tokens == record.tokens);
  CHECK(read[0].arm == PipelineVariant::Method);
  REQUIRE(read[0].rounds.size() == 4);
  const RoundRecord& round = read[0].rounds[1];
  CHECK(round.drafted == 5);
  CHECK(round.scored == 7);
  CHECK(round.depth == 4);
  CHECK(round.accepted == 0);
  CHECK(round.emitted == 1);
  CHECK(round.kind == NextKind::Correction);
  CHECK(round.ns.draft == 11);
  CHECK(round.ns.score == 12);
  CHECK(round.ns.verify == 13);
  CHECK(round.ns.commit == 14);
  CHECK(round.work == StepWork{21, 22, 23, 24, 25, 26});
  CHECK_FALSE(read[0].rounds[0].work);  // a folder of an older run
  CHECK(read[0].rounds[0].kind == NextKind::Bonus);
}

TEST_CASE("a folder that cannot be written is an Error with its name") {
  const testing::TemporaryFolder folder;
  folder.write("file", "x");
  CHECK_THROWS_WITH(Store(folder.path() / "file" / "cell").begin(Cell{}, {}, {}), Catch::Contains("file"));
}
