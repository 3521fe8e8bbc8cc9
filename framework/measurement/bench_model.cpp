#include "framework/measurement/bench_model.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/kernels/matrix_path.h"
#include "framework/measurement/read_bandwidth.h"
#include "framework/metrics/metrics.h"
#include "framework/metrics/statistics.h"
#include "framework/model/transformer.h"

namespace foretell::measurement {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMostReadBytes = 2.0 * (1 << 30);
constexpr double kReadSeconds = 0.75;  // before the forward passes and again after them
constexpr int kMostContext = 1 << 24;
constexpr int kPrefillChunk = 256;
constexpr int kComparedRows = 64, kMostComparedRows = 1024;
constexpr int kTurns = 4, kMostDraftSteps = 16;
constexpr double kShortMs = 20;  // forwards of models that a cache holds

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What is attainable over a working set of the size that a forward pass reads: of the L2, the L3 or memory. Measured
// before and after the forward passes, the better one counts: other work on the machine makes either smaller.
class Attainable {
 public:
  Attainable(double bytes, BenchModelReport& report) : report_(report) {
    const auto available = static_cast<double>(available_memory());
    const double most = available > 0 ? std::min(kMostReadBytes, available / 2) : kMostReadBytes;
    bytes_ = static_cast<std::size_t>(std::min(bytes, most));
    if (most < std::min(bytes, kMostReadBytes))
      report.notes.push_back(fmt::format("read bandwidth was measured over {} MiB: memory is short", bytes_ >> 20));
  }

  void measure() const {
    const ReadBandwidth read = ReadBuffer(bytes_, report_.threads).read(bytes_, report_.threads, kReadSeconds);
    report_.read_bandwidth_gbs = std::max(report_.read_bandwidth_gbs, read.bytes_per_second / 1e9);
    report_.read_bytes = static_cast<double>(read.bytes);
  }

 private:
  BenchModelReport& report_;
  std::size_t bytes_ = 0;
};

// Positions that a forward pass of the bench may have.
int longest(const BenchModelOptions& options) { return options.context + *std::ranges::max_element(options.rows); }

void check_options(const BenchModelOptions& options, const formats::ModelConfig& config) {
  if (options.rows.empty()) fail("bench model: no row count is given");
  if (options.batch < 1) fail("bench model: a batch of {}", options.batch);
  if (options.repeats < 1) fail("bench model: {}, at least 1 is needed", counted(options.repeats, "repeat"));
  if (options.context < 0) fail("bench model: a context of {} tokens", options.context);
  if (options.context > kMostContext)
    fail("bench model: a context of {}; at most {} are measured", counted(options.context, "token"), kMostContext);
  for (const int rows : options.rows)
    if (rows < 1 || rows > kMostContext)
      fail("bench model: {}, 1 to {} are possible", counted(rows, "row"), kMostContext);
  if (config.position == formats::PositionKind::Learned && longest(options) > config.context)
    fail("bench model: {} after {} of context exceed the {} positions that the model has learned",
         counted(*std::ranges::max_element(options.rows), "row"), counted(options.context, "token"), config.context);
}

// The same tokens on every machine.
class RandomText {
 public:
  Tokens tokens(int count, int vocab) {
    Tokens tokens(static_cast<std::size_t>(count));
    for (Token& token : tokens)
      token = static_cast<Token>((state_ = state_ * 6364136223846793005u + 1442695040888963407u) >> 33) % vocab;
    return tokens;
  }

 private:
  std::uint64_t state_ = 1;
};

// One model with filled caches, to be asked for forwards of any size.
class Bench {
 public:
  Bench(const model::LanguageModel& model, const std::vector<int>& rows, int context, int batch)
      : model_(model), context_(context) {
    const int most = *std::max_element(rows.begin(), rows.end());
    for (int i = 0; i < batch; ++i) caches_.push_back(model.make_cache(context_ + std::max(most, 1)));
    while (caches_[0]->length() < context_)
      forward(std::min(kPrefillChunk, context_ - caches_[0]->length()), model::LogitRows::None);
  }

  // Distinct experts of a layer.
  double touched(int rows) {
    model::ForwardOptions options;
    options.trace_experts = true;
    const model::ForwardResult result = forward(rows, model::LogitRows::None, options);
    for (const auto& cache : caches_) cache->truncate(context_);
    const formats::MoeConfig& moe = model_.config().moe;
    double sum = 0;
    for (const model::RoutedLayer& layer : result.routed) {
      const std::vector<int> load = layer.load(moe.routed());
      sum += moe.experts - static_cast<double>(std::count(load.begin(), load.begin() + moe.experts, 0));
    }
    return sum / static_cast<double>(result.routed.size());
  }

  double seconds(int rows, model::ForwardProbe* probe = nullptr) {
    model::ForwardOptions options;
    options.probe = probe;
    const auto start = Clock::now();
    forward(rows, model::LogitRows::All, options);
    const double seconds = seconds_since(start);
    for (const auto& cache : caches_) cache->truncate(context_);
    return seconds;
  }

 private:
  model::ForwardResult forward(int rows, model::LogitRows logits, const model::ForwardOptions& options = {}) {
    const Tokens tokens = random_.tokens(rows, model_.config().vocab_size);
    if (options.probe) options.probe->begin();
    std::vector<model::ForwardItem> items;
    for (const auto& cache : caches_)
      items.push_back(
          {.input = TokenSpan(tokens), .shape = model::ChainShape{}, .cache = cache.get(), .logits = logits});
    model::ForwardResult result = model_.forward(items, options);
    if (options.probe) options.probe->mark(model::ForwardProbe::Part::Rest);
    // A CUDA device works on its own; asking for a value waits for it.
    if (!model_.device().is_cpu() && result.logits.defined()) result.logits.select(0, 0).select(0, 0).item<float>();
    return result;
  }

  const model::LanguageModel& model_;
  int context_;
  std::vector<std::unique_ptr<model::KvCache>> caches_;
  RandomText random_;
};

at::Tensor logits_of_text(const model::LanguageModel& model, const Tokens& text) {
  const auto cache = model.make_cache(static_cast<int>(text.size()));
  return model.forward(model::ForwardItem{.input = TokenSpan(text), .cache = cache.get()}).logits;
}

// Of each token but the first, given those before it.
double perplexity(const at::Tensor& logits, const Tokens& text) {
  const std::int64_t rows = logits.size(0) - 1;
  at::Tensor next = at::empty({rows, 1}, at::kLong);
  for (std::int64_t i = 0; i < rows; ++i)
    next.mutable_data_ptr<std::int64_t>()[i] = text[static_cast<std::size_t>(i) + 1];
  const at::Tensor log_probs = logits.narrow(0, 0, rows).to(at::kDouble).log_softmax(1);
  return std::exp(-log_probs.gather(1, next).mean().item<double>());
}

RoundingError rounding_error(const model::LanguageModel& exact, const model::LanguageModel& rounded,
                             const Tokens& given) {
  Tokens text = given;
  const auto most = static_cast<std::size_t>(std::min(kMostComparedRows, exact.config().context));
  if (text.size() > most) text.resize(most);
  if (text.empty()) {
    RandomText random;
    text = random.tokens(std::min(kComparedRows, exact.config().context), exact.config().vocab_size);
  }
  const at::Tensor a = logits_of_text(exact, text), b = logits_of_text(rounded, text);
  const at::Tensor difference = a.sub(b).abs();
  const at::Tensor log_a = a.to(at::kDouble).log_softmax(1), log_b = b.to(at::kDouble).log_softmax(1);
  RoundingError error{.rows = static_cast<int>(text.size()),
                      .random_text = given.empty(),
                      .mean = difference.mean().item<double>(),
                      .largest = difference.max().item<double>(),
                      .spread = a.std(1).mean().item<double>(),
                      .same_top = a.argmax(1).eq(b.argmax(1)).to(at::kDouble).mean().item<double>(),
                      .kl = log_a.exp().mul(log_a.sub(log_b)).sum(1).mean().item<double>()};
  if (!given.empty() && text.size() > 1) {
    error.exact_perplexity = perplexity(a, text);
    error.perplexity = perplexity(b, text);
  }
  return error;
}

}  // namespace

std::vector<std::vector<double>> forward_times_ms(const model::LanguageModel& model, const std::vector<int>& rows,
                                                  const ForwardTimesOptions& options) {
  Bench bench(model, rows, options.context, options.batch);
  std::optional<Bench> draft;
  if (options.draft)
    draft.emplace(*options.draft, std::vector<int>{1}, std::min(options.context, options.draft->config().context - 1),
                  1);
  std::vector<std::vector<double>> times;
  std::vector<bool> is_short;
  for (const int count : rows) {
    times.emplace_back();
    const double warm_up = bench.seconds(count) * 1e3;
    is_short.push_back(warm_up < kShortMs);
    if (options.longest_ms && warm_up > *options.longest_ms) break;
  }
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    for (std::size_t i = 0; i < times.size(); ++i) {
      double seconds = 0;
      for (int turn = 0; turn < (is_short[i] ? kTurns : 1); ++turn) {
        for (int step = 1; draft && step < std::min(rows[i], kMostDraftSteps + 1); ++step) draft->seconds(1);
        seconds = bench.seconds(rows[i]);
      }
      times[i].push_back(seconds * 1e3);
    }
  }
  return times;
}

std::vector<double> touched_experts(const model::LanguageModel& model, const std::vector<int>& rows, int context) {
  constexpr int kTexts = 4;
  if (model.config().moe.experts == 0) return {};
  Bench bench(model, rows, context, 1);
  std::vector<double> out;
  for (const int count : rows) {
    double sum = 0;
    for (int text = 0; text < kTexts; ++text) sum += bench.touched(count);
    out.push_back(sum / kTexts);
  }
  return out;
}

ForwardProfile profile_forward(const model::LanguageModel& model, int rows, int context, int repeats) {
  if (!model.device().is_cpu()) fail("profile: operators are timed on the CPU only");
  constexpr int kWarmUps = 3;
  Bench bench(model, {rows}, context, 1);
  for (int i = 0; i < kWarmUps; ++i) bench.seconds(rows);
  std::array<std::vector<double>, model::ForwardProbe::kParts> parts;
  std::vector<double> walls;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    model::ForwardProbe probe;
    walls.push_back(bench.seconds(rows, &probe));
    for (std::size_t part = 0; part < parts.size(); ++part)
      parts[part].push_back(static_cast<double>(probe.ns()[part]) * 1e-9);
  }
  ForwardProfile out{.wall = *metrics::median(std::move(walls))};
  for (std::size_t part = 0; part < parts.size(); ++part) out.seconds[part] = *metrics::median(std::move(parts[part]));
  return out;
}

BenchModelReport bench_model(const std::filesystem::path& folder, const model::ModelLoadOptions& load,
                             const BenchModelOptions& options) {
  const formats::ModelConfig config = formats::load_model_config(folder);
  check_options(options, config);
  BenchModelReport report;
  report.threads = at::get_num_threads();
  report.matrix_path = kernels::matrix_path_name();
  report.batch = options.batch;
  if (longest(options) > config.context)
    report.notes.push_back(
        fmt::format("the model's context is {}: beyond it times are those of a longer cache, and no text is meant",
                    counted(config.context, "token")));
  std::shared_ptr<const model::LanguageModel> loaded = model::load_model(
      folder,
      {.dtype = load.dtype, .device = load.device, .int8_cache = load.int8_cache, .least_context = longest(options)});
  if (load.int8) {
    const auto rounded = loaded->quantised({});
    if (!rounded) fail("bench model: int8 weights are computed on the CPU only");
    report.rounding = rounding_error(*loaded, *rounded, options.text);
    loaded = rounded;
  } else if (load.int4) {
    const auto rounded = model::load_model(
        folder, {.dtype = load.dtype, .device = load.device, .int4 = load.int4, .least_context = longest(options)});
    report.rounding = rounding_error(*loaded, *rounded, options.text);
    loaded = rounded;
  }
  const auto* model = dynamic_cast<const model::Transformer*>(loaded.get());
  FORETELL_CHECK(model != nullptr, "{} is not a transformer", folder.string());
  if (load.int8_cache) report.cache_rounding = rounding_error(*model->with_cache(false), *model, options.text);
  report.dtype = load.int8                       ? "int8"
                 : load.int4                     ? "int4"
                 : model->dtype() == at::kFloat  ? "f32"
                 : model->dtype() == at::kDouble ? "f64"
                                                 : "bf16";
  report.weight_bytes = static_cast<double>(model->weight_bytes_per_forward());
  const auto bytes_read = [&, row = static_cast<double>(model->cache_bytes_per_row()) * options.batch](int rows) {
    return report.weight_bytes + row * (options.context + rows);
  };
  const Attainable attainable(bytes_read(*std::ranges::min_element(options.rows)), report);
  attainable.measure();
  std::vector<std::vector<double>> times = forward_times_ms(
      *model, options.rows, {.context = options.context, .repeats = options.repeats, .batch = options.batch});
  for (std::size_t i = 0; i < options.rows.size(); ++i) {
    const int rows = options.rows[i];
    const double p90 = *metrics::percentile(times[i], 0.9), middle = *metrics::median(std::move(times[i]));
    report.rows.push_back({.rows = rows, .median_ms = middle, .p90_ms = p90, .gbs = bytes_read(rows) / middle / 1e6});
  }
  attainable.measure();
  return report;
}

}  // namespace foretell::measurement
