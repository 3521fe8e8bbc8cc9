#include "experiments/results/distribution_record.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/results/row_costs_json.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/content_hash.h"
#include "framework/io/json_reader.h"
#include "framework/io/mapped_file.h"

namespace foretell::results {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kDistributionsMagic = "forelaws";
constexpr std::uint32_t kDistributionsVersion = 1;
constexpr std::uint32_t kMostIds = 1 << 24;
constexpr std::uint64_t kLongestJson = 16 << 20;
constexpr double kMassError = 1e-3;  // float32 over many tokens

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <class T>
void put_all(std::string& out, std::span<const T> values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

// Takes numbers off the front of a file.
class DistributionBytes {
 public:
  DistributionBytes(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), size_(bytes.size()), name_(name) {}

  std::size_t left() const { return bytes_.size(); }
  std::span<const std::byte> take(std::uint64_t count, const char* what) {
    if (count > bytes_.size())
      fail("{}: ends within {}: {} expected at byte {}, {} are left", name_, what, counted(count, "byte"),
           size_ - bytes_.size(), bytes_.size());
    const auto out = bytes_.first(static_cast<std::size_t>(count));
    bytes_ = bytes_.subspan(static_cast<std::size_t>(count));
    return out;
  }
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  template <class T>
  std::vector<T> numbers(std::uint64_t count, const char* what) {
    const auto raw = take(count * sizeof(T), what);
    std::vector<T> out(static_cast<std::size_t>(count));
    if (!out.empty()) std::memcpy(out.data(), raw.data(), raw.size());
    return out;
  }
  std::string_view text(std::uint64_t count, const char* what) {
    const auto raw = take(count, what);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t size_;
  const std::string& name_;
};

Json source_json(const RecordedSource& source) { return {{"path", source.path}, {"hash", source.hash}}; }

Json header_json(const DistributionHeader& h) {
  Json out = {{"cell", h.cell},
              {"verifier", h.verifier},
              {"answers", h.answers},
              {"context", h.context},
              {"max_new_tokens", h.max_new_tokens},
              {"stop_tokens", h.stop_tokens},
              {"temperature", h.sampling.temperature},
              {"top_k", h.sampling.top_k},
              {"top_p", h.sampling.top_p},
              {"min_p", h.sampling.min_p},
              {"tokenizer", source_json(h.tokenizer)},
              {"target", source_json(h.target)},
              {"draft", source_json(h.draft)}};
  if (h.costs) out["row_costs"] = to_json(*h.costs);
  return out;
}

// In [low, high].
int integer_in(const io::JsonView& object, std::string_view key, std::int64_t low, std::int64_t high) {
  const std::int64_t value = object.at(key).integer();
  if (value < low || value > high)
    object.at(key).expected(fmt::format("a number from {} to {}, found {}", low, high, value));
  return static_cast<int>(value);
}

double number_in(const io::JsonView& object, std::string_view key, double low, double high) {
  const double value = object.at(key).number();
  if (!(value >= low && value <= high))
    object.at(key).expected(fmt::format("a number from {} to {}, found {}", low, high, value));
  return value;
}

RecordedSource source_from(const io::JsonView& object) {
  return {object.at("path").string(), object.at("hash").string()};
}

void read_header(const io::JsonView& json, DistributionHeader& h) {
  constexpr std::int64_t most = std::numeric_limits<int>::max() / 2;
  h.cell = json.at("cell").string();
  h.verifier = json.at("verifier").string();
  h.answers = integer_in(json, "answers", 1, most);
  h.context = integer_in(json, "context", 1, most);
  h.max_new_tokens = integer_in(json, "max_new_tokens", 1, most);
  const io::JsonView stops = json.at("stop_tokens");
  for (std::size_t i = 0; i < stops.size(); ++i) {
    const std::int64_t token = stops.at(i).integer();
    if (token < 0 || token >= h.vocab) stops.at(i).expected(fmt::format("a token below {}, found {}", h.vocab, token));
    h.stop_tokens.push_back(static_cast<Token>(token));
  }
  h.sampling.temperature = number_in(json, "temperature", 0, 1e6);
  h.sampling.top_k = integer_in(json, "top_k", 0, most);
  h.sampling.top_p = number_in(json, "top_p", 1e-9, 1);
  h.sampling.min_p = number_in(json, "min_p", 0, 1);
  h.tokenizer = source_from(json.at("tokenizer"));
  h.target = source_from(json.at("target"));
  h.draft = source_from(json.at("draft"));
  if (const auto costs = json.find("row_costs")) h.costs = row_costs_from(*costs);
}

void check_tokens(TokenSpan tokens, int vocab, const std::string& where) {
  const auto bad = std::find_if(tokens.begin(), tokens.end(), [&](Token t) { return t < 0 || t >= vocab; });
  if (bad != tokens.end()) fail("{}: token {} is outside the vocabulary of {} tokens", where, *bad, vocab);
}

void check_distribution(const replay::RecordedDistribution& distribution, const std::string& where) {
  std::vector<Token> tokens(distribution.tokens.begin(), distribution.tokens.end());
  std::sort(tokens.begin(), tokens.end());
  if (std::adjacent_find(tokens.begin(), tokens.end()) != tokens.end())
    fail("{}: a distribution has a token twice", where);
  const bool among = std::binary_search(tokens.begin(), tokens.end(), distribution.token);
  double mass = distribution.rest + (among ? 0 : std::exp(distribution.log_probability));
  for (const float value : distribution.log_probabilities) mass += std::exp(value);
  // Not even one of them can be NaN or positive then.
  if (!(std::abs(mass - 1) < kMassError) || !(distribution.rest >= 0) || !std::isfinite(distribution.log_probability))
    fail("{}: the mass of a distribution is {}, expected 1", where, mass);
}

AnswerDistributions read_answer(DistributionBytes& in, const DistributionHeader& header, const std::string& name,
                                int index) {
  const std::string where = fmt::format("{}: answer {}", name, index + 1);
  const Location location{where, std::nullopt};
  const auto json_bytes = in.number<std::uint32_t>("an answer");
  const auto prompt = in.number<std::uint32_t>("an answer"), count = in.number<std::uint32_t>("an answer");
  const auto json = io::parse_json(in.text(json_bytes, "an answer's names"), location);
  const io::JsonView view(json, "", location);
  AnswerDistributions out;
  out.conversation = view.at("conversation").string();
  out.category = view.at("category").string();
  out.task = view.at("task").string();
  out.turn = integer_in(view, "turn", 0, 1023);
  out.finish = view.at("finish").string();
  if (prompt == 0 || count == 0) fail("{}: an empty {}", where, prompt == 0 ? "prompt" : "answer");
  out.prompt = in.numbers<Token>(prompt, "a prompt");
  const Tokens answer = in.numbers<Token>(count, "an answer's tokens");
  check_tokens(out.prompt, header.vocab, where);
  check_tokens(answer, header.vocab, where);
  auto distributions = std::make_shared<replay::RecordedDistributions>(header.vocab);
  for (const Token token : answer) {
    const auto own = in.number<float>("a distribution"), rest = in.number<float>("a distribution");
    const auto stored = in.number<std::uint32_t>("a distribution");
    if (stored > static_cast<std::uint32_t>(header.top_k))
      fail("{}: a distribution has {}, at most {}", where, counted(stored, "token"), header.top_k);
    const Tokens tokens = in.numbers<Token>(stored, "a distribution's tokens");
    const auto values = in.numbers<float>(stored, "a distribution's values");
    check_tokens(tokens, header.vocab, where);
    const replay::RecordedDistribution distribution{token, own, rest, tokens, values};
    check_distribution(distribution, where);
    distributions->add(distribution);
  }
  out.distributions = std::move(distributions);
  return out;
}

// Turns come in order, so that a workload can be made of them.
void check_turns(const DistributionRecord& record) {
  std::set<std::string> done;
  for (std::size_t i = 0; i < record.answers.size(); ++i) {
    const AnswerDistributions& answer = record.answers[i];
    const bool goes_on = i > 0 && record.answers[i - 1].conversation == answer.conversation;
    const int expected = goes_on ? record.answers[i - 1].turn + 1 : 0;
    if (answer.turn != expected || (!goes_on && !done.insert(answer.conversation).second))
      fail("{}: answer {}: turn {} of conversation '{}' is out of order", record.name, i + 1, answer.turn,
           answer.conversation);
  }
}

}  // namespace

DistributionWriter::DistributionWriter(const std::filesystem::path& file, const DistributionHeader& header)
    : file_(file) {
  const std::string json = header_json(header).dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out(kDistributionsMagic);
  put(out, kDistributionsVersion);
  put(out, static_cast<std::uint32_t>(header.vocab));
  put(out, static_cast<std::uint32_t>(header.top_k));
  put(out, static_cast<std::uint64_t>(json.size()));
  file_.write(out + json);
}

void DistributionWriter::add(const AnswerDistributions& answer) {
  const Json names = {{"conversation", answer.conversation},
                      {"category", answer.category},
                      {"task", answer.task},
                      {"turn", answer.turn},
                      {"finish", answer.finish}};
  const std::string json = names.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  put(out, static_cast<std::uint32_t>(json.size()));
  put(out, static_cast<std::uint32_t>(answer.prompt.size()));
  put(out, static_cast<std::uint32_t>(answer.distributions->size()));
  out += json;
  put_all(out, TokenSpan(answer.prompt));
  put_all(out, answer.distributions->answer());
  for (int i = 0; i < answer.distributions->size(); ++i) {
    const replay::RecordedDistribution distribution = (*answer.distributions)[i];
    put(out, distribution.log_probability);
    put(out, distribution.rest);
    put(out, static_cast<std::uint32_t>(distribution.tokens.size()));
    put_all(out, distribution.tokens);
    put_all(out, distribution.log_probabilities);
  }
  file_.write(out);
}

void DistributionWriter::finish() { file_.commit(); }

DistributionRecord DistributionRecord::load(const std::filesystem::path& file) {
  return parse(io::MappedFile::open(file).bytes(), file.string());
}

DistributionRecord DistributionRecord::parse(std::span<const std::byte> bytes, const std::string& name) {
  DistributionBytes in(bytes, name);
  if (bytes.size() < kDistributionsMagic.size() ||
      in.text(kDistributionsMagic.size(), "the header") != kDistributionsMagic)
    fail("{}: is no file of distributions; `foretell run --record probs` writes them", name);
  if (const auto version = in.number<std::uint32_t>("the header"); version != kDistributionsVersion)
    fail("{}: is version {} of the format; this program reads version {}", name, version, kDistributionsVersion);
  DistributionRecord record;
  record.name = name;
  const auto vocab = in.number<std::uint32_t>("the header"), top_k = in.number<std::uint32_t>("the header");
  if (vocab == 0 || vocab > kMostIds) fail("{}: a vocabulary of {} tokens; 1 to {} are allowed", name, vocab, kMostIds);
  if (top_k == 0 || top_k > vocab)
    fail("{}: {} a distribution; 1 to {} are allowed", name, counted(top_k, "token"), vocab);
  record.header.vocab = static_cast<int>(vocab);
  record.header.top_k = static_cast<int>(top_k);
  const auto json_bytes = in.number<std::uint64_t>("the header");
  if (json_bytes > kLongestJson)
    fail("{}: a header of {}; at most {} are allowed", name, counted(json_bytes, "byte"), kLongestJson);
  const Location where{name, std::nullopt};
  const auto json = io::parse_json(in.text(json_bytes, "the header"), where);
  read_header(io::JsonView(json, "", where), record.header);
  for (int i = 0; i < record.header.answers; ++i) record.answers.push_back(read_answer(in, record.header, name, i));
  if (in.left() > 0) fail("{}: {} behind the last answer", name, counted(in.left(), "byte"));
  check_turns(record);
  return record;
}

DistributionRecord::Rest DistributionRecord::rest() const {
  Rest out;
  for (const AnswerDistributions& answer : answers)
    for (int i = 0; i < answer.distributions->size(); ++i) out.add((*answer.distributions)[i].rest);
  return out;
}

void DistributionRecord::Rest::add(double rest) {
  ++tokens;
  sum += rest;
  highest = std::max(highest, rest);
}

std::string DistributionRecord::Rest::words() const {
  return fmt::format("the mass of what was not stored is {:.2g} on average and at most {:.2g}", mean(), highest);
}

RecordedSource tokenizer_source(const std::filesystem::path& folder_or_file) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(folder_or_file, ignored))
    return {folder_or_file.string(), io::file_hash(folder_or_file)};
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer.bin"})
    if (const auto file = folder_or_file / name; std::filesystem::is_regular_file(file, ignored))
      return {file.string(), io::file_hash(file)};
  return {};
}

std::optional<std::filesystem::path> distributions_in(const std::filesystem::path& cell_folder) {
  std::error_code ignored;
  for (const char* name : {kDistributionsFile, "laws.bin"})
    if (std::filesystem::exists(cell_folder / name, ignored)) return cell_folder / name;
  return std::nullopt;
}

}  // namespace foretell::results
